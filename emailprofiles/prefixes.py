"""Finding rows by the beginning of a word, so that an index answers however many rows there are."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import reduce
from operator import or_
from typing import Any

from django.db import models
from django.db.models import Q, QuerySet, Value
from django.db.models.functions import Lower
from django.db.models.lookups import GreaterThanOrEqual, LessThan

WORDS = 5
_AFTER_ALL = "\U0010ffff"


class Folded(Lower):
    """Lower case, compared character by character: "begins with" is then one range of an index."""

    def as_postgresql(self, compiler: Any, connection: Any, **context: Any) -> Any:
        template = '(LOWER(%(expressions)s) COLLATE "C")'
        return self.as_sql(compiler, connection, template=template, **context)


def begins_with(column: str, word: str) -> Q:
    """Rows whose column begins with this word, in capitals or not."""
    ranges = (
        Q(
            GreaterThanOrEqual(Folded(column), Value(start)),
            LessThan(Folded(column), Value(start + _AFTER_ALL)),
        )
        for start in _spellings(word)
    )
    return reduce(or_, ranges)


def _spellings(word: str) -> Iterable[str]:
    """How a word may stand in a folded column: SQLite folds A to Z and leaves É as it is."""
    written = (word.lower(), word.capitalize(), word.upper())
    return dict.fromkeys("".join(c.lower() if c.isascii() else c for c in one) for one in written)


def first_found(rows: QuerySet[Any], columns: Sequence[str], typed: str, limit: int) -> list[Any]:
    """At most `limit` rows for what is typed, in one query for each column and one more.

    First those where a column begins with the first word and the other words stand anywhere; then,
    if there are too few, those where all words stand anywhere. Nothing typed: the first rows.
    """
    words = typed.split()[:WORDS]
    if not words:
        return list(rows.order_by(Folded(columns[0]), "pk")[:limit])
    others = rows.filter(*(_anywhere(columns, word) for word in words[1:]))
    found: dict[Any, Any] = {}
    for column in columns:
        beginning = others.filter(begins_with(column, words[0])).order_by(Folded(column), "pk")
        found |= {row.pk: row for row in beginning[:limit]}
    if len(found) < limit:
        anywhere = others.filter(_anywhere(columns, words[0])).order_by("pk")
        found |= {row.pk: row for row in anywhere[:limit] if row.pk not in found}
    return list(found.values())[:limit]


def _anywhere(columns: Sequence[str], word: str) -> Q:
    return reduce(or_, (Q(**{f"{column}__icontains": word}) for column in columns))


def index(column: str, name: str) -> models.Index:
    """The index that answers `begins_with` for this column."""
    return models.Index(Folded(column), name=name)
