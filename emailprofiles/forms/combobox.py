"""Comboboxes: an input for one record, or several, of a table that may be large.

The input holds text, such as "Amara Okafor <amara@contoso.com>", and the text says which record is meant.
With script, `combobox.js` offers what is found while one types, from the address in `data-search`.
Without script it is a search field: what names no record, or more than one, comes back with those that
were found, to pick from. A pick counts for the text it was offered for; whoever types something else,
means something else.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.text import Truncator

from ..prefixes import first_found

OFFERED = 20
LONGEST = 500
LINES = 1000


@dataclass(frozen=True, slots=True)
class Pick:
    """One record as it is offered: its name, a line below it, and the text that means it and no other."""

    name: str
    note: str
    text: str


class Candidates(ABC):
    """The records of one kind that may be chosen, and how they are found and named."""

    address: str  # name of the page that answers the script
    columns: tuple[str, ...]  # where words are looked for; the first one orders
    one, many = "record", "records"
    unknown = "There is no record called {}."
    several = "Several records are called {}."
    advice = "Type its name."

    @abstractmethod
    def rows(self) -> QuerySet[Any]:
        """Those that may be chosen."""

    @abstractmethod
    def named(self, typed: str) -> list[Any]:
        """The records that this text names exactly; more than one if it does not decide."""

    @abstractmethod
    def pick(self, record: Any) -> Pick:
        """A record as the list shows it."""

    def meant(self, typed: str) -> list[Any]:
        """The records that this text names, or the one of this number, as scripts send it."""
        named = self.named(typed)
        if named or not (typed.isascii() and typed.isdecimal()):
            return named
        return list(self.rows().filter(pk=int(typed[:18])))

    def looked_for(self, typed: str) -> str:
        """The words to search for; a text that was picked leads to its record again."""
        return typed

    def found(self, typed: str) -> tuple[list[Pick], bool]:
        """What is offered for a text, and whether there is more than is offered."""
        words = self.looked_for(typed.replace("\0", "")[:LONGEST])
        rows = first_found(self.rows(), self.columns, words, OFFERED + 1)
        return [self.pick(row) for row in rows[:OFFERED]], len(rows) > OFFERED

    def count(self, picks: int, more: bool) -> str:
        """The sentence for a number of offers, as it is read out."""
        if more:
            return f"The first {picks} {self.many}. Type more of a name to find others."
        return f"{picks or 'No'} {self.one if picks == 1 else self.many} found."


def address_in(typed: str) -> str:
    """The address of "Amara Okafor <amara@contoso.com>"; a text without one stays as it is."""
    return typed.rpartition("<")[2].strip().removesuffix(">")


@dataclass(frozen=True, slots=True)
class Offer:
    """What was found for a text that did not decide; each pick with the value that stands for it."""

    typed: str
    picks: list[Pick]
    more: bool

    @property
    def choices(self) -> list[tuple[str, Pick]]:
        return [(json.dumps([self.typed, pick.text]), pick) for pick in self.picks]


def _picked(data: Mapping[str, Any], name: str) -> dict[str, str]:
    """Typed text → the text that was picked for it."""
    picked: dict[str, str] = {}
    for key in data:
        if key.startswith(f"{name}-pick-"):
            picked |= _pair(data[key])
    return picked


def _pair(value: Any) -> dict[str, str]:
    try:
        typed, text = json.loads(value)
    except (TypeError, ValueError, RecursionError):
        return {}
    return {typed: text} if isinstance(typed, str) and isinstance(text, str) else {}


class Combobox(forms.TextInput):
    """The input; `offers` are put beside it when what was typed does not decide."""

    def __init__(self, candidates: Candidates, attrs: dict[str, Any] | None = None) -> None:
        exact = {"autocomplete": "off", "autocapitalize": "none", "spellcheck": "false"}
        super().__init__(exact | (attrs or {}))
        self.candidates = candidates
        self.offers: list[Offer] = []

    def value_from_datadict(self, data: Any, files: Any, name: str) -> Any:
        typed = super().value_from_datadict(data, files, name)
        return _picked(data, name).get(typed.strip(), typed) if isinstance(typed, str) else typed

    def render(self, name: str, value: Any, attrs: Any = None, renderer: Any = None) -> SafeString:
        search = {"data-search": reverse(self.candidates.address)}
        control = super().render(name, value, {**(attrs or {}), **search}, renderer)
        return format_html('<div class="combo">{}</div>', control)


class ComboboxLines(forms.Textarea):
    """Several records, one on each line; with script, a list with an input that adds to it."""

    def __init__(self, candidates: Candidates) -> None:
        super().__init__({"rows": 5, "spellcheck": "false", "autocapitalize": "none"})
        self.candidates = candidates
        self.offers: list[Offer] = []

    def value_from_datadict(self, data: Any, files: Any, name: str) -> Any:
        typed = super().value_from_datadict(data, files, name)
        if not isinstance(typed, str):
            return typed
        picked = _picked(data, name)
        return "\n".join(picked.get(line.strip(), line) for line in typed.splitlines())

    def render(self, name: str, value: Any, attrs: Any = None, renderer: Any = None) -> SafeString:
        search = {"data-search": reverse(self.candidates.address), "data-one": self.candidates.one}
        control = super().render(name, value, {**(attrs or {}), **search}, renderer)
        advice = f"One on each line. {self.candidates.advice}"
        return format_html('<div class="combo">{}<p class="hint">{}</p></div>', control, advice)


class _Naming(forms.CharField):
    """From text to record, and back."""

    def __init__(self, candidates: Candidates, **options: Any) -> None:
        super().__init__(**options)
        self.candidates = candidates
        self.kept: dict[str, Any] = {}

    def keep(self, *records: Any) -> None:
        """These stay choosable, whatever became of them since they were chosen."""
        self.kept = {self.candidates.pick(record).text.strip(): record for record in records}

    def text_of(self, value: Any) -> Any:
        """A record, or the key of one, as text; what was typed stays as it was typed."""
        model: Any = self.candidates.rows().model
        if isinstance(value, int):
            known = (record for record in self.kept.values() if record.pk == value)
            value = next(known, None) or model._default_manager.filter(pk=value).first()
        return self.candidates.pick(value).text if isinstance(value, model) else value

    def chosen(self, typed: Any) -> Any:
        """The record that this text names, or None; nothing is judged or offered."""
        typed = str(typed or "").strip()
        named = [self.kept[typed]] if typed in self.kept else self.candidates.meant(typed) if typed else []
        return named[0] if len(named) == 1 else None

    def record_of(self, typed: str) -> Any:
        """The one record of this text; raises ValidationError, and offers what was found."""
        typed = typed.strip()
        if typed in self.kept:
            return self.kept[typed]
        named = self.candidates.meant(typed)
        if len(named) == 1:
            return named[0]
        picks, more = self.candidates.found(typed)
        if picks:
            # A new list: the widgets of all forms begin with the same one.
            widget: Any = self.widget
            widget.offers = [*widget.offers, Offer(typed, picks, more)]
        raise ValidationError(self._undecided(typed, is_known=bool(named), is_offered=bool(picks)))

    def _undecided(self, typed: str, *, is_known: bool, is_offered: bool) -> str:
        says = self.candidates.several if is_known else self.candidates.unknown
        advice = self.candidates.advice
        invites = f"Pick one below, or {advice[0].lower()}{advice[1:]}" if is_offered else advice
        return f"{says.format(Truncator(typed).chars(60))} {invites}"


class ComboboxField(_Naming):
    """One record, or None."""

    def __init__(
        self, candidates: Candidates, *, attrs: dict[str, Any] | None = None, **options: Any
    ) -> None:
        defaults: dict[str, Any] = {"max_length": LONGEST, "widget": Combobox(candidates, attrs)}
        super().__init__(candidates, **defaults | options)

    def prepare_value(self, value: Any) -> Any:
        return self.text_of(value)

    def clean(self, value: Any) -> Any:
        typed = super().clean(self.text_of(value))
        return self.record_of(typed) if typed else None

    def has_changed(self, initial: Any, data: Any) -> bool:
        return bool(super().has_changed(self.text_of(initial), data))


class ComboboxListField(_Naming):
    """Several records, each once; one sentence for each line that does not name one."""

    def __init__(self, candidates: Candidates, **options: Any) -> None:
        super().__init__(candidates, **{"widget": ComboboxLines(candidates)} | options)

    def prepare_value(self, value: Any) -> Any:
        """Records as lines; what was typed stays as it was typed."""
        return "\n".join(map(self.text_of, value)) if isinstance(value, list) else value

    def clean(self, value: Any) -> list[Any]:
        typed = super().clean(self.prepare_value(value))
        lines = [line.strip() for line in typed.splitlines() if line.strip()]
        if len(lines) > LINES:
            raise ValidationError(f"{len(lines)} lines are too many: type at most {LINES}.")
        found: dict[Any, Any] = {}
        errors: list[str] = []
        for line in lines:
            try:
                record = self.record_of(line)
                found[record.pk] = record
            except ValidationError as error:
                errors += error.messages
        if errors:
            raise ValidationError(errors)
        return list(found.values())

    def has_changed(self, initial: Any, data: Any) -> bool:
        return bool(super().has_changed(self.prepare_value(initial), data))
