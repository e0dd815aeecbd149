"""The history of changes as people read it: labels instead of columns, words instead of codes.

Also the sentence that links a failure to the change before it: "It worked until 09:28; the password was
changed by Hanna Brandt at 09:31."
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from auditlog.models import LogEntry
from auditlog.registry import auditlog
from django.contrib.contenttypes.models import ContentType
from django.core.exceptions import FieldDoesNotExist
from django.db import models
from django.db.models import Exists, OuterRef, QuerySet
from django.utils import timezone
from django.utils.dateparse import parse_datetime
from django.utils.formats import date_format
from django.utils.text import Truncator, capfirst

from emailprofiles.history import entries_of, label_of, signature
from emailprofiles.models import CONNECTION_FIELDS as PROFILE_CONNECTION
from emailprofiles.models import EmailServerProfile

from .models import ConfigurationTest, Direction, Mailbox, StepState, TestStep
from .models.mailbox import CONNECTION_FIELDS as MAILBOX_CONNECTION
from .roles import Role

LONGEST_VALUE = 120


@dataclass(frozen=True, slots=True)
class Change:
    """One field of an entry, such as "User Name" and "from support to svc-support"."""

    field: str
    label: str
    says: str

    @property
    def is_secret(self) -> bool:
        return self.says == "changed"


@dataclass(frozen=True, slots=True)
class Entry:
    """What one person or command did to a record at one moment."""

    pk: int
    when: datetime
    who: str
    is_creation: bool
    changes: list[Change]
    model: type[models.Model]

    @property
    def clock(self) -> str:
        """The time of today, or the day."""
        return day_or_time(self.when)

    @property
    def more(self) -> int:
        """How many changes stand behind the first three."""
        return max(0, len(self.changes) - 3)

    @property
    def title(self) -> str:
        """What happened in a few words: "Created", "User Name changed"."""
        if self.is_creation:
            return "Created"
        labels = list(dict.fromkeys(change.label for change in self.changes))
        return f"{', '.join(labels[:3])}{f' and {len(labels) - 3} more' if len(labels) > 3 else ''} changed"


def told(entries: Iterable[LogEntry]) -> list[Entry]:
    """Entries as people read them; two queries at most, however many there are."""
    listed = list(entries)
    names = _names(listed)
    return [_told(entry, names) for entry in listed]


Names = dict[type[models.Model], dict[int, str]]


def _told(entry: LogEntry, names: Names) -> Entry:
    signed = signature(entry)
    is_creation = entry.action == LogEntry.Action.CREATE
    changes = [] if is_creation else [_change(entry, field, names) for field in entry.changes or {}]
    changes.sort(key=lambda one: one.label)
    return Entry(entry.pk, signed.when, signed.who, is_creation, changes, _model(entry))


def _change(entry: LogEntry, field: str, names: Names) -> Change:
    model, values = _model(entry), entry.changes[field]
    label = capfirst(label_of(model, field))
    if isinstance(values, dict):  # members who came or went
        verb = "added" if values["operation"] == "add" else "removed"
        return Change(field, label, f"{verb} {', '.join(values['objects'])}")
    before, after = values
    if field == "credentials_confirmed":
        whose = "" if issubclass(model, Mailbox) else f"of {before} mailbox{'' if before == 1 else 'es'} "
        return Change(field, label, f"{whose}confirmed for {after}")
    if field in auditlog.get_model_fields(model)["mask_fields"]:
        return Change(field, label, "changed")
    shown = [_in_words(model, field, value, names) for value in (before, after)]
    return Change(field, label, f"from {shown[0]} to {shown[1]}")


def _model(entry: LogEntry) -> type[models.Model]:
    model = ContentType.objects.get_for_id(entry.content_type_id).model_class()  # kept in memory
    assert model is not None
    return model


def _column(model: type[models.Model], field: str) -> Any:
    """The column of this name; None for a fact that is no column, such as a role."""
    try:
        return model._meta.get_field(field)
    except FieldDoesNotExist:
        return None


def _in_words(model: type[models.Model], field: str, value: Any, names: Names) -> str:
    column = _column(model, field)
    if value is None or value == "":
        return "nothing"
    if isinstance(value, bool):
        return "Yes" if value else "No"
    if field == "role":
        return str(Role(value).label)
    if column is not None and column.is_relation:
        return names[column.related_model].get(value, "one that is gone")
    if isinstance(column, models.DateTimeField):
        return _moment(value)
    labels = dict(getattr(column, "choices", None) or ())
    return Truncator(str(labels.get(value, value))).chars(LONGEST_VALUE)


def _moment(written: str) -> str:
    """A date and time in the viewer's zone; entries keep it in UTC, without saying so."""
    moment = parse_datetime(written)
    assert moment is not None
    return date_format(timezone.localtime(moment.replace(tzinfo=UTC)), "j M Y, H:i")


def _names(entries: Sequence[LogEntry]) -> Names:
    """The names of all records that the entries refer to by key."""
    wanted: dict[type[models.Model], set[int]] = defaultdict(set)
    for entry in entries:
        for field, values in (entry.changes or {}).items():
            column = _column(_model(entry), field)
            if isinstance(values, list) and column is not None and column.is_relation:
                wanted[column.related_model].update(value for value in values if isinstance(value, int))
    return {
        model: {record.pk: str(record) for record in model._default_manager.filter(pk__in=keys)}
        for model, keys in wanted.items()
    }


# ── What changed before it failed ───────────────────────────────────────────────────────────

_OTHER_SIDE = {Direction.INCOMING: "outgoing_", Direction.OUTGOING: "incoming_", Direction.ACT: "\0"}
_SAID_AT_MOST = 3


def preceded_by(mailbox: Mailbox, direction: str, failed_at: datetime) -> str:
    """When this direction worked last, and what was changed between then and its failure.

    "" when it never worked, or nothing was changed that it depends on.
    """
    worked = _worked_until(mailbox, direction, failed_at)
    if worked is None:
        return ""
    records = [mailbox, *filter(None, [mailbox.server_profile])]
    entries = entries_of(*records).filter(timestamp__gt=worked, timestamp__lte=failed_at)
    updates = entries.filter(action=LogEntry.Action.UPDATE)
    found = [
        _sentence(change, entry, mailbox)
        for entry in told(updates[:50])
        for change in entry.changes
        if _matters(change.field, direction)
    ]
    if not found:
        return ""
    more = f", and {len(found) - _SAID_AT_MOST} more changes" if len(found) > _SAID_AT_MOST else ""
    return f"It worked until {clock(worked)}; {', '.join(found[:_SAID_AT_MOST])}{more}."


def _matters(field: str, direction: str) -> bool:
    relevant = {name.removesuffix("_id") for name in (*MAILBOX_CONNECTION, *PROFILE_CONNECTION)}
    return field in relevant and not field.startswith(_OTHER_SIDE[Direction(direction)])


def _sentence(change: Change, entry: Entry, mailbox: Mailbox) -> str:
    """Of the profile only that it changed: who may see a mailbox may not see all of its profile."""
    what = f"the {change.label.lower()}" if change.is_secret else change.label
    how = ""
    if entry.model is EmailServerProfile:
        what = f"{what} of {mailbox.server_profile}"
    elif not change.is_secret:
        how = f" {change.says}"
    by = f" by {entry.who}" if entry.who else ""
    return f"{what} was changed{how}{by} at {clock(entry.when)}"


def _worked_until(mailbox: Mailbox, direction: str, failed_at: datetime) -> datetime | None:
    """The last success before the failure, of the engine or of a test."""
    test = passing_tests(mailbox, direction).filter(finished_at__lt=failed_at).first()
    last_success = mailbox.state(direction).last_success_at
    moments = [test.finished_at if test else None, last_success]
    return max((moment for moment in moments if moment and moment < failed_at), default=None)


def passing_tests(mailbox: Mailbox, direction: str) -> QuerySet[ConfigurationTest]:
    """The tests in which this direction passed, newest first."""
    steps = TestStep.objects.filter(test=OuterRef("pk"), direction=direction)
    return mailbox.tests.filter(
        Exists(steps), ~Exists(steps.exclude(state=StepState.PASSED)), finished_at__isnull=False
    ).order_by("-finished_at")


def day_or_time(moment: datetime) -> str:
    """The time of today, or the day: short enough for the margin of a list."""
    local, today = timezone.localtime(moment), timezone.localdate()
    if local.date() == today:
        return date_format(local, "H:i")
    return date_format(local, "j M" if local.year == today.year else "M Y")


def clock(moment: datetime) -> str:
    """A time of today, or with its day."""
    local = timezone.localtime(moment)
    if timezone.localdate() - local.date() < timedelta(days=1):
        return date_format(local, "H:i")
    return date_format(local, "j M, H:i" if local.year == timezone.localdate().year else "j M Y, H:i")
