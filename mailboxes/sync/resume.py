"""What was kept and not delivered: resumed one at a time, so that a message answers only for itself."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import nullcontext

from django.core.exceptions import ValidationError
from django.db import DatabaseError, transaction
from django.db.models import F, Q, QuerySet

from ..directory import Receiver, why_not_receiving
from ..models import (
    Delivery,
    Direction,
    EmailConfigurationSettings,
    IncomingMethod,
    Mailbox,
    Message,
    MessageState,
    SyncState,
    User,
)
from ..routing import REFUSALS, Reason, Rule
from . import ingest
from .ingest import ATTEMPTS as ATTEMPTS
from .leases import Lease
from .parser import Parser, Poison

log = logging.getLogger(__name__)


def resume(lease: Lease, sorter: ingest.Sorter, parser: Parser, stopping: Callable[[], bool]) -> int:
    """Give each message that an earlier attempt left one attempt of its own; returns how many there were.

    The attempt is counted before it is made: if it takes the whole process down, it is counted all the
    same. The third failure puts the message into quarantine. Raises LeaseLost.
    """
    waiting = _waiting(sorter)
    for pk in waiting:
        if stopping():
            break
        _attempt(lease, sorter, pk, parser, stopping)
    return len(waiting)


def finish(lease: Lease, sorter: ingest.Sorter, parser: Parser, stopping: Callable[[], bool]) -> None:
    """At the end of a pass, when nobody waits behind it: bring what is still kept to a legal state."""
    for _ in range(ATTEMPTS):
        if not _kept(sorter.mailbox).exists():
            return
        resume(lease, sorter, parser, stopping)


def charge(message: Message | ingest.Kept) -> None:
    """Count a failed attempt that was this message's own."""
    Message.objects.filter(pk=message.pk).update(attempts=F("attempts") + 1)


def _waiting(sorter: ingest.Sorter) -> list[int]:
    """Received and not delivered yet, or in quarantine for a target that may receive by now."""
    kept = _kept(sorter.mailbox).order_by("pk").values_list("pk", flat=True)
    released = let_through(Message.objects.filter(mailbox=sorter.mailbox), sorter.settings)
    return [*kept, *released.order_by("pk").values_list("pk", flat=True)]


def _kept(mailbox: Mailbox) -> QuerySet[Message]:
    """Whole and not read yet; a stub is asked for at the server first."""
    return Message.objects.filter(mailbox=mailbox, state=MessageState.RECEIVED, is_stub=False)


def let_through(messages: QuerySet[Message], settings: EmailConfigurationSettings) -> QuerySet[Message]:
    """Those in quarantine for a mailbox that may receive by now."""
    may_receive = settings.approved("waiting_for__") & Q(
        waiting_for__is_active=True, waiting_for__incoming_method=IncomingMethod.FORWARD
    )
    return messages.filter(may_receive, state=MessageState.QUARANTINED)


def _attempt(
    lease: Lease | None, sorter: ingest.Sorter, pk: int, parser: Parser, stopping: Callable[[], bool]
) -> bool:
    """Try one message; True when it reached a legal state, be it quarantine."""
    next(iter(parser.parse_many([b""])))  # the child's start is no message's doing
    message = Message.objects.get(pk=pk)
    if message.attempts >= ATTEMPTS:
        ingest.quarantine(message, Reason.UNREADABLE, "The engine ended each time it worked on this message.")
        return True
    charge(message)
    failure = _read_and_deliver(lease, sorter, message, parser)
    if failure and stopping():  # our own stop ended the child
        Message.objects.filter(pk=pk).update(attempts=F("attempts") - 1)
        return False
    if failure and message.attempts + 1 >= ATTEMPTS:
        ingest.quarantine(message, Reason.UNREADABLE, f"{failure} It was tried {ATTEMPTS} times.")
        return True
    return not failure


def _read_and_deliver(lease: Lease | None, sorter: ingest.Sorter, message: Message, parser: Parser) -> str:
    """Why it failed, as a sentence; empty when it did not."""
    result = next(iter(parser.parse_many([message.raw])))
    if isinstance(result, Poison):
        return result.reason
    try:
        ingest.deliver(lease, sorter.decide([(message, result)]))
    except DatabaseError as error:
        log.warning("Message %s could not be stored: %s", message.pk, type(error).__name__)
        return "The database refused what was read in this message."
    Message.objects.filter(pk=message.pk).update(attempts=0)
    return ""


def try_again(message: Message, parser: Parser | None = None) -> Message:
    """Route a quarantined message anew, now; the result stands in its state and explanation.

    `parser` is used for many one after the other; without it one is started for this message.

    Raises ValidationError when it is not in quarantine (any more).
    """
    _must_be_quarantined(message)
    if message.is_stub:
        return _ask_again(message)
    sorter = ingest.Sorter(message.mailbox)
    Message.objects.filter(pk=message.pk).update(attempts=0)
    with nullcontext(parser) if parser else Parser() as reader:
        while not _attempt(None, sorter, message.pk, reader, lambda: False):
            pass
    return Message.objects.get(pk=message.pk)


def _ask_again(stub: Message) -> Message:
    """The server is asked for the whole message in the mailbox's next cycle, which comes at once."""
    Message.objects.filter(pk=stub.pk, state=MessageState.QUARANTINED).update(
        state=MessageState.RECEIVED,
        attempts=0,
        reason=Reason.NOT_HANDED_OVER.value,
        explanation="The server is asked for the whole message, whatever its size, in the next cycle of this mailbox.",
    )
    incoming = SyncState.objects.filter(mailbox=stub.mailbox_id, direction=Direction.INCOMING, failures=0)
    incoming.update(next_run_at=None)
    return Message.objects.get(pk=stub.pk)


def deliver_to(message: Message, mailbox: Mailbox, by: User) -> None:
    """A person decides for whom a quarantined message is; raises ValidationError with a sentence."""
    if message.is_stub:
        raise ValidationError(
            "Only the header of this message was collected. Have the server asked for all of it with Try again."
        )
    if mailbox.is_forward_mailbox:
        raise ValidationError("A forward mailbox serves nobody's own mail: choose a user or a queue.")
    reason = why_not_receiving(Receiver.of(mailbox), EmailConfigurationSettings.load())
    if reason in (Reason.MAILBOX_INACTIVE, Reason.ADDRESS_PENDING, Reason.ADDRESS_REJECTED):
        raise ValidationError(f"{mailbox.name} cannot receive: {REFUSALS[reason]}.")
    with transaction.atomic():
        row = Message.objects.select_for_update().get(pk=message.pk)
        _must_be_quarantined(row)
        evidence = f"{by} looked at the message and delivered it to {mailbox.name}."
        _deliver_by_hand(row, mailbox, by, evidence)
        Message.objects.filter(pk=row.pk).update(
            state=MessageState.DELIVERED, reason="", waiting_for=None, explanation=evidence
        )


def _deliver_by_hand(message: Message, mailbox: Mailbox, by: User, evidence: str) -> None:
    same = Delivery.objects.filter(mailbox=mailbox, same_key=message.same_key).exclude(same_key="")
    if same.exists():
        return
    Delivery.objects.get_or_create(
        message=message,
        mailbox=mailbox,
        defaults={
            "rule": Rule.BY_HAND.value,
            "evidence": evidence,
            "same_key": message.same_key,
            "delivered_by": by,
        },
    )


def _must_be_quarantined(message: Message) -> None:
    state = Message.objects.filter(pk=message.pk).values_list("state", flat=True).first()
    if state != MessageState.QUARANTINED:
        raise ValidationError("This message is not in quarantine any more.")
