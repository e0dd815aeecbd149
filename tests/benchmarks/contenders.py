"""Who is measured on a forward mailbox: the limit of the wire, the peer, and ours; each on an account of its own."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from tests.benchmarks import machine, report
from tests.benchmarks.bench import Bench
from tests.benchmarks.machine import PASSWORD, Machine, Run, Runs
from tests.benchmarks.report import Target


def raw(computer: Machine, letters: list[Path], *, protocol: str = "imap", port: int = 0) -> Run:
    account = computer.account()
    computer.fill(account, letters)
    run = machine.limit(protocol, port or computer.dovecot.port, account, PASSWORD)
    assert run.result == len(letters)
    assert computer.left(account) == 0
    return run


def the_line(
    computer: Machine, letters: list[Path], *, vendor: str = "sqlite", port: int = 0, **office: object
) -> Run:
    """Prepared on an empty folder, so that nobody has opened it when the clock starts."""
    account = computer.account()
    with computer.room(vendor) as room:
        room.ask("forward", account=account, port=port or computer.dovecot.port, **office)
        computer.fill(account, letters)
        run = room.measured("synchronize")
        found = json.loads(room.ask("counted"))
    quarantined = found.get("quarantined", 0)
    assert found.get("delivered", 0) + quarantined == len(letters), found
    assert found["deliveries"] >= found.get("delivered", 0)
    assert computer.left(account) == quarantined
    return run


def django_mailbox(computer: Machine, letters: list[Path], *, vendor: str = "sqlite") -> Run:
    account = computer.account()
    computer.fill(account, letters)
    with computer.empty_room(vendor) as room:
        run = machine.peer(room, account, computer.dovecot.port)
    assert run.result == len(letters)
    assert computer.left(account) == 0
    return run


def against_the_limit(
    bench: Bench, case: str, target: Target, limit: Callable[[], Run], ours: Callable[[], Run]
) -> tuple[Runs, Runs]:
    """All rounds of the limit and of ours, one after the other, and what follows for the target."""
    limits, lines = Runs(), Runs()
    for _ in range(bench.rounds):
        bench.report.step("limit")
        limits.runs.append(limit())
        bench.report.step("ours")
        lines.runs.append(ours())
    ratio = lines.median("wall") / limits.median("wall")
    row = report.judged(case, target, ratio, limit=report.told(limits), ours=report.told(lines))
    bench.report.contender("limit", limits)
    bench.report.contender("ours", lines)
    bench.report.add(row)
    return limits, lines
