"""One forward mailbox over POP3, beside RETR and DELE said all at once."""

from __future__ import annotations

from tests.benchmarks.bench import Bench
from tests.benchmarks.contenders import against_the_limit, raw, the_line
from tests.benchmarks.report import Target
from tests.servers import needs

WALL = Target("our wall ÷ pipelined raw limit", 8, 5)


def measure(bench: Bench) -> None:
    needs("pop3")
    computer, letters = bench.machine, bench.machine.letters(bench.messages)
    port = computer.dovecot.pop3_port
    case = f"{bench.messages:,} messages over POP3"
    bench.report.begin(case, bench.rounds * 2)
    against_the_limit(
        bench,
        case,
        WALL,
        lambda: raw(computer, letters, protocol="pop3", port=port),
        lambda: the_line(computer, letters, port=port, server_type="pop3_smtp"),
    )
