"""The test message of Test & Enable: it arrives and is gone, and wherever it gets stuck, the ladder says so."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiosmtpd.smtp import SMTP, Envelope, Session

from mailboxes import arrival, configtest, testmail
from mailboxes.models import ConfigurationTest, Mailbox, Message, Survey
from mailboxes.parsing import parse
from mailboxes.survey import Abandoned
from tests.mailhost import MailHost, needs_a_mail_host
from tests.postbox import Postbox
from tests.servers import Certificates, Dovecot, SmtpSink, free_port, needs

from .conftest import Office, letter

pytestmark = pytest.mark.django_db(transaction=True)

NOAH = "noah@contoso.com"


@dataclass
class Delivering(SmtpSink):
    """An SMTP server that puts what it takes into an account on Dovecot, in `folder`; "" loses it."""

    dovecot: Dovecot
    account: str
    folder: str = "INBOX"
    lost: list[bytes] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(people={self.account: "correct horse"})

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        said = await super().handle_DATA(server, session, envelope)
        if said.startswith("250"):
            self.lost += [self.received[-1].raw]
            if self.folder:
                self.late()
            return "250 2.0.0 Ok: queued as 4711"
        return said

    def late(self) -> None:
        """What was lost arrives."""
        for raw in self.lost:
            self.dovecot.append(
                self.account, b"Received: from sink.example\r\n" + raw, self.folder or "INBOX"
            )
        self.lost.clear()


@pytest.fixture
def server(office: Office) -> Iterator[Delivering]:
    """Where Noah's mail is sent; it comes into his account."""
    with Delivering(office.dovecot, office.account) as running:
        yield running


@pytest.fixture(autouse=True)
def impatience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrival, "PATIENCE", 2.0)


def noah(
    office: Office, port: int, host: str = "127.0.0.1", *, kind: str = "user", **changes: Any
) -> Mailbox:
    """Noah, whose mailbox is the account of this test, and who sends by the server at this port."""
    office.forward.is_active = False
    office.forward.save()
    profile = office.profile
    profile.outgoing_host, profile.outgoing_port, profile.outgoing_security = host, port, "none"
    for name in {"server_type", "incoming_port", "incoming_folder"} & {*changes}:
        setattr(profile, name, changes.pop(name))
    profile.save()
    values = {
        "incoming_method": "server_side",
        "outgoing_method": "server_side",
        "server_profile": profile,
        "delete_emails_after_processing": kind == "queue",
        "allow_credentials": True,
        "username": office.account,
        "password": "correct horse",
    } | changes
    return (office.user if kind == "user" else office.queue)("noah", **values).mailbox


def climbed(mailbox: Mailbox, direction: str = "outgoing", *, enables: bool = True) -> configtest.Ladder:
    configtest.run(ConfigurationTest.request(mailbox, None, enables=enables))
    fresh = Mailbox.objects.select_related("server_profile").get(pk=mailbox.pk)
    return next(one for one in configtest.ladders(fresh) if one.direction == direction)


def seen(ladder: configtest.Ladder) -> dict[str, str]:
    return {rung.name: rung.seen for rung in ladder.rungs if rung.state == "passed"}


def failure(ladder: configtest.Ladder) -> configtest.Rung:
    (failed,) = [rung for rung in ladder.rungs if rung.state == "failed"]
    return failed


def subjects(office: Office) -> list[str]:
    return [parse(kept.raw).subject for kept in office.on_server()]


def collected(office: Office, mailbox: Mailbox) -> None:
    """The next cycle of this mailbox alone, whatever its outgoing mail says."""
    mailbox.states.filter(direction="incoming").update(next_run_at=None)
    assert office.synchronize().failed == 0


def test_it_arrives_and_is_gone_and_other_mail_stays(office: Office, server: Delivering) -> None:
    office.arrives(letter("Before"))
    ladder = climbed(noah(office, server.port))
    assert ladder.status == "success", ladder
    assert [rung.name for rung in ladder.rungs][-3:] == [
        "recipient accepted",
        "test message accepted",
        "arrived",
    ]
    said = seen(ladder)
    assert said["test message accepted"] == "250 2.0.0 Ok: queued as 4711"
    assert said["arrived"].startswith("after ")
    assert said["arrived"].endswith(" s, in INBOX")
    assert ladder.sentence == f"the test message arrived {said['arrived']}"
    assert subjects(office) == ["Before"]
    assert all(not kept.flags & {"\\Seen", "\\Deleted"} for kept in office.on_server())


def test_it_says_what_it_is_and_asks_for_no_answer(office: Office, server: Delivering) -> None:
    climbed(noah(office, server.port))
    (sent,) = server.received
    message = parse(sent.raw)
    headers = {header.name: header.value for header in message.headers}
    assert (sent.sender, sent.recipients) == (NOAH, (NOAH,))
    assert (headers["From"], headers["To"]) == (NOAH, NOAH)
    assert message.subject == "Test message of Test & Enable"
    assert headers["Auto-Submitted"] == "auto-generated"
    assert message.message_id.strip("<>").endswith("@contoso.com")
    assert testmail.is_ours(message)
    assert len(sent.raw) < 1500


def test_each_test_message_is_another_one() -> None:
    one, other = testmail.probe(NOAH), testmail.probe(NOAH)
    assert one.token != other.token
    assert not other.is_it(one.raw)
    assert parse(one.raw).message_id != parse(other.raw).message_id


@pytest.mark.parametrize("address", ["jürgen@contoso.com", "noah@bücher.example"])
def test_an_address_with_other_letters_is_spelt_as_its_server_knows_it(address: str) -> None:
    made = testmail.probe(address)
    assert made.envelope.is_ascii is made.raw.isascii() is (address == "noah@bücher.example")
    assert parse(made.raw).sender == made.envelope.sender
    assert testmail.is_ours(parse(made.raw))


def test_it_takes_the_time_that_mail_takes(office: Office, server: Delivering) -> None:
    server.folder = ""
    mailbox = noah(office, server.port)

    def comes_later() -> None:
        server.holds(1)
        time.sleep(0.7)
        server.late()

    bringing = threading.Thread(target=comes_later)
    bringing.start()
    ladder = climbed(mailbox)
    bringing.join()
    assert float(seen(ladder)["arrived"].split()[1]) >= 0.7
    assert office.on_server() == []


def test_what_does_not_arrive_fails_with_what_to_look_at(office: Office, server: Delivering) -> None:
    server.folder = ""
    mailbox = noah(office, server.port)
    ladder = climbed(mailbox)
    failed = failure(ladder)
    assert failed.name == "arrived"
    assert failed.cause == "The server accepted the test message, but it did not arrive within 2 seconds."
    assert "spam" in failed.advice
    assert seen(ladder)["test message accepted"]
    assert not mailbox.states.get(direction="outgoing").enabled
    assert mailbox.states.get(direction="incoming").enabled


@pytest.mark.parametrize("kind", ["user", "queue"])
def test_a_late_one_reaches_nobody_and_is_gone(office: Office, server: Delivering, kind: str) -> None:
    """Whether other mail is marked as read, as a user's is, or deleted."""
    server.folder = ""
    mailbox = noah(office, server.port, kind=kind)
    climbed(mailbox)
    office.arrives(letter("Real"))
    server.late()
    collected(office, mailbox)
    assert office.delivered() == {"Real": ["Noah"]}
    late = Message.objects.get(subject="Test message of Test & Enable")
    assert (late.state, late.reason, late.disposal) == ("discarded", "test_message", "delete")
    assert late.discarded_at is not None
    assert late.discard_reason == "Test & Enable sent it to see whether mail arrives."
    assert subjects(office) == (["Real"] if kind == "user" else [])


def test_a_late_one_is_none_of_what_is_there(office: Office, server: Delivering) -> None:
    server.folder = ""
    mailbox = noah(office, server.port)
    climbed(mailbox)
    office.arrives(letter("Real"))
    server.late()
    climbed(mailbox, enables=False)
    survey = Survey.objects.latest("pk")
    assert (survey.messages, survey.wanted, survey.sample, survey.looked_at) == (1, 1, 1, 1)
    assert [(share.mailbox, share.messages) for share in survey.shares.all()] == [(mailbox, 1)]


def test_through_a_forward_mailbox_it_reaches_nobody_either(office: Office, server: Delivering) -> None:
    mailbox = noah(office, server.port, incoming_method="forward")
    Mailbox.objects.filter(pk=office.forward.pk).update(is_active=True)
    again = Mailbox.objects.get(pk=office.forward.pk)
    again.password = "correct horse"
    again.save()
    assert climbed(again, "incoming").status == "success"
    ladder = climbed(mailbox)
    assert ladder.status == "success"
    assert ladder.rungs[-1].name == "test message accepted"
    assert ladder.rungs[-1].seen.endswith("; it is removed when it comes in through a forward mailbox")
    office.again()
    assert Message.objects.get().reason == "test_message"
    assert office.delivered() == {}
    assert office.on_server() == []


def test_where_nobody_looks_the_ladder_says_where_it_stands(office: Office, server: Delivering) -> None:
    ladder = climbed(noah(office, server.port, incoming_method="none"))
    assert ladder.status == "success"
    said = "; it stands in the inbox of noah@contoso.com, since this system does not read it"
    assert ladder.rungs[-1].seen == f"250 2.0.0 Ok: queued as 4711{said}"


def test_where_incoming_mail_fails_its_arrival_is_not_asked_for(office: Office, server: Delivering) -> None:
    mailbox = noah(office, server.port, incoming_folder="Nowhere")
    incoming, outgoing = climbed(mailbox, "incoming"), climbed(mailbox)
    assert failure(incoming).name == "folder opened"
    assert (outgoing.status, outgoing.rungs[-1].name) == ("success", "test message accepted")
    assert outgoing.rungs[-1].seen.endswith("it is removed as soon as mail is collected from this mailbox")


def test_a_folder_that_is_collected_from_is_not_the_only_one_looked_at(
    office: Office, server: Delivering
) -> None:
    office.dovecot.make_folder(office.account, "Orders")
    mailbox = noah(office, server.port, incoming_folder="Orders")
    assert seen(climbed(mailbox))["arrived"].endswith(" s, in INBOX, from which no mail is collected")
    assert office.on_server() == []
    server.folder = "Orders"
    assert seen(climbed(mailbox))["arrived"].endswith(" s, in Orders")
    assert office.dovecot.messages(office.account, "Orders") == []


def test_where_it_may_not_be_deleted_the_ladder_says_so(office: Office, server: Delivering) -> None:
    office.dovecot.append(office.account, letter("Before"))
    office.dovecot.set_rights(office.account, "INBOX", "lrswip")
    mailbox = noah(office, server.port)
    ladder = climbed(mailbox)
    assert ladder.status == "success"
    assert "; it could not be deleted and stays there: INBOX can be read" in seen(ladder)["arrived"]
    assert len(office.on_server()) == 2
    collected(office, mailbox)
    assert office.delivered() == {"Before": ["Noah"]}
    assert all("\\Seen" in kept.flags for kept in office.on_server())


def test_looking_sends_nothing(office: Office, server: Delivering) -> None:
    ladder = climbed(noah(office, server.port), enables=False)
    assert ladder.rungs[-1].name == "recipient accepted"
    assert ladder.status == "success"
    assert server.received == []


def test_the_page_shows_what_is_still_to_come(office: Office, server: Delivering) -> None:
    mailbox = noah(office, server.port)
    test = ConfigurationTest.request(mailbox, None)
    waiting = [rung.name for rung in configtest.ladder(test, "outgoing", mailbox)]
    assert waiting[-2:] == ["test message accepted", "arrived"]
    ConfigurationTest.objects.update(enables=False)
    test.refresh_from_db()
    assert configtest.ladder(test, "outgoing", mailbox)[-1].name == "recipient accepted"


def test_whoever_asks_for_more_while_it_looks_gets_more(office: Office, server: Delivering) -> None:
    test = ConfigurationTest.request(noah(office, server.port), None, enables=False)
    ConfigurationTest.objects.filter(pk=test.pk).update(enables=True)
    assert configtest.run(test)["outgoing"] == "success"
    assert len(server.received) == 1


def test_waiting_ends_at_once_when_the_engine_stops(
    office: Office, server: Delivering, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arrival, "PATIENCE", 60.0)
    server.folder = ""
    test = ConfigurationTest.request(noah(office, server.port), None)
    began = time.monotonic()
    with pytest.raises(Abandoned):
        configtest.run(test, stopping=lambda: bool(server.received))
    assert time.monotonic() - began < 10
    test.refresh_from_db()
    assert test.finished_at is None


REFUSED: dict[str, tuple[dict[str, bytes], str, str, str]] = {
    "the sender": ({"MAIL": b"550 5.7.1 Not yours\r\n"}, "sender accepted", "550 5.7.1", "send as this"),
    "the recipient": ({"RCPT": b"550 5.1.1 Unknown\r\n"}, "recipient accepted", "550 5.1.1", "the address"),
    "the data": ({"DATA": b"554 5.7.1 No\r\n"}, "test message accepted", "554 5.7.1", "may not send"),
    "the message": ({".": b"554 5.7.1 Spam\r\n"}, "test message accepted", "554 5.7.1", "may not send"),
    "it for now": ({".": b"451 4.7.1 Later\r\n"}, "test message accepted", "451 4.7.1", "Test again in"),
    "to say": ({".": b""}, "test message accepted", "", "Test again. If the test message arrives"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_server_that_refuses(office: Office, what: str) -> None:
    says, step, words, advice = REFUSED[what]
    postbox = Postbox(("AUTH PLAIN",), {"AUTH": b"235 ok\r\n"} | says)
    with postbox.serve() as scripted:
        ladder = climbed(noah(office, scripted.port, scripted.host))
    failed = failure(ladder)
    assert failed.name == step, failed
    assert failed.server_words.startswith(words)
    assert advice in failed.advice
    assert postbox.taken == []
    assert {rung.state for rung in ladder.rungs[ladder.rungs.index(failed) + 1 :]} <= {"not_reached"}


def test_by_pop3_it_arrives_and_is_gone(office: Office, server: Delivering) -> None:
    needs("pop3")
    office.arrives(letter("Before"))
    server.folder = ""
    mailbox = noah(office, server.port, server_type="pop3_smtp", incoming_port=office.dovecot.pop3_port)
    bringing = threading.Thread(target=lambda: (server.holds(1), time.sleep(0.7), server.late()))
    bringing.start()
    ladder = climbed(mailbox)
    bringing.join()
    assert ladder.status == "success", ladder
    assert subjects(office) == ["Before"]


@pytest.mark.parametrize(
    "forge",
    [
        lambda token: "anything",
        lambda token: token[:-2] + ("AA" if token[-2:] != "AA" else "BB"),
        lambda token: "another" + token,
        lambda token: "",
    ],
)
def test_a_forged_header_is_ordinary_mail(office: Office, forge: Callable[[str], str]) -> None:
    office.user("noah")
    token = forge(testmail.probe(NOAH).token)
    office.arrives(letter("Mail", Delivered_To=NOAH, X_Sorting_Office_Test=token))
    office.synchronize()
    assert office.delivered() == {"Mail": ["Noah"]}


def test_a_token_is_worth_nothing_after_two_weeks(monkeypatch: pytest.MonkeyPatch) -> None:
    made = parse(testmail.probe(NOAH).raw)
    assert testmail.is_ours(made)
    now = time.time()
    monkeypatch.setattr("time.time", lambda: now + 15 * 86400)
    assert not testmail.is_ours(made)


SUBMISSION = free_port()
SIGNING_IN = {
    "/etc/postfix/master.cf": f"""
127.0.0.1:{SUBMISSION} inet n - n - - smtpd
 -o smtpd_sasl_auth_enable=yes
 -o smtpd_sasl_type=dovecot
 -o smtpd_sasl_path=/etc/postfix/auth
""",
    "/etc/dovecot/dovecot.conf": """
service auth {
  unix_listener /etc/postfix/auth {
    mode = 0666
  }
}
""",
}


def test_end_to_end_on_a_mail_host(office: Office, certificates: Certificates) -> None:
    needs_a_mail_host()
    with MailHost(certificates, SIGNING_IN) as host:
        host.dovecot.add_user(NOAH, "correct horse")
        mailbox = noah(office, SUBMISSION, incoming_port=host.dovecot.port, username=NOAH)
        ladder = climbed(mailbox)
        assert ladder.status == "success", host.log
        assert "queued as" in seen(ladder)["test message accepted"]
        assert host.dovecot.messages(NOAH) == []
