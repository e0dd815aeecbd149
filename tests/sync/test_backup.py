"""A copy of the database that is made while the engine runs is a whole office."""

from __future__ import annotations

import hashlib
import re
import sqlite3
import threading
import time
from pathlib import Path

import pytest
from django.db import connection

from mailboxes.models import Message, MessageState

from .conftest import Office, letter

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.mark.skipif(connection.vendor != "sqlite", reason="PostgreSQL makes its copies with pg_dump")
def test_a_copy_made_in_the_middle_of_a_pass_is_consistent(office: Office, tmp_path: Path) -> None:
    office.user("noah")
    office.arrives(*(letter(f"No {number}", Delivered_To="noah@contoso.com") for number in range(150)))
    work = threading.Thread(target=_work, args=[office])
    work.start()
    copies = []
    while work.is_alive():
        copies.append(_copy(tmp_path / f"{len(copies)}.sqlite3"))
        time.sleep(0.05)
    work.join()
    copies.append(_copy(tmp_path / "last.sqlite3"))
    seen = [_checked(path) for path in copies]
    assert seen[-1] == Message.objects.filter(state=MessageState.DELIVERED).count() == 150
    assert seen == sorted(seen)


def _work(office: Office) -> None:
    try:
        office.synchronize()
    finally:
        connection.close()


def _copy(path: Path) -> Path:
    """As an administrator would: another process's connection, and SQLite's own backup."""
    name = str(connection.settings_dict["NAME"])
    with sqlite3.connect(name, uri=name.startswith("file:")) as source, sqlite3.connect(path) as target:
        source.backup(target)
    return path


def _checked(path: Path) -> int:
    """How many messages are delivered in this copy, in which every promise must hold."""
    with sqlite3.connect(path) as copy:
        copy.create_function("REGEXP", 2, lambda pattern, text: bool(re.search(pattern, str(text))))
        assert copy.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert copy.execute("PRAGMA foreign_key_check").fetchall() == []
        kept = "mailboxes_message LEFT JOIN mailboxes_original o ON o.message_id = id"
        rows = copy.execute(f"SELECT id, state, raw, raw_sha256 FROM {kept}").fetchall()
        reached = {message for (message,) in copy.execute("SELECT message_id FROM mailboxes_delivery")}
        (seen,) = copy.execute("SELECT coalesce(sum(seen), 0) FROM mailboxes_foldergeneration").fetchone()
    assert all(hashlib.sha256(raw).hexdigest() == digest for _, _, raw, digest in rows)
    assert {pk for pk, state, _, _ in rows if state == "delivered"} == reached
    assert seen == len(rows)
    return len(reached)
