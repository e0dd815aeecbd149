"""A form of a record: the rules live in the models; a form asks, and hands back their sentences."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django import forms
from django.core.exceptions import NON_FIELD_ERRORS, ValidationError
from django.db import IntegrityError, transaction
from django.db.models import UniqueConstraint

from .shared import SharedForm


def _columns(constraint: UniqueConstraint) -> list[str]:
    """The columns that a unique constraint compares, those within an expression such as Lower too."""
    expressions: Iterable[Any] = constraint.expressions
    parts: list[Any] = [part for expression in expressions for part in expression.flatten()]
    return [*constraint.fields, *(part.name for part in parts if hasattr(part, "name"))]


class Summed(forms.BaseForm):
    """A form whose errors stand once more on top of it, each with a link to its field."""

    @property
    def summary(self) -> list[tuple[str, str, str]]:
        """(anchor, label, sentence) of each error; the anchor is empty for the form as a whole."""
        found = []
        for name, sentences in self.errors.items():
            bound = self[name] if name in self.fields else None
            anchor, label = (bound.auto_id, str(bound.label)) if bound else ("", "")
            found += [(anchor, label, str(sentence)) for sentence in sentences]
        return found


class RecordForm(Summed, SharedForm):
    """A form whose record judges all of itself: `full_clean()` leaves nothing out.

    Errors of fields that are not on the form become errors of the form as a whole. Fields named in
    `secrets` are passwords: declared as `Password`, stored only when something was typed.
    """

    def __init__(self, *args: Any, read_only: bool = False, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        columns = {column.name: column for column in self.instance._meta.concrete_fields}
        for name, field in self.fields.items():
            field.disabled = field.disabled or read_only
            if name in columns and isinstance(field, forms.ChoiceField):  # the record's own sentence
                field.error_messages["invalid_choice"] = columns[name].error_messages["invalid_choice"]
            if not isinstance(field.widget, (forms.RadioSelect, forms.CheckboxInput)):
                field.widget.attrs.setdefault("class", "input")

    def _post_clean(self) -> None:
        if self.exists and self._refuse_conflicts():
            return  # what is settled now is judged with the next save
        self._construct()
        self._judge()

    def _judge(self) -> None:
        try:
            self.instance.full_clean()
        except OverflowError:  # a number that no column holds reached a query: its own field says so
            self._judge_fields()
        except ValidationError as error:
            self._hand_over(error)

    def _judge_fields(self) -> None:
        try:
            self.instance.clean_fields()
        except ValidationError as error:
            self._hand_over(error)

    def _hand_over(self, error: ValidationError) -> None:
        """Put each sentence at its field; a field that was refused already keeps its own."""
        by_field = error.error_dict if hasattr(error, "error_dict") else {NON_FIELD_ERRORS: [error]}
        refused = set(self.errors)
        for name, sentences in by_field.items():
            for sentence in sentences:
                place = name if name in self.fields else self._unique_field(sentence)
                if place is None or place not in refused:
                    self.add_error(place, sentence)

    def _unique_field(self, sentence: ValidationError) -> str | None:
        """The field of this form that a unique constraint with this sentence is about."""
        for constraint in self.instance._meta.constraints:
            if (
                isinstance(constraint, UniqueConstraint)
                and str(constraint.violation_error_message) in sentence.messages
            ):
                return next((name for name in _columns(constraint) if name in self.fields), None)
        return None

    def try_save(self) -> bool:
        """Save if everything is right; False, with the sentences at their fields, if not.

        Rules across rows are checked once more while saving: another person may have been faster.
        """
        if not self.is_valid():
            return False
        try:
            with transaction.atomic():
                if self.overtaken():
                    return False
                self.save()
        except ValidationError as error:
            self._hand_over(error)
        except IntegrityError:
            self._judge()
            if not self.errors:
                raise
        return not self.errors

    def save(self, commit: bool = True) -> Any:
        """Write a new record, or the columns of one that were changed here."""
        if not self.exists:
            return super().save(commit)
        self.instance.save(update_fields=self.columns())
        return self.instance
