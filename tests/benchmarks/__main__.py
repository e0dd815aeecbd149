"""Ours beside the limit of the wire and beside the peer, in one run: `make bench`.

    make bench                                  everything
    make bench CASES="forward pop3"             some cases
    MESSAGES=2000 ROUNDS=1 make bench           smaller, for a first look

Figures are medians with their spread; the table at the end is written to `var/bench.md`, too.
"""

from __future__ import annotations

import os
import platform
import signal
import sys
import time
from importlib import import_module
from pathlib import Path

from tests.benchmarks.bench import Bench
from tests.benchmarks.machine import ROOT, Machine
from tests.benchmarks.report import Report
from tests.servers import needs

CASES = ("forward", "boxes", "idle", "pop3", "delay", "sending", "growth", "testing", "memory", "pages")


def main(asked: list[str]) -> None:
    unknown = set(asked) - set(CASES)
    if unknown:
        sys.exit(f"There is no case {', '.join(sorted(unknown))}. There are: {', '.join(CASES)}.")
    needs("dovecot")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # what was started ends, too
    report, began = Report(), time.monotonic()
    var = Path(os.environ.get("VAR_DIR", ROOT / "var"))
    with report.progress, Machine(var / "bench") as machine:
        bench = Bench(machine, report)
        for name in asked or CASES:
            import_module(f"tests.benchmarks.cases.{name}").measure(bench)
    about = f"Python {platform.python_version()}, {os.cpu_count()} cores; {(time.monotonic() - began) / 60:.1f} minutes."
    report.table()
    report.write(var / "bench.md", about)
    report.say(about)


if __name__ == "__main__":
    main(sys.argv[1:])
