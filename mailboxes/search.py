"""Search in messages: every word that was typed begins a word of the subject, the sender or the recipients.

The database keeps the index by itself, whoever writes a message: SQLite in an FTS5 table that triggers fill
(`MessageWords`), PostgreSQL in a GIN index over the expression `_Words`. Both are made by migration 0022; one that
makes the table of messages anew has to make the triggers anew, too.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from django.db import connection
from django.db.models import BooleanField, Func, QuerySet, TextField, Value

from .models import Message

MOST_WORDS = 20
LONGEST = 500

_TYPED = re.compile(r'"([^"]*)"?|(\S+)')
_PARTS = re.compile(r"[^\W_]+")


class Term(NamedTuple):
    """Words that follow each other, in lower case; the last one may go on, unless it was typed in quotes."""

    parts: Sequence[str]
    is_whole: bool


def matching(among: QuerySet[Message], typed: str) -> QuerySet[Message]:
    """Those of these messages that what was typed finds; all of them when nothing was typed.

    A Message-ID, with or without its brackets, finds the messages that have it.
    """
    typed = typed.replace("\x00", "").strip()[:LONGEST]
    if not typed:
        return among
    if "@" in typed and among.filter(message_id=typed.strip("<>")).exists():
        return among.filter(message_id=typed.strip("<>"))
    if not (terms := read(typed)):
        return among.none()
    if connection.vendor == "sqlite":
        return among.filter(words__words__match=_fts5(terms))
    return among.filter(_Matches(_Words(*FIELDS), _Query(Value(_tsquery(terms)))))


def newest_first() -> str:
    """The field by whose number, falling, found messages are read from the index as they came in."""
    return "words__message_id" if connection.vendor == "sqlite" else "pk"


def read(typed: str) -> list[Term]:
    """What was typed, as terms of which each must be found: words, addresses, and parts in "quotes"."""
    terms: list[Term] = []
    for quoted, word in _TYPED.findall(typed):
        if parts := _PARTS.findall((quoted or word).lower()):
            # One letter begins too many words to be of any help.
            terms.append(Term(parts, is_whole=bool(quoted) or len(parts[-1]) < 2))
    return terms[:MOST_WORDS]


class NotATable:
    """A router: what search knows stands in the messages, too, so no dump holds it, and none is loaded."""

    def allow_migrate(
        self, db: str, app_label: str, model_name: str | None = None, **hints: object
    ) -> bool | None:
        return False if (app_label, model_name) == ("mailboxes", "messagewords") else None


# ── SQLite ──────────────────────────────────────────────────────────────────────────────────


def _fts5(terms: Sequence[Term]) -> str:
    """As FTS5 has it: "contoso com" * AND "budget" """
    return " AND ".join(f'"{" ".join(term.parts)}"{"" if term.is_whole else " *"}' for term in terms)


# ── PostgreSQL ──────────────────────────────────────────────────────────────────────────────

FIELDS = ("subject", "sender", "sender_name", "recipients")
SEPARATORS = "@.-_/+:=<>,;'\"()[]"


class _Words(Func):
    """The words of a message; exactly the expression of the index, or it is not used."""

    arg_joiner = " || ' ' || "
    output_field = TextField()

    @property
    def template(self) -> str:  # type: ignore[override]
        return WORDS.replace("%", "%%").format("%(expressions)s")


WORDS = "to_tsvector('simple', translate({}, '{}', '{}'))".format(
    "{}", SEPARATORS.replace("'", "''"), " " * len(SEPARATORS)
)


class _Query(Func):
    template = "to_tsquery('simple', %(expressions)s)"
    output_field = TextField()


class _Matches(Func):
    template = "%(expressions)s"
    arg_joiner = " @@ "
    output_field = BooleanField()


def _tsquery(terms: Sequence[Term]) -> str:
    """As to_tsquery has it: 'contoso' <-> 'com':* & 'budget'"""
    written = []
    for term in terms:
        phrase = " <-> ".join(f"'{part}'" for part in term.parts)
        written.append(f"({phrase}{'' if term.is_whole else ':*'})")
    return " & ".join(written)
