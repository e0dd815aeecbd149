"""A conversation: what was sent from here and what came back, in one order, as far as a person may see it."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime

from django.db.models import Prefetch, Q
from django.urls import reverse

from . import outbox
from .models import Message, OutgoingMessage, OutgoingRecipient, RecipientKind, User

AT_MOST = 100
NAMED = 3


@dataclass(frozen=True, slots=True)
class Turn:
    """One message of a conversation: `whom` names a few recipients, `word` is how it stands, `is_this` marks the one
    that is looked at."""

    pk: int
    when: datetime
    who: str
    whom: str
    subject: str
    state: str
    word: str
    is_ours: bool
    is_this: bool

    @property
    def address(self) -> str:
        """Where its page is."""
        return reverse("outbox-message" if self.is_ours else "message", args=[self.pk])


def conversation(of: Message | OutgoingMessage, user: User) -> list[Turn]:
    """Oldest first, the newest hundred of them; [] for a message that belongs to none. Four queries."""
    threads = _threads(of)
    if not threads:
        return []
    turns = [*_sent(of, threads, user), *_collected(of, threads, user)]
    return sorted(turns, key=lambda turn: (turn.when, turn.is_ours, turn.pk))[-AT_MOST:]


def _threads(of: Message | OutgoingMessage) -> list[uuid.UUID]:
    if isinstance(of, OutgoingMessage):
        return [of.conversation]
    rows = OutgoingMessage.objects.filter(Q(came_back__message=of) | Q(answers=of)).order_by()
    return list(rows.values_list("conversation", flat=True).distinct())


def _sent(of: Message | OutgoingMessage, threads: list[uuid.UUID], user: User) -> Iterator[Turn]:
    named = OutgoingRecipient.objects.exclude(kind=RecipientKind.BCC).order_by("position")
    rows = OutgoingMessage.objects.visible_to(user).filter(conversation__in=threads)
    rows = (
        rows.defer("text", "html").select_related("mailbox").prefetch_related(Prefetch("recipients", named))
    )
    for one in rows[:AT_MOST]:
        yield Turn(
            pk=one.pk,
            when=outbox.age(one),
            who=one.mailbox.name,
            whom=_first([person.name or person.address for person in one.recipients.all()]),
            subject=str(one),
            state=one.state,
            word=one.get_state_display(),
            is_ours=True,
            is_this=one == of,
        )


def _collected(of: Message | OutgoingMessage, threads: list[uuid.UUID], user: User) -> Iterator[Turn]:
    """What answers the messages that were sent, and what they answer; of copies of one mail only one."""
    belongs = Q(answer__outgoing__conversation__in=threads) | Q(answered_by__conversation__in=threads)
    rows = Message.objects.visible_to(user).filter(
        pk__in=Message.objects.filter(belongs).order_by().values("pk")
    )
    found = list(rows.defer("considered", "explanation", "defects")[:AT_MOST])
    for one in _each_once(found, of):
        yield Turn(
            pk=one.pk,
            when=one.received_at,
            who=one.sender_name or one.sender or "unknown sender",
            whom=one.recipients,
            subject=str(one),
            state=one.state,
            word=one.get_state_display(),
            is_ours=False,
            is_this=one == of,
        )


def _each_once(found: Iterable[Message], of: Message | OutgoingMessage) -> Iterator[Message]:
    seen = {of.same_key} if isinstance(of, Message) else set()
    for one in found:
        if one == of or not one.same_key or one.same_key not in seen:
            seen.add(one.same_key)
            yield one


def _first(names: list[str]) -> str:
    more = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {more} more" if more > 0 else "")
