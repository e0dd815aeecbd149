"""Stopped at every step of the line and run again: nothing lost, nothing twice, nothing of others touched."""

from __future__ import annotations

import base64
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from django.db import connection

from emailprofiles.secrets import keyring
from mailboxes.models import Delivery, Message, MessageState

from .conftest import Office, letter

pytestmark = pytest.mark.django_db(transaction=True)

ROOT = Path(__file__).parents[2]
LETTERS = 260  # two batches
PEOPLE = ("noah", "priya", "tomasz")

PLACES = [
    ("after mailboxes.sync.leases:claim", 1),
    ("before emailprofiles.transports.imap:Imap.connect_steps", 1),
    ("after emailprofiles.transports.imap:Imap.open", 1),
    ("after emailprofiles.transports.imap:Imap.listed", 1),
    ("before emailprofiles.transports.imap:Imap._ended", 2),
    ("before emailprofiles.transports.imap:Imap._ended", 3),
    ("before mailboxes.sync.ingest:keep", 2),
    ("after mailboxes.sync.ingest:keep", 1),
    ("after mailboxes.sync.ingest:keep", 2),
    ("before mailboxes.sync.ingest:deliver", 2),
    ("after mailboxes.sync.rows:insert", 1),
    ("after mailboxes.sync.rows:insert", 4),
    ("after mailboxes.sync.rows:update", 2),
    ("after mailboxes.sync.ingest:deliver", 1),
    ("before emailprofiles.transports.imap:Imap.dispose", 1),
    ("after emailprofiles.transports.imap_session:Client.add_flags", 1),
    ("before emailprofiles.transports.imap_session:Client.uid_expunge", 1),
    ("after emailprofiles.transports.imap_session:Client.uid_expunge", 1),
    ("after emailprofiles.transports.imap:Imap.dispose", 1),
    ("after mailboxes.sync.disposal:Disposing._note", 1),
    ("before mailboxes.sync.leases:release", 1),
    ("after mailboxes.sync.leases:release", 1),
]


def fill(office: Office, letters: int = LETTERS) -> None:
    for name in PEOPLE:
        office.user(name)
    office.arrives(
        *(letter(f"Number {n}", Delivered_To=f"{PEOPLE[n % 3]}@contoso.com") for n in range(letters)),
        letter("Nobody's", to="stranger@example.net"),
    )
    with office.dovecot.client(office.account, "INBOX") as someone_else:
        uid = office.dovecot.append(office.account, letter("Somebody else deletes this", to="x@example.net"))
        someone_else.noop()
        someone_else.add_flags([uid], [rb"\Deleted"])


def environment() -> dict[str, str]:
    keys = ",".join(f"{key_id}:{base64.b64encode(key).decode()}" for key_id, key in keyring().items())
    database = connection.settings_dict
    url = f"sqlite:///{database['NAME']}"
    if connection.vendor == "postgresql":
        url = "postgres://{USER}:{PASSWORD}@{HOST}:{PORT}/{NAME}".format(**database)
    return {
        **os.environ,
        "DATABASE_URL": url,
        "FIELD_KEYS": keys,
        "DJANGO_SETTINGS_MODULE": "config.settings",
        "LOG_LEVEL": "ERROR",
    }


def start(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, *arguments], cwd=ROOT, env=environment(), stderr=subprocess.PIPE, text=True
    )


def everything_is_exact(office: Office, letters: int = LETTERS) -> None:
    reached = office.delivered()
    wrong = {s: who for s, who in reached.items() if who != [PEOPLE[int(s.split()[1]) % 3].title()]}
    assert wrong == {}
    assert len(reached) == Delivery.objects.count() == letters
    states = sorted(Message.objects.exclude(state=MessageState.DELIVERED).values_list("subject", "state"))
    assert states == [("Nobody's", "quarantined"), ("Somebody else deletes this", "quarantined")]
    assert Message.objects.count() == letters + 2
    left = {kept.raw.split(b"Subject: ")[1].split(b"\r\n")[0]: kept.flags for kept in office.on_server()}
    assert set(left) == {b"Nobody's", b"Somebody else deletes this"}
    assert "\\Deleted" in left[b"Somebody else deletes this"]
    assert "\\Deleted" not in left[b"Nobody's"]


@pytest.mark.parametrize(("place", "nth"), PLACES)
def test_stopped_at_one_step_the_next_run_completes_it(office: Office, place: str, nth: int) -> None:
    fill(office)
    process = start("-m", "tests.sync.stopped", place, str(nth))
    _, words = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL, words
    office.again()
    everything_is_exact(office)


def test_random_kills_and_further_runs_leave_exact_counts(office: Office) -> None:
    fill(office, 1000)
    seed = int(os.environ.get("CRASH_SEED", "20261123"))
    dice = random.Random(seed)
    sys.stdout.write(f"CRASH_SEED={seed}\n")
    for _ in range(8):
        process = start("manage.py", "synchronize", "--once", "--threads", "2")
        time.sleep(dice.uniform(0.3, 1.6))
        process.kill()
        process.communicate(timeout=30)
        office.forward.states.update(next_run_at=None)
    office.again()
    office.again()
    everything_is_exact(office, 1000)


def test_a_lease_of_a_dead_process_costs_no_waiting(office: Office) -> None:
    office.user("noah")
    office.arrives(letter("Number 0", Delivered_To="noah@contoso.com"))
    process = start("-m", "tests.sync.stopped", "after mailboxes.sync.leases:claim", "1")
    process.communicate(timeout=60)
    began = time.monotonic()
    assert office.synchronize().collected == 1
    assert time.monotonic() - began < 10
