"""One pass over one mailbox: collect, keep, deliver, dispose, in batches, until it is empty or told to yield."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Callable, Container, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import cached_property

from django.db import DatabaseError
from django.db.models import F

from emailprofiles.errors import MailError, Scope
from emailprofiles.transports import IncomingTransport
from emailprofiles.wire import Fetched, Folder, Listed

from .. import connections
from ..models import ConfigurationTest, Message, SkipReason, SyncState
from ..parsing import Parsed
from . import ingest, leases, ledger, plan, stubs
from .disposal import Disposing
from .errands import Errand, Left
from .ingest import Haul, Kept, Place
from .parser import Parser, Poison
from .resume import charge, finish, resume

LISTED_AT_ONCE = 1000

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Tally:
    """What a pass did; `more` when it stopped before the mailbox was empty."""

    resumed: int = 0
    wanted: int = 0
    collected: int = 0
    skipped: int = 0
    more: bool = False


class BrokenOff(Exception):
    """A pass that failed after the folder was open: no sign that the server is in trouble for others."""

    def __init__(self, error: MailError) -> None:
        super().__init__(str(error))
        self.error = error


def synchronize(errand: Errand, parser: Parser, stopping: Callable[[], bool]) -> Tally:
    """Work through a mailbox. Raises MailError for what the server does until the folder is open, BrokenOff for
    what it does then, LeaseLost when the mailbox is not ours any more."""
    run = Pass(errand, parser, stopping)
    if errand.left & {Left.KEPT, Left.LET_THROUGH}:
        run.tally.resumed = resume(errand.lease, run.sorter, parser, run.must_yield)
    with connections.open_incoming(errand.mailbox) as server:
        server.connect()
        folder = server.open()
        try:
            if not errand.is_done(server, folder):
                run.through(server, folder)
        except MailError as error:
            run.look_closer(error)
            raise BrokenOff(error) from error
    return run.tally


@dataclass(slots=True)
class _Reading:
    """An open folder, and how far this pass has read in it."""

    server: IncomingTransport
    place: Place
    position: str | None
    start: str | None = None
    ids: list[str] = field(default_factory=list)

    def listed(self, limit: int) -> list[Listed]:
        """What the server lists behind the position."""
        listed = self.server.listed(self.position, limit)
        self.start, self.ids = self.position, [message.remote_id for message in listed]
        return listed

    def identities(self, limit: int) -> list[str]:
        """The same, by identity alone."""
        self.start, self.ids = self.position, self.server.identities(self.position, limit)
        return self.ids

    def still_there(self, messages: Sequence[Listed]) -> set[str]:
        """Which of the messages listed last the server lists even now."""
        if not messages:
            return set()
        lasting = self.place.folder.lasting_order
        # In another order the place from which we listed may be gone: then the whole folder is asked for.
        return set(self.server.identities(self.start, max(len(self.ids), 1) if lasting else sys.maxsize))


@dataclass(slots=True)
class _Part:
    """A part of the list, in batches; `upto` is how far everything is dealt with, `passed` how far it was asked for."""

    batches: list[list[Listed]]
    small: frozenset[str]
    old: frozenset[Listed]
    heads: dict[str, bytes]
    upto: str | None
    passed: str | None = None
    missing: list[Listed] = field(default_factory=list)

    @property
    def wanted(self) -> list[list[Listed]]:
        """Of each batch those that are collected whole."""
        return [[one for one in batch if one.remote_id in self.small] for batch in self.batches]

    def pass_on(self, batch: Sequence[Listed], fetched: Container[str]) -> None:
        """This batch came; once something did not, the place up to which all is dealt with stays before it."""
        known = (fetched, self.heads)
        asked = (one for one in batch if one not in self.old)
        self.missing += [one for one in asked if not any(one.remote_id in some for some in known)]
        self.passed = batch[-1].remote_id
        if not self.missing:
            self.upto = self.passed


class _Opened:
    """Kept messages that the child reads, while the line does other work; the parser is not to be used meanwhile."""

    def __init__(self, kept: Sequence[Message | Kept], parser: Parser) -> None:
        self._kept = kept
        self._results: list[Parsed | Poison] = []
        self._failure: BaseException | None = None
        raws = [message.raw for message in kept]
        self._thread = threading.Thread(target=self._read, args=(raws, parser), name="reading", daemon=True)
        self._thread.start()

    def _read(self, raws: list[bytes], parser: Parser) -> None:
        try:
            self._results.extend(parser.parse_many(raws))
        except BaseException as failure:  # it is raised where the results are asked for
            self._failure = failure

    def results(self) -> list[tuple[Message | Kept, Parsed | Poison]]:
        """Each message with what was read in it, once all are read. Raises ParserFailed."""
        self._thread.join()
        if self._failure is not None:
            raise self._failure
        return list(zip(self._kept, self._results, strict=True))


class Pass:
    """One pass: the mailbox as it was at its start, and what was done so far."""

    def __init__(self, errand: Errand, parser: Parser, stopping: Callable[[], bool]) -> None:
        self.errand, self.parser, self.stopping = errand, parser, stopping
        self.lease, self.mailbox, self.profile = errand.lease, errand.mailbox, errand.profile
        self.tally = Tally()
        self.allowance = self.profile.messages_per_cycle
        # What there is by now, here and on the server.
        self.has_stubs = Left.STUBS in errand.left
        self.has_kept = Left.KEPT in errand.left
        self.has_copies = bool(errand.left & {Left.COPIES, Left.KEPT, Left.LET_THROUGH})
        self.opened: _Opened | None = None
        self.started_at = leases.now()

    @cached_property
    def sorter(self) -> ingest.Sorter:
        """The office's rules, read when there is something to sort."""
        return ingest.Sorter(self.mailbox, self.errand.settings, self.errand.sent)

    def must_yield(self) -> bool:
        """The engine stops, or somebody waits for a test of this mailbox."""
        waiting = ConfigurationTest.objects.filter(mailbox=self.mailbox, finished_at=None)
        return self.stopping() or waiting.exists()

    def through(self, server: IncomingTransport, folder: Folder) -> None:
        """The line in an open folder: settle what is left over, collect, settle again, and check the ledger."""
        place, state, told = Place(self.mailbox, folder), self.errand.state, self.errand.told
        may_delete = ledger.enter(self.lease, state, place, told)
        disposing = Disposing(server, place, told, may_delete=may_delete)
        self._settle(disposing)
        reading = _Reading(server, place, state.position_in(folder))
        self.collect(reading, disposing, one_by_one=state.fetch_window > 0)
        if not self.tally.more and Left.STUBS in self.errand.left:
            self._complete(server, place)
        if self.has_kept:
            finish(self.lease, self.sorter, self.parser, self.must_yield)
            self.has_copies = True
        self._settle(disposing)
        if not self.tally.more:
            self._all_seen(reading, state)

    def _settle(self, disposing: Disposing) -> None:
        """Dispose of what was delivered since the last time."""
        if self.has_copies:
            disposing.settle()
            self.has_copies = disposing.has_unconfirmed

    def look_closer(self, error: MailError) -> None:
        """An answer broke off: the next pass asks for one message at a time, and finds the one that does it."""
        if error.scope in (Scope.NETWORK, Scope.PROFILE):
            self.lease.write(fetch_window=1)

    def _all_seen(self, reading: _Reading, state: SyncState) -> None:
        """The folder was read to its end, and nothing broke."""
        if state.fetch_window:
            self.lease.write(fetch_window=0, suspect="", suspect_attempts=0)
        if self.has_stubs:
            stubs.tell_of_unavailable(self.mailbox, self.errand.told)
            ledger.give_up_older_stubs(reading.place)
        else:
            self.errand.told.resolve(stubs.unavailable_cause(self.mailbox), stubs.ALL_HANDED_OVER)
        if Left.COMPARISON in self.errand.left:
            ledger.reconcile(self.lease, reading.server, reading.place, self.errand.told)

    # --- the list ---

    def collect(self, reading: _Reading, disposing: Disposing, *, one_by_one: bool) -> None:
        """The loop over what the server lists, up to *messages per cycle*."""
        go_on = self._one_by_one if one_by_one else self._in_batches
        try:
            while not self.tally.more:
                if disposing.names_changed:
                    ledger.mark_gone(reading.place, set(reading.server.identities(None, sys.maxsize)))
                    disposing.names_changed = False
                if not go_on(reading, disposing):
                    return
                self.tally.more = self.tally.more or self._is_full()
        finally:  # whatever ended it, what was kept is not left lying
            self._deliver_opened()

    def _in_batches(self, reading: _Reading, disposing: Disposing) -> bool:
        """The next part of the list; False when there is no more."""
        listed, lasting = reading.listed(LISTED_AT_ONCE), reading.place.folder.lasting_order
        part = self._part(reading, ingest.not_kept(reading.place, listed))
        with closing(reading.server.fetch_ahead(part.wanted)) as coming:
            for batch in part.batches:
                if self._yields():
                    break
                self._batch(reading, part, batch, next(coming))
                if not lasting:
                    self._account_for_missing(reading, part)
                    self._settle(disposing)
                    if disposing.names_changed:
                        return True
        self._account_for_missing(reading, part)
        if self.tally.more:
            return True
        if listed:
            self._move_on(reading, listed[-1].remote_id)
        if lasting and len(listed) < LISTED_AT_ONCE:
            return False  # what comes in meanwhile is for the next pass
        if not (lasting and self._yields()):  # at its end a pass settles anyway
            self._settle(disposing)
        return bool(listed)

    def _one_by_one(self, reading: _Reading, disposing: Disposing) -> bool:
        """The same after an answer broke off."""
        ids = reading.identities(LISTED_AT_ONCE)
        for remote_id in ids:
            if self._yields():
                return True
            if not ingest.is_kept(reading.place, remote_id):
                self._alone(reading, remote_id)
                self._settle(disposing)
            reading.position = remote_id
            if disposing.names_changed:
                return True
        return bool(ids)

    def _yields(self) -> bool:
        """Whether the rest of the list stays for the next pass."""
        self.tally.more = self._is_full() or self.must_yield()
        return self.tally.more

    def _is_full(self) -> bool:
        """Whether others have their turn now; while nobody waits for it, the next cycle goes on in the same session."""
        if self.tally.wanted < self.allowance:
            return False
        if leases.due(leases.now()).exists():
            return True
        self.allowance = self.tally.wanted + self.profile.messages_per_cycle
        return False

    def _move_on(self, reading: _Reading, position: str) -> None:
        """Everything up to here is dealt with, be it by an earlier pass."""
        if reading.position != position and reading.place.folder.lasting_order:
            ingest.move_on(self.lease, reading.place, position)
        reading.position = position

    def _alone(self, reading: _Reading, remote_id: str) -> None:
        """Ask for one message; the attempt is counted first, so that one which breaks every answer is passed by."""
        if stubs.is_given_up(self.lease, remote_id):
            self._keep(reading, Haul(stubs=[stubs.breaks_off(Listed(remote_id, 0, None))]), remote_id)
            return
        if listed := self._listed_alone(reading, remote_id):
            part = self._part(reading, listed)
            came = [
                list(reading.server.fetch([one.remote_id for one in some])) for some in part.wanted if some
            ]
            self._batch(reading, part, part.batches[0], [one for some in came for one in some])
            self._account_for_missing(reading, part)

    def _listed_alone(self, reading: _Reading, remote_id: str) -> list[Listed]:
        listed = reading.server.listed(reading.position, 1)
        return [message for message in listed if message.remote_id == remote_id]

    # --- one batch ---

    def _part(self, reading: _Reading, listed: Sequence[Listed]) -> _Part:
        """What the list alone says of these messages, and the headers of those that are too large."""
        dated = self._dated(reading.server, listed)
        recent = plan.wanted(dated, self.profile.process_email_from)
        small, large = plan.by_size(recent, self.sorter.settings.max_message_octets) if recent else ([], [])
        return _Part(
            batches=list(plan.batches(dated)),
            small=frozenset(one.remote_id for one in small),
            old=frozenset(dated) - frozenset(recent),
            heads=stubs.headers_of(reading.server, large),
            upto=reading.position,
        )

    def _batch(self, reading: _Reading, part: _Part, batch: list[Listed], came: Sequence[Fetched]) -> None:
        """Each message of a batch is whole, a stub, or skipped; what did not come is accounted for later."""
        fetched = {one.remote_id: one for one in came}
        haul = Haul(
            whole=[(m, fetched[m.remote_id]) for m in batch if m.remote_id in fetched],
            stubs=[stubs.too_large(m, part.heads[m.remote_id]) for m in batch if m.remote_id in part.heads],
            skipped=[(m, SkipReason.TOO_OLD) for m in batch if m in part.old],
        )
        part.pass_on(batch, fetched)
        self.tally.wanted += len(batch) - len(haul.skipped)
        self.tally.collected += self._keep(reading, haul, part.upto)
        self._count_skipped(len(haul.skipped))

    def _account_for_missing(self, reading: _Reading, part: _Part) -> None:
        """What was listed and did not come: a stub if the server lists it even now, skipped if it is gone."""
        if not part.missing:
            return
        there = reading.still_there(part.missing)
        haul = Haul(
            stubs=[stubs.not_handed_over(m) for m in part.missing if m.remote_id in there],
            skipped=[(m, SkipReason.VANISHED) for m in part.missing if m.remote_id not in there],
        )
        self._keep(reading, haul, part.passed)

    def _keep(self, reading: _Reading, haul: Haul, upto: str | None) -> int:
        """Put a batch down, then open it; returns how many messages are new and whole.

        The child reads it while the one before is delivered, and the next is asked for and put down.
        """
        lasting = reading.place.folder.lasting_order
        whole, partial = ingest.keep(self.lease, reading.place, haul, upto if lasting else None)
        if len(whole) + len(partial) < len(haul.whole) + len(haul.stubs):  # some are known from another place
            self.has_copies = True
        reading.position = upto
        before = self.opened.results() if self.opened else []
        if partial:
            stubs.describe(partial, self.parser)
            self.has_stubs = True
        self.opened = _Opened(whole, self.parser)
        self._deliver(before)
        if not lasting:  # what is deleted next gives its name away
            self._deliver_opened()
        return len(whole)

    def _dated(self, server: IncomingTransport, listed: Sequence[Listed]) -> list[Listed]:
        """Where the server tells no dates (POP3), they are read in the headers, if anybody asks for them."""
        undated = [m.remote_id for m in listed if m.received_at is None]
        if not undated or self.profile.process_email_from is None:
            return list(listed)
        dates = {one.remote_id: one.received_at for one in server.fetch_headers(undated)}
        return [replace(m, received_at=m.received_at or dates.get(m.remote_id)) for m in listed]

    def _deliver_opened(self) -> None:
        if self.opened is not None:
            opened, self.opened = self.opened, None
            self._deliver(opened.results())

    def _deliver(self, results: list[tuple[Message | Kept, Parsed | Poison]]) -> None:
        """Together if that works; a message that cannot be read waits for an attempt of its own."""
        if not results:
            return
        read = [(message, parsed) for message, parsed in results if not isinstance(parsed, Poison)]
        if len(read) < len(results):
            self.has_kept = True
            if not self.stopping():  # our own stop ends the child, too
                for message, parsed in results:
                    if isinstance(parsed, Poison):
                        charge(message)
        self.has_copies = True
        try:
            ingest.deliver(self.lease, self.sorter.decide(read))
        except DatabaseError as error:
            self.has_kept = True
            log.warning("A batch of %s is delivered one by one: %s", self.mailbox.name, type(error).__name__)
            if self.opened is not None:
                self.opened.results()  # the parser is ours again
            resume(self.lease, self.sorter, self.parser, self.stopping)

    def _complete(self, server: IncomingTransport, place: Place) -> None:
        """Once a cycle, and behind all other mail: ask for the whole of what earlier cycles left as a stub."""
        asking = stubs.Asking(server, place, self.sorter.settings.max_message_octets, self.started_at)
        for whole in asking.complete(self.must_yield):
            self.tally.collected += 1
            self._deliver(_Opened([whole], self.parser).results())

    def _count_skipped(self, skipped: int) -> None:
        if skipped:
            self.tally.skipped += skipped
            self.lease.write(skipped=F("skipped") + skipped)
