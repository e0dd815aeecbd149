"""django-mailbox as it comes, in a process, an environment and a database of its own.

    PEER/bin/python -m tests.benchmarks.peer DATABASE_URL DIRECTORY imap://ACCOUNT:PASSWORD@HOST:PORT

Its `getmail` collects one account, stores every message with its attachments, and deletes what it collected. The
database keeps the promises that ours keeps: SQLite in WAL mode with `synchronous=FULL`.
"""

from __future__ import annotations

import logging
import sys
from typing import Any
from urllib.parse import urlsplit

from tests.benchmarks import clock


def database(url: str) -> dict[str, Any]:
    where = urlsplit(url)
    if where.scheme == "sqlite":
        options = {
            "transaction_mode": "IMMEDIATE",
            "timeout": 30,
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;",
        }
        return {"ENGINE": "django.db.backends.sqlite3", "NAME": where.path, "OPTIONS": options}
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": where.path[1:],
        "USER": where.username,
        "HOST": where.hostname,
        "PORT": where.port,
    }


def main(url: str, directory: str, account: str) -> None:
    import django
    from django.conf import settings
    from django.core.management import call_command

    settings.configure(
        DATABASES={"default": database(url)},
        INSTALLED_APPS=["django.contrib.contenttypes", "django_mailbox"],
        DEFAULT_AUTO_FIELD="django.db.models.AutoField",
        MEDIA_ROOT=directory,
        USE_TZ=True,
    )
    django.setup()
    call_command("migrate", verbosity=0)
    from django_mailbox.models import Mailbox, Message

    Mailbox.objects.create(name="Collection", uri=account)
    logging.disable(logging.INFO)
    clock.tell(lambda: (call_command("getmail"), Message.objects.count())[1])


if __name__ == "__main__":
    main(*sys.argv[1:])
