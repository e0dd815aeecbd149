"""Days on which the database does not take what is given to it: locked by somebody, or without room."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence

import pytest
from django.db import connection

from emailprofiles.transports import TRANSPORTS, IncomingTransport
from emailprofiles.transports.imap import Imap
from emailprofiles.wire import Fetched
from mailboxes.models import Direction, Message
from tests.faults.conftest import undisturbed
from tests.faults.invariant import fill, holds
from tests.faults.proxy import Proxy
from tests.sync.conftest import Office

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(
        connection.vendor != "sqlite", reason="PostgreSQL has its own bad days in test_postgres"
    ),
]


def state(office: Office):  # type: ignore[no-untyped-def]
    return office.forward.states.get(direction=Direction.INCOMING)


def test_somebody_who_locks_the_database_while_mail_is_stored_loses_none(
    office: Office, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Locking(Imap):
        fetch_ahead = IncomingTransport.fetch_ahead

        def fetch(self, ids: Sequence[str]) -> Iterator[Fetched]:
            fetched = list(super().fetch(ids))
            threading.Thread(target=hold, args=(locked := threading.Event(),), daemon=True).start()
            assert locked.wait(5)
            yield from fetched

    def hold(locked: threading.Event) -> None:
        other = sqlite3.connect(connection.settings_dict["NAME"], isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        locked.set()
        time.sleep(0.8)
        other.execute("ROLLBACK")
        other.close()

    sent = fill(office)
    with monkeypatch.context() as patch:
        patch.setitem(connection.settings_dict["OPTIONS"], "timeout", 0.5)
        patch.setitem(TRANSPORTS["incoming"], "imap", Locking)
        assert office.again().failed == 1
        assert "OperationalError" in state(office).last_error
        assert not Message.objects.exists()
    undisturbed(office, proxy)
    holds(office, sent)


def test_a_full_disk_loses_nothing_and_deletes_nothing(
    office: Office, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = fill(office, body="Hello\r\n" * 20_000)
    with connection.cursor() as cursor:
        cursor.execute("VACUUM")  # no room is left within, by the tests before
        cursor.execute("PRAGMA page_count")
        (pages,) = cursor.fetchone()
    options = connection.settings_dict["OPTIONS"]
    with monkeypatch.context() as patch:
        limit = f"PRAGMA max_page_count={pages + 20};"
        patch.setitem(options, "init_command", f"{options['init_command']} {limit}")
        assert office.again().failed == 1
        assert "OperationalError" in state(office).last_error
        assert not Message.objects.exists()
        assert len(office.on_server()) == len(sent.digests)
    undisturbed(office, proxy)
    holds(office, sent)
