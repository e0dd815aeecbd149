"""Whether the keys at hand open what this database holds; asked at the start of every process."""

from __future__ import annotations

from typing import Any

from django.apps import AppConfig
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import CommandError
from django.db import DatabaseError, connection
from django.db.models.signals import post_migrate, pre_migrate

from .keyfile import create_keyfile, read_keyfile
from .secrets import SecretUnreadable, keyring

WORD = "sorting office"


def complaint() -> str:
    """Why these keys do not fit this database, as a sentence; empty when they do."""
    from .models import KeyCanary

    try:
        canary = KeyCanary.objects.order_by("pk").first()
    except DatabaseError:  # not migrated, or not reachable: the command itself will say so
        return ""
    if canary is None:
        return ""
    try:
        fits = canary.word.reveal() == WORD
    except (SecretUnreadable, ImproperlyConfigured) as error:
        return f"The key for stored credentials does not fit this database. {error}"
    return "" if fits else "The key for stored credentials does not fit this database."


def _before_migration(**kwargs: Any) -> None:
    if _has_table() and (sentence := complaint()):
        raise CommandError(sentence)
    if not keyring():
        _make_keyfile()


def _make_keyfile() -> None:
    try:
        keyfile = create_keyfile(settings.FIELD_KEYS_FILE)
    except FileExistsError:  # made since this process looked, by another one that migrates too
        keyfile = read_keyfile(settings.FIELD_KEYS_FILE)
    keyring.cache_clear()
    if not keyring():
        raise CommandError(
            f"{settings.FIELD_KEYS_FILE} holds no FIELD_KEY. Add one, or move the file away to get a new one."
        )
    if settings.SECRET_KEY_IS_FLEETING and keyfile.secret_key:
        settings.SECRET_KEY = keyfile.secret_key


def _has_table() -> bool:
    from .models import KeyCanary

    return KeyCanary._meta.db_table in connection.introspection.table_names()


def _after_migration(**kwargs: Any) -> None:
    from .models import KeyCanary

    # Without its table other apps were migrated alone, or this one back to nothing.
    if _has_table() and not KeyCanary.objects.exists():
        KeyCanary.objects.create(word=WORD)


def watch_migrations(app: AppConfig) -> None:
    """Make a missing key file before, and the canary after, this app is migrated."""
    pre_migrate.connect(_before_migration, sender=app)
    post_migrate.connect(_after_migration, sender=app)
