"""What a person does with messages in quarantine, one at a time: none is lost, and each says what became of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils import timezone

from . import alerts
from .models import Mailbox, Message, MessageState, User
from .sync.parser import Parser
from .sync.resume import deliver_to, try_again

AT_ONCE = 500
"""So many messages one command takes; the rest waits for the next one."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one message: a sentence, and whether it left the quarantine."""

    message: Message
    has_left: bool
    sentence: str


def discard(message: Message, reason: str, by: User) -> None:
    """Give a message up. Its bytes stay here; the server's copy goes by its mailbox's rule in the next cycle.

    Raises ValidationError without a reason, and for a message that is not in quarantine (any more).
    """
    reason = reason.replace("\x00", "").strip()
    if not reason:
        raise ValidationError("Say in a few words why this message is given up.")
    _move(
        message,
        MessageState.QUARANTINED,
        "This message is not in quarantine any more.",
        state=MessageState.DISCARDED,
        waiting_for=None,
        discarded_at=timezone.now(),
        discarded_by=by,
        discard_reason=reason,
    )


def put_back(message: Message) -> None:
    """Take a discarded message back into quarantine, with its reason; raises ValidationError for any other."""
    _move(
        message,
        MessageState.DISCARDED,
        "This message is not discarded any more.",
        state=MessageState.QUARANTINED,
        attempts=0,
        discarded_at=None,
        discarded_by=None,
        discard_reason="",
    )


def _move(message: Message, out_of: MessageState, otherwise: str, **values: object) -> None:
    """Compare and set: of two people, one is told that it happened already."""
    with transaction.atomic():
        if not Message.objects.filter(pk=message.pk, state=out_of).update(**values):
            raise ValidationError(otherwise)


def all_again(messages: Sequence[Message]) -> list[Outcome]:
    """Try each of them again, now."""
    with Parser() as parser:
        return _each(messages, lambda message: _again(message, parser))


def all_to(messages: Sequence[Message], target: Mailbox, by: User) -> list[Outcome]:
    """Deliver each of them to one user or queue."""

    def deliver(message: Message) -> tuple[bool, str]:
        deliver_to(message, target, by)
        return True, f"It was delivered to {target.name}."

    return _each(messages, deliver)


def discard_all(messages: Sequence[Message], reason: str, by: User) -> list[Outcome]:
    """Give each of them up, for one reason."""

    def give_up(message: Message) -> tuple[bool, str]:
        discard(message, reason, by)
        return True, "It was discarded."

    return _each(messages, give_up)


def _again(message: Message, parser: Parser) -> tuple[bool, str]:
    result = try_again(message, parser)
    if result.state == MessageState.QUARANTINED:
        return False, f"It stays in quarantine. {result.reason_label}: {result.explanation}"
    if result.state == MessageState.RECEIVED:
        return True, result.explanation
    if result.state == MessageState.DISCARDED:
        return True, f"It was discarded by itself. {result.explanation}"
    return True, f"It was delivered. {result.explanation}"


def _each(messages: Sequence[Message], act: Callable[[Message], tuple[bool, str]]) -> list[Outcome]:
    outcomes = list(_outcomes(messages, act))
    alerts.quarantine_watched()
    return outcomes


def _outcomes(messages: Sequence[Message], act: Callable[[Message], tuple[bool, str]]) -> Iterator[Outcome]:
    for message in messages:
        try:
            has_left, sentence = act(message)
        except ValidationError as error:
            has_left, sentence = False, " ".join(error.messages)
        yield Outcome(message, has_left, sentence)
