"""Rules that are said once: in the database, with their sentence and the field it belongs to."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import ValidationError
from django.db import models


class FieldRule(models.CheckConstraint):
    """A CHECK whose violation is reported at `field`.

    `full_clean()` and the database refuse the same rows; forms, API and commands state no rule.
    """

    def __init__(self, *, field: str, message: str, condition: models.Q, name: str) -> None:
        self.field = field
        super().__init__(condition=condition, name=name, violation_error_message=message)

    def validate(self, model: Any, instance: Any, exclude: Any = None, using: str = "default") -> None:
        try:
            super().validate(model, instance, exclude, using)
        except ValidationError as error:
            raise ValidationError({self.field: error.messages}) from error

    def deconstruct(self) -> Any:
        path, args, kwargs = super().deconstruct()
        message = kwargs.pop("violation_error_message")
        return path, args, kwargs | {"field": self.field, "message": message}

    def clone(self) -> FieldRule:
        _, args, kwargs = self.deconstruct()
        return type(self)(*args, **kwargs)


def one_of(field: str, choices: type[models.TextChoices], model: str) -> FieldRule:
    """The column holds one of its choices, in the database too."""
    labels = ", ".join(str(label) for label in choices.labels if label)
    return FieldRule(
        field=field,
        name=f"{model}_{field}_is_known",
        condition=models.Q(**{f"{field}__in": choices.values}),
        message=f"Choose one of: {labels}.",
    )
