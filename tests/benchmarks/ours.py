"""The product in a process of its own, on a database of its own: what a case needs is prepared, then the clock runs.

    python -m tests.benchmarks.ours STEP JSON

Nothing of the product is replaced: mail is collected by `manage.py synchronize --once`.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import django

from tests.benchmarks import clock, corpus

PASSWORD = "Feldsalat23"


def forward(*, account: str, port: int, server_type: str = "imap_smtp", targets: int = 500) -> None:
    """An office with one forward mailbox, tested and enabled, and people who receive through it."""
    from mailboxes.configtest import run
    from mailboxes.models import ConfigurationTest, Direction, Mailbox, TestStatus

    amara, profile = _office(port, server_type)
    _people(targets, amara)
    box = Mailbox.new_forward(
        name="Collection 1",
        owner=amara,
        email_address=corpus.FORWARD,
        server_profile=profile,
        incoming_method="server_side",
        delete_emails_after_processing=True,
        allow_credentials=True,
        username=account,
        password=PASSWORD,
    )
    box.full_clean()
    box.save()
    results = run(ConfigurationTest.request(box, None))
    assert results[Direction.INCOMING] == TestStatus.SUCCESS, results


def _office(port: int, server_type: str = "imap_smtp") -> tuple[Any, Any]:
    from emailprofiles.models import EmailServerProfile
    from mailboxes.models import EmailConfigurationSettings, User

    amara = User.objects.create_superuser("amara", "amara@contoso.com", "x", first_name="Amara")
    EmailConfigurationSettings.load()
    profile = EmailServerProfile(
        name="Head office",
        owner=amara,
        server_type=server_type,
        incoming_host="127.0.0.1",
        incoming_port=port,
        incoming_security="none",
        unencrypted_confirmed=True,
    )
    profile.save()
    return amara, profile


def _people(number: int, amara: Any, accounts: str = "", **mailbox: Any) -> None:
    """Users with approved mailboxes; without `accounts` they receive through a forward mailbox."""
    from mailboxes.models import Mailbox, User

    people = [
        User(
            username=f"person{n}",
            email=corpus.address(n),
            first_name="Person",
            last_name=str(n),
            password="!",
        )
        for n in range(number)
    ]
    User.objects.bulk_create(people)
    methods = {"incoming_method": "forward", "outgoing_method": "none"} | mailbox
    Mailbox.objects.bulk_create(
        Mailbox(
            **methods,
            username=f"{accounts}{n}" if accounts else "",
            user=user,
            owner=amara,
            name=user.label,
            email_address=user.email,
            approval="approved",
        )
        for n, user in enumerate(people)
    )


def boxes(*, prefix: str, number: int, port: int, enabled: bool = True) -> None:
    """People whose mailboxes are collected from accounts of their own; without `enabled` they are to be tested."""
    amara, profile = _office(port)
    _people(
        number,
        amara,
        prefix,
        incoming_method="server_side",
        server_profile=profile,
        allow_credentials=True,
        credentials_location_version=profile.location_version,
        password=PASSWORD,
    )
    _states(profile, enabled)


def _states(profile: Any, enabled: bool) -> None:
    """As Test & Enable leaves them, or as they are before it."""
    from mailboxes.models import Direction, Mailbox, SyncState

    versions = {"tested_mailbox_version": 1, "tested_profile_version": profile.connection_version}
    tested = {"test_status": "success", "enabled": True} | versions
    SyncState.objects.bulk_create(
        SyncState(mailbox=box, direction=direction, **(tested if enabled and direction == "incoming" else {}))
        for box in Mailbox.objects.filter(states=None)
        for direction in Direction.values
    )


def test_and_enable() -> None:
    """One command for all, until each has its result; the answer is how many passed.

    The engine is the one of `manage.py serve`: what a test enabled is collected meanwhile, as ever.
    """
    from django.conf import settings

    from mailboxes import bulk
    from mailboxes.models import BulkCommand, Command, Mailbox, SyncState, User
    from mailboxes.sync.worker import Engine

    amara = User.objects.get(username="amara")
    engine = Engine(settings.SYNC_THREADS)

    def work() -> int:
        asked = bulk.request(Command.TEST, Mailbox.objects.filter(incoming_method="server_side"), amara)
        threading.Thread(target=engine.run).start()
        while not BulkCommand.objects.filter(pk=asked.pk, finished_at__isnull=False).exists():
            time.sleep(0.1)  # to look costs time, too
        return SyncState.objects.filter(direction="incoming", test_status="success", enabled=True).count()

    clock.tell(work)
    sys.stdout.flush()
    if not engine.shut_down():  # a pass still waits for its server, as in `manage.py synchronize`
        os._exit(0)


def _synchronized() -> None:
    from django.core.management import call_command

    call_command("synchronize", once=True)


def synchronize() -> None:
    clock.tell(_synchronized)


def pages_of_mailboxes(*, number: int) -> None:
    """What pages cost in an office of so many mailboxes, as JSON."""
    from tests.benchmarks import many, pages

    many.fill(number)
    print("\n" + json.dumps(pages.costs(pages.of_mailboxes())))


def pages_of_messages(*, number: int) -> None:
    """The same of messages, in an office of a thousand mailboxes."""
    from tests.benchmarks import many, pages

    many.fill(1_000)
    pages.collect(number)
    print("\n" + json.dumps(pages.costs(pages.OF_MESSAGES)))


def outbox(*, number: int, port: int) -> None:
    """So many queued messages of one mailbox, all to one person, whose server is at this port."""
    from django.utils import timezone

    from emailprofiles.models import EmailServerProfile
    from mailboxes.models import Mailbox, OutgoingMessage, OutgoingOriginal, OutgoingRecipient, SyncState
    from tests.benchmarks import sending

    amara, profile = _office(port)
    server = {"outgoing_host": sending.HOST, "outgoing_port": port, "outgoing_security": "none"}
    EmailServerProfile.objects.update(authenticate_using="anonymous", incoming_host="", **server)
    mailbox = amara.mailbox
    mailbox.server_profile = profile
    mailbox.outgoing_method, mailbox.approval = "server_side", "approved"
    mailbox.save()
    mailbox = Mailbox.objects.select_related("server_profile").get(pk=mailbox.pk)
    SyncState.objects.filter(mailbox=mailbox, direction="outgoing").update(
        enabled=True,
        test_status="success",
        tested_mailbox_version=mailbox.connection_version,
        tested_profile_version=mailbox.profile_version,
    )
    letters = [sending.letter(n) for n in range(number)]
    messages = OutgoingMessage.objects.bulk_create(
        OutgoingMessage(
            mailbox=mailbox,
            state="queued",
            subject=f"Order {n}",
            message_id=f"{n}.sending@contoso.com",
            queued_at=timezone.now(),
            size=len(raw),
        )
        for n, raw in enumerate(letters)
    )
    OutgoingOriginal.objects.bulk_create(
        OutgoingOriginal(message=message, raw=raw) for message, raw in zip(messages, letters, strict=True)
    )
    OutgoingRecipient.objects.bulk_create(
        OutgoingRecipient(message=message, address=sending.RECIPIENT, state="queued") for message in messages
    )


def send() -> None:
    """One engine empties the outbox; the answer is how many left."""
    from mailboxes.sync.worker import Engine

    engine = Engine(1)
    clock.tell(lambda: engine.run_once().sent)
    engine.shut_down()


def due() -> None:
    """Have all mailboxes polled again, as if the interval had passed."""
    from mailboxes.models import SyncState

    SyncState.objects.filter(direction="incoming").update(next_run_at=None, last_success_at=None)


def counted() -> None:
    """What is in the database now; the last line, as JSON."""
    from django.db.models import Count

    from mailboxes.models import Delivery, Message, SyncState

    states = Message.objects.order_by().values_list("state").annotate(Count("pk"))
    passes = SyncState.objects.filter(last_success_at__isnull=False).count()
    print("\n" + json.dumps({"deliveries": Delivery.objects.count(), "passes": passes, **dict(states)}))


STEPS: dict[str, Callable[..., None]] = {
    "forward": forward,
    "boxes": boxes,
    "test_and_enable": test_and_enable,
    "synchronize": synchronize,
    "outbox": outbox,
    "send": send,
    "due": due,
    "pages_of_mailboxes": pages_of_mailboxes,
    "pages_of_messages": pages_of_messages,
    "counted": counted,
}


if __name__ == "__main__":
    django.setup()
    STEPS[sys.argv[1]](**json.loads(sys.argv[2]))
