"""1,000 mailboxes of their own with ten messages each, which stay and are marked as read: beside raw fetching
and marking, 16 at a time."""

from __future__ import annotations

import json

from tests.benchmarks import machine
from tests.benchmarks.bench import Bench
from tests.benchmarks.contenders import against_the_limit
from tests.benchmarks.machine import PASSWORD, Run
from tests.benchmarks.report import Target

WALL = Target("our wall ÷ raw limit", 8, 5)
EACH = 10
AT_A_TIME = 16


def measure(bench: Bench) -> None:
    compare(bench, f"{bench.boxes:,} mailboxes × {EACH}", WALL, EACH)


def compare(bench: Bench, case: str, target: Target, each: int) -> None:
    bench.report.begin(case, bench.rounds * 2)
    against_the_limit(bench, case, target, lambda: _limit(bench, each), lambda: _ours(bench, each))


def _limit(bench: Bench, each: int) -> Run:
    prefix = _filled(bench, each)
    run = machine.limit(
        "many" if each else "looks", bench.machine.dovecot.port, prefix, PASSWORD, bench.boxes, AT_A_TIME
    )
    assert run.result == bench.boxes
    return run


def _ours(bench: Bench, each: int) -> Run:
    prefix = _filled(bench, each)
    with bench.machine.room("sqlite") as room:
        room.ask("boxes", prefix=prefix, number=bench.boxes, port=bench.machine.dovecot.port)
        if not each:  # what is done once a day is done: an idle poll is one of many
            room.measured("synchronize")
            room.ask("due")
        run = room.measured("synchronize")
        found = json.loads(room.ask("counted"))
    assert found["passes"] == bench.boxes, found
    assert found["deliveries"] == bench.boxes * each, found
    return run


def _filled(bench: Bench, each: int) -> str:
    """New accounts PREFIX0, PREFIX1, … with so many letters in each."""
    letters = bench.machine.letters(bench.boxes * each)
    prefix = bench.machine.account() + "x"
    for n in range(bench.boxes):
        account = bench.machine.account(f"{prefix}{n}")
        bench.machine.fill(account, letters[n * each : (n + 1) * each])
    return prefix
