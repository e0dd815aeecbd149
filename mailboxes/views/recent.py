"""What happened at one mailbox: mail by the hour, tests, alerts and changes, newest first."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.db.models import QuerySet
from django.urls import reverse
from django.utils import timezone

from emailprofiles.history import entries_of

from .. import history
from ..history import Change
from ..models import Alert, AlertLevel, ConfigurationTest, Delivery, Direction, Mailbox, Message, MessageState
from ..routing import REASON_LABELS, Reason

# So many messages are looked at, and as many again until one hour is complete.
LOOKED_AT = 1000
HOUR = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Event:
    """One line: when, what in few words, and the rest of the sentence."""

    when: datetime
    css: str
    title: str
    says: str = ""
    address: str = ""
    changes: list[Change] = field(default_factory=list)

    @property
    def clock(self) -> str:
        """The time of today, or the day."""
        return history.day_or_time(self.when)


@dataclass(frozen=True, slots=True)
class Asked:
    """How much of the past is asked for: `at_most` events before a moment; `by_hour` for pages of it."""

    mailbox: Mailbox
    at_most: int
    before: datetime
    by_hour: bool = False


@dataclass(frozen=True, slots=True)
class Told:
    """Events of one source, and how far back they are complete; None for to the beginning."""

    events: list[Event]
    since: datetime | None = None


Source = Callable[[Asked], Told]


def recent(mailbox: Mailbox, at_most: int, *, sees_alerts: bool) -> list[Event]:
    """The newest events, for a panel."""
    return past(Asked(mailbox, at_most, timezone.now() + HOUR), kinds_for(sees_alerts))


def kinds_for(sees_alerts: bool) -> dict[str, tuple[str, Source]]:
    """Name → label and source of each kind of event that a viewer may see."""
    return KINDS if sees_alerts else {name: kind for name, kind in KINDS.items() if name != "alerts"}


def past(asked: Asked, kinds: dict[str, tuple[str, Source]]) -> list[Event]:
    """Events of these kinds before a moment, newest first; those of the last moment are all there."""
    told = [source(asked) for _, source in kinds.values()]
    horizon = max((one.since for one in told if one.since), default=None)
    events = [event for one in told for event in one.events if horizon is None or event.when >= horizon]
    events.sort(key=lambda event: event.when, reverse=True)
    if len(events) <= asked.at_most:
        return events
    return [event for event in events if event.when >= events[asked.at_most - 1].when]


# ── Mail ────────────────────────────────────────────────────────────────────────────────────


def _mail(asked: Asked) -> Told:
    """What was collected here by the hour; for a mailbox that is never polled, what reached it."""
    collected = Message.objects.filter(mailbox=asked.mailbox).order_by("-collected_at", "-pk")
    if collected.exists():
        return _by_hour(asked, collected, "collected_at", ("state", "reason"), _collected)
    delivered = Delivery.objects.filter(mailbox=asked.mailbox).order_by("-pk")
    return _by_hour(asked, delivered, "delivered_at", ("mailbox",), _received)


Tell = Callable[[Asked, "Hour"], Iterable[Event]]


@dataclass(slots=True)
class Hour:
    """What came within one hour."""

    begins: datetime
    latest: datetime
    counts: Counter[tuple[Any, ...]] = field(default_factory=Counter)

    def when(self, asked: Asked) -> datetime:
        return self.begins if asked.by_hour else self.latest

    def within(self, asked: Asked) -> str:
        end = self.begins + HOUR
        return f"until {history.clock(end)}" if asked.by_hour else f"since {history.clock(self.begins)}"


def _by_hour(asked: Asked, rows: QuerySet[Any], moment: str, about: tuple[str, ...], tell: Tell) -> Told:
    """`rows` are in the order in which they came, the newest first."""
    end = _next_hour(asked.before) if asked.by_hour else asked.before
    newest = rows.filter(**{f"{moment}__lt": end}).values_list(moment, *about)
    hours: dict[datetime, Hour] = {}
    looked_at, is_all = 0, False
    while not is_all and len(hours) < 2:  # the last of several hours may not be complete
        part = newest[looked_at : looked_at + LOOKED_AT]
        for when, *kind in part:
            begins = _hour_of(when)
            hour = hours.get(begins) or hours.setdefault(begins, Hour(begins, when))
            hour.latest = max(hour.latest, when)
            hour.counts[tuple(kind)] += 1
        looked_at, is_all = looked_at + LOOKED_AT, len(part) < LOOKED_AT
    if not is_all:
        del hours[min(hours)]
    since = None if is_all else min(hours)
    return Told([event for hour in hours.values() for event in tell(asked, hour)], since)


def _hour_of(moment: datetime) -> datetime:
    return timezone.localtime(moment).replace(minute=0, second=0, microsecond=0)


def _next_hour(moment: datetime) -> datetime:
    """The moment itself where an hour begins, else the end of its hour."""
    begins = _hour_of(moment)
    return begins if begins == moment else begins + HOUR


def _collected(asked: Asked, hour: Hour) -> Iterable[Event]:
    by_state: Counter[str] = Counter()
    quarantined: dict[str, int] = defaultdict(int)
    for (state, reason), count in hour.counts.items():
        by_state[state] += count
        if state == MessageState.QUARANTINED:
            quarantined[reason] += count
    routed = by_state[MessageState.DELIVERED]
    says = f", routed {routed}, {hour.within(asked)}"
    yield Event(hour.when(asked), "is-ok", f"Collected {by_state.total()}", says)
    for reason, count in quarantined.items():
        label = REASON_LABELS[Reason(reason)] if reason else "not read yet"
        yield Event(hour.when(asked), "is-idle", f"Quarantined {count}", f": {label.lower()}")


def _received(asked: Asked, hour: Hour) -> Iterable[Event]:
    says = f" by way of a forward mailbox, {hour.within(asked)}"
    yield Event(hour.when(asked), "is-ok", f"Received {hour.counts.total()}", says)


# ── Tests, alerts, changes ──────────────────────────────────────────────────────────────────


def _tests(asked: Asked) -> Told:
    rows = asked.mailbox.tests.filter(finished_at__lt=asked.before).order_by("-finished_at", "-pk")
    listed = rows.select_related("requested_by").prefetch_related("steps")[: asked.at_most + 1]
    return Told([_tested(test) for test in listed])


def _tested(test: ConfigurationTest) -> Event:
    results = test.results()
    failed = [direction for direction, passed in results.items() if not passed]
    by = f" by {test.requested_by.label}" if test.requested_by else ""
    says = f"{_listed(failed)} failed" if failed else f"{_listed(results)} passed"
    return Event(
        test.finished_at or test.requested_at,
        "is-bad" if failed else "is-ok",
        "Test & Enable" if test.enables else "Look first",
        f"{by}: {says if results else 'nothing to test'}",
        reverse("mailbox-test-run", args=[test.mailbox_id, test.pk]),
    )


def _listed(directions: Iterable[str]) -> str:
    names = [
        direction if direction != Direction.ACT else "appointments, contacts, and tasks"
        for direction in directions
    ]
    return " and ".join(names)


_LEVELS = {AlertLevel.ERROR: "is-bad", AlertLevel.WARNING: "is-wait", AlertLevel.INFORMATION: "is-info"}


def _alerts(asked: Asked) -> Told:
    alerts = Alert.objects.filter(mailbox=asked.mailbox)
    opened = alerts.filter(since__lt=asked.before).order_by("-since")[: asked.at_most + 1]
    closed = alerts.filter(resolved_at__lt=asked.before).order_by("-resolved_at")[: asked.at_most + 1]
    address = reverse("alert-list")
    return Told(
        [
            *(
                Event(one.since, _LEVELS[AlertLevel(one.level)], "Alert opened", f": {one.title}", address)
                for one in opened
            ),
            *(
                Event(one.resolved_at, "is-ok", "Alert closed", f": {one.title}. {one.resolution}", address)
                for one in closed
                if one.resolved_at
            ),
        ]
    )


def _changes(asked: Asked) -> Told:
    entries = entries_of(asked.mailbox).filter(timestamp__lt=asked.before)[: asked.at_most + 1]
    return Told([changed(entry) for entry in history.told(entries)])


def changed(entry: history.Entry) -> Event:
    """An entry of the history as a line; several changes stand below it."""
    by = f" by {entry.who}" if entry.who else ""
    single = entry.changes[0] if len(entry.changes) == 1 and not entry.changes[0].is_secret else None
    return Event(
        entry.when,
        "is-ok" if entry.is_creation else "is-info",
        entry.title,
        f"{by} {single.says}" if single else by,
        changes=[] if single else entry.changes,
    )


KINDS: dict[str, tuple[str, Source]] = {
    "mail": ("Mail", _mail),
    "tests": ("Tests", _tests),
    "alerts": ("Alerts", _alerts),
    "changes": ("Changes", _changes),
}
