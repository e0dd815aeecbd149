"""From one mailbox to another on a real mail host: encrypted, signed in, through Postfix, out of Dovecot, delivered."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from emailprofiles.models import EmailServerProfile
from mailboxes import outbox
from mailboxes.configtest import run
from mailboxes.models import (
    ConfigurationTest,
    Delivery,
    Direction,
    EmailConfigurationSettings,
    Mailbox,
    Message,
    OutgoingMessage,
    Queue,
    SyncState,
    TestStatus,
    User,
)
from mailboxes.parsing import Parsed, parse
from mailboxes.sync.worker import Engine, Summary
from mailboxes.writing import File, Person
from tests.mailhost import MailHost, needs_a_mail_host
from tests.servers import GOOD, Certificates

pytestmark = pytest.mark.django_db(transaction=True)

NOAH, SUPPORT, PRIYA, TOMASZ = (f"{name}@contoso.com" for name in ("noah", "support", "priya", "tomasz"))
GONE, NOBODY = "gone@contoso.com", "nobody@contoso.com"
WORD = "correct horse"

SIGNED_IN_ONLY = """
smtpd_tls_cert_file = {pem}
smtpd_tls_key_file = {pem}
smtpd_tls_security_level = may
smtpd_tls_auth_only = yes
smtpd_sasl_auth_enable = yes
smtpd_sasl_type = dovecot
smtpd_sasl_path = private/auth
smtpd_relay_restrictions = permit_sasl_authenticated, reject
smtpd_recipient_restrictions = check_recipient_access inline:{{ {{ gone@contoso.com = 550 5.1.1 No such person }} }}
"""
TLS_MANAGER = "tlsmgr unix - - n 1000? 1 tlsmgr\n"
ASKS_DOVECOT = """
service auth {
  unix_listener /etc/../queue/private/auth {
    mode = 0600
    user = postfix
  }
}
"""


@pytest.fixture(scope="module")
def host(certificates: Certificates) -> Iterator[MailHost]:
    needs_a_mail_host()
    files = {
        "/etc/postfix/main.cf": SIGNED_IN_ONLY.format(pem=certificates.pem("good")),
        "/etc/postfix/master.cf": TLS_MANAGER,
        "/etc/dovecot/dovecot.conf": ASKS_DOVECOT,
    }
    with MailHost(certificates, files) as host:
        yield host


@dataclass
class Firm:
    """Noah and the queue Support, each with a mailbox of their own on the host, both directions enabled."""

    host: MailHost
    noah: User
    support: Queue

    def writes(
        self, *to: Person, subject: str, text: str = "Good morning", **more: object
    ) -> OutgoingMessage:
        mailbox = Mailbox.objects.select_related("server_profile").get(pk=self.noah.mailbox.pk)
        people = to or (Person("", SUPPORT),)
        return outbox.send(mailbox, to=people, subject=subject, text=text, by=self.noah, **more)  # type: ignore[arg-type]

    def run(self) -> Summary:
        engine = Engine(2)
        try:
            return engine.run_once()
        finally:
            engine.shut_down()

    def collects(self, whose: Mailbox, number: int) -> list[Message]:
        """So many messages, as soon as they are here."""
        deadline = time.monotonic() + 20
        while (found := Delivery.objects.filter(mailbox=whose)).count() < number:
            assert time.monotonic() < deadline, f"{found.count()} of {number}\n{self.host.log}"
            SyncState.objects.filter(direction=Direction.INCOMING).update(next_run_at=None)
            assert self.run().failed == 0
        return [delivery.message for delivery in found.select_related("message").order_by("pk")]


@pytest.fixture
def firm(transactional_db: None, host: MailHost, certificates: Certificates, settings: Any) -> Firm:
    settings.TLS_CA_FILE = certificates.ca_file
    for address in (NOAH, SUPPORT, PRIYA, TOMASZ):
        host.dovecot.add_user(address, WORD)
        empty(host, address)
    amara = User.objects.create_superuser("amara", "amara@contoso.com", "x", first_name="Amara")
    EmailConfigurationSettings.load()
    profile = EmailServerProfile.objects.create(
        name="Head office",
        owner=amara,
        incoming_host=GOOD,
        incoming_port=host.dovecot.tls_port,
        incoming_security="tls",
        outgoing_host=GOOD,
        outgoing_port=host.port,
        outgoing_security="starttls",
        sent_folder="Sent",
        timeout_seconds=10,
    )
    noah = User.objects.create_user("noah", NOAH, first_name="Noah", last_name="Müller")
    support = Queue.objects.create(name="Unterstützung", email_address=SUPPORT, owner=amara)
    for mailbox in (noah.mailbox, support.mailbox):
        enabled(mailbox, profile)
    return Firm(host, noah, support)


def empty(host: MailHost, address: str) -> None:
    with host.dovecot.client(address) as client:
        if client.folder_exists("Sent"):
            client.delete_folder("Sent")
        client.select_folder("INBOX")
        client.delete_messages(client.search("ALL"))
        client.expunge()


def enabled(mailbox: Mailbox, profile: EmailServerProfile) -> None:
    """Test & Enable, both directions."""
    mailbox.server_profile, mailbox.approval = profile, "approved"
    mailbox.incoming_method = mailbox.outgoing_method = "server_side"
    mailbox.allow_credentials, mailbox.username, mailbox.password = True, mailbox.email_address, WORD
    mailbox.full_clean()
    mailbox.save()
    results = run(ConfigurationTest.request(mailbox, None))
    steps = list(ConfigurationTest.objects.latest("pk").steps.values_list("name", "state", "cause"))
    passed = {Direction.INCOMING: TestStatus.SUCCESS, Direction.OUTGOING: TestStatus.SUCCESS}
    assert results == passed, steps


def the_same(arrived: Parsed, written: Parsed) -> bool:
    parts = ("message_id", "subject", "sender", "sender_name", "to", "cc", "text", "html", "body_digest")
    return all(getattr(arrived, part) == getattr(written, part) for part in parts)


def test_it_arrives_as_it_was_written(firm: Firm) -> None:
    data = bytes(range(256)) * 40
    message = firm.writes(
        Person("Unterstützung", SUPPORT),
        subject="Größe der Lieferung – 100 €",
        text="Schöne Grüße\n.\nFrom here on\n",
        html="<p>Schöne <b>Grüße</b></p>",
        cc=[Person("Dvořák, Priya", PRIYA)],
        bcc=[Person("", TOMASZ)],
        files=[File("Übersicht (1).bin", "application/octet-stream", data)],
    )
    assert firm.run().sent == 1
    message.refresh_from_db()
    assert message.state == "sent"
    assert {one.said[:4] for one in message.recipients.all()} == {"250 "}

    (arrived,) = firm.collects(firm.support.mailbox, 1)
    assert arrived.raw.endswith(message.raw)
    assert arrived.subject == "Größe der Lieferung – 100 €"
    read = parse(arrived.raw)
    assert (read.sender_name, read.cc) == ("Noah Müller", (PRIYA,))
    (attached,) = read.attachments
    assert (attached.name, attached.content_type, attached.data) == (
        "Übersicht (1).bin",
        "application/octet-stream",
        data,
    )
    for address in (PRIYA, TOMASZ):
        (kept,) = firm.host.holds(address, 1)
        assert kept.raw.endswith(message.raw)
        assert TOMASZ.encode() not in message.raw
    assert [one.raw for one in firm.host.dovecot.messages(NOAH, "Sent")] == [message.raw]


def test_an_address_that_the_host_refuses_fails_at_once(firm: Firm) -> None:
    message = firm.writes(Person("", GONE), Person("", SUPPORT), subject="For one")
    firm.run()
    message.refresh_from_db()
    said = dict(message.recipients.values_list("address", "said"))
    assert "No such person" in said[GONE]
    assert said[SUPPORT].startswith("250 ")
    assert message.state == "failed"
    assert [one.subject for one in firm.collects(firm.support.mailbox, 1)] == ["For one"]


def test_what_nobody_takes_in_the_end_comes_back_to_who_sent_it(firm: Firm) -> None:
    message = firm.writes(Person("", NOBODY), subject="For nobody")
    firm.run()
    message.refresh_from_db()
    assert message.state in ("sent", "bounced")
    (report,) = firm.collects(firm.noah.mailbox, 1)
    assert report.subject == "Undelivered Mail Returned to Sender"
    assert NOBODY in parse(report.raw).report
    assert message.message_id in parse(report.raw).returned


TEXTS = {
    "dots": ".\n..\n.\r\n.text\n\n.\n",
    "long lines": "word " * 500 + "\n" + "x" * 3000 + "\n" + "ü" * 1500,
    "From lines": "From noah\nFrom \n>From\nand more",
    "CR only": "one\rtwo\r\rthree",
    "NUL": "before\0after\x01\x1b[31m",
    "nothing": "",
    "ends without a line end": "end",
    "looks like SMTP": "QUIT\r\n.\r\nMAIL FROM:<a@b.example>\r\n",
}


def test_no_text_is_changed_or_cut_on_its_way(firm: Firm) -> None:
    sent = {subject: firm.writes(subject=subject, text=text) for subject, text in TEXTS.items()}
    assert firm.run().sent == len(TEXTS)
    arrived = {one.subject: one for one in firm.collects(firm.support.mailbox, len(TEXTS))}
    for subject, message in sent.items():
        raw = arrived[subject].raw
        assert raw.endswith(message.raw), subject
        assert the_same(parse(raw), parse(message.raw)), subject
        assert _words(parse(raw).text) == _words(TEXTS[subject]), subject


def _words(text: str) -> list[str]:
    """What people read: without control characters, whatever ends a line."""
    return re.sub(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]", "", text).split()


def test_two_hundred_leave_on_one_connection_and_all_arrive_once(firm: Firm) -> None:
    before = firm.host.log.count("sasl_username")
    for n in range(200):
        firm.writes(subject=f"Number {n}")
    assert firm.run().sent == 200
    assert re.search(r"disconnect from .* data=200 ", _until(firm.host, r" data=200 "))
    assert firm.host.log.count("sasl_username") - before == 200
    firm.host.holds(SUPPORT, 200)
    arrived = firm.collects(firm.support.mailbox, 200)
    assert sorted(one.subject for one in arrived) == sorted(f"Number {n}" for n in range(200))
    copies = [parse(one.raw).subject for one in firm.host.dovecot.messages(NOAH, "Sent")]
    assert copies == [f"Number {n}" for n in range(200)]


def _until(host: MailHost, pattern: str) -> str:
    deadline = time.monotonic() + 5
    while not re.search(pattern, host.log) and time.monotonic() < deadline:
        time.sleep(0.05)
    return host.log
