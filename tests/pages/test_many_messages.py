"""Pages that count and list messages ask an index, however many messages there are."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from mailboxes import alerts
from mailboxes.models import EmailConfigurationSettings, FolderGeneration, MessageState, SkippedMessage
from tests.conftest import Office
from tests.pages.letters import collected

pytestmark = pytest.mark.skipif(
    connection.vendor != "sqlite", reason="these are the plans of SQLite; the indexes are the same everywhere"
)


@pytest.fixture
def stuck(office: Office) -> Office:
    for number in range(3):
        collected(office.collection, number, state=MessageState.QUARANTINED, reason="no_recipient_matched")
    place = {"mailbox": office.collection, "folder": "INBOX", "generation": "7"}
    FolderGeneration.objects.create(**place, seen=4)
    SkippedMessage.objects.create(**place, remote_id="1", why="too_old")
    return office


def plans(queries: CaptureQueriesContext, table: str) -> list[tuple[str, str]]:
    """The queries that read this table, each with the plan of SQLite for it."""
    asked = [query["sql"] for query in queries if f'FROM "{table}"' in query["sql"]]
    with connection.cursor() as cursor:
        return [(sql, " / ".join(row[3] for row in _plan(cursor, sql))) for sql in asked]


def _plan(cursor: Any, sql: str) -> list[tuple[int, int, int, str]]:
    cursor.execute(f"EXPLAIN QUERY PLAN {sql}")
    return list(cursor.fetchall())


def costly(queries: CaptureQueriesContext) -> list[str]:
    """Queries that look at rows to count them, or sort what an index has in order."""
    found = [*plans(queries, "mailboxes_message"), *plans(queries, "mailboxes_skippedmessage")]
    assert found
    return [f"{sql}\n{plan}" for sql, plan in found if _is_costly(sql, plan)]


def _is_costly(sql: str, plan: str) -> bool:
    if "COUNT(" in sql or " U0" in sql:  # counted, or asked for which mailboxes there are
        return "USING COVERING INDEX" not in plan and "USING INDEX message_stubs" not in plan
    return "USING" not in plan or "USE TEMP B-TREE FOR ORDER BY" in plan


@pytest.mark.parametrize(
    "address",
    [
        "/quarantine/",
        "/quarantine/?reason=loop",
        "/quarantine/?mailbox={box}",
        "/quarantine/?state=discarded",
        "/messages/",
        "/messages/?state=delivered",
        "/messages/?mailbox={box}",
        "/mailboxes/{box}/",
        "/mailboxes/{box}/ledger/",
    ],
)
def test_a_page_looks_at_no_more_messages_than_it_shows(amaras: Client, stuck: Office, address: str) -> None:
    with CaptureQueriesContext(connection) as queries:
        assert amaras.get(address.format(box=stuck.collection.pk)).status_code == 200
    assert costly(queries) == []


def test_nor_does_the_alert_on_the_growth_of_the_quarantine(stuck: Office) -> None:
    EmailConfigurationSettings.objects.update(quarantine_alert_at=1)
    with CaptureQueriesContext(connection) as queries:
        alerts.quarantine_watched()
    assert costly(queries) == []
    assert alerts.Alert.objects.get().why.endswith("The oldest was received on 23 November 2026.")
