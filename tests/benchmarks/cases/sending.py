"""Mail of 3 KB handed to a server that takes it at once, beside smtplib and Django: near, and 20 ms away."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import ExitStack

from tests.benchmarks import report
from tests.benchmarks.bench import Bench
from tests.benchmarks.machine import Run, Runs, measured
from tests.benchmarks.report import Target
from tests.benchmarks.sink import Sink
from tests.delay import Delay

SPEED = Target("our messages per second ÷ smtplib's", 0.5, 0.8, at_least=True)
ROUND_TRIP = 0.02
FEWER = 50  # times fewer messages, where each waits for a few round trips


def sender(way: str) -> Callable[[Bench, int, int], Run]:
    command = (sys.executable, "-m", "tests.benchmarks.sending", way)
    return lambda _bench, port, number: measured([*command, str(port), str(number)])


LOOP, EACH, OURS = "smtplib: sendmail in a loop", "Django: a new connection each", "ours: offer and hand over"
# Each is given the port of a server and how many messages that is to get.
CONTENDERS: dict[str, Callable[[Bench, int, int], Run]] = {
    LOOP: sender("smtplib"),
    EACH: sender("django"),
    OURS: sender("ours"),
}


def measure(bench: Bench) -> None:
    compare(bench, bench.messages, 0)
    compare(bench, max(bench.messages // FEWER, 1), ROUND_TRIP)


def compare(bench: Bench, number: int, round_trip: float) -> None:
    where = f"{round_trip * 1000:.0f} ms away" if round_trip else "near"
    case = f"{number:,} messages sent, {where}"
    bench.report.begin(case, bench.rounds * len(CONTENDERS))
    runs = {name: Runs() for name in CONTENDERS}
    for _ in range(bench.rounds):
        for name, send in CONTENDERS.items():
            bench.report.step(name)
            runs[name].runs.append(sent(bench, send, number, round_trip))
    for name, those in runs.items():
        bench.report.contender(name, those, number)
    ratio = runs[LOOP].median("wall") / runs[OURS].median("wall")
    limit, peer, ours = (report.told(runs[name]) for name in (LOOP, EACH, OURS))
    bench.report.add(report.judged(case, SPEED, ratio, limit=limit, peer=peer, ours=ours))


def sent(bench: Bench, send: Callable[[Bench, int, int], Run], number: int, round_trip: float) -> Run:
    """By one contender, to a server of its own, which then has exactly these messages."""
    with ExitStack() as things:
        sink = things.enter_context(Sink())
        port = things.enter_context(Delay(sink.port, round_trip)).port if round_trip else sink.port
        run = send(bench, port, number)
        assert sink.taken() == number
    return run
