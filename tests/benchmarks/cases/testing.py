"""Test & Enable of 200 mailboxes, every step stored, beside 200 sign-ins, 16 at a time."""

from __future__ import annotations

from tests.benchmarks import machine
from tests.benchmarks.bench import Bench
from tests.benchmarks.contenders import against_the_limit
from tests.benchmarks.machine import PASSWORD, Run
from tests.benchmarks.report import Target

WALL = Target("our wall ÷ limit of logins", 10, 5)
NUMBER, AT_A_TIME = 200, 16


def measure(bench: Bench) -> None:
    case = f"Test & Enable of {NUMBER} mailboxes"
    bench.report.begin(case, bench.rounds * 2)
    against_the_limit(bench, case, WALL, lambda: _limit(bench), lambda: _ours(bench))


def _accounts(bench: Bench) -> str:
    prefix = bench.machine.account() + "x"
    for n in range(NUMBER):
        bench.machine.fill(bench.machine.account(f"{prefix}{n}"), bench.machine.letters(1))
    return prefix


def _limit(bench: Bench) -> Run:
    prefix = _accounts(bench)
    return machine.limit("looks", bench.machine.dovecot.port, prefix, PASSWORD, NUMBER, AT_A_TIME)


def _ours(bench: Bench) -> Run:
    prefix = _accounts(bench)
    with bench.machine.room("sqlite") as room:
        room.ask("boxes", prefix=prefix, number=NUMBER, port=bench.machine.dovecot.port, enabled=False)
        run = room.measured("test_and_enable")
    assert run.result == NUMBER
    return run
