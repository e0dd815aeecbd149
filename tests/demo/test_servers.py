"""The demo's mail servers are real: spoken to over the wire, by the libraries that speak to any other."""

from __future__ import annotations

import os
import signal
import smtplib
import socket
import subprocess
import sys
import time
from base64 import b64encode
from collections.abc import Callable
from email import message_from_bytes, policy
from itertools import islice
from pathlib import Path

import pytest
from imapclient import IMAPClient
from imapclient.exceptions import LoginError

from mailboxes import answers
from mailboxes.demo import office
from mailboxes.demo.letters import How, Postman, letters, post
from mailboxes.demo.office import Account, Office
from mailboxes.demo.servers import ANSWER_SECONDS, HOST, DemoServers, DemoServersError, Ports
from mailboxes.parsing import parse

from .conftest import PASSWORD

SignIn = Callable[[str], IMAPClient]
AMARA = "amara.okafor@contoso.com"


def empty(client: IMAPClient) -> None:
    if uids := client.search():
        client.delete_messages(uids)
        client.uid_expunge(uids)


def raws(client: IMAPClient) -> list[bytes]:
    client.noop()
    fetched = client.fetch(client.search(), ["BODY.PEEK[]"])
    return [fetched[uid][b"BODY[]"] for uid in sorted(fetched)]


def test_letters_of_every_way_arrive_octet_for_octet(
    servers: DemoServers, demo_office: Office, sign_in: SignIn
) -> None:
    inboxes = {name: sign_in(name) for name in ("forwardmailbox@contoso.com", "returns@contoso.com")}
    for inbox in inboxes.values():
        empty(inbox)
    posted = list(islice(letters(demo_office, seed=7), 120))
    assert {letter.how for letter in posted} == set(How)
    for letter in posted:
        post(letter, HOST, servers.inbound_port)
    for address, inbox in inboxes.items():
        expected = [letter for letter in posted if letter.envelope_to == address]
        arrived = raws(inbox)
        assert len(arrived) == len(expected)
        for letter, raw in zip(expected, arrived, strict=True):
            trace, found, rest = raw.partition(letter.raw)
            assert (bool(found), rest) == (True, b"")
            path = f"Return-Path: <{letter.envelope_from}>\r\nDelivered-To: {address}\r\n"
            assert trace.startswith(path.encode() + b"Received: from ")


def test_user_name_and_address_open_the_same_mailbox(servers: DemoServers, sign_in: SignIn) -> None:
    by_name, by_address = sign_in("priya"), sign_in("priya.raman@contoso.com")
    by_name.append("INBOX", b"Subject: hello\r\n\r\nhello\r\n")
    by_address.noop()
    assert len(by_address.search()) == 1


def test_it_offers_what_the_engine_needs_and_no_starttls(sign_in: SignIn) -> None:
    capabilities = sign_in("forwardmailbox").capabilities()
    assert {b"UIDPLUS", b"MOVE", b"IDLE"} <= set(capabilities)
    assert b"STARTTLS" not in capabilities


@pytest.mark.parametrize(
    ("name", "password"),
    [("amara", "wrong"), ("amara", "falsch, dafür mit ü"), ("nobody", PASSWORD), ("amara", "")],
)
def test_a_wrong_password_is_refused(servers: DemoServers, name: str, password: str) -> None:
    with IMAPClient(HOST, servers.imap_port, ssl=False, timeout=10) as client:
        with pytest.raises(LoginError):
            client.plain_login(name, password)
        assert client.plain_login("amara", PASSWORD)


def test_uid_expunge_removes_the_named_message_only(sign_in: SignIn) -> None:
    client = sign_in("diego")
    for number in range(3):
        client.append("INBOX", b"Subject: %d\r\n\r\ntext\r\n" % number)
    client.noop()
    first, second, third = client.search()
    client.delete_messages([first, second])
    client.uid_expunge([second])
    assert client.search() == [first, third]
    assert client.search("DELETED") == [first]


def test_move_takes_a_message_to_another_folder(sign_in: SignIn) -> None:
    client = sign_in("jonas")
    client.append("INBOX", b"Subject: away\r\n\r\ntext\r\n")
    client.noop()
    client.create_folder("Processed")
    client.move(client.search(), "Processed")
    assert client.search() == []
    client.select_folder("Processed", readonly=True)
    assert len(client.search()) == 1


def test_who_idles_is_told_of_new_mail(servers: DemoServers, demo_office: Office, sign_in: SignIn) -> None:
    client = sign_in("forwardmailbox")
    client.idle()
    client.idle_check(timeout=0.2)
    for letter in islice(letters(demo_office, seed=3), 2):
        post(letter, HOST, servers.inbound_port)
    assert any(b"EXISTS" in answer for answer in client.idle_check(timeout=5))
    client.idle_done()


def test_inbound_refuses_whom_it_does_not_know(servers: DemoServers) -> None:
    with smtplib.SMTP(HOST, servers.inbound_port, timeout=10) as server:
        server.ehlo()
        server.mail("a@example.net")
        assert server.rcpt("nobody@contoso.com")[0] == 550
        assert server.rcpt("ForwardMailbox@contoso.com")[0] == 250


def test_submission_asks_for_sign_in_then_takes_any_recipient(servers: DemoServers) -> None:
    with smtplib.SMTP(HOST, servers.smtp_port, timeout=10) as server:
        server.ehlo()
        assert server.mail("amara.okafor@contoso.com")[0] == 530
        with pytest.raises(smtplib.SMTPAuthenticationError):
            server.login("amara", "wrong")
        assert sign_in_by_utf8(server)[0] == 235
        assert server.mail("amara.okafor@contoso.com")[0] == 250
        assert server.rcpt("someone@example.net")[0] == 250
        assert server.rset()[0] == 250


def test_submitted_mail_for_the_office_is_delivered(servers: DemoServers, sign_in: SignIn) -> None:
    inbox = sign_in("tomasz")
    with smtplib.SMTP(HOST, servers.smtp_port, timeout=10) as server:
        sign_in_by_utf8(server)
        server.sendmail(
            "amara.okafor@contoso.com",
            ["Tomasz.Wieczorek@contoso.com", "someone@example.net"],
            b"Auto-Submitted: auto-generated\r\nSubject: test\r\n\r\ntest\r\n",  # so nobody answers it
        )
    (raw,) = raws(inbox)
    assert raw.endswith(b"Subject: test\r\n\r\ntest\r\n")


def sign_in_by_utf8(server: smtplib.SMTP) -> tuple[int, bytes]:
    """AUTH PLAIN (RFC 4616) with a password that smtplib's own login() can't send."""
    server.ehlo_or_helo_if_needed()
    return server.docmd("AUTH", "PLAIN " + b64encode(f"\0amara\0{PASSWORD}".encode()).decode())


def submit(servers: DemoServers, raw: bytes, *to: str, sender: str = AMARA) -> None:
    with smtplib.SMTP(HOST, servers.smtp_port, timeout=10) as server:
        sign_in_by_utf8(server)
        server.sendmail(sender, to, raw)


def written(to: str, *more: str) -> bytes:
    lines = ("From: Amara Okafor <amara.okafor@contoso.com>", f"To: {to}", *more, "", "Is it ready?", "")
    return "\r\n".join(lines).encode()


def arrives(client: IMAPClient, seconds: float = 10) -> bytes:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := raws(client):
            return found[-1]
        time.sleep(0.1)
    pytest.fail("nothing arrived")


def test_who_has_a_forwarding_rule_keeps_the_mail_and_a_copy_goes_to_the_forward_mailbox(
    servers: DemoServers, sign_in: SignIn
) -> None:
    inbox, collection = sign_in("yuki.nakamura@contoso.com"), sign_in("forwardmailbox")
    empty(collection)
    raw = written("yuki.nakamura@contoso.com", "Subject: shelves")
    submit(servers, raw, "yuki.nakamura@contoso.com")
    (kept,), (copy,) = raws(inbox), raws(collection)
    assert kept.endswith(raw)
    assert copy.endswith(kept)
    assert copy.startswith(b"Return-Path: <%s>\r\nDelivered-To: forwardmailbox@" % AMARA.encode())
    assert b"\r\nDelivered-To: yuki.nakamura@contoso.com\r\n" in copy


def test_a_mailbox_that_is_collected_itself_hands_on_no_copy(servers: DemoServers, sign_in: SignIn) -> None:
    inbox, collection = sign_in("returns"), sign_in("forwardmailbox")
    empty(inbox)
    empty(collection)
    submit(servers, written("returns@contoso.com"), "returns@contoso.com", "forwardmailbox@contoso.com")
    assert len(raws(inbox)) == len(raws(collection)) == 1


def test_a_plus_address_leads_to_the_same_account(servers: DemoServers, sign_in: SignIn) -> None:
    inbox = sign_in("karim.benali@contoso.com")
    submit(servers, written("x@contoso.com"), "Karim.Benali+so-abc@contoso.com")
    (raw,) = raws(inbox)
    assert b"\r\nDelivered-To: Karim.Benali+so-abc@contoso.com\r\n" in raw


@pytest.mark.parametrize(
    ("address", "code"),
    [
        ("nobody@example.org", 550),
        ("Nobody@contoso.com", 550),
        ("left.long.ago@contoso.com", 550),
        ("later@example.org", 450),
        ("noah.pettersen@example.org", 250),
        ("beatriz.moreno@example.org", 250),
    ],
)
def test_submission_takes_puts_off_and_refuses_by_address(
    servers: DemoServers, address: str, code: int
) -> None:
    with smtplib.SMTP(HOST, servers.smtp_port, timeout=10) as server:
        sign_in_by_utf8(server)
        server.mail(AMARA)
        assert server.rcpt(address)[0] == code


def test_a_person_outside_answers_once_and_the_answer_is_forwarded(
    servers: DemoServers, sign_in: SignIn
) -> None:
    greta = "greta.hofmann@contoso.com"
    inbox, collection = sign_in(greta), sign_in("forwardmailbox")
    to = "Beatriz Moreno <beatriz.moreno@example.org>"
    first = written(to, "Subject: Cartons", "Message-ID: <first@contoso.com>")
    submit(servers, first, "beatriz.moreno@example.org", sender=greta)
    answer = message_from_bytes(arrives(inbox), policy=policy.SMTP)
    assert answer["From"] == to
    assert answer["To"] == "Amara Okafor <amara.okafor@contoso.com>"
    assert answer["Subject"] == "Re: Cartons"
    assert answer["In-Reply-To"] == answer["References"] == "<first@contoso.com>"
    assert "\n> Is it ready?" in answer.get_content()
    time.sleep(0.5)
    assert any(arrives(inbox) in raw for raw in raws(collection))
    empty(inbox)
    back = f"In-Reply-To: {answer['Message-ID']}"
    submit(servers, written(to, "Subject: Re: Cartons", back), "beatriz.moreno@example.org", sender=greta)
    submit(servers, written(to, "Auto-Submitted: auto-generated"), "beatriz.moreno@example.org", sender=greta)
    time.sleep(ANSWER_SECONDS + 1)
    assert raws(inbox) == []


def test_mail_to_someone_who_is_gone_comes_back_with_a_report(servers: DemoServers, sign_in: SignIn) -> None:
    oliver = "oliver.whitcombe@contoso.com"
    inbox = sign_in(oliver)
    raw = written("gone@example.org", "Message-ID: <second@contoso.com>")
    submit(servers, raw, "gone@example.org", sender=oliver)
    raw = arrives(inbox)
    assert raw.startswith(b"Return-Path: <>\r\n")
    report = answers.reported(parse(raw))
    assert report is not None
    assert report.message_id == "second@contoso.com"
    assert [(one.recipient, one.action, one.status) for one in report.statuses] == [
        ("gone@example.org", "failed", "5.1.1")
    ]


def test_a_server_that_hangs_up_says_nothing_of_the_message(servers: DemoServers) -> None:
    with smtplib.SMTP(HOST, servers.smtp_port, timeout=10) as server:
        sign_in_by_utf8(server)
        with pytest.raises(smtplib.SMTPServerDisconnected):
            server.sendmail(AMARA, ["silent@example.org"], written("silent@example.org"))


def test_they_stop_within_three_seconds_with_a_client_connected(demo_office: Office) -> None:
    servers = DemoServers(office.people(demo_office, PASSWORD))
    servers.start()
    client = socket.create_connection((HOST, servers.imap_port))
    idle = socket.create_connection((HOST, servers.inbound_port))
    before = time.monotonic()
    servers.stop()
    assert time.monotonic() - before < 3
    assert not servers.is_alive()
    client.close()
    idle.close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((HOST, servers.imap_port), timeout=2)


def test_they_listen_where_they_are_told(demo_office: Office) -> None:
    people = office.people(demo_office, PASSWORD)
    with DemoServers(people) as first:
        ports = Ports(first.imap_port, first.smtp_port, first.inbound_port)
    with DemoServers(people, ports) as again:
        assert (again.imap_port, again.smtp_port, again.inbound_port) == (
            ports.imap,
            ports.smtp,
            ports.inbound,
        )


def test_a_port_in_use_is_said(servers: DemoServers) -> None:
    with pytest.raises(DemoServersError, match=r"[Aa]ddress already in use"):
        DemoServers([Account("a", "a@example.net", "p")], Ports(imap=servers.imap_port)).start()


PARENT = """
import sys, time
from mailboxes.demo.office import Account
from mailboxes.demo.servers import DemoServers
if __name__ == "__main__":
    servers = DemoServers([Account("a", "a@example.net", "p")])
    servers.start()
    print(servers.imap_port, flush=True)
    time.sleep(60)
"""


def test_they_end_when_their_parent_is_killed(tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(PARENT)
    environment = {**os.environ, "PYTHONPATH": os.getcwd()}
    with subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, env=environment) as parent:
        port = int(parent.stdout.readline())
        parent.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        try:
            socket.create_connection((HOST, port), timeout=1).close()
        except OSError:
            return
        time.sleep(0.1)
    pytest.fail("the servers outlived their parent")


def test_the_postman_brings_a_burst_and_then_takes_his_time(
    servers: DemoServers, demo_office: Office, sign_in: SignIn
) -> None:
    inbox = sign_in("forwardmailbox")
    empty(inbox)
    postman = Postman(
        letters(demo_office, seed=5), HOST, servers.inbound_port, burst=20, pause_seconds=(60, 60)
    )
    postman.start()
    deadline = time.monotonic() + 10
    while postman.posted < 20 and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.3)
    assert postman.posted == 20
    before = time.monotonic()
    postman.stop()
    assert time.monotonic() - before < 3
    assert not postman.is_alive()


def test_the_postman_waits_for_a_server_that_is_down(demo_office: Office) -> None:
    people = office.people(demo_office, PASSWORD)
    with DemoServers(people) as gone:
        ports = Ports(gone.imap_port, gone.smtp_port, gone.inbound_port)
    postman = Postman(letters(demo_office, seed=5), HOST, ports.inbound, burst=3, pause_seconds=(0.1, 0.2))
    postman.start()
    time.sleep(0.5)
    assert postman.posted == 0
    with DemoServers(people, ports):
        deadline = time.monotonic() + 10
        while postman.posted < 5 and time.monotonic() < deadline:
            time.sleep(0.05)
        postman.stop()
    assert postman.posted >= 5
