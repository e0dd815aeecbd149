"""Rows by the hundred, without an object for each: what the ORM builds for one costs more than the database takes.

Only for tables to which the line writes each message. Rules hold as ever: the database has them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import Any

from django.db import connection
from django.db.models import BinaryField, DateTimeField, Field, Model

Row = dict[str, Any]
"""Column (attname) → value; an aware datetime for a point in time."""


def keys(model: type[Model], number: int) -> Sequence[int]:
    """Primary keys for so many new rows, in order, which nobody else is given.

    On SQLite it takes a transaction that has written already: then nobody else writes before its end.
    """
    assert connection.in_atomic_block
    table = model._meta.db_table
    with connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            cursor.execute("SELECT seq FROM sqlite_sequence WHERE name = %s", [table])
            (latest,) = cursor.fetchone() or (0,)
            return range(latest + 1, latest + 1 + number)
        of_table = "nextval(pg_get_serial_sequence(%s, 'id'))"
        cursor.execute(f"SELECT {of_table} FROM generate_series(1, %s)", [table, number])  # noqa: S608
        return [key for (key,) in cursor.fetchall()]


def insert(model: type[Model], rows: Iterable[Row]) -> None:
    """New rows; what one does not name has the default of its field. Raises as the database does."""
    fields = _fields(model, with_key=False)
    defaults = {field.attname: field.get_default() for field in fields}
    complete = [defaults | row for row in rows]
    if not complete:
        return
    if model._meta.pk.attname in complete[0]:
        fields = _fields(model, with_key=True)
    values = _values(fields, complete)
    if connection.vendor == "postgresql":
        _copy(model, fields, values)
        return
    columns = ", ".join(str(field.column) for field in fields)
    places = ", ".join(["%s"] * len(fields))
    into = f"INSERT INTO {model._meta.db_table} ({columns})"
    if any(isinstance(field, BinaryField) for field in fields):
        # A statement that Python keeps for the next time keeps its last values, too, be they 50 MB: here, none.
        nothing = [b"" if isinstance(field, BinaryField) else None for field in fields]
        ends = [[*row, True] for row in values] + [[*nothing, False]]
        _execute(f"{into} SELECT {places} WHERE %s", ends)
    else:
        _execute(f"{into} VALUES ({places})", values)


def update(model: type[Model], rows: Sequence[Row]) -> None:
    """Write these columns into the rows of their primary keys; all rows name the same columns."""
    if not rows:
        return
    key = model._meta.pk
    fields = [field for field in _fields(model, with_key=False) if field.attname in rows[0]]
    assigned = ", ".join(f"{field.column} = %s" for field in fields)
    statement = f"UPDATE {model._meta.db_table} SET {assigned} WHERE {key.column} = %s"  # noqa: S608
    _execute(statement, _values([*fields, key], rows))


@lru_cache
def _fields(model: type[Model], *, with_key: bool) -> list[Field[Any, Any]]:
    """Those that have a column; a key that the database makes only if it is asked for."""
    fields = model._meta.concrete_fields
    return [field for field in fields if with_key or not field.primary_key or field.remote_field]


def _values(fields: Sequence[Field[Any, Any]], rows: Iterable[Row]) -> list[list[Any]]:
    """Each row as the driver takes it."""
    names = [field.attname for field in fields]
    times = [place for place, field in enumerate(fields) if isinstance(field, DateTimeField)]
    adapt: Callable[[Any], Any] = connection.ops.adapt_datetimefield_value
    values = [[row[name] for name in names] for row in rows]
    for row in values:
        for place in times:
            if row[place] is not None:
                row[place] = adapt(row[place])
    return values


def _execute(statement: str, values: list[list[Any]]) -> None:
    with connection.cursor() as cursor:
        cursor.executemany(statement, values)


def _copy(model: type[Model], fields: Sequence[Field[Any, Any]], values: list[list[Any]]) -> None:
    """COPY in its binary form: bytes go as they are."""
    columns = ", ".join(str(field.column) for field in fields)
    types = [str(field.db_type(connection)).partition("(")[0] for field in fields]
    with connection.cursor() as cursor, connection.wrap_database_errors:
        statement = f"COPY {model._meta.db_table} ({columns}) FROM STDIN (FORMAT BINARY)"
        with cursor.copy(statement) as copy:
            copy.set_types(types)
            for row in values:
                copy.write_row(row)
