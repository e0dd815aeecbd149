"""An office on a real Dovecot: a forward mailbox, users and queues who receive through it, and an engine."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from typing import Any

import pytest

from emailprofiles.models import EmailServerProfile
from mailboxes.configtest import run
from mailboxes.models import (
    ConfigurationTest,
    Delivery,
    Direction,
    EmailConfigurationSettings,
    Mailbox,
    Queue,
    TestStatus,
    User,
)
from mailboxes.sync.worker import Engine, Summary
from tests.postbox import Postbox
from tests.servers import Dovecot

from .sending import Sender, sender_on

_numbers = count(1)


@dataclass
class Office:
    """Helper of the tests: `account` is this test's own account on the shared Dovecot."""

    dovecot: Dovecot
    amara: User
    profile: EmailServerProfile
    forward: Mailbox
    account: str

    def user(self, name: str, **mailbox: Any) -> User:
        user = User.objects.create_user(name, f"{name}@contoso.com", first_name=name.title())
        self.opened(user.mailbox, **mailbox)
        return user

    def queue(self, name: str, **mailbox: Any) -> Queue:
        queue = Queue.objects.create(name=name.title(), email_address=f"{name}@contoso.com", owner=self.amara)
        self.opened(queue.mailbox, **mailbox)
        return queue

    def opened(self, mailbox: Mailbox, **changes: Any) -> Mailbox:
        mailbox.approval = "approved"
        for name, value in ({"incoming_method": "forward"} | changes).items():
            setattr(mailbox, name, value)
        mailbox.save()
        return mailbox

    def arrives(self, *messages: bytes) -> None:
        self.dovecot.append_many(self.account, messages)

    def on_server(self) -> list[Any]:
        return self.dovecot.messages(self.account)

    def synchronize(self, threads: int = 2) -> Summary:
        engine = Engine(threads)
        try:
            return engine.run_once()
        finally:
            engine.shut_down()

    def again(self) -> Summary:
        """The next cycle, without waiting for it."""
        self.forward.states.filter(direction=Direction.INCOMING).update(next_run_at=None)
        return self.synchronize()

    def delivered(self) -> dict[str, list[str]]:
        """Subject → names of those it reached."""
        reached: dict[str, list[str]] = {}
        for delivery in Delivery.objects.select_related("message", "mailbox").order_by("mailbox__name"):
            reached.setdefault(delivery.message.subject, []).append(delivery.mailbox.name)
        return reached


def letter(
    subject: str, *, to: str = "forwardmailbox@contoso.com", body: str = "Hello", **headers: str
) -> bytes:
    """A small message; `Delivered_To="…"` puts a header on top of it."""
    above = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    number = next(_numbers)
    return (
        f"{above}From: Ines <ines@example.org>\r\nTo: {to}\r\nSubject: {subject}\r\n"
        f"Date: Mon, 23 Nov 2026 09:00:00 +0100\r\nMessage-ID: <{number}@example.org>\r\n\r\n{body}\r\n"
    ).encode()


@pytest.fixture
def office(transactional_db: None, dovecot: Dovecot) -> Office:
    return office_on(dovecot, f"collect{next(_numbers)}")


@pytest.fixture
def postbox() -> Postbox:
    return Postbox()


@pytest.fixture
def sender(transactional_db: None, postbox: Postbox) -> Iterator[Sender]:
    """Amara, who sends through the postbox of her test."""
    with postbox.serve() as server:
        yield sender_on(server.port)


def office_on(dovecot: Dovecot, account: str) -> Office:
    """An office whose forward mailbox is this new account."""
    dovecot.add_user(account, "correct horse")
    amara = User.objects.create_superuser("amara", "amara@contoso.com", "x", first_name="Amara")
    EmailConfigurationSettings.load()
    profile = EmailServerProfile.objects.create(
        name="Head office",
        owner=amara,
        incoming_host="127.0.0.1",
        incoming_port=dovecot.port,
        incoming_security="none",
        min_polling_interval_minutes=5,
        timeout_seconds=10,
    )
    forward = Mailbox.new_forward(
        name="Collection 1",
        owner=amara,
        email_address="forwardmailbox@contoso.com",
        server_profile=profile,
        incoming_method="server_side",
        delete_emails_after_processing=True,
        allow_credentials=True,
        username=account,
        password="correct horse",
    )
    forward.full_clean()
    forward.save()
    enable(forward)
    return Office(dovecot, amara, profile, forward, account)


def enable(mailbox: Mailbox) -> None:
    """Test & Enable, for real."""
    results = run(ConfigurationTest.request(mailbox, None))
    steps = list(ConfigurationTest.objects.latest("pk").steps.values_list("name", "state", "cause"))
    assert results[Direction.INCOMING] == TestStatus.SUCCESS, steps
