"""An office that sends through an SMTP server of the test, and what stands in its outbox."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta

import time_machine
from django.utils import timezone

from emailprofiles.models import EmailServerProfile
from mailboxes import outbox
from mailboxes.models import (
    EmailConfigurationSettings,
    Mailbox,
    OutgoingMessage,
    OutgoingRecipient,
    SyncState,
    User,
)
from mailboxes.sync.worker import Engine, Summary
from mailboxes.writing import Person


@dataclass
class Sender:
    """Amara, who sends; `port` is where her server listens."""

    amara: User
    profile: EmailServerProfile
    mailbox: Mailbox
    words: list[str] = field(default_factory=list)

    def write(self, *to: str, subject: str = "", **more: object) -> OutgoingMessage:
        number = OutgoingMessage.objects.count() + 1
        people = [Person("", address) for address in to or ("boris@example.org",)]
        return outbox.send(
            self.mailbox,
            to=people,
            subject=subject or f"Number {number}",
            text="Good morning",
            by=self.amara,
            **more,  # type: ignore[arg-type]
        )

    def run(self) -> Summary:
        engine = Engine(1)
        try:
            return engine.run_once()
        finally:
            engine.shut_down()

    def later(self) -> Summary:
        """All that was put off is due now."""
        SyncState.objects.update(next_run_at=None)
        OutgoingMessage.objects.update(next_attempt_at=None)
        return self.run()

    def states(self) -> dict[str, str]:
        return dict(OutgoingMessage.objects.order_by("pk").values_list("subject", "state"))

    def count(self) -> Counter[str]:
        return Counter(OutgoingMessage.objects.values_list("state", flat=True))


def sender_on(port: int, **profile: object) -> Sender:
    """Without a look at the server: a test says that it passed."""
    amara = User.objects.create_superuser("amara", "amara@contoso.com", "x", first_name="Amara")
    EmailConfigurationSettings.load()
    stored = EmailServerProfile.objects.create(
        **{
            "name": "Post",
            "owner": amara,
            "outgoing_host": "127.0.0.1",
            "outgoing_port": port,
            "outgoing_security": "none",
            "authenticate_using": "anonymous",
            "timeout_seconds": 5,
        }
        | profile
    )
    mailbox = amara.mailbox
    mailbox.server_profile, mailbox.outgoing_method, mailbox.approval = stored, "server_side", "approved"
    mailbox.save()
    passed(mailbox)
    return Sender(amara, stored, Mailbox.objects.get(pk=mailbox.pk))


def passed(mailbox: Mailbox, direction: str = "outgoing") -> None:
    stored = Mailbox.objects.select_related("server_profile").get(pk=mailbox.pk)
    SyncState.objects.filter(mailbox=mailbox, direction=direction).update(
        enabled=True,
        test_status="success",
        tested_mailbox_version=stored.connection_version,
        tested_profile_version=stored.profile_version,
    )


@contextmanager
def moved_on(**by: float) -> Iterator[None]:
    """The host's clock, which SQLite goes by; a database server has its own."""
    with time_machine.travel(timezone.now() + timedelta(**by), tick=True):
        yield


def of(message: OutgoingMessage) -> OutgoingMessage:
    """As it is stored now."""
    return OutgoingMessage.objects.get(pk=message.pk)


def people(message: OutgoingMessage) -> dict[str, str]:
    """Address → state."""
    return dict(OutgoingRecipient.objects.filter(message=message).values_list("address", "state"))


def subjects(taken: list[bytes]) -> list[str]:
    """Of what a server took, in order."""
    return [
        next(line for line in raw.decode().splitlines() if line.startswith("Subject: ")).removeprefix(
            "Subject: "
        )
        for raw in taken
    ]
