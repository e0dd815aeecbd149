"""The whole line on PostgreSQL, by the commands that an administrator types: shared work, and days without it."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import psycopg
import pytest

from tests.faults.proxy import Line, Proxy
from tests.postgres import PostgreSQL
from tests.servers import GOOD, Dovecot
from tests.sync.conftest import letter

ROOT = Path(__file__).parents[2]
PEOPLE = {"noah": "administrator", "priya": "user", "tomasz": "user"}
TURNS = tuple(PEOPLE)
COLLECTIONS = 3
LETTERS = 250  # for each of them: more than one batch

OFFICE = """
[settings]
require_approval_for_users = false

[[profile]]
name = "Head office"
incoming = {{ host = "127.0.0.1", port = {port}, security = "none" }}
outgoing = {{ host = "127.0.0.1", port = 10025, security = "none" }}
timeout_seconds = 30
is_default = true
owner = "noah"
"""
PERSON = """
[[user]]
username = "{name}"
full_name = "{name}"
role = "{role}"
email_address = "{name}@contoso.com"
mailbox = {{ incoming = "forward", outgoing = "none" }}
"""
COLLECTION = """
[[forward_mailbox]]
name = "{account}"
email_address = "{account}@contoso.com"
owner = "noah"
profile = "Head office"
incoming = "server_side"
delete_emails_after_processing = true
credentials = {{ username = "{account}", password_env = "FORWARD_PASSWORD" }}
"""
REACHED = """
SELECT message.subject, mailbox.email_address FROM mailboxes_delivery delivery
JOIN mailboxes_message message ON message.id = delivery.message_id
JOIN mailboxes_mailbox mailbox ON mailbox.id = delivery.mailbox_id
"""

_numbers = count(1)


AHEAD = """
import time, time_machine
from manage import main
with time_machine.travel(time.time() + 3600 * {hours}, tick=True):
    main()
"""


def start(
    url: str, folder: Path, *arguments: str, program: Sequence[str] = ("manage.py",)
) -> subprocess.Popen[str]:
    own = {
        "DATABASE_URL": url,
        "VAR_DIR": str(folder),
        "FORWARD_PASSWORD": "correct horse",
        "DJANGO_SETTINGS_MODULE": "config.settings",
        "LOG_LEVEL": "ERROR",
    }
    return subprocess.Popen(
        [sys.executable, *program, *arguments],
        cwd=ROOT,
        env=os.environ | own,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@dataclass
class House:
    """An office in a database of its own; everything in it is done by processes."""

    server: PostgreSQL
    url: str
    dovecot: Dovecot
    proxy: Proxy
    folder: Path
    accounts: list[str]

    def start(self, *arguments: str, program: Sequence[str] = ("manage.py",)) -> subprocess.Popen[str]:
        return start(self.url, self.folder, *arguments, program=program)

    def ends(self, process: subprocess.Popen[str], code: int = 0) -> str:
        """What it said; it must end with this code."""
        try:
            out, err = process.communicate(timeout=60)
        finally:
            process.kill()
        assert process.returncode == code, (process.returncode, out, err)
        return out + err

    def run(self, *arguments: str, code: int = 0) -> str:
        return self.ends(self.start(*arguments), code)

    def opened(self) -> None:
        """Provisioned, tested and enabled."""
        file = self.folder / "office.toml"
        parts = [OFFICE.format(port=self.proxy.port)]
        parts += [PERSON.format(name=name, role=role) for name, role in PEOPLE.items()]
        parts += [COLLECTION.format(account=account) for account in self.accounts]
        file.write_text("".join(parts))
        self.run("provision", str(file))
        self.run("test_mailbox", *(f"{account}@contoso.com" for account in self.accounts))
        self.proxy.behave()

    def mail_arrives(self) -> None:
        for number, account in enumerate(self.accounts):
            mail = (
                letter(f"Number {number}-{n}", Delivered_To=f"{TURNS[n % 3]}@contoso.com")
                for n in range(LETTERS)
            )
            self.dovecot.append_many(
                account, [*mail, letter(f"Nobody's {number}", to="stranger@example.net")]
            )

    def again(self, code: int = 0) -> str:
        """The next cycle, without waiting for it; and the ledger."""
        self.query("UPDATE mailboxes_syncstate SET next_run_at = NULL")
        self.query("DELETE FROM mailboxes_servercircuit")
        return self.run("synchronize", "--reconcile", "--once", code=code)

    def query(self, statement: str) -> list[tuple[object, ...]]:
        with psycopg.connect(self.url, autocommit=True) as connection:
            cursor = connection.execute(statement)  # type: ignore[call-overload]  # our own statements
            return cursor.fetchall() if cursor.description else []

    def everything_is_exact(self) -> None:
        """Each letter once, with its person; nobody's in quarantine and on the server, and nothing else there."""
        due = Counter(
            (f"Number {number}-{n}", f"{TURNS[n % 3]}@contoso.com")
            for number in range(COLLECTIONS)
            for n in range(LETTERS)
        )
        assert Counter(self.query(REACHED)) == due
        states = Counter(self.query("SELECT state FROM mailboxes_message"))
        assert states == {("delivered",): COLLECTIONS * LETTERS, ("quarantined",): COLLECTIONS}
        for number, account in enumerate(self.accounts):
            (left,) = self.dovecot.messages(account)
            assert f"Subject: Nobody's {number}\r\n".encode() in left.raw
            assert "\\Deleted" not in left.flags


@pytest.fixture(scope="module")
def migrated(postgresql: PostgreSQL, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """The name of a migrated database without an office, and the folder that the keys were written to."""
    folder = tmp_path_factory.mktemp("migrated")
    with postgresql.database() as url:
        start(url, folder, "migrate", "--verbosity", "0").communicate(timeout=90)
        yield url.rsplit("/", 1)[1], folder


@pytest.fixture
def house(postgresql: PostgreSQL, dovecot: Dovecot, migrated: tuple[str, Path]) -> Iterator[House]:
    accounts = [f"postgres{next(_numbers)}" for _ in range(COLLECTIONS)]
    for account in accounts:
        dovecot.add_user(account, "correct horse")
    template, folder = migrated
    with postgresql.database(template) as url, Proxy(GOOD, dovecot.port) as proxy:
        house = House(postgresql, url, dovecot, proxy, folder, accounts)
        house.opened()
        yield house


def before_the_reply(command: str, nth: int, act: Callable[[], object]) -> Callable[[Line], bytes | None]:
    def once(line: Line) -> bytes | None:
        if (line.command, line.nth, line.ends) != (command, nth, True):
            return None
        act()
        return line.raw

    return once


def before_a_reply(command: str, nth: int, act: Callable[[], object]) -> Callable[[Line], bytes | None]:
    """The same before the first reply after the nth such command was heard: of several that are under way together
    the proxy knows the latest only."""
    is_done = False

    def once(line: Line) -> bytes | None:
        nonlocal is_done
        if is_done or line.command != command or line.nth < nth or not line.ends:
            return None
        is_done = True
        act()
        return line.raw

    return once


def test_three_processes_share_the_work_whatever_their_clocks_say(house: House) -> None:
    house.mail_arrives()
    together = threading.Barrier(3, timeout=25)  # each has one thread: who is alone never gets past it
    for nth in (1, 2, 3):
        house.proxy.says.append(before_the_reply("SELECT", nth, together.wait))
    once = ("synchronize", "--once", "--threads", "1")
    processes = [
        house.start(*once),
        house.start(*once),
        house.start(*once, program=("-c", AHEAD.format(hours=1))),
    ]
    said = [house.ends(process) for process in processes]
    assert not together.broken
    collected = [int(words.split(" collected")[0].split()[-1]) for words in said]
    assert sum(collected) == COLLECTIONS * (LETTERS + 1)
    assert all(collected)
    house.everything_is_exact()
    house.again()
    house.everything_is_exact()


def test_a_host_that_is_days_ahead_compares_no_folder_sooner(house: House) -> None:
    house.run("synchronize", "--once")
    compared = "SELECT mailbox_id, done_at FROM mailboxes_reconciliation ORDER BY mailbox_id"
    before = house.query(compared)
    assert len(before) == COLLECTIONS
    house.query("UPDATE mailboxes_syncstate SET next_run_at = NULL")
    house.ends(house.start("synchronize", "--once", program=("-c", AHEAD.format(hours=49))))
    assert house.query(compared) == before
    assert house.query("SELECT count(*) FROM mailboxes_syncstate WHERE next_run_at IS NULL AND enabled") == [
        (0,)
    ]


@pytest.mark.parametrize(
    ("command", "nth"),
    [
        pytest.param("UID FETCH", 4, id="before a batch is committed"),
        pytest.param("UID EXPUNGE", 2, id="before it is noted that mail is off the server"),
    ],
)
def test_after_a_power_cut_of_the_database_the_next_run_completes_it(
    house: House, command: str, nth: int
) -> None:
    house.mail_arrives()
    house.proxy.says.append(before_a_reply(command, nth, house.server.kill))
    try:
        said = house.run("synchronize", "--once", "--threads", "2", code=1)
        assert house.proxy.struck == 1
    finally:
        house.server.start()
    assert "The database does not answer" in said
    house.again()
    house.everything_is_exact()


def test_without_a_database_a_run_says_so_and_nothing_is_lost(house: House) -> None:
    house.mail_arrives()
    house.server.stop()
    try:
        said = house.run("synchronize", "--once", code=1)
    finally:
        house.server.start()
    assert "The database does not answer" in said
    assert "Traceback" not in said
    house.again()
    house.everything_is_exact()


def test_chaos_ends_well_here_too(postgresql: PostgreSQL) -> None:
    with postgresql.database() as url:
        own = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "tests/faults/test_chaos.py", "-q", "-p", "no:cacheprovider"],
            cwd=ROOT,
            env=own | {"DATABASE_URL": url},
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )
    assert done.returncode == 0, done.stdout[-4000:]
