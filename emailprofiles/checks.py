"""Numbered system checks: what must hold before anything starts. The README lists them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, register
from django.core.exceptions import ImproperlyConfigured
from django.db import DatabaseError, connection

from . import keycanary, secrets


@register()
def keys_fit(**kwargs: Any) -> list[CheckMessage]:
    """E001: a malformed key. E002: keys that do not open what this database holds."""
    try:
        secrets.keyring()
    except ImproperlyConfigured as error:
        return [Error(str(error), hint="See FIELD_KEYS in the README.", id="sortingoffice.E001")]
    if sentence := keycanary.complaint():
        hint = "Restore the key file, or set FIELD_KEYS to the keys this database was used with."
        return [Error(sentence, hint=hint, id="sortingoffice.E002")]
    return []


@register()
def authority_is_readable(**kwargs: Any) -> list[CheckMessage]:
    """E003: TLS_CA_FILE names a file that cannot be read."""
    if settings.TLS_CA_FILE and not Path(settings.TLS_CA_FILE).is_file():
        message = f"TLS_CA_FILE names {settings.TLS_CA_FILE}, which is not a file."
        return [Error(message, hint="Give a PEM file, or leave it empty.", id="sortingoffice.E003")]
    return []


@register()
def commits_are_durable(**kwargs: Any) -> list[CheckMessage]:
    """E004: SQLite would lose a commit in a power cut, after the server's copy is gone."""
    if connection.vendor != "sqlite":
        return []
    try:
        with connection.cursor() as cursor:
            level = cursor.execute("PRAGMA synchronous").fetchone()[0]
    except DatabaseError:  # the command itself will say what is wrong with the database
        return []
    if level >= 2:
        return []
    hint = "Leave init_command as it is in config/settings.py."
    return [Error("SQLite runs without synchronous=FULL.", hint=hint, id="sortingoffice.E004")]


@register()
def numbers_make_sense(**kwargs: Any) -> list[CheckMessage]:
    """E005: SYNC_THREADS or SYNC_WATCHES outside its range."""
    ranges = {"SYNC_THREADS": (1, 256), "SYNC_WATCHES": (0, 1000)}
    return [
        Error(f"{name} must be from {low} to {high}.", id="sortingoffice.E005")
        for name, (low, high) in ranges.items()
        if not low <= getattr(settings, name) <= high
    ]
