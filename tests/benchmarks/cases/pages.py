"""What pages cost the server: lists and form at 10,000 and 100,000 mailboxes, messages at a million."""

from __future__ import annotations

import json
from typing import Any

from tests.benchmarks import report
from tests.benchmarks.bench import Bench
from tests.benchmarks.report import Target

LIST, FORM = "list of mailboxes, most urgent first", "form of a mailbox"
AT_FIRST = Target("CPU", 15, 10, unit=" ms")
AT_TEN_TIMES = Target("CPU", 150, 50, unit=" ms")


def measure(bench: Bench) -> None:
    bench.report.begin("pages", 3)
    many, more = bench.mailboxes, 10 * bench.mailboxes
    found = _asked(bench, "pages_of_mailboxes", many, "mailboxes")
    for page in (LIST, FORM):
        _judge(bench, f"{page}, of {many:,}", AT_FIRST, found[page])
    found = _asked(bench, "pages_of_mailboxes", more, "mailboxes")
    _judge(bench, f"{LIST}, of {more:,}", AT_TEN_TIMES, found[LIST])
    _asked(bench, "pages_of_messages", bench.stored, "messages")


def _asked(bench: Bench, step: str, number: int, what: str) -> dict[str, Any]:
    """The costs by page, printed one on a line."""
    bench.report.step(f"{number:,} {what}")
    with bench.machine.room("sqlite") as room:
        rows = json.loads(room.ask(step, number=number))
    bench.report.say(f"  {number:,} {what}, SQLite; milliseconds, medians")
    bench.report.say(f"  {'page':40} {'CPU':>8} {'worst':>8} {'wall':>8} {'queries':>8} {'KB':>8}")
    for row in rows:
        bench.report.say(
            f"  {row['page']:40} {row['cpu']:8.1f} {row['worst']:8.1f} {row['wall']:8.1f}"
            f" {row['queries']:8} {row['size']:8.1f}"
        )
    return {row["page"]: row for row in rows}


def _judge(bench: Bench, case: str, target: Target, row: dict[str, Any]) -> None:
    bench.report.add(report.judged(case, target, row["cpu"], ours=f"{row['cpu']:.1f} ms"))
