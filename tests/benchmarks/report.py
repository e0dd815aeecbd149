"""What was measured, as lines while it happens and as one table at the end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from tests.benchmarks.machine import Run, Runs

COLUMNS = ("case", "limit", "peer", "ours", "ratio", "target", "verdict")


@dataclass(frozen=True)
class Target:
    """What is compared, and what is to be reached."""

    words: str
    bound: float
    stretch: float
    at_least: bool = False
    unit: str = ""

    def verdict(self, value: float) -> str:
        """Met, or missed by how much."""
        if self._reaches(value, self.stretch):
            return "met, stretch too"
        if self._reaches(value, self.bound):
            return "met"
        missed = self.bound / value if self.at_least else value / self.bound
        return f"missed by {missed:.1f} times" if missed >= 1.1 else f"missed by {missed - 1:.0%}"

    def _reaches(self, value: float, bound: float) -> bool:
        return value >= bound if self.at_least else value <= bound

    @property
    def sentence(self) -> str:
        sign = "≥" if self.at_least else "≤"
        return f"{sign} {self.bound:g}{self.unit} (stretch {self.stretch:g})"


@dataclass(frozen=True)
class Row:
    """One line of the final table."""

    case: str
    limit: str
    peer: str
    ours: str
    ratio: str
    target: str
    verdict: str

    @property
    def cells(self) -> tuple[str, ...]:
        return tuple(getattr(self, column) for column in COLUMNS)


def judged(
    case: str, target: Target, value: float, *, limit: str = "", peer: str = "", ours: str = ""
) -> Row:
    ratio = f"{target.words}: {value:.3g}{target.unit}"
    return Row(case, limit, peer, ours, ratio, target.sentence, target.verdict(value))


def told(runs: Runs, what: str = "wall") -> str:
    """A median with its spread, in seconds."""
    low, high = runs.spread(what)
    return f"{runs.median(what):.2f} s" + (f" ({low:.2f}–{high:.2f})" if len(runs.runs) > 1 else "")


@dataclass
class Report:
    """Collects the rows of the cases; `step` says what is happening now."""

    console: Console = field(default_factory=lambda: _console())
    rows: list[Row] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.completed}/{task.total}"),
            TimeElapsedColumn(),
            console=self.console,
            disable=not self.console.is_terminal,
            transient=True,
        )
        self._task = self.progress.add_task("", total=None)

    def begin(self, title: str, steps: int | None = None) -> None:
        self.console.print(f"\n{title}", style="bold")
        self.progress.reset(self._task, total=steps)

    def step(self, what: str) -> None:
        self.progress.update(self._task, advance=1, description=what)

    def say(self, line: str) -> None:
        self.console.print(line)

    def contender(self, name: str, runs: Runs, number: int = 0, of: str = "msg") -> None:
        """One contender of a case, with its medians."""
        speed = f"{number / runs.median('wall'):>9,.0f} {of}/s" if number else " " * 13
        peak = max(run.peak for run in runs.runs)
        self.say(
            f"  {name:<34}{speed}   wall {told(runs)}   CPU {told(runs, 'cpu')}   memory up to {peak:,.0f} MB"
        )

    def add(self, row: Row) -> None:
        self.rows.append(row)
        self.say(f"  {row.ratio}   target {row.target}: {row.verdict}")

    def table(self) -> None:
        table = Table(*COLUMNS)
        for row in self.rows:
            table.add_row(*row.cells)
        self.console.print(table)

    def markdown(self, about: str) -> str:
        lines = [
            about,
            "",
            _line(COLUMNS),
            _line(["---"] * len(COLUMNS)),
            *(_line(row.cells) for row in self.rows),
        ]
        return "\n".join(lines) + "\n"

    def write(self, path: Path, about: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(self.markdown(about))


def _console() -> Console:
    """As wide as the terminal; what goes to a file is never cut."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=240)


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


__all__ = ["Report", "Row", "Run", "Runs", "Target", "judged", "told"]
