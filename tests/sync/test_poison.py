"""Poison: mail that ends, stops or bloats the parser is stopped by its own attempts, and by nothing else."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from django.db import connection
from django.db.models import Q

from mailboxes.models import Mailbox, Message, MessageState
from mailboxes.sync import errands, leases
from mailboxes.sync.incoming import Tally, synchronize
from mailboxes.sync.parser import Parser
from mailboxes.sync.resume import ATTEMPTS

from .conftest import Office, enable, letter

pytestmark = pytest.mark.django_db(transaction=True)

TARGET = "tests.sync.poison:read"


def good(subject: str) -> bytes:
    return letter(subject, Delivered_To="noah@contoso.com")


def poison(kind: str, subject: str = "Poison") -> bytes:
    return letter(subject, X_Poison=kind, Delivered_To="noah@contoso.com")


@contextmanager
def a_parser() -> Iterator[Parser]:
    with Parser(deadline=1, target=TARGET) as parser:
        yield parser


def run(
    parser: Parser, stopping: Callable[[], bool] = lambda: False, mailbox: Mailbox | None = None
) -> Tally:
    """One pass over the forward mailbox, or over another one, as a worker makes it."""
    among = Q(mailbox=mailbox) if mailbox else None
    (lease,) = leases.claim(1, leases.this_process(), among=among)
    (errand,) = errands.read([lease])
    tally = synchronize(errand, parser, stopping)
    leases.release(lease, next_run_at=None)
    return tally


def quarantined() -> dict[str, str]:
    """The marks of what is in quarantine → what is said of it."""
    rows = Message.objects.filter(state=MessageState.QUARANTINED).order_by("pk")
    assert {row.reason for row in rows} <= {"unreadable"}
    return {kind_of(row): row.explanation for row in rows}


def kind_of(row: Message) -> str:
    return bytes(row.raw).partition(b"X-Poison: ")[2].partition(b"\r\n")[0].decode()


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("crash", "Reading the message ended the parser (signal 11). It was tried 3 times."),
        ("killed", "Reading the message ended the parser (signal 9). It was tried 3 times."),
        ("exit", "Reading the message ended the parser (exit code 7). It was tried 3 times."),
        ("fault", "Reading the message ended the parser (exit code 1). It was tried 3 times."),
        ("hang", "Reading the message took more than 1 seconds. It was tried 3 times."),
        ("memory", "Reading the message took more memory than is allowed. It was tried 3 times."),
    ],
)
def test_three_attempts_of_its_own_then_quarantine_with_the_reason(
    office: Office, kind: str, says: str
) -> None:
    office.user("noah")
    office.arrives(good("Before"), poison(kind), good("After"))
    with a_parser() as parser:
        run(parser)
    assert office.delivered() == {"Before": ["Noah"], "After": ["Noah"]}
    assert quarantined() == {kind: says}
    row = Message.objects.get(state=MessageState.QUARANTINED)
    assert row.attempts == ATTEMPTS
    assert [bytes(kept.raw) for kept in office.on_server()] == [bytes(row.raw)]
    assert set(Message.objects.exclude(pk=row.pk).values_list("attempts", flat=True)) == {0}


@pytest.mark.parametrize(
    "batch",
    ["p..", "..p", "pp", ".pp.p."],
)
def test_where_it_stands_in_a_batch_makes_no_difference(office: Office, batch: str) -> None:
    office.user("noah")
    office.arrives(
        *(poison("exit") if mark == "p" else good(f"Good {n}") for n, mark in enumerate(batch)),
    )
    with a_parser() as parser:
        run(parser)
    assert set(office.delivered()) == {f"Good {n}" for n, mark in enumerate(batch) if mark == "."}
    bad = Message.objects.filter(state=MessageState.QUARANTINED)
    assert bad.count() == batch.count("p")
    assert all(row.attempts == ATTEMPTS for row in bad)
    assert set(Message.objects.filter(state=MessageState.DELIVERED).values_list("attempts", flat=True)) <= {0}


def test_a_stop_of_the_engine_is_charged_to_no_message(office: Office) -> None:
    office.user("noah")
    office.arrives(good("First"), poison("exit"), good("Last"))
    stopped = threading.Event()

    def stopping() -> bool:
        """Nothing stops before the messages are kept; then everything does."""
        if Message.objects.exists():
            stopped.set()
        return stopped.is_set()

    with a_parser() as parser:
        run(parser, stopping)
    assert set(Message.objects.values_list("attempts", flat=True)) == {0}
    with a_parser() as parser:
        run(parser)
    assert office.delivered() == {"First": ["Noah"], "Last": ["Noah"]}
    assert list(quarantined()) == ["exit"]


def test_a_child_that_is_killed_from_outside_is_charged_to_the_message_in_flight(
    office: Office, tmp_path: Path
) -> None:
    office.user("noah")
    noted = tmp_path / "pid"
    office.arrives(good("First"), poison(f"in flight {noted}"), good("Last"))
    ended = threading.Thread(target=kill_once, args=(noted,))
    ended.start()
    with a_parser() as parser:
        run(parser)
    ended.join()
    assert office.delivered() == {"First": ["Noah"], "Last": ["Noah"]}
    assert list(quarantined().values()) == [
        "Reading the message took more than 1 seconds. It was tried 3 times."
    ]
    row = Message.objects.get(state=MessageState.QUARANTINED)
    assert row.attempts == ATTEMPTS
    assert set(Message.objects.exclude(pk=row.pk).values_list("attempts", flat=True)) == {0}


def kill_once(noted: Path) -> None:
    """As the kernel would when memory is short: the child that has the message in flight."""
    until = time.monotonic() + 30
    while not (noted.exists() and noted.read_text()):
        assert time.monotonic() < until, "the message was never in flight"
        time.sleep(0.02)
    os.kill(int(noted.read_text()), signal.SIGKILL)


def test_other_mailboxes_do_not_wait_for_it(office: Office) -> None:
    office.user("noah")
    other = second_mailbox(office)
    office.arrives(poison("hang"), good("Behind it"))
    office.dovecot.append_many(other.username, [good("Elsewhere")])
    finished: list[float] = []

    def collect_the_other() -> None:
        with Parser(target=TARGET) as parser:
            run(parser, mailbox=other)
        finished.append(time.monotonic())
        connection.close()

    beside = threading.Thread(target=collect_the_other)
    beside.start()
    with Parser(deadline=2, target=TARGET) as parser:
        run(parser, mailbox=office.forward)
    ended = time.monotonic()
    beside.join()
    assert finished[0] < ended
    assert office.delivered() == {"Behind it": ["Noah"], "Elsewhere": ["Noah"]}
    assert list(quarantined()) == ["hang"]


def second_mailbox(office: Office) -> Mailbox:
    account = f"{office.account}-beside"
    office.dovecot.add_user(account, "correct horse")
    mailbox = Mailbox.new_forward(
        name="Collection 2",
        owner=office.amara,
        email_address="beside@contoso.com",
        server_profile=office.profile,
        incoming_method="server_side",
        delete_emails_after_processing=True,
        allow_credentials=True,
        username=account,
        password="correct horse",
    )
    mailbox.save()
    enable(mailbox)
    return mailbox
