"""Mail of 500 people in one forward mailbox, deleted after processing: on SQLite and on PostgreSQL."""

from __future__ import annotations

import json
from pathlib import Path

from tests.benchmarks import machine, report
from tests.benchmarks.bench import Bench
from tests.benchmarks.machine import PASSWORD, Runs
from tests.benchmarks.report import Target

CPU = {
    "sqlite": Target("CPU of django-mailbox ÷ ours", 10, 20, at_least=True),
    "postgresql": Target("CPU of django-mailbox ÷ ours", 6, 12, at_least=True),
}
WALL = Target("our wall ÷ raw limit", 10, 5)
NAMES = {"sqlite": "SQLite", "postgresql": "PostgreSQL"}


def measure(bench: Bench) -> None:
    for vendor in bench.vendors:
        compare(bench, vendor)


def compare(bench: Bench, vendor: str) -> None:
    number = bench.messages
    letters = bench.machine.letters(number)
    octets = sum(path.stat().st_size for path in letters)
    title = f"{number:,} messages, {octets / 1e6:,.0f} MB, one forward mailbox, {NAMES[vendor]}"
    bench.report.begin(title, bench.rounds * 2 + bench.peer_rounds)
    limits, others, ours = Runs(), Runs(), Runs()
    for n in range(bench.rounds):
        bench.report.step("raw limit")
        limits.runs.append(raw(bench, letters))
        bench.report.step("ours")
        ours.runs.append(the_line(bench, vendor, letters))
        if n < bench.peer_rounds and machine.has_peer():
            bench.report.step("django-mailbox")
            others.runs.append(django_mailbox(bench, vendor, letters))
    _tell(bench, vendor, limits, others, ours)


def raw(bench: Bench, letters: list[Path]) -> machine.Run:
    account = bench.machine.account()
    bench.machine.fill(account, letters)
    run = machine.limit("imap", bench.machine.dovecot.port, account, PASSWORD)
    assert run.result == len(letters)
    assert bench.machine.left(account) == 0
    return run


def the_line(bench: Bench, vendor: str, letters: list[Path], port: int = 0, **office: object) -> machine.Run:
    """Prepared on an empty folder, so that nobody has opened it when the clock starts."""
    account = bench.machine.account()
    with bench.machine.room(vendor) as room:
        room.ask("forward", account=account, port=port or bench.machine.dovecot.port, **office)
        bench.machine.fill(account, letters)
        run = room.measured("synchronize")
        found = json.loads(room.ask("counted"))
    assert found["delivered"] + found.get("quarantined", 0) == len(letters), found
    assert found["deliveries"] >= found["delivered"]
    assert bench.machine.left(account) == found.get("quarantined", 0)
    return run


def django_mailbox(bench: Bench, vendor: str, letters: list[Path]) -> machine.Run:
    account = bench.machine.account()
    bench.machine.fill(account, letters)
    with bench.machine.empty_room(vendor) as room:
        run = machine.peer(room, account, bench.machine.dovecot.port)
    assert run.result == len(letters)
    assert bench.machine.left(account) == 0
    return run


def _tell(bench: Bench, vendor: str, limits: Runs, others: Runs, ours: Runs) -> None:
    case = f"{bench.messages:,} messages, {NAMES[vendor]}"
    bench.report.contender("raw IMAP: fetch and delete", limits, bench.messages)
    if others.runs:
        bench.report.contender("django-mailbox 4.10: getmail", others, bench.messages)
    bench.report.contender("ours: to the last deletion", ours, bench.messages)
    if others.runs:
        ratio = others.median("cpu") / ours.median("cpu")
        cells = {"peer": f"CPU {report.told(others, 'cpu')}", "ours": f"CPU {report.told(ours, 'cpu')}"}
        bench.report.add(
            report.judged(case, CPU[vendor], ratio, limit=f"CPU {report.told(limits, 'cpu')}", **cells)
        )
    ratio = ours.median("wall") / limits.median("wall")
    peer = report.told(others) if others.runs else "not installed"
    bench.report.add(
        report.judged(case, WALL, ratio, limit=report.told(limits), peer=peer, ours=report.told(ours))
    )
