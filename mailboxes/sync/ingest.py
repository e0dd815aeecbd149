"""The two transactions of the line: put the letter down (keep), put it into its pigeonhole (deliver)."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from emailprofiles.wire import Fetched, Folder, Listed

from .. import routing
from ..directory import AddressDirectory
from ..models import (
    Attachment,
    Delivery,
    EmailConfigurationSettings,
    Mailbox,
    Message,
    MessageState,
    RoutingHeader,
)
from ..parsing import Parsed
from ..routing import Reason, Route, Source, Target
from .leases import Lease


def keep(
    lease: Lease, mailbox: Mailbox, folder: Folder, fetched: Sequence[Fetched], upto: str
) -> list[Message]:
    """Transaction 1: raw bytes, identity and the cursor; returns the rows that await reading, in order.

    A repeat is a no-op: a copy we hold already is not stored again. After a change of the folder's
    generation (UIDVALIDITY) a copy we know by its bytes is bound to its new place. Raises LeaseLost.
    """
    rows = [_row(mailbox, folder, one) for one in fetched]
    with transaction.atomic():
        lease.write(cursor_folder=folder.name, cursor_generation=folder.generation, cursor_position=upto)
        rows = _without_known(mailbox, folder, rows)
        Message.objects.bulk_create(rows)
    return rows


def kept_from(mailbox: Mailbox, folder: Folder) -> QuerySet[Message]:
    """Messages by identities that mean something now: never an id of an older generation."""
    return Message.objects.filter(
        mailbox=mailbox, folder=folder.name, generation=folder.generation
    ).order_by()


def not_kept(mailbox: Mailbox, folder: Folder, listed: Sequence[Listed]) -> list[Listed]:
    """Those of a folder's messages that we do not hold already."""
    ids = [message.remote_id for message in listed]
    rows = kept_from(mailbox, folder).filter(remote_id__in=ids)
    stored = set(rows.values_list("remote_id", flat=True))
    return [message for message in listed if message.remote_id not in stored]


def _row(mailbox: Mailbox, folder: Folder, one: Fetched) -> Message:
    return Message(
        mailbox=mailbox,
        folder=folder.name,
        generation=folder.generation,
        remote_id=one.remote_id,
        received_at=one.received_at or timezone.now(),
        size=one.size,
        raw=one.raw,
        raw_sha256=hashlib.sha256(one.raw).hexdigest(),
    )


def _without_known(mailbox: Mailbox, folder: Folder, rows: list[Message]) -> list[Message]:
    here = Message.objects.filter(mailbox=mailbox, folder=folder.name).order_by("pk")
    same_place = here.filter(generation=folder.generation, remote_id__in=[row.remote_id for row in rows])
    known = set(same_place.values_list("remote_id", flat=True))
    new = [row for row in rows if row.remote_id not in known]
    return _without_moved(here.exclude(generation=folder.generation), new)


def _without_moved(elsewhere: QuerySet[Message], rows: list[Message]) -> list[Message]:
    """Bind copies of an older generation to their new place, one for one; what was disposed of is there again."""
    old = elsewhere.filter(raw_sha256__in={row.raw_sha256 for row in rows}).values_list("raw_sha256", "pk")
    copies: dict[str, list[int]] = defaultdict(list)
    for digest, pk in old:
        copies[digest].append(pk)
    new = []
    for row in rows:
        if not copies[row.raw_sha256]:
            new.append(row)
            continue
        place = {"generation": row.generation, "remote_id": row.remote_id}
        Message.objects.filter(pk=copies[row.raw_sha256].pop(0)).update(
            **place, disposed_at=None, disposal=""
        )
    return new


@dataclass(frozen=True, slots=True)
class Decided:
    """A kept message, what was read in it, and for whom it is."""

    message: Message
    parsed: Parsed
    route: Route


@dataclass(slots=True)
class Sorter:
    """Routes what was read, by the office's rules as they are at the start of a pass."""

    mailbox: Mailbox
    headers: tuple[str, ...] = field(default_factory=RoutingHeader.names)
    settings: EmailConfigurationSettings = field(default_factory=EmailConfigurationSettings.load)

    def decide(self, read: Iterable[tuple[Message, Parsed]]) -> list[Decided]:
        """One query for the directory, whatever the number of messages."""
        pairs = list(read)
        asked = (routing.addresses_in(parsed, self.headers) for _, parsed in pairs)
        directory = AddressDirectory(set().union(*asked))
        return [self._decide(message, parsed, directory) for message, parsed in pairs]

    def _decide(self, message: Message, parsed: Parsed, directory: AddressDirectory) -> Decided:
        source = source_of(self.mailbox)
        route = routing.route(parsed, source, directory, self.headers, self.settings.route_by_to_and_cc)
        return Decided(message, parsed, route)


def source_of(mailbox: Mailbox) -> Source:
    """The collecting mailbox as routing sees it."""
    kind = "forward" if mailbox.is_forward_mailbox else "user" if mailbox.user_id else "queue"
    return Source(mailbox.pk, kind, mailbox.email_address, mailbox.name)  # type: ignore[arg-type]


def deliver(lease: Lease | None, decided: Sequence[Decided]) -> None:
    """Transaction 2: headers, bodies, attachments and deliveries of these messages.

    Fenced by the lease; without one (a person's command) by the message's own state. Raises LeaseLost,
    or whatever the database refuses: then nothing of this batch is written.
    """
    with transaction.atomic():
        if lease is not None:
            lease.write(lease_holder=lease.holder)
        known = same_deliveries(decided)
        Delivery.objects.bulk_create(row for one in decided for row in _deliveries(one, known))
        Attachment.objects.filter(message__in=_read_before(decided)).delete()
        Attachment.objects.bulk_create(row for one in decided for row in _attachments(one))


def _read_before(decided: Sequence[Decided]) -> list[Message]:
    """Those whose attachments are stored from an earlier try."""
    return [one.message for one in decided if one.message.state != MessageState.RECEIVED]


Known = dict[tuple[int, str], int]


def same_deliveries(decided: Sequence[Decided]) -> Known:
    """(target, same key) → message that reached it already."""
    keys = {same_key(one.route.message) for one in decided} - {""}
    targets = {target.mailbox_id for one in decided for target in one.route.targets}
    rows = (
        Delivery.objects.filter(same_key__in=keys, mailbox__in=targets) if keys else Delivery.objects.none()
    )
    return {(row.mailbox_id, row.same_key): row.message_id for row in rows}


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


def _deliveries(one: Decided, known: Known) -> Iterator[Delivery]:
    """Write what is known of this message, and yield a row for each target that it is the first to reach."""
    key = same_key(one.route.message)
    reached, notes = first_reached(one, known)
    for target in reached:
        yield _delivery(one.message, target, key)
    _update(one, key, [*one.route.considered, *notes])


def _delivery(message: Message, target: Target, key: str) -> Delivery:
    return Delivery(
        message=message,
        mailbox_id=target.mailbox_id,
        rule=target.rule.value,
        header=target.header[:100],
        address=target.address[:320],
        evidence=target.evidence,
        same_key=key,
    )


def _update(one: Decided, key: str, notes: list[str]) -> None:
    route, quarantined = one.route, not one.route.targets
    values = content(route.message) | {
        "state": MessageState.QUARANTINED if quarantined else MessageState.DELIVERED,
        "reason": route.reason.value if route.reason and quarantined else "",
        "explanation": route.explanation,
        "considered": "\n".join(notes),
        "waiting_for": route.waiting_for if quarantined else None,
        "same_key": key,
    }
    Message.objects.filter(pk=one.message.pk).update(**values)


def content(parsed: Parsed) -> dict[str, str | datetime | None]:
    """The columns that say what a message contains."""
    return {
        "message_id": parsed.message_id,
        "subject": parsed.subject,
        "sender": parsed.sender[:320],
        "sender_name": parsed.sender_name,
        "recipients": parsed.recipients_text,
        "sent_at": parsed.sent_at,
        "text": parsed.text,
        "html": parsed.html,
        "defects": "\n".join(parsed.defects),
    }


def _attachments(one: Decided) -> Iterator[Attachment]:
    for number, part in enumerate(one.route.message.attachments, 1):
        yield Attachment(
            message=one.message,
            number=number,
            name=part.name[:255],
            content_type=part.content_type[:255],
            content_id=part.content_id,
            size=len(part.data),
            data=part.data,
        )


def quarantine(message: Message, reason: Reason, explanation: str) -> None:
    """Put a message aside that cannot be read or stored; its raw bytes are kept as they are."""
    Message.objects.filter(pk=message.pk).update(
        state=MessageState.QUARANTINED, reason=reason.value, explanation=explanation, waiting_for=None
    )
