"""Several engines at once, each killed at random, behind a network that fails at random, and a second client.

The seed stands in the name of the test. One here; `CHAOS_SEED` begins elsewhere, `CHAOS_RUNS` says how many
(`make chaos`).
"""

from __future__ import annotations

import os
import random
import subprocess
import time

import pytest

from tests.faults.conftest import undisturbed
from tests.faults.invariant import Sent, fill, holds
from tests.faults.proxy import Proxy
from tests.sync.conftest import Office
from tests.sync.test_crash import start

pytestmark = pytest.mark.django_db(transaction=True)

FIRST = int(os.environ.get("CHAOS_SEED", "20261124"))
SEEDS = range(FIRST, FIRST + int(os.environ.get("CHAOS_RUNS", "1")))
WORKERS = 2
ROUNDS = 3
COMMANDS = ("SELECT", "UID SEARCH", "UID FETCH", "UID STORE", "UID EXPUNGE")


def disturb(proxy: Proxy, dice: random.Random) -> None:
    """One or two faults, somewhere."""
    proxy.behave()
    for _ in range(dice.randint(1, 2)):
        command, nth = dice.choice(COMMANDS), dice.randint(1, 3)
        dice.choice(
            [
                lambda c=command, n=nth: proxy.lose_reply(c, n),
                lambda c=command, n=nth: proxy.lose_command(c, n),
                lambda c=command, n=nth: proxy.cut_within(c, dice.random(), n),
                lambda c=command, n=nth: proxy.stall(c, 0.3, n),
            ]
        )()


def somebody_deletes_one(office: Office, sent: Sent, dice: random.Random) -> None:
    """A second client takes one letter away for good, collected or not."""
    subject = dice.choice(sorted(set(sent.mine) - set(sent.taken)))
    with office.dovecot.client(office.account, "INBOX") as client:
        if uids := list(client.search(["SUBJECT", f'"{subject}"'])):
            client.add_flags(uids, [rb"\Deleted"])
            client.uid_expunge(uids)
            sent.taken.append(subject)


def end(process: subprocess.Popen[str], dice: random.Random) -> None:
    """Killed as the kernel does it, or told to end."""
    (process.kill if dice.random() < 0.7 else process.terminate)()
    process.communicate(timeout=30)


@pytest.mark.parametrize("seed", SEEDS)
def test_whatever_happens_at_once_every_letter_arrives_once(office: Office, proxy: Proxy, seed: int) -> None:
    dice = random.Random(seed)
    sent = fill(office, 20)
    for _ in range(ROUNDS):
        disturb(proxy, dice)
        workers = [start("manage.py", "synchronize", "--threads", "2") for _ in range(WORKERS)]
        time.sleep(dice.uniform(1.2, 2.2))
        office.forward.states.update(next_run_at=None)
        office.arrives(*sent.letters(5))
        somebody_deletes_one(office, sent, dice)
        time.sleep(dice.uniform(0.1, 1.0))
        for worker in workers:
            end(worker, dice)
        office.forward.states.update(next_run_at=None)
    undisturbed(office, proxy)
    holds(office, sent)
