"""The memory of a worker and its parser: with messages of 50 MB among others, and over many messages."""

from __future__ import annotations

from pathlib import Path

from tests.benchmarks import report
from tests.benchmarks.bench import Bench
from tests.benchmarks.contenders import the_line
from tests.benchmarks.machine import Runs
from tests.benchmarks.report import Target

PEAK = Target("peak", 300, 200, unit=" MB")
FLAT = Target("peak, many ÷ few messages", 1.2, 1.1)
LARGE, OTHERS, FEW = 3, 300, 500


def measure(bench: Bench) -> None:
    many = max(bench.messages // 2, FEW)
    bench.report.begin("memory of a worker and its parser", 3)
    letters = bench.machine.letters(many)
    bench.report.step("50 MB messages among others")
    large = Runs([the_line(bench.machine, _among_others(bench, letters[:OTHERS]))])
    bench.report.step(f"{FEW} messages")
    few = Runs([the_line(bench.machine, letters[:FEW])])
    bench.report.step(f"{many:,} messages")
    lots = Runs([the_line(bench.machine, letters)])
    _tell(bench, large, few, lots, many)


def _among_others(bench: Bench, letters: list[Path]) -> list[Path]:
    large = bench.machine.letters(LARGE, largest=True)
    step = len(letters) // LARGE
    return [path for n, one in enumerate(large) for path in (*letters[n * step : (n + 1) * step], one)]


def _tell(bench: Bench, large: Runs, few: Runs, lots: Runs, many: int) -> None:
    bench.report.contender(f"{LARGE} of 50 MB among {OTHERS}", large)
    bench.report.contender(f"{FEW} messages", few)
    bench.report.contender(f"{many:,} messages", lots)
    peak = {name: f"{runs.median('peak'):.0f} MB" for name, runs in (("l", large), ("f", few), ("m", lots))}
    case = f"memory: {LARGE} messages of 50 MB among {OTHERS}"
    bench.report.add(report.judged(case, PEAK, large.median("peak"), ours=peak["l"]))
    ratio = lots.median("peak") / few.median("peak")
    case = f"memory: {many:,} messages, not {FEW}"
    bench.report.add(report.judged(case, FLAT, ratio, limit=peak["f"], ours=peak["m"]))
