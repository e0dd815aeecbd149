"""A look at 1,000 mailboxes in which there is nothing new, beside 1,000 sign-ins, 16 at a time."""

from __future__ import annotations

from tests.benchmarks.bench import Bench
from tests.benchmarks.cases import boxes
from tests.benchmarks.report import Target

WALL = Target("our wall ÷ limit of logins", 3, 2)


def measure(bench: Bench) -> None:
    boxes.compare(bench, f"{bench.boxes:,} idle mailboxes", WALL, each=0)
