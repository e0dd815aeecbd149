"""What a message costs in a box of 100,000 ÷ what it costs in one of 1,000: small letters, so that nothing hides it."""

from __future__ import annotations

from tests.benchmarks import report
from tests.benchmarks.bench import Bench
from tests.benchmarks.contenders import the_line
from tests.benchmarks.machine import Runs
from tests.benchmarks.report import Target

COST = Target("seconds per message, large ÷ small box", 1.2, 1.0)
SMALL = 1_000


def measure(bench: Bench) -> None:
    """Without what a run costs in which there is nothing."""
    case = f"growth to {bench.grown:,} messages"
    bench.report.begin(case, 2 * bench.rounds + 1)
    letters = bench.machine.letters(bench.grown, median=1_000)
    nothing, small, large = Runs(), Runs(), Runs()
    for _ in range(bench.rounds):
        bench.report.step("an empty box")
        nothing.runs.append(the_line(bench.machine, []))
        bench.report.step(f"a box of {SMALL:,}")
        small.runs.append(the_line(bench.machine, letters[:SMALL]))
    bench.report.step(f"a box of {bench.grown:,}")
    large.runs.append(the_line(bench.machine, letters))
    cost = {
        number: (runs.median("wall") - nothing.median("wall")) / number
        for number, runs in ((SMALL, small), (bench.grown, large))
    }
    bench.report.contender(f"a box of {SMALL:,}", small, SMALL)
    bench.report.contender(f"a box of {bench.grown:,}", large, bench.grown)
    told = {number: f"{seconds * 1000:.2f} ms a message" for number, seconds in cost.items()}
    ratio = cost[bench.grown] / cost[SMALL]
    bench.report.add(report.judged(case, COST, ratio, limit=told[SMALL], ours=told[bench.grown]))
