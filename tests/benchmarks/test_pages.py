"""What pages of many mailboxes and many messages cost the server, and how quickly many addresses are approved.

.venv/bin/python -m pytest tests/benchmarks/test_pages.py --override-ini addopts= -q -s

with SIZES=10000,100000 mailboxes and MESSAGES=1000000, or whatever is asked for.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from mailboxes import bulk
from mailboxes.models import Command, EngineProcess, Mailbox
from mailboxes.sync.worker import Engine

from .many import fill, letters

pytestmark = pytest.mark.django_db(transaction=True)

SIZES = [int(size) for size in os.environ.get("SIZES", "10000").split(",")]
MESSAGES = int(os.environ.get("MESSAGES", "100000"))
ROUNDS = 15
APPROVED_AT_ONCE = 1_000


def cost(ask: Callable[[], int]) -> tuple[float, float, float, int]:
    """Median and worst CPU, median wall (milliseconds) and the size of the answer, after one warm-up."""
    size, cpu, wall = ask(), [], []
    for _ in range(ROUNDS):
        began, processor = time.perf_counter(), time.process_time()
        ask()
        cpu.append((time.process_time() - processor) * 1000)
        wall.append((time.perf_counter() - began) * 1000)
    return statistics.median(cpu), max(cpu), statistics.median(wall), size


def told(browser: Client, title: str, pages: dict[str, str]) -> None:
    """Print what each of these pages costs."""
    print(f"\n{title}, {connection.vendor}; milliseconds, median of {ROUNDS}")
    print(f"{'page':30} {'CPU':>8} {'worst':>8} {'wall':>8} {'queries':>8} {'KB':>8}")
    for name, address in pages.items():
        with CaptureQueriesContext(connection) as queries:
            assert browser.get(address).status_code == 200
        asked = len(queries)
        cpu, worst, wall, size = cost(lambda address=address: len(browser.get(address).content))  # type: ignore[misc]
        print(f"{name:30} {cpu:8.1f} {worst:8.1f} {wall:8.1f} {asked:8} {size / 1024:8.1f}")


@pytest.mark.parametrize("number", SIZES)
def test_pages(transactional_db: None, number: int) -> None:
    browser = Client()
    browser.force_login(fill(number))
    box = Mailbox.objects.filter(user__isnull=False, incoming_method="server_side").order_by("pk").first()
    assert box is not None
    pages = {
        "list, most urgent first": "/mailboxes/",
        "list, by name, page 20": "/mailboxes/?sort=name&page=20",
        "list, searched": "/mailboxes/?q=user77",
        "list, needs attention": "/mailboxes/?view=attention",
        "form": f"/mailboxes/{box.pk}/",
        "users": "/users/",
        "owner, three letters typed": "/people/search/?q=Han",
    }
    told(browser, f"{number:,} mailboxes", pages)
    _approve(box)


def test_pages_of_messages(transactional_db: None) -> None:
    browser = Client()
    browser.force_login(fill(1_000))
    letters(MESSAGES)
    box = Mailbox.objects.filter(is_forward_mailbox=True).order_by("pk").first()
    assert box is not None
    pages = {
        "quarantine": "/quarantine/",
        "quarantine, one reason": "/quarantine/?reason=unreadable",
        "quarantine, one mailbox": f"/quarantine/?mailbox={box.pk}",
        "quarantine, nothing found": "/quarantine/?q=nothing-like-this",
        "ledger": f"/mailboxes/{box.pk}/ledger/",
        "messages": "/messages/",
        "messages, one mailbox": f"/messages/?mailbox={box.pk}",
        "form of what collects": f"/mailboxes/{box.pk}/",
    }
    told(browser, f"{MESSAGES:,} messages, a tenth of them in quarantine", pages)


def _approve(box: Mailbox) -> None:
    chosen = Mailbox.objects.filter(user__isnull=False).order_by("pk").values("pk")[:APPROVED_AT_ONCE]
    Mailbox.objects.filter(pk__in=list(chosen.values_list("pk", flat=True))).update(approval="pending")
    began = time.perf_counter()
    command = bulk.request(Command.APPROVE, Mailbox.objects.filter(approval="pending"), box.owner)
    asked = time.perf_counter() - began
    engine = Engine(2)
    try:
        engine.run_once()
    finally:
        engine.shut_down()
    EngineProcess.objects.all().delete()
    done = command.items.filter(state="done").count()
    took = time.perf_counter() - began - asked
    print(
        f"Approve Email for {done:,}: asked in {asked:.2f} s, carried out in {took:.1f} s ({done / took:,.0f}/s)"
    )
