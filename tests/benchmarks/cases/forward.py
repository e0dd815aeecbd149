"""Mail of 500 people in one forward mailbox, deleted after processing: on SQLite and on PostgreSQL."""

from __future__ import annotations

from pathlib import Path

from tests.benchmarks import machine, report
from tests.benchmarks.bench import Bench
from tests.benchmarks.contenders import django_mailbox, raw, the_line
from tests.benchmarks.machine import Runs
from tests.benchmarks.report import Target

CPU = {
    "sqlite": Target("CPU of django-mailbox ÷ ours", 10, 20, at_least=True),
    "postgresql": Target("CPU of django-mailbox ÷ ours", 6, 12, at_least=True),
}
WALL = Target("our wall ÷ raw limit", 10, 5)
NAMES = {"sqlite": "SQLite", "postgresql": "PostgreSQL"}


def measure(bench: Bench) -> None:
    for vendor in bench.vendors:
        compare(bench, vendor, bench.machine.letters(bench.messages))


def compare(bench: Bench, vendor: str, letters: list[Path]) -> None:
    few = letters[: bench.peer_messages]
    octets = sum(path.stat().st_size for path in letters)
    case = f"{len(letters):,} messages, {NAMES[vendor]}"
    bench.report.begin(f"{case}: {octets / 1e6:,.0f} MB in one forward mailbox", bench.rounds * 3)
    limits, others, ours = Runs(), Runs(), Runs()
    for n in range(bench.rounds):
        bench.report.step("raw limit")
        limits.runs.append(raw(bench.machine, letters))
        bench.report.step("ours")
        ours.runs.append(the_line(bench.machine, letters, vendor=vendor))
        bench.report.step("django-mailbox")
        if n < bench.peer_rounds and machine.has_peer():
            others.runs.append(django_mailbox(bench.machine, few, vendor=vendor))
    bench.report.contender("raw IMAP: fetch and delete", limits, len(letters))
    if others.runs:
        bench.report.contender(f"django-mailbox: getmail, {len(few):,} of them", others, len(few))
    bench.report.contender("ours: to the last deletion", ours, len(letters))
    if others.runs:
        bench.report.add(_by_cpu(case, CPU[vendor], limits, others, ours, len(letters) / len(few)))
    bench.report.add(_by_wall(case, limits, ours))


def _by_cpu(
    case: str, target: Target, limits: Runs, others: Runs, ours: Runs, times_more: float
) -> report.Row:
    """By message: the others were given fewer."""
    limit, peer, line = (f"CPU {report.told(runs, 'cpu')}" for runs in (limits, others, ours))
    ratio = others.median("cpu") * times_more / ours.median("cpu")
    share = f" for {1 / times_more:.0%} of them" if times_more != 1 else ""
    return report.judged(case, target, ratio, limit=limit, peer=f"{peer}{share}", ours=line)


def _by_wall(case: str, limits: Runs, ours: Runs) -> report.Row:
    ratio = ours.median("wall") / limits.median("wall")
    return report.judged(case, WALL, ratio, limit=report.told(limits), ours=report.told(ours))
