"""Killed at each point of sending and run again: what is sent and what is uncertain are all, no copy is sent twice."""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from collections import Counter

import pytest

from mailboxes.models import Alert, OutgoingMessage, SyncState
from tests.postbox import Postbox

from .sending import Sender, sender_on, subjects
from .test_crash import start

pytestmark = pytest.mark.django_db(transaction=True)

LETTERS = 52  # two portions

SMTP = "emailprofiles.transports.smtp:Smtp"
PLACES = [
    # (where, at which call, how many are uncertain then)
    ("after mailboxes.sync.leases:claim", 1, 0),
    (f"before {SMTP}.offer", 1, 0),
    (f"after {SMTP}.offer", 1, 0),
    # what was confirmed before is noted together with the next one's beginning
    (f"before {SMTP}.offer", 2, 1),
    ("before mailboxes.sync.sending:Sending._begin", 2, 1),
    # before DATA
    ("after mailboxes.sync.sending:Sending._begin", 2, 1),
    (f"before {SMTP}.hand_over", 2, 1),
    # in DATA
    (f"before {SMTP}._send", 1, 1),
    (f"after {SMTP}._send", 2, 1),
    # after the final dot, before the reply: greeting, EHLO, MAIL, RCPT, DATA, the dot
    ("before smtplib:SMTP.getreply", 6, 1),
    # after the reply, before the commit
    (f"after {SMTP}._ended", 1, 1),
    (f"after {SMTP}.hand_over", 2, 1),
    ("before mailboxes.sync.sending:note", 1, 1),
    ("after mailboxes.sync.sending:note", 1, 1),
    # when all is noted
    (f"before {SMTP}.offer", 51, 0),
    ("after mailboxes.sync.leases:release", 1, 0),
]


def everything_is_exact(sender: Sender, postbox: Postbox, uncertain: int | None = None) -> None:
    copies = Counter(subjects(postbox.taken))
    states = sender.states()
    assert set(states.values()) <= {"sent", "uncertain"}
    assert len(states) == LETTERS
    wrong = {s: (state, copies[s]) for s, state in states.items() if state == "sent" and copies[s] != 1}
    assert wrong == {}
    assert all(copies[s] <= 1 for s in states)
    found = sum(state == "uncertain" for state in states.values())
    if uncertain is not None:
        assert found == uncertain
    assert Alert.objects.filter(cause__startswith="outbox:uncertain", resolved_at=None).exists() == (
        found > 0
    )
    # the order of what arrived
    numbers = [int(subject.split()[1]) for subject in subjects(postbox.taken)]
    assert numbers == sorted(numbers)


@pytest.mark.parametrize(("place", "nth", "uncertain"), PLACES)
def test_stopped_at_one_point_nothing_is_sent_twice(
    transactional_db: None, place: str, nth: int, uncertain: int
) -> None:
    postbox = Postbox()
    with postbox.serve() as server:
        sender = sender_on(server.port)
        for _ in range(LETTERS):
            sender.write()
        process = start("-m", "tests.sync.stopped", place, str(nth))
        _, words = process.communicate(timeout=60)
        assert process.returncode == -signal.SIGKILL, words
        sender.later()
        everything_is_exact(sender, postbox, uncertain)


def test_random_kills_send_nothing_twice(transactional_db: None) -> None:
    seed = int(os.environ.get("CRASH_SEED", "20261130"))
    dice = random.Random(seed)
    sys.stdout.write(f"CRASH_SEED={seed}\n")
    postbox = Postbox()
    with postbox.serve() as server:
        sender = sender_on(server.port)
        for _ in range(LETTERS):
            sender.write()
        for _ in range(4):
            process = start("manage.py", "synchronize", "--once", "--threads", "2")
            time.sleep(dice.uniform(0.5, 1.4))
            process.kill()
            process.communicate(timeout=30)
            SyncState.objects.update(next_run_at=None)
        sender.later()
        everything_is_exact(sender, postbox)


def test_what_a_dead_worker_left_is_found_though_the_direction_does_not_run_any_more(
    transactional_db: None,
) -> None:
    postbox = Postbox()
    with postbox.serve() as server:
        sender = sender_on(server.port)
        sender.write()
        process = start("-m", "tests.sync.stopped", f"after {SMTP}.hand_over", "1")
        process.communicate(timeout=60)
    SyncState.objects.update(enabled=False)
    assert OutgoingMessage.objects.get().state == "sending"
    sender.run()
    assert OutgoingMessage.objects.get().state == "uncertain"
