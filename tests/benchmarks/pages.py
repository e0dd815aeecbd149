"""Offices of any size, and what their pages cost the server: through Django's test client, as `ours` runs them."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Any

ROUNDS = 15
FIRST = 1_000


@dataclass(frozen=True)
class Cost:
    """Medians of a page, in milliseconds; the number of its queries, and its size in KB."""

    page: str
    cpu: float
    worst: float
    wall: float
    queries: int
    size: float


def costs(addresses: dict[str, str]) -> list[dict[str, Any]]:
    """What these pages cost the administrator who opens them."""
    from django.conf import settings
    from django.test import Client

    from mailboxes.models import User

    settings.ALLOWED_HOSTS = ["testserver"]
    browser = Client()
    browser.force_login(User.objects.get(username="amara"))
    return [asdict(_cost(browser, page, address)) for page, address in addresses.items()]


def _cost(browser: Any, page: str, address: str) -> Cost:
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    with CaptureQueriesContext(connection) as queries:
        answer = browser.get(address)
    asked = len(queries)  # the next request forgets them
    assert answer.status_code == 200, (address, answer.status_code)
    cpu, wall = _timed(lambda: browser.get(address))
    return Cost(
        page,
        statistics.median(cpu),
        max(cpu),
        statistics.median(wall),
        asked,
        len(answer.content) / 1000,
    )


def _timed(ask: Callable[[], object]) -> tuple[list[float], list[float]]:
    cpu, wall = [], []
    for _ in range(ROUNDS):
        began, processor = time.perf_counter(), time.process_time()
        ask()
        cpu.append((time.process_time() - processor) * 1000)
        wall.append((time.perf_counter() - began) * 1000)
    return cpu, wall


def of_mailboxes() -> dict[str, str]:
    """Page → its address, in an office of `many.fill`."""
    from mailboxes.models import Mailbox

    box = Mailbox.objects.filter(user__isnull=False, incoming_method="server_side").order_by("pk")[0]
    return {
        "list of mailboxes, most urgent first": "/mailboxes/",
        "list of mailboxes, by name, page 20": "/mailboxes/?sort=name&page=20",
        "list of mailboxes, searched": "/mailboxes/?q=user77",
        "list of mailboxes, needs attention": "/mailboxes/?view=attention",
        "form of a mailbox": f"/mailboxes/{box.pk}/",
        "list of users": "/users/",
        "owner, three letters typed": "/people/search/?q=Han",
    }


OF_MESSAGES = {
    "list of messages": "/messages/",
    "list of messages, page 20": "/messages/?page=20",
    "list of messages, searched": "/messages/?q=budget",
    "list of messages, a word of every message": "/messages/?q=week",
    "list of messages, two letters": "/messages/?q=se",
    "list of messages, a sender": "/messages/?q=sender77@example.org",
    "list of messages, searched for nothing": "/messages/?q=zzyzx",
    "quarantine": "/quarantine/",
}


def collect(number: int) -> None:
    """So many messages in the first forward mailbox, one of a hundred in quarantine: a thousand, copied in SQL."""
    from mailboxes.models import Mailbox

    box = Mailbox.objects.filter(is_forward_mailbox=True).order_by("pk")[0]
    targets = list(Mailbox.objects.exclude(user=None).values_list("pk", flat=True)[:500])
    _first_thousand(box, targets)
    _copied(number // FIRST - 1)


def _first_thousand(box: Any, targets: list[int]) -> None:
    from mailboxes.models import Delivery, Message
    from mailboxes.models.mail import Body

    messages = [_message(box, n) for n in range(1, FIRST + 1)]
    Message.objects.bulk_create(messages)
    Body.objects.bulk_create(Body(message=one, text=f"About {one.subject}.\n" * 20) for one in messages)
    Delivery.objects.bulk_create(
        Delivery(message=one, mailbox_id=targets[one.pk % len(targets)], rule="redirected")
        for one in messages
        if one.state == "delivered"
    )


def _message(box: Any, number: int) -> Any:
    from django.utils import timezone

    from mailboxes.models import Message

    is_stuck = number % 100 == 0
    return Message(
        pk=number,
        mailbox=box,
        folder="INBOX",
        generation="1",
        remote_id=str(number),
        state="quarantined" if is_stuck else "delivered",
        reason="no_recipient_matched" if is_stuck else "",
        received_at=timezone.now() - timedelta(minutes=number),
        subject=f"{number}: the {'budget' if number == 7 else 'order'} of this week",
        sender=f"sender{number}@example.org",
        sender_name="Ines Duarte",
        message_id=f"{number}@example.org",
        raw_sha256=f"{number:064x}",
        size=8_000,
    )


def _copied(times: int) -> None:
    """Every row of these tables so many times more, each copy a thousand minutes older than the one before."""
    from mailboxes.models import Delivery, Message
    from mailboxes.models.mail import Body

    older = f"strftime('%%Y-%%m-%%d %%H:%%M:%%f', received_at, '-' || (n * {FIRST}) || ' minutes')"
    later = f"id + n * {FIRST}"
    _copy(Message, times, id=later, remote_id="remote_id || '.' || n", received_at=older)
    _copy(Body, times, message_id=f"message_id + n * {FIRST}")
    _copy(Delivery, times, id=later, message_id=f"message_id + n * {FIRST}")


def _copy(model: Any, times: int, **changed: str) -> None:
    from django.db import connection

    columns = [field.column for field in model._meta.concrete_fields]
    values = ", ".join(changed.get(column, f'"{column}"') for column in columns)
    quoted = ", ".join(f'"{column}"' for column in columns)
    table = model._meta.db_table
    with connection.cursor() as cursor:
        cursor.execute(
            "WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < %s) "
            f'INSERT INTO "{table}" ({quoted}) SELECT {values} FROM numbers, (SELECT * FROM "{table}")',
            [times],
        )
