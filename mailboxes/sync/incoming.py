"""One pass over one mailbox: collect, keep, deliver, dispose, in batches, until it is empty or told to yield."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from django.db import DatabaseError
from django.db.models import F, QuerySet
from django.utils import timezone

from emailprofiles.errors import CapabilityMissing, FolderReadOnly, MailError
from emailprofiles.transports import IncomingTransport
from emailprofiles.wire import Disposal, Fetched, Folder, Listed

from .. import alerts, connections
from ..models import ConfigurationTest, Mailbox, Message, MessageState, SyncState
from . import ingest, plan
from .leases import Lease
from .parser import Parser, Poison
from .resume import charge, finish, resume

DISPOSAL_BATCH = 500
LISTED_AT_ONCE = 1000

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Tally:
    """What a pass did; `more` when it stopped before the mailbox was empty."""

    wanted: int = 0
    collected: int = 0
    skipped: int = 0
    more: bool = False


class BrokenOff(Exception):
    """A pass that failed after the folder was open: no sign that the server is in trouble for others."""

    def __init__(self, error: MailError) -> None:
        super().__init__(str(error))
        self.error = error


def synchronize(lease: Lease, parser: Parser, stopping: Callable[[], bool]) -> Tally:
    """Work through a mailbox. Raises MailError for what the server does until the folder is open, BrokenOff for
    what it does then, LeaseLost when the mailbox is not ours any more."""
    run = Pass(lease, parser, stopping)
    resume(lease, run.mailbox, parser, run.must_yield)
    with connections.open_incoming(run.mailbox) as server:
        server.connect()
        folder = server.open()
        try:
            run.settle(server, folder)
            run.collect(server, folder)
            finish(lease, run.mailbox, parser, run.must_yield)
            run.settle(server, folder)
        except MailError as error:
            raise BrokenOff(error) from error
    return run.tally


@dataclass(slots=True)
class _Reading:
    """How far this pass has read in an open folder.

    `position` goes on with every batch; the cursor that is stored stays before the first message that the
    server lists and does not hand over, so that the next pass asks for it again.
    """

    server: IncomingTransport
    folder: Folder
    position: str | None
    held_at: str | None = None
    unavailable: list[str] = field(default_factory=list)

    def move_on(self, batch: list[Listed], wanted: set[str], fetched: list[Fetched]) -> str:
        """Pass over a batch; returns the cursor to store with it."""
        missing = wanted - {message.remote_id for message in fetched}
        if missing:
            there = {message.remote_id for message in self.server.listed(self.position, len(batch))}
            self._note(batch, missing & there)
        self.position = batch[-1].remote_id
        return self.position if self.held_at is None else self.held_at

    def _note(self, batch: list[Listed], unavailable: set[str]) -> None:
        before = self.position or ""
        for message in batch:
            if message.remote_id in unavailable:
                self.unavailable.append(message.remote_id)
                self.held_at = before if self.held_at is None else self.held_at
            before = message.remote_id


class Pass:
    """One pass: the mailbox as it was at its start, and what was done so far."""

    def __init__(self, lease: Lease, parser: Parser, stopping: Callable[[], bool]) -> None:
        self.lease, self.parser, self.stopping = lease, parser, stopping
        rows = Mailbox.objects.select_related("server_profile", "user", "queue", "owner")
        self.mailbox = rows.get(pk=lease.mailbox_id)
        self.profile = self.mailbox.server_profile
        self.sorter = ingest.Sorter(self.mailbox)
        self.tally = Tally()

    def must_yield(self) -> bool:
        """The engine stops, or somebody waits for a test of this mailbox."""
        waiting = ConfigurationTest.objects.filter(mailbox=self.mailbox, finished_at=None)
        return self.stopping() or waiting.exists()

    def collect(self, server: IncomingTransport, folder: Folder) -> None:
        """The loop over batches, up to *messages per cycle*."""
        assert self.profile is not None
        state = SyncState.objects.get(pk=self.lease.state_id)
        reading = _Reading(server, folder, state.position_in(folder))
        while self.tally.wanted < self.profile.messages_per_cycle:
            listed = server.listed(reading.position, min(self.profile.messages_per_cycle, LISTED_AT_ONCE))
            if not listed:
                self._tell_of_unavailable(reading)
                return
            for batch in plan.batches(listed):
                if self.must_yield():
                    self.tally.more = True
                    return
                self._batch(reading, batch)
        self.tally.more = True

    def _batch(self, reading: _Reading, batch: list[Listed]) -> None:
        wanted = self._wanted(reading.folder, batch)
        fetched = list(reading.server.fetch([message.remote_id for message in wanted])) if wanted else []
        upto = reading.move_on(batch, {message.remote_id for message in wanted}, fetched)
        kept = ingest.keep(self.lease, self.mailbox, reading.folder, fetched, upto)
        self._deliver(kept)
        self.tally.wanted += len(wanted)
        self.tally.collected += len(kept)
        self.settle(reading.server, reading.folder)

    def _wanted(self, folder: Folder, batch: list[Listed]) -> list[Listed]:
        """Neither stored already nor older than *Process Email From*."""
        assert self.profile is not None
        recent = plan.wanted(batch, self.profile.process_email_from)
        self._count_skipped(len(batch) - len(recent))
        return ingest.not_kept(self.mailbox, folder, recent)

    def _tell_of_unavailable(self, reading: _Reading) -> None:
        cause = f"unavailable:{self.mailbox.pk}"
        if reading.unavailable:
            alerts.messages_unavailable(self.mailbox, cause, len(reading.unavailable))
        else:
            alerts.resolve(cause, "The server handed everything over.")

    def _deliver(self, kept: list[Message]) -> None:
        """Together if that works; a message that cannot be read waits for an attempt of its own."""
        results = zip(kept, self.parser.parse_many([bytes(message.raw) for message in kept]), strict=True)
        read = []
        for message, parsed in results:
            if not isinstance(parsed, Poison):
                read.append((message, parsed))
            elif not self.stopping():  # our own stop ends the child, too
                charge(message)
        try:
            ingest.deliver(self.lease, self.sorter.decide(read))
        except DatabaseError as error:
            log.warning("A batch of %s is delivered one by one: %s", self.mailbox.name, type(error).__name__)
            resume(self.lease, self.mailbox, self.parser, self.stopping)

    def _count_skipped(self, skipped: int) -> None:
        if skipped:
            self.tally.skipped += skipped
            self.lease.write(skipped=F("skipped") + skipped)

    def settle(self, server: IncomingTransport, folder: Folder) -> None:
        """Dispose of the server's copy of what is delivered or discarded, by the mailbox's rule.

        The reply to an earlier pass's disposal may have been lost: asking again is how we find out.
        """
        disposal = connections.disposal_of(self.mailbox)
        cause = f"disposal:{self.mailbox.pk}"
        try:
            done = self._dispose(server, folder, disposal)
        except (FolderReadOnly, CapabilityMissing) as error:
            if disposal is Disposal.DELETE:
                raise
            alerts.settings_ignored(self.mailbox, f"{error}.", error.advice)
        else:
            if done:
                alerts.resolve(cause, "The server's copies could be marked again.")

    def _dispose(self, server: IncomingTransport, folder: Folder, disposal: Disposal) -> int:
        done = 0
        while ids := self._to_dispose(folder):
            answer = server.dispose(ids, disposal)
            finished = [*answer.done, *answer.vanished]
            self._note_disposed(folder, finished, disposal)
            done += len(finished)
            if len(finished) < len(ids):
                log.warning(
                    "%s: %d copies were not confirmed, asked again later",
                    self.mailbox.name,
                    len(ids) - len(finished),
                )
                break
        return done

    def _to_dispose(self, folder: Folder) -> list[str]:
        rows = self._here(folder).filter(
            disposed_at=None, state__in=[MessageState.DELIVERED, MessageState.DISCARDED]
        )
        return list(rows.order_by("pk").values_list("remote_id", flat=True)[:DISPOSAL_BATCH])

    def _note_disposed(self, folder: Folder, ids: Iterable[str], disposal: Disposal) -> None:
        rows = self._here(folder).filter(remote_id__in=list(ids))
        rows.update(disposed_at=timezone.now(), disposal=disposal.value)

    def _here(self, folder: Folder) -> QuerySet[Message]:
        return ingest.kept_from(self.mailbox, folder)
