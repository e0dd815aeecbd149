"""Offices of any size, made with bulk inserts: a few servers, many users and queues, some of them in trouble."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import islice
from typing import Any

from django.db.models import Count
from django.utils import timezone

from emailprofiles.models import EmailServerProfile
from mailboxes.models import (
    Delivery,
    Direction,
    EmailConfigurationSettings,
    FolderGeneration,
    Mailbox,
    Message,
    MessageState,
    Queue,
    SyncState,
    User,
)

BATCH = 2_000
FORWARD_MAILBOXES = 20
GIVEN = ("Amara", "Bram", "Diego", "Hanna", "Ingrid", "Jonas", "Leila", "Noah", "Priya", "Saoirse", "Tomasz")
FAMILY = ("Okafor", "de Vries", "Fuentes", "Brandt", "Solberg", "Lindqvist", "Haddad", "Raman", "Byrne")


def fill(number: int) -> User:
    """Make `number` mailboxes: nine of ten for users, the rest for queues, twenty forward; returns the administrator."""
    dice = random.Random(20)
    amara = User.objects.create_superuser("amara", "amara@contoso.com", "x", first_name="Amara")
    EmailConfigurationSettings.load()
    profiles = [_profile(amara, n) for n in range(12)]
    people = _users(number * 9 // 10, dice)
    queues = _queues(number - len(people) - FORWARD_MAILBOXES - 1, amara)
    _insert(Mailbox, _mailboxes(people, queues, amara, profiles, dice))
    _insert(SyncState, _states(dice))
    return amara


def _profile(amara: User, number: int) -> EmailServerProfile:
    return EmailServerProfile.objects.create(
        name=f"Server {number:02d}",
        owner=amara,
        incoming_host=f"imap{number}.contoso.com",
        incoming_port=993,
        outgoing_host=f"smtp{number}.contoso.com",
        outgoing_port=465,
        is_default=number == 0,
    )


def _users(number: int, dice: random.Random) -> list[User]:
    people = [
        User(
            username=f"user{n}",
            email=f"user{n}@contoso.com",
            first_name=dice.choice(GIVEN),
            last_name=dice.choice(FAMILY),
            password="!",
        )
        for n in range(number)
    ]
    User.objects.bulk_create(people, batch_size=BATCH)
    return people


def _queues(number: int, amara: User) -> list[Queue]:
    queues = [
        Queue(name=f"Queue {n:05d}", email_address=f"queue{n}@contoso.com", owner=amara)
        for n in range(number)
    ]
    Queue.objects.bulk_create(queues, batch_size=BATCH)
    return queues


def _mailboxes(
    people: list[User],
    queues: list[Queue],
    amara: User,
    profiles: list[EmailServerProfile],
    dice: random.Random,
) -> Iterator[Mailbox]:
    for n in range(FORWARD_MAILBOXES):
        yield Mailbox.new_forward(
            name=f"Collection {n}",
            owner=amara,
            email_address=f"collect{n}@contoso.com",
            server_profile=profiles[n % 12],
            incoming_method="server_side",
            **_credentials(f"collect{n}"),
        )
    for user in people:
        yield _of(dice, profiles, user=user, owner=user, name=user.label, email_address=user.email)
    for queue in queues:
        yield _of(
            dice, profiles, queue=queue, owner=amara, name=queue.name, email_address=queue.email_address
        )


def _credentials(account: str) -> dict[str, object]:
    """What a profile with the sign-in *Credentials Specified by a User or Queue* asks for."""
    return {
        "allow_credentials": True,
        "username": account,
        "password": "Feldsalat 23",
        "credentials_location_version": 1,
    }


def _of(dice: random.Random, profiles: list[EmailServerProfile], **values: object) -> Mailbox:
    own = dice.random() < 0.5  # polled itself; the others receive through a forward mailbox
    methods = (
        {"incoming_method": "server_side", "outgoing_method": "server_side"}
        if own
        else {"incoming_method": "forward", "outgoing_method": "none"}
    )
    return Mailbox(
        **methods,
        **_credentials(str(values["email_address"])),
        **values,
        server_profile=dice.choice(profiles) if own or dice.random() < 0.5 else None,
        approval="pending" if dice.random() < 0.01 else "approved",
        is_active=dice.random() > 0.02,
    )


def _states(dice: random.Random) -> Iterator[SyncState]:
    now = timezone.now()
    servers = dict(EmailServerProfile.objects.values_list("pk", "connection_version"))
    rows = (
        Mailbox.objects.filter(states=None)
        .order_by("pk")
        .values_list("pk", "server_profile", "incoming_method", "outgoing_method")
    )
    for pk, profile, *methods in rows:
        for direction, method in zip(Direction.values, [*methods, "none"], strict=True):
            state = SyncState(mailbox_id=pk, direction=direction)
            chance = dice.random()
            if method == "server_side" and chance < 0.97:
                state.test_status = "success" if chance < 0.955 else "failure"
                state.enabled = chance < 0.95
                state.tested_mailbox_version = 1 if chance < 0.965 else 0
                state.tested_profile_version = servers[profile]
                state.last_success_at = now - timedelta(seconds=dice.randrange(90_000))
                state.failures = int(chance < 0.02)
                state.next_run_at = now + timedelta(minutes=5)
            yield state


def letters(number: int) -> None:
    """Make `number` messages in what there is by now: nine of ten delivered, the rest in quarantine."""
    collecting = list(Mailbox.objects.filter(is_forward_mailbox=True).values_list("pk", flat=True))
    people = list(Mailbox.objects.filter(is_forward_mailbox=False).values_list("pk", flat=True))
    place = {"folder": "INBOX", "generation": "7"}
    _insert(Message, (_letter(n, mailbox_id=collecting[n % len(collecting)], **place) for n in range(number)))
    delivered = Message.objects.filter(state=MessageState.DELIVERED).values_list(
        "pk", "same_key", "received_at"
    )
    _insert(Delivery, (_delivery(people, *row) for row in delivered.iterator(chunk_size=BATCH)))
    seen = Message.objects.order_by().values_list("mailbox").annotate(Count("pk"))
    FolderGeneration.objects.bulk_create(FolderGeneration(mailbox_id=pk, seen=n, **place) for pk, n in seen)


REASONS = ("no_recipient_matched", "no_recipient_matched", "address_pending", "unreadable")
RAW = b"Subject: Pallets and cartons\r\n\r\n" + b"Dear all, here is what we offer.\r\n" * 20


def _letter(number: int, **place: Any) -> Message:
    waits = number % 10 == 0
    came = timezone.now() - timedelta(seconds=20 * number)
    return Message(
        **place,
        remote_id=str(number),
        state=MessageState.QUARANTINED if waits else MessageState.DELIVERED,
        reason=REASONS[number // 10 % 4] if waits else "",
        explanation="It matched nobody." if waits else "",
        subject=f"Offer {number} for pallets and cartons",
        sender=f"sender{number % 5000}@example.org",
        sender_name=f"Sender {number % 5000}",
        message_id=f"{number}@mx.example.org",
        same_key=f"{number}",
        received_at=came,
        collected_at=came,
        disposal="" if waits else "delete",
        disposed_at=None if waits else came,
        size=len(RAW),
        raw_sha256=f"{number:064x}",
        raw=RAW,
    )


def _delivery(people: list[int], message: int, key: str, came: datetime) -> Delivery:
    return Delivery(
        message_id=message,
        mailbox_id=people[message % len(people)],
        rule="redirected",
        evidence="The X-Original-To header names it.",
        same_key=key,
        delivered_at=came,
    )


def _insert(model: type, rows: Iterator[object]) -> None:
    while batch := list(islice(rows, BATCH)):
        model.objects.bulk_create(batch)  # type: ignore[attr-defined]
