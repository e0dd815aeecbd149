"""Mail of 3 KB handed to a server that takes it at once, beside smtplib and Django: near, and 20 ms away.

Ours twice: the transport alone, as what it is compared with, and the engine, which empties an outbox in SQLite and
commits before and after each message.
"""

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
OUTBOX = Target("the outbox's messages per second ÷ Django's", 0.25, 0.5, at_least=True)
ROUND_TRIP = 0.02
FEWER = 50  # times fewer messages, where each waits for a few round trips


def sender(way: str) -> Callable[[Bench, int, int], Run]:
    command = (sys.executable, "-m", "tests.benchmarks.sending", way)
    return lambda _bench, port, number: measured([*command, str(port), str(number)])


def engine(bench: Bench, port: int, number: int) -> Run:
    with bench.machine.room("sqlite") as room:
        room.ask("outbox", number=number, port=port)
        run = room.measured("send")
    assert run.result == number
    return run


LOOP, EACH, OURS = "smtplib: sendmail in a loop", "Django: a new connection each", "ours: offer and hand over"
ENGINE = "ours: the engine with its outbox"
# Each is given the port of a server and how many messages that is to get.
CONTENDERS: dict[str, Callable[[Bench, int, int], Run]] = {
    LOOP: sender("smtplib"),
    EACH: sender("django"),
    OURS: sender("ours"),
    ENGINE: engine,
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
    wall = {name: those.median("wall") for name, those in runs.items()}
    bench.report.say(f"  the outbox's messages per second ÷ smtplib's: {wall[LOOP] / wall[ENGINE]:.3g}")
    limit, peer, ours, outbox = (report.told(runs[name]) for name in (LOOP, EACH, OURS, ENGINE))
    for target, ratio, told in (
        (SPEED, wall[LOOP] / wall[OURS], ours),
        (OUTBOX, wall[EACH] / wall[ENGINE], outbox),
    ):
        bench.report.add(report.judged(case, target, ratio, limit=limit, peer=peer, ours=told))


def sent(bench: Bench, send: Callable[[Bench, int, int], Run], number: int, round_trip: float) -> Run:
    """By one contender, to a server of its own, which then has exactly these messages."""
    with ExitStack() as things:
        sink = things.enter_context(Sink())
        port = things.enter_context(Delay(sink.port, round_trip)).port if round_trip else sink.port
        run = send(bench, port, number)
        assert sink.taken() == number
    return run
