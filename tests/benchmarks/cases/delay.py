"""A server 50 ms away, beside raw fetching with four commands of 200 messages under way."""

from __future__ import annotations

from tests.benchmarks.bench import Bench
from tests.benchmarks.contenders import against_the_limit, raw, the_line
from tests.benchmarks.report import Target
from tests.delay import Delay

WALL = Target("our wall ÷ raw windowed limit", 3, 2)
ROUND_TRIP = 0.05


def measure(bench: Bench) -> None:
    number = bench.messages // 2
    computer, letters = bench.machine, bench.machine.letters(number)
    case = f"{number:,} messages, {ROUND_TRIP * 1000:.0f} ms away"
    bench.report.begin(case, bench.rounds * 2)
    with Delay(computer.dovecot.port, ROUND_TRIP) as far:
        against_the_limit(
            bench,
            case,
            WALL,
            lambda: raw(computer, letters, port=far.port),
            lambda: the_line(computer, letters, port=far.port),
        )
