"""Search in messages: what is typed, what it finds, and that the index knows of every change."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from django.core.management import call_command
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mailboxes import search
from mailboxes.models import Message
from tests.conftest import Office
from tests.pages.letters import collected, delivered

pytestmark = pytest.mark.django_db


def found(typed: str) -> list[str]:
    return sorted(search.matching(Message.objects.all(), typed).values_list("subject", flat=True))


@pytest.fixture
def letters(office: Office) -> Office:
    about = {
        "sender": "lager@contoso.com",
        "sender_name": "Zoë Lindqvist",
        "message_id": "a1.b2@mx.contoso.com",
    }
    collected(office.collection, 1, subject="Stock list for week 48", **about)
    collected(
        office.collection, 2, subject="Rechnung 2026-1187 über Paletten", recipients="Noah <noah@contoso.com>"
    )
    return office


STOCK, BILL = "Stock list for week 48", "Rechnung 2026-1187 über Paletten"


@pytest.mark.parametrize(
    ("typed", "subjects"),
    [
        ("stock", [STOCK]),
        ("LIST sto", [STOCK]),  # beginnings, in any order
        ("tock", []),  # no part from within a word
        ("stock rechnung", []),  # all of them
        ("lager@contoso.com", [STOCK]),
        ("lager@con", [STOCK]),
        ("contoso", [BILL, STOCK]),
        ("zoë", [STOCK]),
        ("noah@contoso.com", [BILL]),
        ("2026-11", [BILL]),
        ("48", [STOCK]),
        ('"week 48"', [STOCK]),
        ('"week 4"', []),  # in quotes a word ends where it ends
        ('"48 week"', []),
        ("a1.b2@mx.contoso.com", [STOCK]),
        (" <a1.b2@mx.contoso.com> ", [STOCK]),
        ("", [BILL, STOCK]),
        ("   ", [BILL, STOCK]),
        ("!!! ?", []),
    ],
)
def test_what_is_typed_finds(letters: Office, typed: str, subjects: list[str]) -> None:
    assert found(typed) == subjects


@pytest.mark.skipif(connection.vendor != "sqlite", reason="PostgreSQL folds no accents without an extension")
def test_accents_need_not_be_typed(letters: Office) -> None:
    assert found("zoe uber") == []
    assert (found("zoe"), found("uber")) == ([STOCK], [BILL])


HOSTILE = [
    '"', '""', '"""', "'", "NEAR(a b)", "subject:stock", "a* OR b*", "a AND", "NOT stock", "-stock", "^stock",
    "{subject}: x", "stock\x00list", "a & | ! <-> :*", "('", "\\", "%", "x" * 10_000, "é" * 600, "\ud800x"[1:],
    "a " * 5_000,
]  # fmt: skip


@pytest.mark.parametrize("typed", HOSTILE)
def test_nothing_that_is_typed_is_an_operator_or_an_error(
    letters: Office, amaras: Client, typed: str
) -> None:
    assert amaras.get(reverse("message-list"), {"q": typed}).status_code == 200
    assert amaras.get(reverse("quarantine"), {"q": typed}).status_code == 200
    assert "Rechnung" not in " ".join(found(f"stock {typed}"))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150, deadline=None)
@given(typed=st.text(max_size=60))
def test_whatever_is_typed_is_understood(db: None, typed: str) -> None:
    found(typed)
    for term in search.read(typed):
        assert all(part.isalnum() or part.isprintable() for part in term.parts)


def test_every_change_is_found(letters: Office) -> None:
    message = Message.objects.get(subject=STOCK)
    Message.objects.filter(pk=message.pk).update(subject="Inventory")
    assert (found("stock"), found("inventory")) == ([], ["Inventory"])
    message.delete()
    assert found("inventory") == []
    assert found("rechnung") == [BILL]


@pytest.mark.skipif(connection.vendor != "sqlite", reason="the index of PostgreSQL is an index")
def test_the_index_of_sqlite_agrees_with_the_messages(letters: Office) -> None:
    Message.objects.filter(subject=BILL).update(subject="", sender="", sender_name="", recipients="")
    Message.objects.filter(subject=STOCK).update(recipients="x@contoso.com")
    with connection.cursor() as cursor:  # it raises when they differ
        cursor.execute(
            "INSERT INTO mailboxes_messagewords(mailboxes_messagewords, rank) VALUES ('integrity-check', 1)"
        )


def test_a_dump_holds_the_messages_and_not_their_index(
    letters: Office, capsys: pytest.CaptureFixture[str]
) -> None:
    call_command("dumpdata", "mailboxes")
    held = {row["model"] for row in json.loads(capsys.readouterr().out)}
    assert "mailboxes.message" in held
    assert "mailboxes.messagewords" not in held


def test_nobody_finds_what_another_received(
    letters: Office, amaras: Client, browser_of: Callable[[str], Client]
) -> None:
    delivered(letters.collection, letters.support.mailbox, 3, subject="Stock for support")

    def seen(browser: Client) -> list[str]:
        page = browser.get(reverse("message-list"), {"q": "stock"}).context["page"]
        return [row.subject for row in page.rows]

    assert sorted(seen(amaras)) == ["Stock for support", STOCK]
    assert seen(browser_of("user")) == []


def test_found_messages_have_pages(office: Office, amaras: Client) -> None:
    for number in range(120):
        collected(office.collection, number, subject=f"Order {number}")

    def page(**asked: str) -> tuple[list[str], str, str]:
        shown = amaras.get(reverse("message-list"), {"q": "order"} | asked).context["page"]
        return [row.subject for row in shown.rows], shown.before, shown.after

    first, before, _ = page()
    second, older, newer = page(before=before)
    third, end, _ = page(before=older)
    assert [*first, *second, *third] == [f"Order {n}" for n in range(119, -1, -1)]
    assert end == ""
    assert page(after=newer)[0] == first


@pytest.mark.skipif(connection.vendor != "sqlite", reason="this is the plan of SQLite")
def test_the_newest_are_read_from_the_index(letters: Office, amaras: Client) -> None:
    with CaptureQueriesContext(connection) as queries:
        amaras.get(reverse("message-list"), {"q": "stock"})
    (asked,) = [query["sql"] for query in queries if "MATCH" in query["sql"]]
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN QUERY PLAN {asked}")
        plan = [row[3] for row in cursor.fetchall()]
    assert "SCAN mailboxes_messagewords VIRTUAL TABLE" in plan[0]
    assert not any("TEMP B-TREE" in step for step in plan)
