"""Test & Enable: the real line, stopped early, told step by step.

A test is a row that a person requested and a worker claimed. Each step is written when it ends, or a moment
later together with the next, so that the page shows it and shows it after a reload. All directions are tested
even if one fails; what came of them is written in one transaction, with the directions that it enables.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from django.db.models import Q
from django.utils import timezone

from emailprofiles.errors import (
    MailError,
    MessageRefused,
    OutcomeUnknown,
    SettingsIncomplete,
    TryLater,
    at_step,
)
from emailprofiles.models import AuthenticateUsing, SecurityChoice
from emailprofiles.transports import IncomingTransport, OutgoingTransport
from emailprofiles.wire import Step, StepName

from . import alerts, connections, testmail
from .arrival import Arrival
from .diary import Diary
from .models import (
    ConfigurationTest,
    Direction,
    IncomingMethod,
    Mailbox,
    ServerCircuit,
    StepState,
    SyncState,
    TestStatus,
)
from .standing import Office, Precondition, preconditions
from .survey import WHAT_IS_THERE, Abandoned, is_due, progress, take
from .sync.leases import LeaseLost
from .sync.parser import Parser

log = logging.getLogger(__name__)

_NOTHING_RUNS = "This direction does not run until a test passes. Mail stays on the server."
_OTHERS_GO_ON = "The other directions are tested all the same."


def plan(
    mailbox: Mailbox, direction: str, *, survey: bool = False, sends: bool = True, can_look: bool = True
) -> list[str]:
    """The names of the steps of one direction, in order; empty when there is nothing to test.

    With `survey`, incoming mail ends with a look at what is there. Outgoing mail ends with a test message if it
    `sends`, whose arrival is waited for where this mailbox collects by itself and the server lets us (`can_look`).
    """
    method = mailbox.method(direction)
    if direction == Direction.INCOMING and method == IncomingMethod.FORWARD:
        return ["mailbox active", "address approved", "forward mailbox runs"]
    if method != IncomingMethod.SERVER_SIDE:
        return []
    profile = mailbox.server_profile
    security = getattr(profile, f"{direction}_security", SecurityChoice.TLS)
    steps = [StepName.SETTINGS, StepName.NAME, StepName.PORT]
    steps += [] if security == SecurityChoice.NONE else [StepName.TLS]
    steps += [StepName.GREETING]
    anonymous = profile is not None and profile.authenticate_using == AuthenticateUsing.ANONYMOUS
    steps += [] if anonymous else [StepName.SIGNED_IN]
    if direction == Direction.INCOMING:
        look = [WHAT_IS_THERE] if survey else []
        return [*steps, StepName.FOLDER, StepName.MAY_DELETE, StepName.MESSAGE, *look]
    looks = can_look and mailbox.incoming_method == IncomingMethod.SERVER_SIDE
    sent = [StepName.ACCEPTED, *([StepName.ARRIVED] if looks else [])]
    return [*steps, StepName.SENDER, StepName.RECIPIENT, *(sent if sends else [])]


def something_to_test() -> Q:
    """SQL: some direction has a plan."""
    ours = (IncomingMethod.FORWARD, IncomingMethod.SERVER_SIDE)
    return (
        Q(incoming_method__in=ours)
        | Q(outgoing_method=IncomingMethod.SERVER_SIDE)
        | Q(act_method=IncomingMethod.SERVER_SIDE)
    )


def plan_of(
    test: ConfigurationTest, mailbox: Mailbox, direction: str, incoming: str | None = None
) -> list[str]:
    """The steps that this very test takes in one direction; what came of incoming mail is said, or read in its steps.

    A test that only looks sends nothing.
    """
    failed = _incoming_failed(test) if incoming is None else incoming == TestStatus.FAILURE
    return plan(mailbox, direction, survey=is_due(test, mailbox), sends=test.enables, can_look=not failed)


def _incoming_failed(test: ConfigurationTest) -> bool:
    steps = (step for step in test.steps.all() if step.direction == Direction.INCOMING)
    return any(step.state == StepState.FAILED for step in steps)


def run(
    test: ConfigurationTest,
    stopping: Callable[[], bool] = lambda: False,
    parser: Parser | None = None,
    diary: Diary | None = None,
) -> dict[str, str]:
    """Execute a claimed test; returns the status of each tested direction. Without a `parser` one is started,
    without a `diary` steps are seen when the test ends.

    Raises nothing a server can cause, Abandoned when it was told to stop before the end, and LeaseLost
    when another worker took the test over: then nothing of this run counts.
    """
    mailbox = Mailbox.objects.select_related("server_profile", "user", "queue", "owner").get(
        pk=test.mailbox_id
    )
    diary = diary or Diary(test)
    results: dict[str, str] = {}
    for direction in Direction.values:
        if plan(mailbox, direction):
            if direction == Direction.OUTGOING:  # somebody may have asked for more meanwhile
                diary.test.refresh_from_db(fields=["enables"])
            names = plan_of(diary.test, mailbox, direction, results.get(Direction.INCOMING, ""))
            passed = _Climb(diary, mailbox, direction, names, stopping, parser).to_the_top()
            results[direction] = TestStatus.SUCCESS if passed else TestStatus.FAILURE
    if _finish(diary, mailbox, results):
        _tell(mailbox, results)
    return results


def _finish(diary: Diary, mailbox: Mailbox, results: dict[str, str]) -> bool:
    """Close the test with what came of it; whether it enables, as it is asked for by now. Raises LeaseLost."""
    with diary.writing():
        row = ConfigurationTest.objects.select_for_update().get(pk=diary.test.pk)
        if row.enables:
            for direction, status in results.items():
                _record(mailbox, direction, status)
        row.finished_at, row.lease_holder, row.lease_until = timezone.now(), "", None
        row.save(update_fields=["finished_at", "lease_holder", "lease_until"])
    return row.enables


def _record(mailbox: Mailbox, direction: str, status: str) -> None:
    """What was tested is what the loaded rows said; if they changed meanwhile, the test vouches for nothing."""
    passed = status == TestStatus.SUCCESS
    outcome = {"next_run_at": None, "failures": 0, "last_error": "", "failing_since": None}
    SyncState.objects.filter(mailbox=mailbox, direction=direction).update(
        enabled=passed,
        test_status=status,
        tested_mailbox_version=mailbox.connection_version,
        tested_profile_version=mailbox.profile_version,
        **(outcome if passed else {"failing_since": timezone.now()}),
    )


def _tell(mailbox: Mailbox, results: dict[str, str]) -> None:
    for direction, status in results.items():
        if status == TestStatus.SUCCESS:
            alerts.resolve(alerts.direction_cause(mailbox.pk, direction), "A test passed.")
    for direction, status in results.items():
        profile, ours = mailbox.server_profile_id, mailbox.method(direction) == IncomingMethod.SERVER_SIDE
        if status == TestStatus.SUCCESS and ours and profile:
            ServerCircuit.objects.filter(profile=profile, direction=direction).delete()
            alerts.resolve(alerts.server_cause(profile, direction), "A test got through.")


class _Climb:
    """One direction's way up its ladder; each step is noted as it ends."""

    def __init__(
        self,
        diary: Diary,
        mailbox: Mailbox,
        direction: str,
        names: list[str],
        stopping: Callable[[], bool],
        parser: Parser | None,
    ) -> None:
        self.parser = parser
        self.diary, self.mailbox, self.direction, self.stopping = diary, mailbox, direction, stopping
        self.names = names
        self.number = 0
        self.began = time.monotonic()

    def to_the_top(self) -> bool:
        """Whether every step passed."""
        try:
            for step in self._steps():
                self._note(step.name, StepState.PASSED, seen=step.seen)
        except MailError as error:
            self._fail(error)
            return False
        except (Abandoned, LeaseLost):
            raise
        except Exception as error:  # a mistake of ours must end the ladder, not repeat it for ever
            log.exception("The test of %s failed", self.mailbox)
            self._fail(_Unexpected(type(error).__name__))
            return False
        return True

    def _steps(self) -> Iterator[Step]:
        if self.mailbox.method(self.direction) == IncomingMethod.FORWARD:
            return _forward_steps(self.mailbox)
        if self.direction == Direction.OUTGOING:
            arrival = Arrival(self.mailbox, self.stopping) if StepName.ARRIVED in self.names else None
            return outgoing_steps(self.mailbox, arrival, sends=StepName.ACCEPTED in self.names)
        look = partial(take, self.diary, stopping=self.stopping, parser=self.parser)
        return incoming_steps(self.mailbox, look if WHAT_IS_THERE in self.names else None)

    def _fail(self, error: MailError) -> None:
        name = str(error.step) if error.step else self.names[self.number]
        self._note(
            name,
            StepState.FAILED,
            cause=f"{error}.",
            advice=error.advice,
            what_we_do=f"{_NOTHING_RUNS} {_OTHERS_GO_ON}",
            server_words=error.server_words,
        )
        for later in self.names[self.number :]:
            self._note(later, StepState.NOT_REACHED)

    def _note(self, name: str, state: StepState, **said: str) -> None:
        now = time.monotonic()
        took = None if state == StepState.NOT_REACHED else round((now - self.began) * 1000)
        self.number, self.began = self.number + 1, now
        self.diary.add(
            direction=self.direction,
            number=self.number,
            name=str(name),
            state=state,
            duration_ms=took,
            **said,
        )


def incoming_steps(
    mailbox: Mailbox, look: Callable[[Mailbox, IncomingTransport], Step] | None = None
) -> Iterator[Step]:
    """The line of incoming mail up to the first message, and a look at all; raises MailError with its step."""
    with connections.open_incoming(mailbox) as server:
        yield _settings_complete(mailbox, "incoming")
        yield from server.connect_steps()
        yield from server.open_steps(connections.disposal_of(mailbox))
        if look is not None:
            yield look(mailbox, server)


def outgoing_steps(mailbox: Mailbox, arrival: Arrival | None, *, sends: bool) -> Iterator[Step]:
    """The line of outgoing mail from the mailbox to itself: up to the recipient, or until the test message it `sends`
    was accepted, or found again by `arrival`. Raises MailError, and Abandoned while that waits."""
    with connections.open_outgoing(mailbox) as server:
        yield _settings_complete(mailbox, "outgoing")
        yield from server.connect_steps()
        yield from server.envelope_steps(mailbox.email_address, mailbox.email_address)
        if not sends:
            return
        if arrival is not None:
            arrival.remember()
        probe = testmail.probe(mailbox.email_address)
        said = _send(server, probe)
    yield Step(StepName.ACCEPTED, said if arrival is not None else f"{said}; {_stays(mailbox)}")
    if arrival is not None:
        yield Step(StepName.ARRIVED, arrival.wait_for(probe))


def _send(server: OutgoingTransport, probe: testmail.Probe) -> str:
    """Hand the test message over; how the server confirmed it."""
    with at_step(StepName.ACCEPTED):
        try:
            for error in server.offer(probe.envelope).values():
                if error is not None:
                    raise error
            return server.hand_over(probe.raw)
        except (MessageRefused, OutcomeUnknown, TryLater) as error:
            kind = next(kind for kind in _ADVICE_FOR_TESTS if isinstance(error, kind))
            error.advice = _ADVICE_FOR_TESTS[kind]  # type: ignore[misc]  # nobody wrote this message
            raise


_ADVICE_FOR_TESTS: dict[type[MailError], str] = {
    MessageRefused: "Read the server's words, and ask whoever runs the server why this account may not send.",
    OutcomeUnknown: "Test again. If the test message arrives after all, it is removed when mail is collected.",
    TryLater: "Test again in some minutes. If it stays so, look for a full mailbox, or a limit on what may be sent.",
}


def _stays(mailbox: Mailbox) -> str:
    """What becomes of a test message that is not waited for."""
    if mailbox.incoming_method == IncomingMethod.FORWARD:
        return "it is removed when it comes in through a forward mailbox"
    if mailbox.incoming_method == IncomingMethod.SERVER_SIDE:
        return "it is removed as soon as mail is collected from this mailbox"
    return f"it stands in the inbox of {mailbox.email_address}, since this system does not read it"


def _settings_complete(mailbox: Mailbox, side: str) -> Step:
    profile = mailbox.server_profile
    assert profile is not None
    host, port = getattr(profile, f"{side}_host"), getattr(profile, f"{side}_port")
    security = SecurityChoice(getattr(profile, f"{side}_security")).label
    return Step(
        StepName.SETTINGS, f"{host}, port {port}, {security if security != 'None' else 'not encrypted'}"
    )


class _Unexpected(MailError):
    sentence = "The test ended by a mistake in this program"
    advice = "Look into the log at this time, and report it with what stands there."


class _PreconditionUnmet(SettingsIncomplete):
    sentence = "Something is missing"
    about = "{seen}"


_FORWARD_ADVICE = {
    "mailbox active": "Activate the mailbox.",
    "address approved": "Ask an address approver to approve the email address.",
    "forward mailbox runs": "Create a forward mailbox, or open it and choose Test & Enable there first.",
}


def _forward_steps(mailbox: Mailbox) -> Iterator[Step]:
    for need in preconditions(mailbox, Direction.INCOMING, Office.read()):
        if not need.met:
            raise _unmet(need)
        yield Step(need.name, need.sentence)  # type: ignore[arg-type]  # a step of ours, not of a transport


def _unmet(need: Precondition) -> MailError:
    error = _PreconditionUnmet(need.sentence)
    error.advice = _FORWARD_ADVICE[need.name]  # type: ignore[misc]  # the advice depends on the need
    return error


@dataclass(frozen=True, slots=True)
class Rung:
    """One step as shown: passed, failed, not_reached, or still running or waiting."""

    name: str
    state: str
    duration_ms: int | None = None
    seen: str = ""
    cause: str = ""
    advice: str = ""
    what_we_do: str = ""
    server_words: str = ""


@dataclass(frozen=True, slots=True)
class Ladder:
    """One direction of the latest test as shown."""

    direction: str
    label: str
    status: str
    sentence: str
    duration_ms: int
    rungs: list[Rung]
    out_of_date: bool
    ended_at: datetime
    only_looked: bool


def ladders(mailbox: Mailbox) -> list[Ladder]:
    """The latest test of a mailbox, one ladder for each direction that was or is being tested."""
    test = mailbox.tests.prefetch_related("steps").first()
    return ladders_of(test, mailbox) if test else []


def ladders_of(test: ConfigurationTest, mailbox: Mailbox) -> list[Ladder]:
    """The same of any test of this mailbox."""
    made = (_ladder(test, mailbox, direction) for direction in Direction.values)
    return [ladder for ladder in made if ladder.rungs]


def _ladder(test: ConfigurationTest, mailbox: Mailbox, direction: str) -> Ladder:
    rungs = ladder(test, direction, mailbox)
    status = _status_of(test, rungs)
    return Ladder(
        direction=direction,
        label=f"{Direction(direction).label}" + ("" if direction == Direction.ACT else " email"),
        status=status,
        sentence=_sentence(status, rungs),
        duration_ms=sum(rung.duration_ms or 0 for rung in rungs),
        rungs=rungs,
        out_of_date=(
            test.enables
            and test.finished_at is not None
            and not mailbox.state(direction).vouches_for(mailbox)
        ),
        ended_at=test.finished_at or timezone.now(),
        only_looked=not test.enables and test.finished_at is not None,
    )


def ladder(test: ConfigurationTest, direction: str, mailbox: Mailbox) -> list[Rung]:
    """The stored steps, and while the test is open those that are still to come."""
    fields = ("name", "state", "duration_ms", "seen", "cause", "advice", "what_we_do", "server_words")
    stored = [step for step in test.steps.all() if step.direction == direction]
    rungs = [Rung(**{name: getattr(step, name) for name in fields}) for step in stored]
    if test.finished_at is not None:
        return rungs
    names = plan_of(test, mailbox, direction)[len(rungs) :]
    running = _is_current(test, direction, mailbox)
    return rungs + [
        Rung(str(name), "running", seen=progress(test) if name == WHAT_IS_THERE else "")
        if running and not i
        else Rung(str(name), "waiting")
        for i, name in enumerate(names)
    ]


def _is_current(test: ConfigurationTest, direction: str, mailbox: Mailbox) -> bool:
    """Whether the worker is on this ladder now: the first planned direction that is not complete."""
    if test.started_at is None:
        return False
    done = {d: sum(step.direction == d for step in test.steps.all()) for d in Direction.values}
    pending = (d for d in Direction.values if done[d] < len(plan_of(test, mailbox, d)))
    return next(pending, None) == direction


def _status_of(test: ConfigurationTest, rungs: list[Rung]) -> str:
    if any(rung.state == StepState.FAILED for rung in rungs):
        return TestStatus.FAILURE
    if rungs and all(rung.state == StepState.PASSED for rung in rungs):
        return TestStatus.SUCCESS
    return "running" if test.finished_at is None else TestStatus.NOT_RUN


def _sentence(status: str, rungs: list[Rung]) -> str:
    failed = next((rung for rung in rungs if rung.state == StepState.FAILED), None)
    if failed is not None:
        return failed.cause
    if status == TestStatus.SUCCESS:
        said = {rung.name: rung.seen for rung in rungs}
        if StepName.ARRIVED in said:
            return f"the test message arrived {said[StepName.ARRIVED]}"
        return said.get(StepName.FOLDER) or rungs[-1].seen
    done = sum(rung.state == StepState.PASSED for rung in rungs)
    return f"step {min(done + 1, len(rungs))} of {len(rungs)}" if done else "waiting for a worker"
