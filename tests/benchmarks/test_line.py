"""Messages per second of the line, beside the limit that the wire and Dovecot set in the same run.

make bench                      2,000 messages, three rounds
MESSAGES=10000 make bench
"""

from __future__ import annotations

import os
import random
import resource
import statistics
import time
from collections.abc import Callable

import pytest

from mailboxes.models import Delivery
from tests.sync.conftest import Office, letter

pytestmark = pytest.mark.django_db(transaction=True)

MESSAGES = int(os.environ.get("MESSAGES", "2000"))
ROUNDS = 3
PEOPLE = ("noah", "priya", "tomasz", "ingrid", "diego")


def corpus(seed: int) -> list[bytes]:
    """Log-normal sizes around 8 KB with a tail to 1 MB, each for one of five people."""
    dice = random.Random(seed)
    line = "The quick brown fox jumps over the lazy dog, and every word of it counts.\r\n"
    sizes = (min(int(dice.lognormvariate(9.0, 1.0)), 1_000_000) for _ in range(MESSAGES))
    return [
        letter(
            f"Number {n}", Delivered_To=f"{PEOPLE[n % 5]}@contoso.com", body=line * (size // len(line) + 1)
        )
        for n, size in enumerate(sizes)
    ]


def raw_limit(office: Office) -> None:
    """Fetch and delete in batches of 200, thrown away: what no line on this wire can undercut."""
    with office.dovecot.client(office.account, "INBOX") as client:
        uids = client.search("ALL")
        for start in range(0, len(uids), 200):
            batch = f"{uids[start]}:{uids[min(start + 199, len(uids) - 1)]}"
            client._imap.uid("FETCH", batch, "(UID BODY.PEEK[])")
            client._imap.untagged_responses.clear()
            client._imap.uid("STORE", batch, "+FLAGS.SILENT", r"(\Deleted)")
            client._imap.uid("EXPUNGE", batch)


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """Wall and CPU seconds, those of ended children (the parser) included."""
    began = time.perf_counter(), cpu()
    work()
    return time.perf_counter() - began[0], cpu() - began[1]


def cpu() -> float:
    own, children = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


def said(name: str, rounds: list[tuple[float, float]]) -> float:
    walls, cpus = zip(*rounds, strict=True)
    wall = statistics.median(walls)
    print(
        f"{name:<34} {MESSAGES / wall:>8,.0f} msg/s   wall {wall:6.2f} s ({min(walls):.2f}–{max(walls):.2f})"
        f"   CPU {statistics.median(cpus):6.2f} s"
    )
    return wall


def test_messages_per_second(office: Office) -> None:
    for name in PEOPLE:
        office.user(name)
    mails = [corpus(seed) for seed in range(ROUNDS)]
    octets = sum(map(len, mails[0]))
    print(
        f"\n{MESSAGES:,} messages, {octets / 1e6:.1f} MB, one forward mailbox, deleted after processing, SQLite"
    )
    limits, ours = [], []
    for batch in mails:
        office.arrives(*batch)
        limits.append(timed(lambda: raw_limit(office)))
        office.arrives(*batch)
        ours.append(timed(office.again))
    limit = said("raw IMAP: fetch and delete", limits)
    line = said("the line: to the last deletion", ours)
    print(f"our wall ÷ raw limit: {line / limit:.1f}")
    assert Delivery.objects.count() == MESSAGES * ROUNDS
    assert office.on_server() == []
