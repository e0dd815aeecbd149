"""A form of a record that somebody else may change while it is open.

The page carries what it showed (`shown`). What its author did not touch takes the value that is stored by
now, so that the other's change stays. What both changed to different values is a conflict: nothing is
saved, the sentence stands at the field, and the next save, made knowingly, goes through. Only columns
that the author changed are written. Under the row's lock the record is read once more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from auditlog.models import LogEntry
from django import forms
from django.core.exceptions import ObjectDoesNotExist
from django.db import models
from django.forms.models import construct_instance, model_to_dict
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.text import Truncator

from ..history import last_change, signature, who_acts
from .shown import NAME, Shown, as_sent, digest, in_lines

if TYPE_CHECKING:
    _ModelForm = forms.ModelForm[Any]
else:
    _ModelForm = forms.ModelForm


class SharedForm(_ModelForm):
    """What is no column stands in `beside()`; passwords, which are never shown, in `write_only`."""

    secrets: tuple[str, ...] = ()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.exists = self.instance.pk is not None
        self._posted: Any = self.data
        self._seen = Shown()
        self._stored: dict[str, str] = {}
        self._unsettled: set[str] = set()
        self.meanwhile: list[str] = []
        if self.exists:
            self.initial = {**self.beside(self.instance), **self.initial}

    # What a form may say about its record.

    def beside(self, record: Any) -> dict[str, Any]:
        """Field → value of what is stored beside the columns, such as members; read anew each time."""
        return {}

    def last_change(self, name: str) -> LogEntry | None:
        """Where the history tells of the last change of a field."""
        return last_change(self.instance, self.write_only.get(name, name))

    @property
    def write_only(self) -> dict[str, str]:
        """Field → column of what is typed and never shown."""
        return {name: name for name in self.secrets}

    def lock(self) -> models.Model:
        """The record as stored, locked as its `save()` locks."""
        found: models.Model = self._rows().get(pk=self.instance.pk)
        return found

    def _rows(self) -> Any:
        return type(self.instance)._default_manager.select_for_update()

    def columns(self) -> list[str]:
        """The columns that the author of this page changed."""
        own = {name for name in self._meta.fields or () if name in self.changes}
        typed = [column for name, column in self.write_only.items() if self.cleaned_data.get(name)]
        return [*own, *typed]

    @property
    def shown(self) -> str:
        """What the page carries: all that it shows now, but what is still to be settled as it was shown first."""
        if not self.exists or all(field.disabled for field in self.fields.values()):
            return ""
        texts = self._stored if self.is_bound else self._texts()
        now = {name: digest(name, text) for name, text in texts.items()}
        kept = {name: self._seen.digests[name] for name in self._unsettled & self._seen.digests.keys()}
        settled = {name: mark for name, mark in now.items() if name not in self._unsettled}
        return Shown(settled | kept, self._seen.at if kept else None).sealed(self.instance)

    # How the stored record reads on this form.

    def _texts(self, initial: dict[str, Any] | None = None, record: Any = None) -> dict[str, str]:
        """Field → what a browser sends back untouched; of a password, what is sealed."""
        values, record = self.initial if initial is None else initial, record or self.instance
        texts = {
            name: as_sent(field, values.get(name, field.initial))
            for name, field in self.fields.items()
            if name not in self.write_only and not field.disabled
        }
        return texts | {
            name: str.__str__(sealed) if isinstance(sealed := record.__dict__[column], str) else ""
            for name, column in self.write_only.items()
            if name in self.fields
        }

    def full_clean(self) -> None:
        if self.is_bound and self.exists:
            self._leave_untouched_alone()
        super().full_clean()

    def _leave_untouched_alone(self) -> None:
        """Put what is stored by now in place of what was sent back as it had been shown."""
        self._seen = Shown.opened(self.instance, self._posted.get(NAME, ""))
        self._stored, self._unsettled, self.meanwhile = self._texts(), set(), []
        data = self._posted.copy()
        for name, stored in self._stored.items():
            if name in self.write_only:
                continue
            sent = self._sent(name)
            if sent is None or self._seen.of(name, sent):
                data[self.add_prefix(name)] = stored
                if sent not in (None, stored):
                    self.meanwhile.append(f"{self.fields[name].label}: {self._who_was_faster(name)}")
        self.data = data

    def _sent(self, name: str) -> str | None:
        """What was sent for a field; None when it was left out."""
        widget, key = self.fields[name].widget, self.add_prefix(name)
        if widget.value_omitted_from_data(self._posted, self.files, key):
            return None
        return in_lines(widget.value_from_datadict(self._posted, self.files, key))

    @property
    def changes(self) -> set[str]:
        """The fields whose value differs from what is stored; all fields of a new record."""
        if not self.exists:
            return set(self.fields)
        return {name for name in self.cleaned_data if name in self._stored and self._differs(name)}

    def _differs(self, name: str) -> bool:
        if name in self.write_only:
            return bool(self.cleaned_data[name])
        return self._mine(name) != self._stored[name]

    def _mine(self, name: str) -> str:
        return as_sent(self.fields[name], self.cleaned_data[name])

    def _construct(self) -> None:
        """Put what the author changed on the record, which keeps everything else as it is stored."""
        columns = [name for name in self._meta.fields or () if name in self.changes]
        self.instance = construct_instance(self, self.instance, columns, self._meta.exclude)
        for name in self.secrets:
            if self.cleaned_data.get(name):
                setattr(self.instance, name, self.cleaned_data[name])

    def _refuse_conflicts(self) -> bool:
        """Say at each field that was changed by both what the other one did; whether there was any."""
        self._unsettled = {name for name in self.errors if not self._is_as_shown(name)}
        both = [name for name in self.changes if not self._is_as_shown(name)]
        for name in both:
            if name not in self.write_only and self._seen.of(name, self._mine(name)):
                self._give_way(name)
            else:
                self.add_error(name, self._conflict(name))
        return any(name in self.errors for name in both)

    def _is_as_shown(self, name: str) -> bool:
        """Whether the field is stored as the page showed it."""
        return name not in self._stored or self._seen.of(name, self._stored[name])

    def _give_way(self, name: str) -> None:
        """What was typed means what had been shown: nothing was changed, and what is stored stays."""
        self.cleaned_data[name] = self.initial.get(name)

    # Was somebody faster?

    def overtaken(self) -> bool:
        """Lock the record; if it is not what was judged, judge anew. Whether there are errors now."""
        if not self.exists:
            return False
        try:
            stored: Any = self.lock()
        except ObjectDoesNotExist:
            self.add_error(None, "Somebody deleted this record while you were editing.")
            return True
        now = {**self.initial, **model_to_dict(stored, self._meta.fields), **self.beside(stored)}
        if self._texts(now, stored) == self._stored:
            return False
        self.initial = now
        self._bound_fields_cache: dict[str, Any] = {}
        for column in stored._meta.concrete_fields:
            setattr(self.instance, column.attname, stored.__dict__[column.attname])
        self.full_clean()
        return bool(self.errors)

    def _conflict(self, name: str) -> str:
        if name in self.write_only:
            return f"{self._who_was_faster(name)} Type yours again to replace it."
        mine = self._in_words(name, self._mine(name))
        return f"{self._who_was_faster(name)} Save again to set it to {mine}."

    def _who_was_faster(self, name: str) -> str:
        """Such as "Hanna Brandt changed this to STARTTLS at 14:02 while you were editing."."""
        to = "" if name in self.write_only else f" to {self._in_words(name, self._stored[name])}"
        if self._seen.at is None:
            now = to.replace(" to ", "is ", 1) or "may have been changed"
            return f"This {now} now, and the page that was sent does not tell what it showed."
        entry = self.last_change(name)
        if entry is None or entry.timestamp < self._seen.at:
            return f"This was changed{to} while you were editing."
        signed = signature(entry)
        who = "You" if signed.person_pk == getattr(who_acts().person, "pk", 0) else signed.who
        where = "in another window" if who == "You" else "while you were editing"
        local = timezone.localtime(signed.when)
        at = date_format(local, "H:i" if local.date() == timezone.localdate() else "j M, H:i")
        return f"{who or 'Somebody'} changed this{to} at {at} {where}."

    def _in_words(self, name: str, text: str) -> str:
        """A value as the page says it."""
        control: Any = self.fields[name]
        if isinstance(control, forms.BooleanField):
            return "Yes" if text == "True" else "No"
        if isinstance(control, forms.ModelChoiceField):
            known: Any = control.queryset
            chosen = known.filter(pk=text).first() if text.isdecimal() else None
            return control.label_from_instance(chosen) if chosen else "nothing"
        if isinstance(control, forms.ChoiceField):
            labels: dict[str, Any] = {str(value): label for value, label in _flat(control.choices)}
            return str(labels.get(text, text)) or "nothing"
        return Truncator(", ".join(text.splitlines())).chars(80) or "nothing"


def _flat(choices: Any) -> Any:
    """Choices without their groups."""
    for value, label in choices:
        if isinstance(label, (list, tuple)):
            yield from label
        else:
            yield value, label
