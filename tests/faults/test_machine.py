"""What this machine does on bad days: it tells a run to end, in the middle of it."""

from __future__ import annotations

import signal
import time

import pytest

from tests.faults.conftest import undisturbed
from tests.faults.invariant import fill, holds
from tests.faults.proxy import Proxy
from tests.sync.conftest import Office
from tests.sync.test_crash import start

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.mark.parametrize(("command", "nth"), [("UID FETCH", 2), ("UID STORE", 1)])
def test_told_to_end_a_run_ends_within_seconds_and_the_next_completes_it(
    office: Office, proxy: Proxy, command: str, nth: int
) -> None:
    sent = fill(office)
    proxy.stall(command, 0.8, nth)
    process = start("manage.py", "synchronize", "--once")
    deadline = time.monotonic() + 30
    while not proxy.struck and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    told = time.monotonic()
    process.communicate(timeout=20)
    assert time.monotonic() - told < 8
    assert process.returncode in (0, 1)
    undisturbed(office, proxy)
    assert proxy.struck > 0
    holds(office, sent)
