"""The engine: threads that work through what is due, and seats beside them for what people ask for.

One seat is kept for the test that a person waits for, one for a bulk command, and one for the tests of a bulk
command, which take idle threads as well: all but one, since collecting goes first.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import DatabaseError, connection, transaction
from django.db.models import Case, F, Q, Value, When

from emailprofiles.errors import MailError
from emailprofiles.models import EmailServerProfile

from .. import alerts, bulk, configtest, outbox
from ..alertmail import Postman
from ..diary import SOON, Diary
from ..models import (
    BulkCommand,
    Command,
    ConfigurationTest,
    Direction,
    EngineProcess,
    Mailbox,
    ServerCircuit,
    SyncState,
)
from ..survey import Abandoned
from . import backoff, errands, leases
from .errands import Errand
from .incoming import BrokenOff, Tally, synchronize
from .leases import Lease, LeaseLost
from .parser import Parser
from .push import Watches
from .sending import Sent, find_abandoned, send
from .tray import Tray

LOOK_AGAIN_SECONDS = 1.0
REST_SECONDS = (
    0.05  # between two looks: what is claimed together costs little more than what is claimed alone
)
HEARTBEAT_SECONDS = 5.0
OTHERS_SECONDS = 30.0
OUTBOX_SECONDS = 30.0
MAIL_SECONDS = 30.0

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Summary:
    """What an engine did so far."""

    passes: int = 0
    collected: int = 0
    sent: int = 0
    failed: int = 0
    failures: list[str] = field(default_factory=list)

    def add(self, tally: Tally | Sent) -> None:
        self.passes += 1
        if isinstance(tally, Sent):
            self.sent += tally.sent
        else:
            self.collected += tally.collected


class Engine:
    """Claims and runs leases with `threads` threads, plus the seats for tests and commands, until `stop` is set."""

    def __init__(self, threads: int, *, on_change: Callable[[Summary], None] = lambda summary: None) -> None:
        self.threads = threads
        self.stop = threading.Event()
        self.wake = threading.Event()
        self.summary = Summary()
        self.holder = leases.this_process()
        self._on_change = on_change
        self._pool = ThreadPoolExecutor(threads + 3, thread_name_prefix="engine")
        self._errands = Tray(self._pool, self._pass, self.wake)
        self._many = Tray(self._pool, self._test_one_of_many, self.wake)
        self._local = threading.local()
        self._parsers: list[Parser] = []
        self._was_sorted = self._many_ended = False
        self._settled_at = 0.0
        self._outbox_watched_at = float("-inf")
        self._lock = threading.Lock()
        self._claiming = threading.Lock()
        self._test: Future[bool] | None = None
        self._testing: ConfigurationTest | None = None
        self._commands: dict[Future[bool], BulkCommand] = {}
        self._watches = Watches(self.holder, settings.SYNC_WATCHES, self.wake.set)
        self._heart = threading.Thread(target=self._beat, name="engine-heartbeat", daemon=True)
        self._postman = Postman(self.stop.is_set)
        self._mailing = threading.Thread(target=self._mail, name="engine-alert-mail", daemon=True)

    def run(self) -> None:
        """Work until told to stop; survives a database that is away for a while."""
        self._heart.start()
        self._watches.start()
        self._mailing.start()
        while not self.stop.is_set():
            self._round()
            self.stop.wait(REST_SECONDS)
            self.wake.wait(LOOK_AGAIN_SECONDS)
            self.wake.clear()

    def run_once(self, only: Mailbox | None = None) -> Summary:
        """Work until nothing is due, each mailbox until it is empty; waits a while for what others hold."""
        self._heart.start()
        began = leases.now()
        patience = time.monotonic() + OTHERS_SECONDS
        while not self.stop.is_set():
            self._collect_finished()
            # A clock that was set back must not make due again, and again, what was done.
            among = _due_since(min(began, leases.now()), only)
            claimed = self._claim(among)
            self._claim_test()
            if only is None:
                self._claim_many()
            if self._busy():
                self.wake.wait(LOOK_AGAIN_SECONDS)
                self.wake.clear()
            elif not claimed:
                if not self._others_at_work(among, only) or time.monotonic() > patience:
                    break
                self.stop.wait(0.2)
        self._watch_quarantine()
        self._tell_owners()
        return self.summary

    def _others_at_work(self, among: Q, only: Mailbox | None) -> bool:
        moment = leases.now()
        held = leases.due(moment, among=among, held=True).exists()
        if not held and leases.anything_to_send():
            held = leases.due_to_send(moment, among=among, held=True).exists()
        return held or (only is None and bool(bulk.under_way()))

    def shut_down(self, patience: float = 5.0) -> bool:
        """Let passes stop at their next batch; False when one still waits for its server after `patience` seconds.

        Then the process may simply end: leases of a dead process are free, and the line is safe to repeat.
        """
        self.stop.set()
        self.wake.set()
        with self._claiming:  # a round under way ends first: what it claimed is in our hands then
            pass
        unbegun: list[Errand | bulk.Claimed] = [*self._errands.close(), *self._many.close()]
        for parser in self._parsers:
            parser.interrupt()
        finished = not wait(self._busy(), timeout=patience).not_done
        self._pool.shutdown(wait=finished, cancel_futures=True)
        if finished:  # nobody reads any more
            for parser in self._parsers:
                parser.close()
        self._watches.shut_down(patience)
        for thread in (self._heart, self._mailing):
            if thread.is_alive():
                thread.join(patience)
        self._collect_finished()
        self._give_back(unbegun)
        self._watch_quarantine()
        EngineProcess.objects.filter(holder=self.holder).delete()
        connection.close()
        return finished

    def _busy(self) -> list[Future[Any]]:
        passes, tests = self._errands.threads(), self._many.threads()
        return [*passes, *self._running_test(), *tests, *self._commands]

    def _round(self) -> None:
        with self._claiming:
            if not self.stop.is_set():
                self._try_round()

    def _try_round(self) -> None:
        try:
            self._collect_finished()
            self._claim(None)
            self._claim_test()
            self._claim_many()
        except DatabaseError as error:
            log.error("The database does not answer, tried again: %s", error)
            connection.close()

    def _claim(self, among: Q | None) -> int:
        self._give_back(self._errands.take_back())
        threads = self.threads - max(0, self._many.at_work - 1)
        claimed = leases.claim(self._errands.room(threads), self.holder, among=among)
        if claimed:
            self._errands.put(errands.read(claimed), threads)
        return len(claimed)

    def _give_back(self, unbegun: Sequence[Errand | bulk.Claimed]) -> None:
        """What was claimed in advance and waits too long behind slow servers: another worker may be free."""
        for one in unbegun:
            if isinstance(one, bulk.Claimed):
                leases.let_go(one.test)
            if one.lease is not None:
                leases.release(one.lease)

    def _claim_test(self) -> None:
        if self._running_test():
            return
        test = leases.claim_test(self.holder)
        if test is not None:
            self._testing = test
            self._test = self._submit(self._run_test, test)

    def _claim_many(self) -> None:
        """Go on with bulk commands; their tests take what is idle after collecting, but for one thread."""
        commands = bulk.under_way()
        if (
            commands - {Command.TEST}
            and not self._commands
            and (command := leases.claim_command(self.holder))
        ):
            self._commands[self._submit(self._carry_out, command)] = command
        if Command.TEST in commands:
            self._claim_tests_of_many()

    def _claim_tests_of_many(self) -> None:
        if self._many_ended or time.monotonic() - self._settled_at > LOOK_AGAIN_SECONDS:
            self._many_ended, self._settled_at = False, time.monotonic()
            bulk.settle()
        self._give_back(self._many.take_back())
        threads = 1 + max(0, self.threads - self._errands.at_work - 1)
        if room := self._many.room(threads):
            self._many.put(bulk.claim_tests(room, self.holder), threads)

    def _submit(self, work: Callable[..., bool], *args: object) -> Future[bool]:
        """Hand work to a thread; its end is a reason to look again."""
        future = self._pool.submit(work, *args)
        future.add_done_callback(lambda _: self.wake.set())
        return future

    def _running_test(self) -> list[Future[bool]]:
        return [self._test] if self._test is not None and not self._test.done() else []

    def _collect_finished(self) -> None:
        _forget_finished(self._commands, "A bulk command")
        if self._test is not None and self._test.done():
            if error := self._test.exception():
                log.error("A test ended unexpectedly", exc_info=error)
            self._test = self._testing = None

    def _beat(self) -> None:
        """Say that we live and keep our leases, while the threads are busy."""
        while not self.stop.is_set():
            try:
                EngineProcess.objects.update_or_create(
                    holder=self.holder, defaults={"threads": self.threads, "seen_at": leases.now()}
                )
                leases.renew(errand.lease for errand in self._errands.held())
                if self._testing is not None:
                    leases.renew_test(self._testing)
                self._keep_what_many_asked_for()
                self._watch_quarantine()
                self._watch_outbox()
            except (DatabaseError, RuntimeError) as error:  # RuntimeError: the dict changed under our copy
                log.warning("No heartbeat this time: %s", error)
            except Exception:  # without a heart the leases of all passes end while they work
                log.exception("A heartbeat failed")
            self.stop.wait(HEARTBEAT_SECONDS)
        connection.close()

    def _mail(self) -> None:
        """In a thread of its own: a slow mail server holds up no heartbeat."""
        while not self.stop.is_set():
            self._tell_owners()
            self.stop.wait(MAIL_SECONDS)
        connection.close()

    def _tell_owners(self) -> None:
        try:
            self._postman.go_round(leases.now())
        except DatabaseError as error:
            log.warning("No look at what is to be mailed this time: %s", error)
            connection.close()
        except Exception:  # in a thread of its own nobody else would hear of it
            log.exception("Alerts could not be mailed")

    def _keep_what_many_asked_for(self) -> None:
        for claimed in self._many.held():
            leases.renew_test(claimed.test)
            leases.renew([claimed.lease] if claimed.lease else [])
        for command in list(self._commands.values()):
            leases.renew_command(command)

    def _parser(self) -> Parser:
        """One child for each thread."""
        if not hasattr(self._local, "parser"):
            self._local.parser = Parser()
            with self._lock:
                self._parsers.append(self._local.parser)
        parser: Parser = self._local.parser
        return parser

    def _pass(self, errand: Errand) -> bool:
        lease = errand.lease
        try:
            if lease.direction == Direction.OUTGOING:
                tally: Tally | Sent = send(errand, self.stop.is_set)
            else:
                tally = synchronize(errand, self._parser(), self.stop.is_set)
        except LeaseLost:
            log.warning("Mailbox %s went to another worker", lease.mailbox_id)
            return False
        except (MailError, BrokenOff) as error:
            failed(lease, error)
            self._failed(errand, str(error))
            return False
        except Exception as error:  # whatever it was, the lease must not hang and the mailbox come again
            log.exception("A pass of mailbox %s failed", lease.mailbox_id)
            postponed(lease, f"An unexpected error ended the pass: {type(error).__name__}")
            self._failed(errand, type(error).__name__)
            return False
        succeeded(errand, tally)
        with self._lock:
            self.summary.add(tally)
            self._was_sorted |= isinstance(tally, Tally) and bool(tally.collected or tally.resumed)
        self._on_change(self.summary)
        return True

    def _watch_quarantine(self) -> None:
        if self._was_sorted:
            self._was_sorted = False
            alerts.quarantine_watched()

    def _watch_outbox(self) -> None:
        """What a dead worker left in between, and what has waited too long; not at every beat."""
        find_abandoned()
        if time.monotonic() - self._outbox_watched_at > OUTBOX_SECONDS:
            self._outbox_watched_at = time.monotonic()
            outbox.watch_age()
            outbox.watch_failures()
            outbox.watch_storms()

    def _failed(self, errand: Errand, why: str) -> None:
        with self._lock:
            self.summary.failed += 1
            self.summary.failures.append(f"{errand.mailbox.email_address}: {why}")
        self._on_change(self.summary)

    def _run_test(self, test: ConfigurationTest) -> bool:
        try:
            return run_test(test, self.stop.is_set, None, self._parser()) is not None
        finally:
            connection.close()

    def _test_one_of_many(self, claimed: bulk.Claimed) -> None:
        try:
            run_test(claimed.test, self.stop.is_set, claimed.lease, self._parser())
        finally:
            self._many_ended = True

    def _carry_out(self, command: BulkCommand) -> bool:
        try:
            bulk.carry_out(command, self.stop.is_set)
            return True
        finally:
            leases.release_command(command)
            connection.close()


def _forget_finished(futures: dict[Future[bool], Any], what: str) -> None:
    for future in [future for future in futures if future.done()]:
        del futures[future]
        if not future.cancelled() and (error := future.exception()):
            log.error("%s ended unexpectedly", what, exc_info=error)


def _due_since(started: datetime, only: Mailbox | None) -> Q:
    """What was due when we began and is not finished: the end of a pass sets `next_run_at` anew."""
    due = Q(next_run_at=None) | Q(next_run_at__lte=started)
    return due & Q(mailbox=only) if only is not None else due


def succeeded(errand: Errand, tally: Tally | Sent) -> None:
    """Come again after the polling interval, or at once if there is more; what was wrong is resolved."""
    profile, now, direction = errand.profile, leases.now(), errand.lease.direction
    # "At once" keeps the old due time: for `--once` the mailbox then is not finished yet.
    again: dict[str, object] = {} if tally.more else {"next_run_at": _next_cycle(profile, now)}
    if direction == Direction.OUTGOING and not tally.more:  # due when something waits
        again = {"next_run_at": now}
    if isinstance(tally, Sent) and not tally.server_answered:  # nobody asked it, so nothing is known of it
        leases.release(errand.lease, **again)
        return
    leases.release(errand.lease, failures=0, failing_since=None, last_error="", last_success_at=now, **again)
    circuits = ServerCircuit.objects.filter(profile=profile, direction=direction)
    if errand.is_in_trouble and circuits.delete()[0]:
        alerts.resolve(alerts.server_cause(profile.pk, direction), "The server answers again.")
    resolution = "Mail was sent again." if isinstance(tally, Sent) else "Mail was collected again."
    errand.told.resolve(alerts.direction_cause(errand.mailbox.pk, direction), resolution)


def _next_cycle(profile: EmailServerProfile, now: datetime) -> Case:
    """After the polling interval; at once when the server told of mail while the pass was under way."""
    told_meanwhile = When(told_at__gte=F("last_run_at"), then=Value(now))
    return Case(told_meanwhile, default=Value(now + timedelta(minutes=profile.min_polling_interval_minutes)))


def failed(lease: Lease, failure: MailError | BrokenOff) -> None:
    """Postpone, stop the direction, or open the server's circuit: as `backoff.verdict` says."""
    opened = isinstance(failure, BrokenOff)
    error = failure.error if isinstance(failure, BrokenOff) else failure
    mailbox = Mailbox.objects.select_related("server_profile", "owner").get(pk=lease.mailbox_id)
    state = SyncState.objects.get(pk=lease.state_id)
    verdict = backoff.verdict(
        error,
        state.failures + 1,
        random.SystemRandom(),
        opened=opened,
        sends=lease.direction == Direction.OUTGOING,
    )
    now = leases.now()
    if verdict.circuit:
        leases.release(lease, next_run_at=now)
        open_circuit(mailbox, lease.direction, error)
        return
    leases.release(
        lease,
        failures=state.failures + 1,
        failing_since=state.failing_since or now,
        last_error=str(error),
        next_run_at=now + verdict.wait,
        **({"enabled": False} if verdict.stop else {}),
    )
    if verdict.stop:
        alerts.direction_stopped(mailbox, lease.direction, error)


def open_circuit(mailbox: Mailbox, direction: str, error: MailError) -> None:
    """All mailboxes of this server wait; the row says until when, and backs off with each failed probe."""
    profile = mailbox.server_profile
    assert profile is not None
    with transaction.atomic():
        circuits = ServerCircuit.objects.select_for_update()
        circuit = circuits.filter(profile=profile, direction=direction).first()
        failures = circuit.failures + 1 if circuit else 1
        until = leases.now() + backoff.delay(failures, random.SystemRandom())
        ServerCircuit.objects.update_or_create(
            profile=profile,
            direction=direction,
            defaults={"open_until": until, "failures": failures, "reason": f"{error}."},
        )
    alerts.server_in_trouble(profile, direction, error)


def postponed(lease: Lease, why: str) -> None:
    """An error of ours: come again later, as if the server had asked for it."""
    state = SyncState.objects.get(pk=lease.state_id)
    wait_for = backoff.delay(state.failures + 1, random.SystemRandom())
    leases.release(
        lease,
        failures=state.failures + 1,
        failing_since=state.failing_since or leases.now(),
        last_error=why,
        next_run_at=leases.now() + wait_for,
    )


def run_test(
    test: ConfigurationTest,
    stopping: Callable[[], bool],
    lease: Lease | None = None,
    parser: Parser | None = None,
) -> dict[str, str] | None:
    """Run a claimed test while no pass works on the mailbox; None when it was left to another worker."""
    state = SyncState.objects.get(mailbox=test.mailbox_id, direction=Direction.INCOMING)
    held: list[Lease] = []
    diary = Diary(test)
    with _kept(diary, held):
        while lease is None and (lease := leases.seize(state.pk, leases.this_process())) is None:
            if stopping():
                leases.let_go(test)
                return None
            time.sleep(0.1)  # the pass yields at its next batch, since this test is asked for
        held.append(lease)
        try:
            return configtest.run(test, stopping, parser, diary)
        except Abandoned:
            leases.let_go(test)
            return None
        except LeaseLost:
            log.warning("The test of mailbox %s went to another worker", test.mailbox_id)
            return None
        finally:
            leases.release(lease)


@contextmanager
def _kept(diary: Diary, held: list[Lease]) -> Iterator[None]:
    """Renew a test, what it holds and what it shows from a thread of its own: a step may take longer than a lease."""
    ended = threading.Event()
    heart = threading.Thread(target=_keep, args=(diary, held, ended), name="test-heartbeat", daemon=True)
    heart.start()
    try:
        yield
    finally:
        ended.set()
        heart.join()


def _keep(diary: Diary, held: list[Lease], ended: threading.Event) -> None:
    renewed = time.monotonic()
    try:
        while not ended.wait(SOON):
            try:
                diary.write_if_late()
                if time.monotonic() - renewed >= leases.RENEWAL_SECONDS:
                    renewed = time.monotonic()
                    leases.hold(diary.test)
                    leases.renew(list(held))
            except DatabaseError as error:
                log.warning("No heartbeat of a test this time: %s", error)
    except LeaseLost:  # the test notices at its next step
        pass
    finally:
        connection.close()
