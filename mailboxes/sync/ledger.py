"""Whether everything that the server ever showed us is accounted for.

Each generation of a folder has a ledger (`FolderGeneration`). Once a day, or when somebody asks, the folder is
compared with what we know of it: *on the server = stored + stubs + skipped + waiting*. What is on the server and
in none of these is collected after all, and told as an alert.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import Count, QuerySet

from emailprofiles.transports import IncomingTransport
from emailprofiles.wire import Disposal

from .. import alerts
from ..alerts import Told
from ..models import (
    Direction,
    EmailConfigurationSettings,
    FolderGeneration,
    Mailbox,
    Message,
    MessageState,
    Reconciliation,
    SkippedMessage,
    SyncState,
)
from . import ingest, leases
from .ingest import Place
from .leases import Lease

IDS_AT_ONCE = 1000
DAY = timedelta(days=1)
CHANGES_A_DAY = 3

RENUMBERED = (
    "The folder was numbered anew, and this message was asked for under its new number. It never was handed over "
    "under the old one."
)


def enter(lease: Lease, state: SyncState, place: Place, told: Told) -> bool:
    """Open the ledger of a folder; returns whether its numbers last long enough to delete by them."""
    _ = place.ledger
    now = leases.now()
    folder = place.folder
    since, changes = state.renumbered_since, state.renumbered
    if since is None or now - since > DAY:
        since, changes = now, 0
    if state.cursor_folder == folder.name and state.cursor_generation not in ("", folder.generation):
        changes += 1
        lease.write(renumbered=changes, renumbered_since=since)
    if (state.cursor_folder, state.cursor_generation) != (folder.name, folder.generation):
        ingest.move_on(lease, place, None)
    return _lasts(place.mailbox, changes, told)


def _lasts(mailbox: Mailbox, changes: int, told: Told) -> bool:
    cause = f"renumbered:{mailbox.pk}"
    if changes > CHANGES_A_DAY:
        alerts.folder_renumbered(mailbox, cause, changes)
        return False
    told.resolve(cause, "The folder kept its numbers.")
    return True


def give_up_older_stubs(place: Place) -> None:
    """After a whole walk of a new generation: stubs that only an older one knew were asked for anew."""
    older = Message.objects.filter(mailbox=place.mailbox, folder=place.folder.name, is_stub=True)
    older.exclude(generation=place.folder.generation).exclude(state=MessageState.DISCARDED).update(
        state=MessageState.DISCARDED, discarded_at=leases.now(), discard_reason=RENUMBERED, reason=""
    )


def mark_gone(place: Place, seen: set[str]) -> int:
    """Note what the server does not show any more, though we did not dispose of it; returns how many messages.

    Where names do not last (POP3), the name of such a one may come to mean another message.
    """
    now = leases.now()
    skipped = place.skipped().filter(gone_at=None).values_list("pk", "remote_id")
    for some in _portions([pk for pk, one in skipped if one not in seen]):
        SkippedMessage.objects.filter(pk__in=some).update(gone_at=now)
    held = ingest.live(place).filter(gone_at=None).exclude(disposal=Disposal.DELETE.value)
    held = held.exclude(disposal=Disposal.PUT_ASIDE.value)
    gone = [pk for pk, one in held.values_list("pk", "remote_id") if one not in seen]
    for some in _portions(gone):
        Message.objects.filter(pk__in=some).update(gone_at=now)
    return len(gone)


def _portions(keys: list[int]) -> Iterator[list[int]]:
    """A statement takes only so many values."""
    yield from (keys[start : start + IDS_AT_ONCE] for start in range(0, len(keys), IDS_AT_ONCE))


def reconcile_soon(only: Mailbox | None = None) -> datetime:
    """Have one mailbox, or all that collect, reconciled in a cycle that comes at once; returns since when."""
    now = leases.now()
    settings = EmailConfigurationSettings.load()
    states = SyncState.objects.running(Direction.INCOMING, approved=settings.approved())
    asked = states.filter(mailbox=only) if only else states
    SyncState.objects.filter(pk__in=asked.order_by().values("pk")).update(
        reconcile_asked_at=now, next_run_at=None
    )
    return now


def due(states: Sequence[SyncState]) -> set[int]:
    """The mailboxes among these that are to be compared: once a day, and when somebody asked."""
    recent = Reconciliation.objects.filter(
        mailbox__in=[state.mailbox_id for state in states], done_at__gt=leases.now() - DAY
    )
    asked = {state.mailbox_id for state in states if state.reconcile_asked_at is not None}
    return asked | {state.mailbox_id for state in states} - set(recent.values_list("mailbox_id", flat=True))


@dataclass(slots=True)
class _Comparison:
    """The server's list against ours, window by window."""

    place: Place
    behind: set[str]
    found: Reconciliation
    before_missing: str | None = None
    seen: set[str] = field(default_factory=set)

    def window(self, ids: Sequence[str], before: str) -> None:
        self.found.on_server += len(ids)
        self.seen.update(ids)
        rows = ingest.live(self.place).filter(remote_id__in=ids)
        stubs = dict(rows.values_list("remote_id", "is_stub"))
        skipped = set(self._skipped(ids))
        for one in ids:
            self._count(one, stubs.get(one), one in skipped, before)
            before = one
        self._there_after_all(ids)

    def _skipped(self, ids: Sequence[str]) -> Iterator[str]:
        """What vanished and is there again was not skipped: it is missing."""
        rows = self.place.skipped().filter(remote_id__in=ids, gone_at=None)
        yield from rows.values_list("remote_id", flat=True)

    def _count(self, one: str, is_stub: bool | None, is_skipped: bool, before: str) -> None:
        found = self.found
        if is_stub is not None:
            found.stubs += is_stub
            found.stored += not is_stub
        elif is_skipped:
            found.skipped += 1
        elif one in self.behind or not self.place.folder.lasting_order:
            found.waiting += 1
        else:
            found.missing += 1
            self.before_missing = before if self.before_missing is None else self.before_missing

    def _there_after_all(self, ids: Sequence[str]) -> None:
        """The server said that these were deleted, and has them: they are deleted again."""
        deleted = self.place.messages().filter(remote_id__in=ids, disposal=Disposal.DELETE.value)
        if self.place.folder.lasting_order:
            deleted.update(disposed_at=None, disposal="")


def reconcile(lease: Lease, server: IncomingTransport, place: Place, told: Told) -> Reconciliation:
    """Compare a folder with what we know of it, and have collected what is missing. Raises LeaseLost, MailError."""
    state = SyncState.objects.get(pk=lease.state_id)
    found = Reconciliation(
        mailbox=place.mailbox,
        folder=place.folder.name,
        generation=place.folder.generation,
        done_at=leases.now(),
    )
    behind = {one for ids in _windows(server, state.position_in(place.folder)) for one in ids}
    comparison = _Comparison(place, behind, found)
    before = ""
    for ids in _windows(server, None):
        comparison.window(ids, before)
        before = ids[-1]
    with transaction.atomic():
        lease.write(reconcile_asked_at=None)
        found.vanished = mark_gone(place, comparison.seen)
        if comparison.before_missing is not None:
            lease.write(cursor_position=comparison.before_missing)
        _write(found)
    tell(place.mailbox, found, told)
    return found


def _write(found: Reconciliation) -> None:
    """In the place of the one before."""
    names = ("folder", "generation", "done_at", *FIGURES)
    Reconciliation.objects.bulk_create(
        [found], update_conflicts=True, unique_fields=["mailbox"], update_fields=names
    )


def _windows(server: IncomingTransport, after: str | None) -> Iterator[list[str]]:
    while ids := server.identities(after, IDS_AT_ONCE):
        yield ids
        after = ids[-1]


FIGURES = ("on_server", "stored", "stubs", "skipped", "waiting", "missing", "vanished")


@dataclass(frozen=True, slots=True)
class Balance:
    """The ledger of one generation: seen = stored + stubs + skipped + moved_on + difference."""

    folder: str
    generation: str
    opened_at: datetime
    seen: int
    stored: int
    stubs: int
    skipped: int
    moved_on: int

    @property
    def difference(self) -> int:
        return self.seen - self.stored - self.stubs - self.skipped - self.moved_on


def balances(mailbox: Mailbox) -> list[Balance]:
    """The ledgers of a mailbox, the newest generation first; four queries, however many there are."""
    here = Message.objects.filter(mailbox=mailbox)
    held, stubs = _counted(here), _counted(here.filter(is_stub=True))
    skipped = _counted(SkippedMessage.objects.filter(mailbox=mailbox))
    return [
        Balance(
            folder=one.folder,
            generation=one.generation,
            opened_at=one.opened_at,
            seen=one.seen,
            stored=held[one.folder, one.generation] - stubs[one.folder, one.generation],
            stubs=stubs[one.folder, one.generation],
            skipped=skipped[one.folder, one.generation],
            moved_on=one.moved_on,
        )
        for one in FolderGeneration.objects.filter(mailbox=mailbox)
    ]


def _counted(rows: QuerySet[Message] | QuerySet[SkippedMessage]) -> Counter[tuple[str, str]]:
    """How many of these stand in which generation of which folder; asked of an index alone."""
    places = rows.order_by().values_list("folder", "generation").annotate(Count("pk"))
    return Counter({(folder, generation): count for folder, generation, count in places})


def tell(mailbox: Mailbox, found: Reconciliation, told: Told) -> None:
    """Raise or resolve the alert about messages that are not accounted for."""
    difference = sum(abs(balance.difference) for balance in balances(mailbox))
    cause = alerts.ledger_cause(mailbox.pk)
    if difference or found.missing:
        alerts.ledger_differs(mailbox, cause, found.missing, difference)
    else:
        told.resolve(cause, "Everything is accounted for.")
