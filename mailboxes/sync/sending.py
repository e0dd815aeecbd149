"""One pass over what one mailbox sends: in order, on one connection, each message once.

    offer  →  (commit: sending)  →  hand over  →  (commit: what came of it, together with the next one's sending)

Until a message is handed over nothing was sent, and whatever goes wrong leaves it queued. From then on, until the
server's reply is committed, nobody but the server knows: such a message is *uncertain*, and a person decides.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import Q, QuerySet

from emailprofiles.errors import (
    MailError,
    MessageRefused,
    OutcomeUnknown,
    Scope,
    TryLater,
)
from emailprofiles.transports import OutgoingTransport
from emailprofiles.wire import Envelope

from .. import alerts, connections
from ..models import (
    ConfigurationTest,
    Direction,
    OutgoingMessage,
    OutgoingRecipient,
    OutgoingState,
    SyncState,
)
from ..models.outgoing import WAITING
from ..outbox import follow, stand
from . import copies, leases
from .errands import Errand
from .incoming import BrokenOff

PORTION = 50
"""So many messages are read from the outbox at once."""
HOLDS = 8
"""While it was tried less often, a deferred message holds later ones to the same recipient: about half an hour."""
GIVE_UP_AFTER = timedelta(days=5)
"""RFC 5321, section 4.5.4.1."""
LATER_IN_A_ROW = 3
"""So many messages deferred one after the other: the server means all of them."""


@dataclass(slots=True)
class Sent:
    """How many messages a pass sent; `more` when it stopped before its outbox was empty.

    `server_answered` when there was something to send, and the server let us in.
    """

    sent: int = 0
    more: bool = False
    server_answered: bool = False


def send(errand: Errand, stopping: Callable[[], bool]) -> Sent:
    """Send what is due, then keep copies of it. Raises MailError for what the server does until it has let us in,
    BrokenOff for what it does then, LeaseLost when this direction is not ours any more."""
    leave_to_people(OutgoingMessage.objects.filter(mailbox=errand.mailbox, state=OutgoingState.SENDING))
    run = Sending(errand, stopping)
    if run.waiting(run.started_at).exists():
        _empty(run)
    if not run.tally.more:
        run.tally.more = copies.keep(errand, run.must_make_room)
    return run.tally


def _empty(run: Sending) -> None:
    with connections.open_outgoing(run.mailbox) as server:
        server.connect()
        run.tally.server_answered = True
        try:
            run.through(server)
        except MailError as error:
            raise BrokenOff(error) from error
        finally:
            run.flush()


@dataclass(slots=True)
class Outcome:
    """What came of one attempt: a state for each recipient that was part of it, and why the message is not sent."""

    message: OutgoingMessage
    states: dict[OutgoingState, list[OutgoingRecipient]] = field(default_factory=dict)
    error: MailError | None = None
    said: dict[int, str] = field(default_factory=dict)
    handed_over: bool = False

    def add(self, state: OutgoingState, recipient: OutgoingRecipient, said: str = "") -> None:
        self.states.setdefault(state, []).append(recipient)
        self.said[recipient.pk] = said


@dataclass(slots=True)
class _Queues:
    """For whom an earlier message waits, and until when: order is kept for each recipient.

    A message that was tried HOLDS times holds nobody any more.
    """

    moment: datetime
    _held: dict[str, tuple[_Order, datetime]] = field(default_factory=dict)

    def read(self, later: QuerySet[OutgoingMessage]) -> None:
        """Messages whose time has not come."""
        rows = later.filter(attempts__lt=HOLDS, recipients__state__in=WAITING).order_by()
        for address, at, pk, until in rows.values_list(
            "recipients__address", "queued_at", "pk", "next_attempt_at"
        ):
            if at and until:
                self.hold(address, (at, pk), until)

    def hold(self, address: str, order: _Order, until: datetime) -> None:
        """Later messages to this address wait behind the one at this place."""
        address = address.lower()
        first, latest = self._held.get(address, (order, until))
        self._held[address] = min(first, order), max(latest, until)

    def until(self, address: str, order: _Order) -> datetime | None:
        """Until when a message at this place waits; None when it is its turn."""
        first, latest = self._held.get(address.lower(), (order, self.moment))
        return latest if first < order else None


_Order = tuple[datetime, int]


class Sending:
    """A pass under way. One that ends in between is taken up by the next: `flush` writes what it knows."""

    def __init__(self, errand: Errand, stopping: Callable[[], bool]) -> None:
        self.errand, self.lease, self.mailbox = errand, errand.lease, errand.mailbox
        self.stopping = stopping
        self.tally = Sent()
        self.started_at = leases.now()
        self.later_in_a_row = 0
        self.queues = _Queues(self.started_at)
        self._outcome: Outcome | None = None
        self._held: dict[datetime, list[int]] = {}
        self._is_waited_for, self._asked_at = False, float("-inf")

    def waiting(self, moment: datetime) -> QuerySet[OutgoingMessage]:
        """What is due at this moment, in order."""
        rows = OutgoingMessage.objects.filter(
            leases.to_be_sent(moment), mailbox=self.mailbox, state__in=WAITING
        )
        return rows.order_by("queued_at", "pk")

    def through(self, server: OutgoingTransport) -> None:
        """The loop: one message after the other, up to *messages per cycle*."""
        self.queues.read(
            OutgoingMessage.objects.filter(
                state__in=WAITING, mailbox=self.mailbox, next_attempt_at__gt=self.started_at
            )
        )
        left = self.errand.profile.messages_per_cycle
        for message in self._in_order():
            if left < 1 or self.must_yield():
                self.tally.more = True
                return
            left -= 1
            self._one(server, message)

    def must_yield(self) -> bool:
        """The engine stops, or somebody waits for a test of this mailbox, which is asked once a second."""
        if time.monotonic() - self._asked_at >= 1:
            tests = ConfigurationTest.objects.filter(mailbox=self.mailbox, finished_at=None)
            self._is_waited_for, self._asked_at = tests.exists(), time.monotonic()
        return self.stopping() or self._is_waited_for

    def must_make_room(self) -> bool:
        """The same for copies, which mail that was queued meanwhile does not wait for."""
        return self.must_yield() or self.waiting(leases.now()).exists()

    def _in_order(self) -> Iterator[OutgoingMessage]:
        """Read in portions, each behind the one before; the bytes of each only when it is handed over."""
        rows = self.waiting(self.started_at).select_related("original").prefetch_related("recipients")
        rows = rows.defer("original__raw", "text", "html")
        behind = Q()
        while portion := list(rows.filter(behind)[:PORTION]):
            yield from portion
            self.flush()
            last = portion[-1]
            behind = Q(queued_at__gt=last.queued_at) | Q(queued_at=last.queued_at, pk__gt=last.pk)

    def _one(self, server: OutgoingTransport, message: OutgoingMessage) -> None:
        waiting = [one for one in message.recipients.all() if one.state in WAITING]
        if not waiting:
            nobody = MessageRefused("it is for nobody")
            self._take(Outcome(message, error=nobody))  # or it would be due for ever
        held = {
            one.pk: until for one in waiting if (until := self.queues.until(one.address, _order(message)))
        }
        free = [one for one in waiting if one.pk not in held]
        while free:
            free = self._attempt(server, message, free)
        if held:
            self.flush()
            self._hold(message, max(held.values()))

    def _hold(self, message: OutgoingMessage, until: datetime) -> None:
        """It is not this one's turn for some recipient: no attempt, and no question to the server."""
        self._held.setdefault(until, []).append(message.pk)

    # --- one attempt ---

    def _attempt(
        self, server: OutgoingTransport, message: OutgoingMessage, recipients: list[OutgoingRecipient]
    ) -> list[OutgoingRecipient]:
        """Offer a message to these recipients and hand it over; returns for whom it has to be offered once more."""
        outcome = Outcome(message)
        rest: list[OutgoingRecipient] = []
        try:
            answers = server.offer(self._envelope(message, recipients))
            rest = [one for one in recipients if one.address not in answers]
            accepted = self._sorted_by(answers, recipients, outcome)
            if accepted:
                raw = message.raw
                if not self._begin(message, accepted):
                    server.withdraw()
                    return []
                outcome.handed_over = True
                said = server.hand_over(raw)
                for one in accepted:
                    outcome.add(OutgoingState.SENT, one, said)
        except MailError as error:
            outcome.error = error.with_traceback(None)  # its frames hold the bytes, in a circle
            told = {one.pk for many in outcome.states.values() for one in many}
            if isinstance(error, OutcomeUnknown):
                told |= {one.pk for one in rest}  # the server did not take it for them
            left = [one for one in recipients if one.pk not in told]
            self._failed(error, left, outcome)
            rest = []
            if not _is_of_message(error):
                self._take(outcome)
                self.flush()
                raise
        self._take(outcome)
        self._count_later(outcome)
        return rest

    def _envelope(self, message: OutgoingMessage, recipients: Sequence[OutgoingRecipient]) -> Envelope:
        if not hasattr(message, "original"):
            raise MessageRefused("its original is missing here")
        return Envelope(
            sender=self.mailbox.email_address,
            recipients=tuple(one.address for one in recipients),
            size=message.size,
            is_ascii=message.original.is_ascii,
            report_id=message.token if message.asks_report else "",
        )

    def _sorted_by(
        self,
        answers: dict[str, MailError | None],
        recipients: Sequence[OutgoingRecipient],
        outcome: Outcome,
    ) -> list[OutgoingRecipient]:
        accepted = []
        for one in recipients:
            error = answers.get(one.address)
            if one.address in answers and error is None:
                accepted.append(one)
            elif error is not None:
                outcome.error = error
                outcome.add(self._state_after(error, outcome.message), one, _said(error))
        return accepted

    def _failed(self, error: MailError, left: Sequence[OutgoingRecipient], outcome: Outcome) -> None:
        """What an error that ended the attempt means for those who had no answer of their own."""
        if isinstance(error, OutcomeUnknown):
            state = OutgoingState.UNCERTAIN
        elif _is_of_message(error):
            state = self._state_after(error, outcome.message)
        elif outcome.handed_over or error.scope is Scope.NETWORK:
            # It broke while this one was at the counter: not to stand in front of all others again at once.
            state = OutgoingState.DEFERRED
        else:
            state = OutgoingState.QUEUED
        for one in left:
            outcome.add(state, one, _said(error) if state != OutgoingState.QUEUED else "")

    def _state_after(self, error: MailError, message: OutgoingMessage) -> OutgoingState:
        """4xx comes again until it is given up, 5xx is final."""
        if not isinstance(error, TryLater):
            return OutgoingState.FAILED
        too_old = message.queued_at is not None and self.started_at - message.queued_at > GIVE_UP_AFTER
        return OutgoingState.FAILED if too_old else OutgoingState.DEFERRED

    def _count_later(self, outcome: Outcome) -> None:
        """What was put off before says nothing: a few of those would stand in front of all others for hours."""
        if isinstance(outcome.error, TryLater) and OutgoingState.SENT not in outcome.states:
            self.later_in_a_row += outcome.message.attempts <= 1
            if self.later_in_a_row >= LATER_IN_A_ROW:
                self.flush()
                raise outcome.error
        else:
            self.later_in_a_row = 0

    # --- what is written ---

    def _begin(self, message: OutgoingMessage, accepted: Sequence[OutgoingRecipient]) -> bool:
        """Transaction 1: from now on nobody knows; False when a person took the message back meanwhile."""
        moment = leases.now()
        with transaction.atomic():
            self.lease.write(lease_holder=self.lease.holder)
            self._write()
            if not _as_read(message).update(state=OutgoingState.SENDING, sending_since=moment):
                return False
            OutgoingRecipient.objects.filter(pk__in=[one.pk for one in accepted]).update(
                state=OutgoingState.SENDING, changed_at=moment
            )
        return True

    def _take(self, outcome: Outcome) -> None:
        """Keep the outcome of a message that is sent for the next transaction; any other is written at once."""
        self.flush()  # what was sent before, if no `_begin` took it along
        self._outcome = outcome
        if outcome.states.keys() != {OutgoingState.SENT}:
            self.flush()
            until = outcome.message.next_attempt_at
            if until and outcome.message.state == OutgoingState.DEFERRED and outcome.message.attempts < HOLDS:
                for one in outcome.states.get(OutgoingState.DEFERRED, ()):
                    self.queues.hold(one.address, _order(outcome.message), until)

    def flush(self) -> None:
        """Transaction 2, where no next message takes it along."""
        if self._outcome is None and not self._held:
            return
        with transaction.atomic():
            self.lease.write(lease_holder=self.lease.holder)
            self._write()

    def _write(self) -> None:
        outcome, self._outcome = self._outcome, None
        if outcome is not None:
            note(outcome, self.tally)
            if OutgoingState.UNCERTAIN in outcome.states:
                alerts.outbox_uncertain(self.mailbox)
        held, self._held = self._held, {}
        for until, messages in held.items():
            OutgoingMessage.objects.filter(pk__in=messages, state__in=WAITING).update(
                state=OutgoingState.DEFERRED,
                next_attempt_at=until,
                why="An earlier message to the same recipient waits, and the order is kept.",
                advice="",
                server_words="",
            )


def _order(message: OutgoingMessage) -> _Order:
    assert message.queued_at is not None
    return message.queued_at, message.pk


def _as_read(message: OutgoingMessage) -> QuerySet[OutgoingMessage]:
    """The row of a message that waits, unless a person took it back meanwhile, even to queue it anew."""
    return OutgoingMessage.objects.filter(pk=message.pk, queued_at=message.queued_at, state__in=WAITING)


def _is_of_message(error: MailError) -> bool:
    """Whether the next message may fare better on the same connection."""
    return isinstance(error, TryLater | MessageRefused)


def _said(error: MailError) -> str:
    return error.server_words or f"{error}."


def note(outcome: Outcome, tally: Sent) -> None:
    """Write what came of an attempt; the caller holds the lease, in a transaction."""
    moment, message = leases.now(), outcome.message
    if not _is_locked(outcome):
        return  # a person took it back while the server was asked
    alike: dict[tuple[OutgoingState, str], list[int]] = {}
    for state, recipients in outcome.states.items():
        for one in recipients:
            one.state = state
            alike.setdefault((state, outcome.said[one.pk]), []).append(one.pk)
    for (state, said), keys in alike.items():
        OutgoingRecipient.objects.filter(pk__in=keys).update(state=state, said=said, changed_at=moment)
    message.attempts += bool(outcome.states.keys() - {OutgoingState.QUEUED})
    states: Iterable[str] = outcome.states
    if len(message.recipients.all()) != 1 or not states:  # a report may have told of another one meanwhile
        states = OutgoingRecipient.objects.filter(message=message).values_list("state", flat=True)
    stand(message, states, outcome.error)
    tally.sent += message.state == OutgoingState.SENT


def _is_locked(outcome: Outcome) -> bool:
    """Lock the message where somebody may change it meanwhile: a person while it waits, a report on another recipient
    of it. False for one that was taken back."""
    message = outcome.message
    if outcome.handed_over and len(message.recipients.all()) == 1:
        return True
    rows = OutgoingMessage.objects.filter(pk=message.pk) if outcome.handed_over else _as_read(message)
    told = rows.select_for_update().values_list("why", "advice", "server_words").first()
    if told is not None:
        message.why, message.advice, message.server_words = told
    return told is not None


def leave_to_people(sending: QuerySet[OutgoingMessage]) -> int:
    """Messages that a dead pass was handing over: whether the server has them, nobody here knows."""
    left = 0
    for message in sending.select_related("mailbox"):
        with transaction.atomic():
            rows = OutgoingMessage.objects.select_for_update().filter(
                pk=message.pk, state=OutgoingState.SENDING
            )
            if not rows.exists():
                continue
            error = OutcomeUnknown(message.mailbox.email_address)
            OutgoingRecipient.objects.filter(message=message, state=OutgoingState.SENDING).update(
                state=OutgoingState.UNCERTAIN, changed_at=leases.now(), said=STOPPED_HERE
            )
            follow(message)
            OutgoingMessage.objects.filter(pk=message.pk).update(why=STOPPED_HERE, advice=error.advice)
            alerts.outbox_uncertain(message.mailbox)
        left += 1
    return left


STOPPED_HERE = "The program ended while this message was handed over, before the server's reply was noted."


def find_abandoned() -> int:
    """The same for mailboxes whose direction does not run any more, or whose worker died."""
    outgoing = SyncState.objects.filter(direction=Direction.OUTGOING)
    held = outgoing.exclude(leases.free(leases.now(), leases.holders()))
    return leave_to_people(
        OutgoingMessage.objects.filter(state=OutgoingState.SENDING).exclude(
            mailbox__in=held.values("mailbox")
        )
    )
