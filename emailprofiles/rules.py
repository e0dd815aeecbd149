"""Rules that are said once: in the database, with their sentence and the field it belongs to."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from typing import Any

from django.core.exceptions import ValidationError
from django.db import DatabaseError, connections, models, transaction
from django.db.models.functions import Coalesce
from django.db.models.sql import Query
from django.db.models.sql.constants import SINGLE


class FieldRule(models.CheckConstraint):
    """A CHECK whose violation is reported at `field`.

    `full_clean()` and the database refuse the same rows; forms, API and commands state no rule.
    """

    def __init__(self, *, field: str, message: str, condition: models.Q, name: str) -> None:
        self.field = field
        super().__init__(condition=condition, name=name, violation_error_message=message)

    def validate(self, model: Any, instance: Any, exclude: Any = None, using: str = "default") -> None:
        if not self.holds(model, instance, exclude, using):
            raise ValidationError({self.field: [self.get_violation_error_message()]})

    def holds(self, model: Any, instance: Any, exclude: Any, using: str) -> bool:
        try:
            super().validate(model, instance, exclude, using)
        except ValidationError:
            return False
        return True

    def deconstruct(self) -> Any:
        path, args, kwargs = super().deconstruct()
        message = kwargs.pop("violation_error_message")
        return path, args, kwargs | {"field": self.field, "message": message}

    def clone(self) -> FieldRule:
        _, args, kwargs = self.deconstruct()
        return type(self)(*args, **kwargs)


class FieldRules(models.BaseConstraint):
    """The field rules of one record as one constraint: a single question to the database judges them all."""

    def __init__(self, rules: Iterable[FieldRule]) -> None:
        self.rules = list(rules)
        super().__init__(name="field_rules")

    def validate(self, model: Any, instance: Any, exclude: Any = None, using: str = "default") -> None:
        """Raises ValidationError by field, with the sentence of every rule that is broken."""
        broken = self._broken(instance, using) if not exclude else None
        if broken is None:
            broken = [rule for rule in self.rules if not rule.holds(model, instance, exclude, using)]
        errors: dict[str, list[Any]] = {}
        for rule in broken:
            errors.setdefault(rule.field, []).append(rule.get_violation_error_message())
        if errors:
            raise ValidationError(errors)

    def _broken(self, instance: Any, using: str) -> list[FieldRule] | None:
        """None where the question fails: then each rule has to be asked by itself."""
        query = Query(None)
        for name, value in instance._get_field_expression_map(meta=instance._meta).items():
            query.add_annotation(value, name, select=False)
        for rule in self.rules:
            holds = Coalesce(rule.condition, True, output_field=models.BooleanField())
            query.add_annotation(holds, rule.name)
        within = transaction.atomic(using) if connections[using].in_atomic_block else nullcontext()
        try:
            with within:
                answers = query.get_compiler(using).execute_sql(SINGLE)
        except DatabaseError:
            return None
        return [rule for rule, holds in zip(self.rules, answers, strict=True) if not holds]


class Ruled(models.Model):
    """A record that has field rules."""

    class Meta:
        abstract = True

    def get_constraints(self) -> list[tuple[type[models.Model], Sequence[models.BaseConstraint]]]:
        return [(model, _together(constraints)) for model, constraints in super().get_constraints()]


def _together(constraints: Iterable[models.BaseConstraint]) -> list[models.BaseConstraint]:
    rules = [constraint for constraint in constraints if isinstance(constraint, FieldRule)]
    others = [constraint for constraint in constraints if not isinstance(constraint, FieldRule)]
    return [FieldRules(rules), *others]


def one_of(field: str, choices: type[models.TextChoices], model: str) -> FieldRule:
    """The column holds one of its choices, in the database too."""
    labels = ", ".join(str(label) for label in choices.labels if label)
    return FieldRule(
        field=field,
        name=f"{model}_{field}_is_known",
        condition=models.Q(**{f"{field}__in": choices.values}),
        message=f"Choose one of: {labels}.",
    )
