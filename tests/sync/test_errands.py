"""What a pass knows when it sets out, and when it ends at once: only if nothing is left to do and nothing came."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from emailprofiles.errors import TryLater
from emailprofiles.transports import IncomingTransport
from emailprofiles.wire import Folder
from mailboxes import alerts
from mailboxes.models import (
    Alert,
    Direction,
    FolderGeneration,
    Mailbox,
    Message,
    MessageState,
    Reconciliation,
    SyncState,
)
from mailboxes.sync import errands, leases
from mailboxes.sync.incoming import Pass, Tally, synchronize
from mailboxes.sync.ledger import reconcile_soon
from mailboxes.sync.parser import Parser
from mailboxes.sync.tray import Tray
from mailboxes.sync.worker import succeeded

from .conftest import Office, letter

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def quiet(office: Office) -> Office:
    """An office whose folder has mail in it that was all seen, and stays there."""
    office.user("noah")
    office.arrives(
        letter("For Noah", Delivered_To="noah@contoso.com"), letter("Nobody's", to="x@example.net")
    )
    office.synchronize()
    office.again()
    return office


def errand_of(office: Office) -> errands.Errand:
    SyncState.objects.update(next_run_at=None)
    (errand,) = errands.read(leases.claim(1, leases.this_process()))
    return errand


def went_through(office: Office) -> tuple[bool, Tally]:
    """Whether a pass went through the folder, and what it did."""
    errand, been = errand_of(office), []
    through = Pass.through

    def noted(run: Pass, server: IncomingTransport, folder: Folder) -> None:
        been.append(True)
        through(run, server, folder)

    with Parser() as parser, pytest.MonkeyPatch.context() as patch:
        patch.setattr(Pass, "through", noted)
        tally = synchronize(errand, parser, lambda: False)
    succeeded(errand, tally)
    return bool(been), tally


def test_a_pass_that_finds_nothing_asks_the_database_nothing_and_says_once_that_it_ended(
    quiet: Office,
) -> None:
    errand = errand_of(quiet)
    with Parser() as parser, CaptureQueriesContext(connection) as queries:
        succeeded(errand, synchronize(errand, parser, lambda: False))
    (only,) = queries.captured_queries
    assert only["sql"].startswith('UPDATE "mailboxes_syncstate"')


def test_what_passes_know_is_read_at_once_however_many_they_are(quiet: Office) -> None:
    def asked(number: int) -> int:
        leased = [errand_of(quiet).lease] * number
        with CaptureQueriesContext(connection) as queries:
            errands.read(leased)
        SyncState.objects.update(lease_until=None)
        return len(queries)

    assert asked(1) == asked(5) <= 11


def released(office: Office) -> None:
    office.user("priya")
    Message.objects.filter(state=MessageState.QUARANTINED).update(
        waiting_for=Mailbox.objects.get(name="Priya")
    )


LEFT: dict[str, Callable[[Office], object]] = {
    "mail that came": lambda office: office.arrives(letter("New", Delivered_To="noah@contoso.com")),
    "a message that was kept and not read": lambda office: Message.objects.filter(
        state=MessageState.QUARANTINED
    ).update(state=MessageState.RECEIVED),
    "a message that may be delivered by now": released,
    "a copy of what was delivered": lambda office: Message.objects.filter(
        state=MessageState.DELIVERED
    ).update(disposed_at=None),
    "a copy of what a person discarded": lambda office: Message.objects.filter(
        state=MessageState.QUARANTINED
    ).update(state=MessageState.DISCARDED),
    "a stub": lambda office: Message.objects.filter(state=MessageState.QUARANTINED).update(is_stub=True),
    "a comparison that somebody asked for": lambda office: reconcile_soon(office.forward),
    "a comparison that is due": lambda office: Reconciliation.objects.update(
        done_at=timezone.now() - timedelta(days=2)
    ),
    "an alert about the mailbox": lambda office: alerts.direction_stopped(
        office.forward, Direction.INCOMING, TryLater("it was busy")
    ),
    "an answer that broke off": lambda office: SyncState.objects.update(fetch_window=1),
    "another folder than before": lambda office: SyncState.objects.update(cursor_folder="Archive"),
    "other numbers than before": lambda office: SyncState.objects.update(cursor_generation="7"),
}


@pytest.mark.parametrize("left", LEFT)
def test_a_pass_goes_through_the_folder_when_there_is(quiet: Office, left: str) -> None:
    assert went_through(quiet)[0] is False
    LEFT[left](quiet)
    assert went_through(quiet)[0] is True


def test_an_empty_folder_is_known_by_its_ledger_from_then_on(office: Office) -> None:
    assert went_through(office)[0] is True
    assert FolderGeneration.objects.filter(mailbox=office.forward, seen=0).exists()
    assert went_through(office)[0] is False


def test_a_success_closes_the_alert_that_was_open(quiet: Office) -> None:
    alerts.direction_stopped(quiet.forward, Direction.INCOMING, TryLater("it was busy"))
    went_through(quiet)
    assert Alert.objects.get().resolution == "Mail was collected again."
    assert went_through(quiet)[0] is False


# ── The tray ────────────────────────────────────────────────────────────────────────────────


def test_no_more_threads_are_at_a_tray_than_are_allowed_and_each_piece_is_done_once() -> None:
    done: list[int] = []
    at_once: list[int] = []
    gate, lock = threading.Event(), threading.Lock()

    def do(piece: int) -> None:
        with lock:
            at_once.append(tray.at_work)
        gate.wait(5)
        with lock:
            done.append(piece)
        if piece == 3:
            raise RuntimeError("the others are done all the same")

    with ThreadPoolExecutor(8) as pool:
        tray: Tray[int] = Tray(pool, do, threading.Event())
        tray.put(range(5), threads=2)
        tray.put(range(5, 10), threads=2)
        assert sorted(tray.held()) == list(range(10))
        gate.set()
    assert sorted(done) == list(range(10))
    assert max(at_once) <= 2
    assert tray.held() == []


def test_what_waits_too_long_is_taken_back_and_a_closed_tray_begins_nothing() -> None:
    began, gate = threading.Event(), threading.Event()

    def do(piece: str) -> None:
        began.set()
        gate.wait(5)

    with ThreadPoolExecutor(1) as pool:
        tray: Tray[str] = Tray(pool, do, threading.Event())
        assert tray.room(2) == 2  # nothing moves yet: nothing in advance
        tray.put(["slow", "waiting"], threads=1)
        assert began.wait(5)
        assert tray.take_back(older_than=60) == []
        assert tray.take_back(older_than=0.0) == ["waiting"]
        tray.put(["later"], threads=1)
        assert tray.close() == ["later"]
        gate.set()
    assert tray.held() == []
