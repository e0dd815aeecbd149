"""The two transactions of the line: put the letter down (keep), put it into its pigeonhole (deliver)."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property
from typing import Any, NamedTuple

from django.db import transaction
from django.db.models import F, Q, QuerySet
from django.utils import timezone

from emailprofiles.wire import Disposal, Fetched, Folder, Listed

from .. import clock, comeback, filetypes, routing, testmail
from ..comeback import Tie
from ..directory import AddressDirectory, rules_of
from ..models import (
    Attachment,
    Body,
    Delivery,
    EmailConfigurationSettings,
    FolderGeneration,
    IncomingFilter,
    Mailbox,
    Message,
    MessageState,
    Original,
    SkippedMessage,
    SkipReason,
)
from ..parsing import Parsed
from ..routing import FOR_NOBODY, Reason, Route, Source, Target
from . import rows
from .leases import Lease

ATTEMPTS = 3
"""How often a single message is tried before it waits for a person."""


@dataclass(frozen=True, slots=True)
class Stub:
    """A message that is not collected whole: `header` is what there is of it, `reason` why."""

    listed: Listed
    header: bytes
    reason: Reason
    explanation: str
    attempts: int = 0

    @property
    def state(self) -> MessageState:
        """What the server may still hand over is asked for again; the rest waits for a person."""
        again = self.reason is Reason.NOT_HANDED_OVER and self.attempts < ATTEMPTS
        return MessageState.RECEIVED if again else MessageState.QUARANTINED

    @property
    def columns(self) -> dict[str, Any]:
        return {
            "is_stub": True,
            "asked_at": clock.now(),
            "state": self.state,
            "attempts": self.attempts,
            "reason": self.reason.value,
            "explanation": self.explanation,
        }


@dataclass(frozen=True, slots=True)
class Haul:
    """What becomes of one batch of a folder's messages: each is whole, a stub, or skipped."""

    whole: Sequence[tuple[Listed, Fetched]] = ()
    stubs: Sequence[Stub] = ()
    skipped: Sequence[tuple[Listed, SkipReason]] = ()


@dataclass(frozen=True)
class Place:
    """The open folder of a mailbox as the rows name it, for as long as it is open."""

    mailbox: Mailbox
    folder: Folder

    @property
    def columns(self) -> dict[str, Any]:
        return {"mailbox": self.mailbox, "folder": self.folder.name, "generation": self.folder.generation}

    @property
    def row(self) -> dict[str, Any]:
        """The same, as columns of a table."""
        return {
            "mailbox_id": self.mailbox.pk,
            "folder": self.folder.name,
            "generation": self.folder.generation,
        }

    def messages(self) -> QuerySet[Message]:
        """Messages by identities that mean something now: never an id of an older generation."""
        return Message.objects.filter(**self.columns).order_by()

    def skipped(self) -> QuerySet[SkippedMessage]:
        return SkippedMessage.objects.filter(**self.columns)

    @cached_property
    def ledgers(self) -> dict[str, FolderGeneration]:
        """The ledger of each generation of this folder that we know; the open one is opened when there is none."""
        here = FolderGeneration.objects.filter(mailbox=self.mailbox, folder=self.folder.name)
        known = {one.generation: one for one in here}
        if self.folder.generation not in known:
            known[self.folder.generation] = FolderGeneration.objects.create(**self.columns)
        return known

    @property
    def ledger(self) -> FolderGeneration:
        """The ledger of this generation."""
        return self.ledgers[self.folder.generation]

    @property
    def was_renumbered(self) -> bool:
        """Whether there was an older generation of this folder."""
        return len(self.ledgers) > 1


@dataclass(slots=True)
class Kept:
    """A copy on the server, as its row begins: see `Message`."""

    remote_id: str
    received_at: datetime
    announced_size: int
    size: int
    raw: bytes = field(repr=False)
    raw_sha256: str = ""
    occurrence: int = 1
    pk: int = 0
    stub: Stub | None = None

    def __post_init__(self) -> None:
        self.raw_sha256 = hashlib.sha256(self.raw).hexdigest()

    @property
    def state(self) -> MessageState:
        return self.stub.state if self.stub else MessageState.RECEIVED

    @property
    def is_stub(self) -> bool:
        return self.stub is not None

    @property
    def columns(self) -> dict[str, Any]:
        """What its row holds beside its place."""
        row = {
            "id": self.pk,
            "remote_id": self.remote_id,
            "occurrence": self.occurrence,
            "received_at": self.received_at,
            "size": self.size,
            "announced_size": self.announced_size,
            "raw_sha256": self.raw_sha256,
        }
        return row if self.stub is None else row | self.stub.columns


def keep(lease: Lease, place: Place, haul: Haul, upto: str | None) -> tuple[list[Kept], list[Kept]]:
    """Transaction 1: raw bytes, identity, ledger and cursor; returns what is new, whole ones and stubs, in order.

    A repeat is a no-op: a copy we hold already is not stored again. After a change of the folder's
    generation (UIDVALIDITY) a copy we know by its bytes is bound to its new place. `upto` is None for a folder
    without a lasting order: there is no cursor in it. Raises LeaseLost.
    """
    copies = [*(_whole(*one) for one in haul.whole), *(_partial(stub) for stub in haul.stubs)]
    with transaction.atomic():
        move_on(lease, place, upto)
        new, bound = _without_known(place, copies)
        _insert(place, new)
        skipped = _skip(place, haul.skipped) - _unskip(place, [*new, *bound])
        seen = len(new) + len(bound) + skipped
        if seen:
            FolderGeneration.objects.filter(pk=place.ledger.pk).update(seen=F("seen") + seen)
    return [row for row in new if not row.is_stub], [row for row in new if row.is_stub]


def move_on(lease: Lease, place: Place, upto: str | None) -> None:
    """Everything up to here is dealt with. Raises LeaseLost."""
    folder = place.folder
    lease.write(cursor_folder=folder.name, cursor_generation=folder.generation, cursor_position=upto or "")


def not_kept(place: Place, listed: Sequence[Listed]) -> list[Listed]:
    """Those of a folder's messages that we neither hold nor passed over."""
    ids = [message.remote_id for message in listed]
    rows = live(place).filter(remote_id__in=ids).order_by("occurrence").only(*_IDENTITY)
    known = {row.remote_id: row for row in rows}
    skipped = set(place.skipped().filter(remote_id__in=ids, gone_at=None).values_list("remote_id", flat=True))
    return [
        message
        for message in listed
        if message.remote_id not in skipped and not _is_known(known.get(message.remote_id), message)
    ]


def is_kept(place: Place, remote_id: str) -> bool:
    """The same for one message of which nothing but its id is known."""
    skipped = place.skipped().filter(remote_id=remote_id, gone_at=None)
    return live(place).filter(remote_id=remote_id).exists() or skipped.exists()


_IDENTITY = ("remote_id", "announced_size")


def live(place: Place) -> QuerySet[Message]:
    """Rows that stand for what the server holds now. Where an id may come to mean another message (POP3), a
    copy that we deleted, or that was seen to be gone, is not what is listed under its id."""
    if place.folder.lasting_order:
        return place.messages()
    return place.messages().filter(gone_at=None).exclude(disposal=Disposal.DELETE.value)


def _is_known(row: Message | None, listed: Listed) -> bool:
    """An id that is announced with another size than before means another message."""
    if row is None:
        return False
    return not (row.announced_size and listed.size) or row.announced_size == listed.size


def _whole(listed: Listed, one: Fetched) -> Kept:
    received_at = one.received_at or listed.received_at or timezone.now()
    return Kept(one.remote_id, received_at, listed.size, one.size, one.raw)


def _partial(stub: Stub) -> Kept:
    listed = stub.listed
    received_at = listed.received_at or timezone.now()
    return Kept(listed.remote_id, received_at, listed.size, listed.size, stub.header, stub=stub)


def _insert(place: Place, new: Sequence[Kept]) -> None:
    """The rows and the bytes of copies that are not here yet; each is given its number."""
    for one, pk in zip(new, rows.keys(Message, len(new)), strict=True):
        one.pk = pk
    rows.insert(Message, [place.row | one.columns for one in new])
    rows.insert(Original, [{"message_id": one.pk, "raw": one.raw} for one in new])


def _skip(place: Place, skipped: Sequence[tuple[Listed, SkipReason]]) -> int:
    """Note what is not collected; returns how many of these are new."""
    if not skipped:
        return 0
    before = place.skipped().filter(remote_id__in=[listed.remote_id for listed, _ in skipped])
    known = set(before.values_list("remote_id", flat=True))
    too_old = [listed.remote_id for listed, why in skipped if why is SkipReason.TOO_OLD]
    before.filter(remote_id__in=too_old).update(gone_at=None, why=SkipReason.TOO_OLD)
    rows = [_skipped_row(place, *one) for one in skipped if one[0].remote_id not in known]
    SkippedMessage.objects.bulk_create(rows)
    return len(rows)


def _skipped_row(place: Place, listed: Listed, why: SkipReason) -> SkippedMessage:
    is_gone = why is SkipReason.VANISHED
    return SkippedMessage(
        **place.columns,
        remote_id=listed.remote_id,
        why=why.value,
        received_at=listed.received_at,
        size=listed.size,
        gone_at=timezone.now() if is_gone else None,
    )


def _unskip(place: Place, copies: Sequence[Kept]) -> int:
    """What was thought to be skipped and is here after all; where ids are used again, both were."""
    if not place.folder.lasting_order:
        return 0
    ids = [one.remote_id for one in copies]
    return place.skipped().filter(remote_id__in=ids).delete()[0] if ids else 0


def _without_known(place: Place, copies: list[Kept]) -> tuple[list[Kept], list[Kept]]:
    """(copies to store, copies that an older generation held and that are bound to their new place)."""
    here = Message.objects.filter(mailbox=place.mailbox, folder=place.folder.name).order_by("pk")
    now = Q(generation=place.folder.generation)
    new = _without_same_place(place, here.filter(now), copies)
    new, _renamed = _without_moved(place, here.filter(now, gone_at__isnull=False), new)
    return _without_moved(place, here.exclude(now), new) if place.was_renumbered else (new, [])


def _without_same_place(place: Place, here: QuerySet[Message], copies: list[Kept]) -> list[Kept]:
    ids = [one.remote_id for one in copies]
    known = (
        here.filter(remote_id__in=ids)
        .order_by("occurrence")
        .only("pk", "remote_id", "occurrence", "raw_sha256")
    )
    latest = {row.remote_id: row for row in known}
    if place.folder.lasting_order:
        return [one for one in copies if one.remote_id not in latest]
    return [one for one in copies if not _is_again(latest.get(one.remote_id), one)]


def _is_again(known: Message | None, one: Kept) -> bool:
    """Whether a copy that we thought to be gone is there again; otherwise its id was given to another one."""
    if known is None:
        return False
    if known.raw_sha256 == one.raw_sha256:
        Message.objects.filter(pk=known.pk).update(
            disposed_at=None, disposal="", gone_at=None, announced_size=one.announced_size
        )
        return True
    Message.objects.filter(pk=known.pk, gone_at=None).update(gone_at=timezone.now())
    one.occurrence = known.occurrence + 1
    return False


def _without_moved(
    place: Place, elsewhere: QuerySet[Message], copies: list[Kept]
) -> tuple[list[Kept], list[Kept]]:
    """Bind copies that stood elsewhere to their new place, one for one; what was disposed of is there again."""
    digests = {one.raw_sha256 for one in copies if one.raw}
    same: dict[tuple[str, bool], list[Message]] = defaultdict(list)
    for old in elsewhere.filter(raw_sha256__in=digests).only("pk", "raw_sha256", "is_stub", *_PLACE):
        same[old.raw_sha256, old.is_stub].append(old)
    new, bound = [], []
    for one in copies:
        if not same[one.raw_sha256, one.is_stub]:
            new.append(one)
            continue
        _bind(place, same[one.raw_sha256, one.is_stub].pop(0), one)
        bound.append(one)
    return new, bound


_PLACE = ("mailbox_id", "folder", "generation")


def _bind(place: Place, old: Message, one: Kept) -> None:
    if old.generation != place.folder.generation:
        left = FolderGeneration.objects.filter(**{name: getattr(old, name) for name in _PLACE})
        left.update(moved_on=F("moved_on") + 1)
    Message.objects.filter(pk=old.pk).update(
        generation=place.folder.generation,
        remote_id=one.remote_id,
        occurrence=one.occurrence,
        announced_size=one.announced_size,
        disposed_at=None,
        disposal="",
        gone_at=None,
    )


@dataclass(frozen=True, slots=True)
class Decided:
    """A kept message, what was read in it, for whom it is, which extensions of attachments are blocked, and which
    message of ours it answers."""

    message: Message | Kept
    parsed: Parsed
    route: Route
    blocked: frozenset[str] = frozenset()
    tie: Tie | None = None


class OutboxFacts(NamedTuple):
    """What sorting asks of the outbox: whether anything ever left, and which mailboxes take replies to it only."""

    anything: bool
    replies_only: frozenset[int]

    @classmethod
    def read(cls) -> OutboxFacts:
        replies = IncomingFilter.REPLIES
        chosen = Q(user__incoming_filter=replies) | Q(queue__incoming_filter=replies)
        mailboxes = Mailbox.objects.filter(chosen).order_by().values_list("pk", flat=True)
        return cls(comeback.anything_sent(), frozenset(mailboxes))


@dataclass(slots=True)
class Sorter:
    """Routes what was read, by the office's rules as they are at the start of a pass."""

    mailbox: Mailbox
    settings: EmailConfigurationSettings = field(default_factory=EmailConfigurationSettings.load)
    rules: routing.Rules = field(init=False)
    blocked: frozenset[str] = field(init=False)
    sent: OutboxFacts = field(default_factory=OutboxFacts.read)

    def __post_init__(self) -> None:
        self.rules = rules_of(self.settings)
        self.blocked = self.settings.blocked_extensions()

    def decide(self, read: Iterable[tuple[Message | Kept, Parsed]]) -> list[Decided]:
        """Two queries for the directory, and two for what it answers once anything was sent, whatever the number of
        messages."""
        letters = [(message, routing.Letter(parsed, self.rules)) for message, parsed in read]
        asked = (letter.addresses() for _, letter in letters)
        directory = AddressDirectory(set().union(*asked), self.settings)
        source = source_of(self.mailbox)
        routes = [_unless_ours(letter.route(source, directory)) for _, letter in letters]
        ties = (
            comeback.ties([route.message for route in routes]) if self.sent.anything else [None] * len(routes)
        )
        return [
            Decided(message, letter.parsed, self._filtered(route, tie), self.blocked, tie)
            for (message, letter), route, tie in zip(letters, routes, ties, strict=True)
        ]

    def _filtered(self, route: Route, tie: Tie | None) -> Route:
        """Without those who take replies only, unless it answers a message that was sent from their mailbox."""
        return routing.without_unanswering(
            route, self.sent.replies_only - (tie.mailboxes if tie else frozenset())
        )


def _unless_ours(route: Route) -> Route:
    """The same, but a test message of ours is for nobody."""
    if not testmail.is_ours(route.message):
        return route
    nobody = replace(route, targets=(), refused=(), waiting_for=None)
    return replace(nobody, reason=Reason.TEST_MESSAGE, explanation=A_TEST_MESSAGE)


A_TEST_MESSAGE = "Test & Enable sent it to see whether mail arrives."


def source_of(mailbox: Mailbox) -> Source:
    """The collecting mailbox as routing sees it."""
    kind = "forward" if mailbox.is_forward_mailbox else "user" if mailbox.user_id else "queue"
    return Source(mailbox.pk, kind, mailbox.email_address, mailbox.name)  # type: ignore[arg-type]


def deliver(lease: Lease | None, decided: Sequence[Decided]) -> None:
    """Transaction 2: headers, attachments and deliveries of these messages.

    Fenced by the lease; without one (a person's command) by the message's own state. Raises LeaseLost,
    or whatever the database refuses: then nothing of this batch is written.
    """
    with transaction.atomic():
        if lease is not None:
            lease.write(lease_holder=lease.holder)
        decided = _undecided_yet(decided)
        known = same_deliveries(decided)
        reached = [(one, *first_reached(one, known)) for one in decided]
        rows.insert(Delivery, [_delivery(one, target) for one, targets, _ in reached for target in targets])
        rows.update(Message, [_columns(one, notes) for one, _, notes in reached])
        before = _read_before(decided)
        if before:
            Attachment.objects.filter(message__in=before).delete()
            Body.objects.filter(message__in=before).delete()
        rows.insert(Attachment, [row for one in decided for row in _attachments(one)])
        _discard([one for one in decided if one.route.reason in FOR_NOBODY])
        comeback.write(list(_arrived(decided)), before)


def _discard(decided: Sequence[Decided]) -> None:
    now = timezone.now()
    discarded = [
        {
            "id": one.message.pk,
            "state": MessageState.DISCARDED.value,
            "discarded_at": now,
            "discard_reason": one.route.explanation,
        }
        for one in decided
    ]
    rows.update(Message, discarded)


def _arrived(decided: Sequence[Decided]) -> Iterator[comeback.Arrived]:
    for one in decided:
        if one.tie is not None:
            yield comeback.Arrived(one.message.pk, same_key(one.route.message), one.tie)


UNDECIDED = (MessageState.RECEIVED, MessageState.QUARANTINED)


def _undecided_yet(decided: Sequence[Decided]) -> list[Decided]:
    """Without what a person delivered or discarded while it was being read; the rest is locked until we are done."""
    rows = Message.objects.select_for_update().filter(
        pk__in=[one.message.pk for one in decided], state__in=UNDECIDED
    )
    here = set(rows.order_by("pk").values_list("pk", flat=True))
    return [one for one in decided if one.message.pk in here]


def _read_before(decided: Sequence[Decided]) -> list[int]:
    """Those of which something is stored from an earlier try."""
    return [one.message.pk for one in decided if one.message.state != MessageState.RECEIVED]


Known = dict[tuple[int, str], int]


def same_deliveries(decided: Sequence[Decided]) -> Known:
    """(target, same key) → message that reached it already."""
    keys = {same_key(one.route.message) for one in decided} - {""}
    targets = {target.mailbox_id for one in decided for target in one.route.targets}
    if not keys:
        return {}
    known = Delivery.objects.filter(same_key__in=keys, mailbox__in=targets).order_by()
    return {
        (row.mailbox_id, row.same_key): row.message_id
        for row in known.values_list("mailbox_id", "same_key", "message_id", named=True)
    }


def same_key(parsed: Parsed) -> str:
    """Equal for copies of one mail: Message-ID and digest; "" without a Message-ID, so never the same."""
    if not parsed.message_id:
        return ""
    return hashlib.sha256(f"{parsed.message_id}\n{parsed.body_digest}".encode()).hexdigest()


def first_reached(one: Decided, known: Known) -> tuple[list[Target], list[str]]:
    """The targets that this message is the first to reach, now noted in `known`, and a note for each other."""
    key = same_key(one.route.message)
    reached, notes = [], []
    for target in one.route.targets:
        earlier = known.get((target.mailbox_id, key)) if key else None
        if earlier is not None and earlier != one.message.pk:
            notes.append(f"{target.name} has this mail already: same as message {earlier}. {target.evidence}")
            continue
        known[target.mailbox_id, key] = one.message.pk
        reached.append(target)
    return reached, notes


def _delivery(one: Decided, target: Target) -> rows.Row:
    return {
        "message_id": one.message.pk,
        "mailbox_id": target.mailbox_id,
        "rule": target.rule.value,
        "header": target.header[:100],
        "address": target.address[:320],
        "evidence": target.evidence,
        "same_key": same_key(one.route.message),
    }


def _columns(one: Decided, notes: list[str]) -> rows.Row:
    route, quarantined = one.route, not one.route.targets
    return content(route.message) | {
        "id": one.message.pk,
        "state": (MessageState.QUARANTINED if quarantined else MessageState.DELIVERED).value,
        "reason": route.reason.value if route.reason and quarantined else "",
        "explanation": route.explanation,
        "considered": "\n".join([*route.considered, *notes]),
        "waiting_for_id": route.waiting_for if quarantined else None,
        "same_key": same_key(route.message),
        "shows_forwarded": route.message is not one.parsed,
    }


def content(parsed: Parsed) -> dict[str, str | datetime | None]:
    """The columns that say what a message contains."""
    return {
        "message_id": parsed.message_id,
        "subject": parsed.subject,
        "sender": parsed.sender[:320],
        "sender_name": parsed.sender_name,
        "recipients": parsed.recipients_text,
        "sent_at": parsed.sent_at,
        "defects": "\n".join(parsed.defects),
    }


def _attachments(one: Decided) -> Iterator[rows.Row]:
    for number, part in enumerate(one.route.message.attachments, 1):
        because = filetypes.why_blocked(part.name, part.content_type, part.detected_type, one.blocked)
        yield {
            "message_id": one.message.pk,
            "number": number,
            "name": part.name[:255],
            "content_type": part.content_type[:255],
            "content_id": part.content_id,
            "size": part.size,
            "in_forwarded": one.route.message is not one.parsed,
            "detected_type": part.detected_type,
            "is_blocked": bool(because),
            "blocked_because": because,
        }


def describe(message: Kept, parsed: Parsed) -> None:
    """Write what the header of a stub says, so that people recognise it."""
    Message.objects.filter(pk=message.pk, is_stub=True).update(**content(parsed))


def made_whole(message: Message, one: Fetched) -> bool:
    """The server handed a stub over: it awaits reading, as any other; False when it is none any more."""
    stubs = Message.objects.filter(pk=message.pk, is_stub=True).exclude(state=MessageState.DISCARDED)
    with transaction.atomic():
        is_whole = stubs.update(
            is_stub=False,
            state=MessageState.RECEIVED,
            attempts=0,
            reason="",
            explanation="",
            size=one.size,
            raw_sha256=hashlib.sha256(one.raw).hexdigest(),
        )
        if is_whole:
            Original.objects.filter(pk=message.pk).update(raw=one.raw)
    return bool(is_whole)


def quarantine(message: Message, reason: Reason, explanation: str) -> None:
    """Put a message aside that cannot be read or stored; its raw bytes are kept as they are."""
    Message.objects.filter(pk=message.pk, state__in=UNDECIDED).update(
        state=MessageState.QUARANTINED, reason=reason.value, explanation=explanation, waiting_for=None
    )
