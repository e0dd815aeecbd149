"""The history of changes: who, when, which fields.

django-auditlog compares and stores; a model is watched where it is defined. Each entry is signed here with
the person who acts, or with what runs instead of a person, such as "provision office.toml". Of a secret
an entry says only that it changed.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from auditlog.context import disable_auditlog
from auditlog.models import LogEntry
from auditlog.registry import auditlog
from django.contrib.contenttypes.models import ContentType
from django.db import models
from django.db.models.signals import pre_save
from django.dispatch import receiver

MASK = "***"

# A change of what no single save shows: (before, after), as JSON can hold them.
Change = tuple[Any, Any]

silent = disable_auditlog


@dataclass(frozen=True, slots=True)
class Hand:
    """Who changes records now: a person, or something that runs in nobody's name, or both."""

    person: Any = None
    way: str = ""


_hand: ContextVar[Hand | None] = ContextVar("hand", default=None)


@contextmanager
def acting(person: Any = None, way: str = "") -> Iterator[None]:
    """Sign all changes made within with this person, with the way they came about, or with both."""
    token = _hand.set(Hand(person, way))
    try:
        yield
    finally:
        _hand.reset(token)


def who_acts() -> Hand:
    """The person or thing at work in this thread; outside of `acting` it is the command of this process."""
    return _hand.get() or Hand(way=_command())


def _command() -> str:
    program = Path(sys.argv[0]).name
    return " ".join((program, *sys.argv[1:2])) if program == "manage.py" else program


def watch(
    model: type[models.Model],
    *,
    noise: Iterable[str] = (),
    secrets: Iterable[str] = (),
    members: Iterable[str] = (),
    labels: Mapping[str, str] | None = None,
) -> None:
    """Keep the history of a model's columns but for `noise`; `labels` are those of its form."""
    columns = [column.name for column in model._meta.concrete_fields if not column.primary_key]
    auditlog.register(
        model,
        include_fields=[name for name in columns if name not in set(noise)],
        mask_fields=list(secrets),
        mask_callable=f"{__name__}.{masked.__name__}",
        m2m_fields=set(members),
        mapping_fields=dict(labels or {}),
    )


def masked(value: str) -> str:
    """What an entry says instead of a secret, whatever the secret is."""
    return MASK


@receiver(pre_save, sender="auditlog.LogEntry")
def _sign_new(sender: Any, instance: LogEntry, **kwargs: Any) -> None:
    if instance.pk is None:
        _sign(instance)


def _sign(entry: LogEntry) -> LogEntry:
    hand = who_acts()
    if hand.person is not None:
        entry.actor, entry.actor_email = hand.person, hand.person.email
    if hand.way:
        entry.additional_data = {"way": hand.way}
    return entry


def note(record: models.Model, **changes: Change) -> None:
    """An entry for what is no column of the record, or was written without `save()`."""
    LogEntry.objects.log_create(record, action=LogEntry.Action.UPDATE, changes=changes)


def note_for_all(records: Iterable[models.Model], **changes: Change) -> None:
    """The same entry for many records of one model, in a few statements."""
    entries = [
        _sign(
            LogEntry(
                content_type=ContentType.objects.get_for_model(record),
                object_pk=str(record.pk),
                object_id=record.pk,
                object_repr=str(record),
                action=LogEntry.Action.UPDATE,
                changes=changes,
            )
        )
        for record in records
    ]
    LogEntry.objects.bulk_create(entries, batch_size=500)


def entries_of(*records: models.Model) -> models.QuerySet[LogEntry]:
    """What changed in these records, newest first."""
    mine = models.Q(pk__in=[])
    for record in records:
        kind = ContentType.objects.get_for_model(record).pk
        # As a range, so that the index of the record's key is taken, not that of the many of its kind.
        mine |= models.Q(content_type__id__range=(kind, kind), object_id=record.pk)
    entries: models.QuerySet[LogEntry] = LogEntry.objects.filter(mine).select_related("actor")
    return entries.order_by("-timestamp", "-pk")


def last_change(record: models.Model, field: str) -> LogEntry | None:
    """The entry of the last change of one field."""
    changed = entries_of(record).filter(action=LogEntry.Action.UPDATE, changes__has_key=field)
    return changed.first()


@dataclass(frozen=True, slots=True)
class Signature:
    """Who made a change, and when."""

    who: str
    when: datetime
    person_pk: int | None


def signature(entry: LogEntry) -> Signature:
    """How an entry is signed: a name, or what ran instead; a person who is gone has left an address."""
    way = (entry.additional_data or {}).get("way", "")
    who = str(entry.actor) if entry.actor else entry.actor_email or ""
    return Signature(
        who=f"{who} ({way})" if who and way else who or way, when=entry.timestamp, person_pk=entry.actor_id
    )


def label_of(model: type[models.Model], field: str) -> str:
    """The label of a field as its form says it."""
    labels: dict[str, str] = auditlog.get_model_fields(model)["mapping_fields"]
    return labels.get(field) or str(model._meta.get_field(field).verbose_name)  # type: ignore[union-attr]
