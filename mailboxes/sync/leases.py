"""Who works on what: leases on (mailbox, direction), claimed, renewed and released by conditional UPDATE."""

from __future__ import annotations

import os
import socket
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import islice
from operator import attrgetter
from pathlib import Path
from typing import NamedTuple

from django.db import connection, transaction
from django.db.models import Count, Exists, F, OuterRef, Q, QuerySet

from emailprofiles.models import EmailServerProfile

from ..clock import now as now
from ..models import (
    BulkCommand,
    BulkCommandItem,
    Command,
    ConfigurationTest,
    Direction,
    EmailConfigurationSettings,
    Mailbox,
    OutgoingMessage,
    ServerCircuit,
    Survey,
    SyncState,
    TestStep,
    Watch,
)
from ..models.outgoing import UNFINISHED

LENGTH = timedelta(seconds=30)
RENEWAL_SECONDS = 10
_CLAIM_LOCK = 0x50F71C  # one claim at a time over all hosts: without it a connection budget is overshot


class LeaseLost(Exception):
    """Another worker holds this direction now: what this pass wanted to write is not written."""


@dataclass(frozen=True, slots=True)
class Lease:
    """Our right to work on one direction of one mailbox, as long as `fence` is the row's."""

    state_id: int
    mailbox_id: int
    holder: str
    fence: int
    direction: str = Direction.INCOMING

    def rows(self) -> QuerySet[SyncState]:
        """The leased row; none when the lease was lost."""
        return SyncState.objects.filter(pk=self.state_id, lease_holder=self.holder, fence=self.fence)

    def write(self, **values: object) -> None:
        """Update the leased row; raises LeaseLost."""
        if self.rows().update(**values) != 1:
            raise LeaseLost


@lru_cache(maxsize=1)
def _boot() -> str:
    boot_id = Path("/proc/sys/kernel/random/boot_id")
    return boot_id.read_text().strip() if boot_id.exists() else "-"


def _started(pid: int) -> str:
    """When a process started, in clock ticks since boot; "" when there is no such process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[19]
    except (FileNotFoundError, ProcessLookupError, IndexError):
        return ""


def this_process() -> str:
    """Host, boot id, pid and start time: enough to tell whether a holder on this host still lives."""
    return f"{socket.gethostname()}|{_boot()}|{os.getpid()}|{_started(os.getpid())}"


def is_dead(holder: str) -> bool:
    """Whether a holder was a process of this host that is gone; of other hosts only time can tell."""
    host, boot, pid, started = holder.split("|")
    if host != socket.gethostname() or boot == "-":
        return False
    return boot != _boot() or _started(int(pid)) != started


def free(moment: datetime, holders: Iterable[str]) -> Q:
    """Nobody holds the row, or who does is dead or out of time."""
    dead = [holder for holder in holders if holder and is_dead(holder)]
    return Q(lease_until__isnull=True) | Q(lease_until__lte=moment) | Q(lease_holder__in=dead)


def claim(seats: int, holder: str, *, among: Q | None = None) -> list[Lease]:
    """Take up to `seats` due directions, the longest due first, within each server's connection budget."""
    if seats < 1:
        return []
    with transaction.atomic():
        one_claim_at_a_time()
        moment = now()
        budgets = Budgets(moment)
        waiting = _first(due(moment, among=among), seats * 20)
        if anything_to_send():
            waiting += _first(due_to_send(moment, among=among), seats * 20)
            waiting.sort(key=attrgetter("longest_due_first"))
        admitted = (row for row in waiting if budgets.admit(row.profile, row.direction, row.limit))
        return take_all(list(islice(admitted, seats)), holder, moment)


class Row(NamedTuple):
    """A direction that may be claimed, as far as a claim looks at it."""

    pk: int
    mailbox_id: int
    fence: int
    profile: int
    limit: int
    direction: str
    next_run_at: datetime | None

    @property
    def longest_due_first(self) -> tuple[datetime, int]:
        return self.next_run_at or datetime.min.replace(tzinfo=UTC), self.pk


_COLUMNS = (
    "pk",
    "mailbox_id",
    "fence",
    "mailbox__server_profile",
    "mailbox__server_profile__max_concurrent_connections",
    "direction",
    "next_run_at",
)


def _first(directions: QuerySet[SyncState], limit: int) -> list[Row]:
    return list(map(Row._make, directions.values_list(*_COLUMNS)[:limit]))


def anything_to_send() -> bool:
    """Whether any outbox holds what is not done with: asked before whose it is, which costs much more."""
    outgoing = OutgoingMessage.objects.order_by()
    return outgoing.filter(state__in=UNFINISHED).exists() or outgoing.filter(waits_for_copy()).exists()


def due(moment: datetime, *, among: Q | None = None, held: bool = False) -> QuerySet[SyncState]:
    """The incoming directions that run and are due; with `held`, only those that someone else works on."""
    return _due(Direction.INCOMING, moment, among, held)


def due_to_send(moment: datetime, *, among: Q | None = None, held: bool = False) -> QuerySet[SyncState]:
    """The same for outgoing directions in whose outbox something waits whose time has come, be it for its copy."""
    messages = OutgoingMessage.objects.order_by().values("mailbox")
    to_send, to_copy = messages.filter(to_be_sent(moment)), messages.filter(waits_for_copy(), _now(moment))
    states = _due(Direction.OUTGOING, moment, among, held)
    return states.filter(Q(mailbox__in=to_send) | Q(mailbox__in=to_copy))


def to_be_sent(moment: datetime) -> Q:
    """Messages that a pass would take up, or that a dead one left behind."""
    return Q(state__in=UNFINISHED) & _now(moment)


def waits_for_copy() -> Q:
    """Messages that have left, of which a copy is to be kept on the server, now or later."""
    return Q(copy_wanted=True, finished_at__isnull=False)


def _now(moment: datetime) -> Q:
    return Q(next_attempt_at=None) | Q(next_attempt_at__lte=moment)


def _due(direction: Direction, moment: datetime, among: Q | None, held: bool) -> QuerySet[SyncState]:
    approved = EmailConfigurationSettings.load().approved()
    free_now = free(moment, holders())
    in_trouble = ServerCircuit.objects.filter(direction=direction, open_until__gt=moment)
    return (
        SyncState.objects.running(direction, approved=approved)
        .filter(~free_now if held else free_now)
        .filter(among if among is not None else Q(next_run_at__isnull=True) | Q(next_run_at__lte=moment))
        .exclude(mailbox__server_profile__in=in_trouble.values("profile"))
        .exclude(mailbox__tests__in=ConfigurationTest.objects.filter(finished_at__isnull=True))
        .order_by(F("next_run_at").asc(nulls_first=True), "pk")
    )


def holders() -> list[str]:
    """Whoever holds a direction of some mailbox."""
    held = SyncState.objects.filter(lease_until__isnull=False).exclude(lease_holder="")
    return list(held.values_list("lease_holder", flat=True).distinct())


def one_claim_at_a_time() -> None:
    # SQLite's transactions are IMMEDIATE, so they queue by themselves.
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_CLAIM_LOCK])


class Budgets:
    """How many more connections each server profile may have; a server in trouble gets one probe.

    Up to half of them may wait for mail, so that there is always one to collect it.
    """

    def __init__(self, moment: datetime) -> None:
        self._watching = _connections(Watch.objects.filter(lease_until__gt=moment))
        self._used = self._watching + _connections(SyncState.objects.filter(lease_until__gt=moment))
        circuits = ServerCircuit.objects.values_list("profile_id", "direction", "pk")
        self._circuits = {(profile, direction): pk for profile, direction, pk in circuits}
        self._moment = moment

    def admit(self, profile: int, direction: str, limit: int) -> bool:
        """Whether a pass may have one of the `limit` connections of this profile."""
        if self._used[profile] >= limit:
            return False
        circuit = self._circuits.get((profile, direction))
        if circuit is not None and not self._probe(circuit):
            return False
        return self._take(profile, limit)

    def admit_test(self, profile: EmailServerProfile | None) -> bool:
        """A test asks the server even when it is in trouble; one without a server needs no connection."""
        return profile is None or self._take(profile.pk, profile.max_concurrent_connections)

    def admit_watch(self, profile: EmailServerProfile) -> bool:
        limit = profile.max_concurrent_connections
        if self._watching[profile.pk] >= limit // 2 or not self._take(profile.pk, limit):
            return False
        self._watching[profile.pk] += 1
        return True

    def _take(self, profile: int, limit: int) -> bool:
        if self._used[profile] >= limit:
            return False
        self._used[profile] += 1
        return True

    def exhausted(self) -> list[int]:
        """The profiles that may have no further connection now."""
        used = EmailServerProfile.objects.filter(pk__in=[pk for pk in self._used if pk])
        limits = used.values_list("pk", "max_concurrent_connections")
        return [pk for pk, limit in limits if self._used[pk] >= limit]

    def _probe(self, circuit: int) -> bool:
        waiting = ServerCircuit.objects.filter(pk=circuit, open_until__lte=self._moment)
        return waiting.update(open_until=self._moment + 2 * LENGTH) == 1


def _connections(held: QuerySet[SyncState] | QuerySet[Watch]) -> Counter[int]:
    """How many of each profile."""
    rows = held.order_by().values_list("mailbox__server_profile").annotate(n=Count("pk"))
    return Counter(dict(rows))


def take_all(states: Sequence[SyncState | Row], holder: str, moment: datetime) -> list[Lease]:
    """Make these rows ours; the caller has seen that they are free, in this transaction."""
    SyncState.objects.filter(pk__in=[state.pk for state in states]).update(
        lease_holder=holder, lease_until=moment + LENGTH, fence=F("fence") + 1, last_run_at=moment
    )
    return [Lease(one.pk, one.mailbox_id, holder, one.fence + 1, one.direction) for one in states]


def seize(state_id: int, holder: str) -> Lease | None:
    """Take one direction, due or not, if it is free now (Test & Enable, `synchronize --mailbox`)."""
    leases = seize_all(SyncState.objects.filter(pk=state_id), holder)
    return leases[0] if leases else None


def seize_all(states: QuerySet[SyncState], holder: str) -> list[Lease]:
    """The same for those of these directions that are free now."""
    with transaction.atomic():
        moment = now()
        free_now = list(states.select_for_update().filter(free(moment, holders())))
        return take_all(free_now, holder, moment)


def renew(leases: Iterable[Lease]) -> None:
    """Give these leases their full length again; a lost one stays lost."""
    until = now() + LENGTH
    for lease in leases:
        lease.rows().update(lease_until=until)


def release(lease: Lease, **outcome: object) -> bool:
    """Give the row back with what the pass found out; False when the lease was lost meanwhile."""
    return lease.rows().update(lease_holder="", lease_until=None, **outcome) == 1


def claim_test(holder: str) -> ConfigurationTest | None:
    """The oldest test that a person asked for and nobody works on, or whose worker died; it starts anew.

    Tests of a bulk command are claimed with their items: none of them takes the seat kept for a person's.
    """
    with transaction.atomic():
        one_claim_at_a_time()
        moment = now()
        open_tests = ConfigurationTest.objects.filter(finished_at__isnull=True)
        holders = list(open_tests.values_list("lease_holder", flat=True))
        of_many = BulkCommandItem.objects.filter(test=OuterRef("pk"))
        free_tests = open_tests.filter(free(moment, holders)).exclude(Exists(of_many))
        test = free_tests.order_by("requested_at").first()
        return take_test(test, holder, moment) if test else None


def own_test(mailbox: Mailbox, holder: str, *, enables: bool = True) -> ConfigurationTest | None:
    """An open test of this mailbox that is ours, made if there is none; None while another worker runs one."""
    with transaction.atomic():
        one_claim_at_a_time()
        moment = now()
        test = ConfigurationTest.request(mailbox, None, enables=enables)
        if not ConfigurationTest.objects.filter(free(moment, [test.lease_holder]), pk=test.pk).exists():
            return None
        return take_test(test, holder, moment)


def take_test(test: ConfigurationTest, holder: str, moment: datetime) -> ConfigurationTest:
    """Make this test ours; what a dead attempt wrote is thrown away."""
    take_tests([test], holder, moment)
    return test


def take_tests(tests: Sequence[ConfigurationTest], holder: str, moment: datetime) -> None:
    """The same for several."""
    keys = [test.pk for test in tests]
    if begun := [test.pk for test in tests if test.started_at is not None]:
        TestStep.objects.filter(test__in=begun).delete()
        Survey.objects.filter(test__in=begun).delete()
    ours = {"lease_holder": holder, "lease_until": moment + LENGTH, "started_at": moment}
    ConfigurationTest.objects.filter(pk__in=keys).update(**ours, fence=F("fence") + 1)
    for test in tests:
        test.fence += 1
        for name, value in ours.items():
            setattr(test, name, value)


def _claimed(test: ConfigurationTest) -> QuerySet[ConfigurationTest]:
    """The row of a test that is ours; none when another worker took it over."""
    return ConfigurationTest.objects.filter(
        pk=test.pk, lease_holder=test.lease_holder, fence=test.fence, finished_at=None
    )


def hold(test: ConfigurationTest) -> None:
    """Have our full time again; whatever is written of a test is written together with this. Raises LeaseLost."""
    if _claimed(test).update(lease_until=now() + LENGTH) != 1:
        raise LeaseLost


def renew_test(test: ConfigurationTest) -> None:
    """The same for a test that may still wait for a thread; a lost one stays lost."""
    _claimed(test).update(lease_until=now() + LENGTH)


def let_go(test: ConfigurationTest) -> None:
    """Leave a test that we do not finish to the next worker."""
    _claimed(test).update(lease_holder="", lease_until=None)


def claim_command(holder: str) -> BulkCommand | None:
    """The oldest open bulk command that nobody carries out, or whose worker died; tests have leases of their own."""
    with transaction.atomic():
        one_claim_at_a_time()
        moment = now()
        open_commands = BulkCommand.objects.filter(finished_at=None).exclude(command=Command.TEST)
        holders = list(open_commands.values_list("lease_holder", flat=True))
        bulk = open_commands.filter(free(moment, holders)).order_by("requested_at", "pk").first()
        if bulk is not None:
            bulk.lease_holder, bulk.lease_until, bulk.fence = holder, moment + LENGTH, bulk.fence + 1
            bulk.started_at = bulk.started_at or moment
            bulk.save(update_fields=["lease_holder", "lease_until", "fence", "started_at"])
        return bulk


def renew_command(bulk: BulkCommand) -> None:
    """Give the worker of this command its full time again."""
    held_commands(bulk).update(lease_until=now() + LENGTH)


def release_command(bulk: BulkCommand) -> None:
    """Give the command back: what waits goes on with the next worker."""
    held_commands(bulk).update(lease_holder="", lease_until=None)


def held_commands(bulk: BulkCommand) -> QuerySet[BulkCommand]:
    """The leased row; none when the lease was lost."""
    return BulkCommand.objects.filter(pk=bulk.pk, lease_holder=bulk.lease_holder, fence=bulk.fence)
