"""When a user or queue goes or comes back: what that stops, who takes over, and what forbids deleting it.

Deactivating keeps everything and can be undone; so it is what happens to whoever has worked here. Deleting
is for a record that was made by mistake: it takes its mailbox along, as long as nothing hangs on either.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import ProtectedError, QuerySet

from . import lifecycle
from .models import Alert, Direction, EmailConfigurationSettings, IncomingMethod, Mailbox, Queue, User
from .roles import LAST_ADMINISTRATOR, is_last_administrator
from .standing import Office, first_unmet

# ── Deactivate and activate ─────────────────────────────────────────────────────────────────


def what_stops(record: User | Queue) -> list[str]:
    """What deactivating this user or queue stops, as sentences."""
    mailbox = _mailbox(record)
    if isinstance(record, User):
        sentences = [f"{record.label} is signed out everywhere, and cannot sign in here any more."]
    else:
        sentences = [f"Nobody can join {record.label} any more, or is offered it as a target."]
    running = _running(mailbox)
    if running:
        verb = "stops" if len(running) == 1 else "stop"
        sentences.append(f"The mailbox {mailbox.name} is deactivated: {' and '.join(running)} {verb}.")
    else:
        sentences.append(f"The mailbox {mailbox.name} is deactivated. No direction of it runs now.")
    sentences.append(f"Mail that is collected for {record.address} from now on waits in quarantine.")
    return sentences


def _running(mailbox: Mailbox) -> list[str]:
    office, working = Office.read(), (IncomingMethod.SERVER_SIDE, IncomingMethod.FORWARD)
    return [
        str(Direction(direction).label).lower() + ("" if direction == Direction.ACT else " email")
        for direction in Direction.values
        if mailbox.method(direction) in working and first_unmet(mailbox, direction, office) is None
    ]


def why_needed(record: User | Queue) -> list[str]:
    """What has to be done before this user or queue can be deactivated, as sentences."""
    leaving = type(record)._default_manager.get(pk=record.pk)
    leaving.is_active = False
    return [sentence] if (sentence := leaving.is_needed()) else []


def deactivate(record: User | Queue) -> None:
    """With its mailbox; raises ValidationError for who owns something or is the last administrator."""
    record.is_active = False
    record.save(update_fields=["is_active"])


def activate(record: User | Queue, *, with_mailbox: bool) -> None:
    """Raises ValidationError when its address is taken meanwhile."""
    with transaction.atomic():
        record.is_active = True
        record.save(update_fields=["is_active"])
        if with_mailbox:
            lifecycle.activate(_mailbox(record))


# ── Hand over ───────────────────────────────────────────────────────────────────────────────


def hand_over(user: User, to: User) -> int:
    """Give all queues, forward mailboxes and profiles of `user` to another active user; returns how many.

    The mailboxes of the queues follow, and the open alerts about what moved. All of it or nothing: raises
    ValidationError with the name of a record that cannot change hands.
    """
    if to == user or not to.is_active:
        raise ValidationError({"to": "Choose another person, who is active."})
    with transaction.atomic():
        moving = [*_in_order(user)]
        for record in moving:
            _give(record, to)
        for alert in Alert.objects.filter(owner=user, resolved_at=None).exclude(mailbox__user=user):
            alert.owner = to
            alert.save(update_fields=["owner"])
    return len(moving)


def _in_order(user: User) -> Iterator[Any]:
    """Their rows, locked mailboxes first, as every save does."""
    list(Mailbox.objects.select_for_update().filter(owner=user).order_by("pk").values_list("pk"))
    for belongings in user.belongings().values():
        yield from belongings.order_by("pk")


def _give(record: Any, to: User) -> None:
    record.owner = to
    try:
        record.save(update_fields=["owner"])
    except ValidationError as error:
        raise ValidationError(f"{record}: {' '.join(error.messages)}") from error


# ── Delete ──────────────────────────────────────────────────────────────────────────────────


def what_holds(record: User | Queue) -> list[str]:
    """Why this user or queue can be deactivated only, as sentences; none when it can be deleted."""
    return [*_kept_by_its_mailbox(_mailbox(record)), *(_kept_by(record) if isinstance(record, User) else ())]


def _kept_by_its_mailbox(mailbox: Mailbox) -> Iterable[str]:
    kept: tuple[tuple[QuerySet[Any], str, str], ...] = (
        (
            mailbox.collected.order_by(),
            "message was collected from its mailbox",
            "messages were collected from its mailbox",
        ),
        (mailbox.deliveries.order_by(), "message was delivered to it", "messages were delivered to it"),
        (
            mailbox.awaited_messages.order_by(),
            "message waits for it in quarantine",
            "messages wait for it in quarantine",
        ),
        (mailbox.outgoing.order_by(), "message was written from it", "messages were written from it"),
        (mailbox.tests.order_by(), "test of its mailbox was run", "tests of its mailbox were run"),
    )
    for rows, one, many in kept:
        if count := rows.count():
            yield f"{count} {one if count == 1 else many}."


def _kept_by(user: User) -> Iterable[str]:
    if owned := user.owned():
        yield f"{user.label} owns {', '.join(owned)}: hand them over to someone else first."
    if user.last_login:
        yield f"{user.label} has signed in here: histories and approvals may name this person."
    if is_last_administrator(user):
        yield f"{user.label} {LAST_ADMINISTRATOR}"


def delete(record: User | Queue) -> None:
    """With its mailbox; raises ValidationError with all that holds it."""
    try:
        with transaction.atomic():
            mailbox = Mailbox.objects.select_for_update().get(**{record.kind: record})
            EmailConfigurationSettings.lock()  # of two last administrators, one stays
            if held := what_holds(record):
                raise ValidationError(held)
            mailbox.delete()
            record.delete()
    except ProtectedError as error:
        raise ValidationError("Something arrived for it meanwhile: deactivate it instead.") from error


def _mailbox(record: User | Queue) -> Mailbox:
    mailboxes = Mailbox.objects.select_related("server_profile", "user", "queue", "approval_by")
    return mailboxes.prefetch_related("states").get(**{record.kind: record})
