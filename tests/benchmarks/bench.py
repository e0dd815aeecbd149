"""What a case is given: the machine, the sizes that were asked for, and the report."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from tests.benchmarks.machine import Machine
from tests.benchmarks.report import Report


def _number(name: str, default: int) -> int:
    return int(os.environ.get(name, str(default)))


@dataclass
class Bench:
    """Sizes come from the environment."""

    machine: Machine
    report: Report
    messages: int = field(default_factory=lambda: _number("MESSAGES", 10_000))
    rounds: int = field(default_factory=lambda: _number("ROUNDS", 3))
    boxes: int = field(default_factory=lambda: _number("BOXES", 1_000))
    grown: int = field(default_factory=lambda: _number("GROWN", 100_000))
    mailboxes: int = field(default_factory=lambda: _number("MAILBOXES", 10_000))
    stored: int = field(default_factory=lambda: _number("STORED", 1_000_000))

    @property
    def peer_rounds(self) -> int:
        """The peer takes its time: once is enough, unless somebody asks for more."""
        return _number("PEER_ROUNDS", 1)

    @property
    def peer_messages(self) -> int:
        """It commits each message by itself, so it is given fewer of them, and compared by message."""
        return min(self.messages, _number("PEER_MESSAGES", 2_000))

    @property
    def vendors(self) -> list[str]:
        """The databases to measure on: DATABASES=sqlite leaves PostgreSQL out."""
        asked = os.environ.get("DATABASES", "sqlite,postgresql").split(",")
        return [name for name in asked if name == "sqlite" or self.machine.has_postgresql]
