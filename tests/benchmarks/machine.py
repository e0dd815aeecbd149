"""What the cases stand on: a Dovecot with accounts that are filled at once, databases, and processes that are measured."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import shutil
import statistics
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.benchmarks import corpus
from tests.benchmarks.ours import PASSWORD
from tests.postgres import PostgreSQL, programs
from tests.servers import GOOD, Certificates, Dovecot

ROOT = Path(__file__).resolve().parents[2]
LOOK_EVERY = 0.05
PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True)
class Run:
    """What one process took: seconds, seconds of the processor, and its tree's memory at the peak, in MB."""

    wall: float
    cpu: float
    peak: float
    result: Any = None


@dataclass
class Runs:
    """The rounds of one contender; figures are medians."""

    runs: list[Run] = field(default_factory=list)

    def median(self, what: str) -> float:
        return statistics.median(getattr(run, what) for run in self.runs)

    def spread(self, what: str) -> tuple[float, float]:
        values = [getattr(run, what) for run in self.runs]
        return min(values), max(values)


class Failed(RuntimeError):
    """A process that was to be measured did not do its work."""


def measured(command: Sequence[str], environment: dict[str, str] | None = None) -> Run:
    """Run a process that ends with `clock.tell`, and watch the memory of its tree meanwhile."""
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env=os.environ | (environment or {}),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    ended, peak = threading.Event(), [0.0]
    watcher = threading.Thread(target=_watch, args=(process.pid, ended, peak), daemon=True)
    watcher.start()
    said, complaints = process.communicate()
    ended.set()
    watcher.join()
    if process.returncode:
        raise Failed(f"{' '.join(command)}\n{said[-2000:]}\n{complaints[-4000:]}")
    return Run(peak=peak[0], **json.loads(said.strip().splitlines()[-1]))


def _watch(pid: int, ended: threading.Event, peak: list[float]) -> None:
    while not ended.wait(LOOK_EVERY):
        peak[0] = max(peak[0], sum(map(_resident, _tree(pid))) / 1e6)


def _tree(pid: int) -> Iterator[int]:
    yield pid
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                yield from _tree(int(child))


def _resident(pid: int) -> int:
    with contextlib.suppress(OSError, IndexError):
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE
    return 0


class Machine:
    """Everything that cases share; `with Machine(directory) as machine`.

    Accounts are filled by hard links to letters that are written once: all contenders meet the same bytes, on a
    folder that nobody has opened before.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._things = ExitStack()
        self._numbers = itertools.count(1)
        self._templates: dict[str, Path | str] = {}
        self._postgresql: PostgreSQL | None = None

    def __enter__(self) -> Machine:
        shutil.rmtree(self.directory, ignore_errors=True)
        self.directory.mkdir(parents=True)
        self._things.callback(shutil.rmtree, self.directory, ignore_errors=True)
        certificates = self._things.enter_context(Certificates.made())
        self.dovecot = self._things.enter_context(Dovecot(certificates))
        return self

    def __exit__(self, *error: object) -> None:
        self._things.close()

    # --- mail ---

    def letters(self, number: int, **how: Any) -> list[Path]:
        """So many letters of the corpus as files that can be linked into a Maildir."""
        name = "-".join(map(str, ("letters", *itertools.chain(*sorted(how.items())))))
        directory = self.dovecot.base / "mail" / name
        directory.mkdir(exist_ok=True)
        there = sorted(directory.iterdir())
        if len(there) < number:
            for n, raw in enumerate(corpus.letters(number, **how)):
                self._write(directory / f"{n:07}", raw)
        return sorted(directory.iterdir())[:number]

    def _write(self, path: Path, raw: bytes) -> None:
        path.write_bytes(raw)
        self.dovecot._own(path)

    def account(self, name: str = "") -> str:
        """A new account."""
        account = name or f"account{next(self._numbers)}"
        self.dovecot.add_user(account, PASSWORD)
        return account

    def fill(self, account: str, letters: Iterable[Path]) -> None:
        """Put letters into the INBOX, named as a delivery names them: with their size."""
        new = self.dovecot._maildir(account, "INBOX") / "cur"
        for n, letter in enumerate(letters, 1):
            size = letter.stat().st_size
            os.link(letter, new / f"{1_700_000_000 + n}.M{n}P1.loopback,S={size},W={size}:2,")

    def left(self, account: str) -> int:
        return sum(1 for _ in (self.dovecot._maildir(account, "INBOX") / "cur").iterdir())

    # --- databases ---

    @property
    def has_postgresql(self) -> bool:
        return programs() is not None

    @contextlib.contextmanager
    def room(self, vendor: str) -> Iterator[Room]:
        """A database with the tables of ours, and a directory."""
        keys = self._template(vendor)
        directory = self.directory / f"room{next(self._numbers)}"
        shutil.copytree(keys, directory)
        try:
            with self._database(vendor, directory) as url:
                yield Room(directory, url)
        finally:
            shutil.rmtree(directory, ignore_errors=True)

    @contextlib.contextmanager
    def _database(self, vendor: str, directory: Path) -> Iterator[str]:
        if vendor == "sqlite":
            yield f"sqlite:///{directory / 'office.sqlite3'}"
        else:
            template = str(self._templates["postgresql url"]).rpartition("/")[2]
            with self.postgresql.database(template) as url:
                yield url

    @contextlib.contextmanager
    def empty_room(self, vendor: str) -> Iterator[Room]:
        """The same without tables."""
        directory = self.directory / f"room{next(self._numbers)}"
        directory.mkdir()
        try:
            if vendor == "sqlite":
                yield Room(directory, f"sqlite://{directory / 'peer.sqlite3'}")
            else:
                with self.postgresql.database() as url:
                    yield Room(directory, url)
        finally:
            shutil.rmtree(directory, ignore_errors=True)

    @property
    def postgresql(self) -> PostgreSQL:
        if self._postgresql is None:
            self._postgresql = self._things.enter_context(PostgreSQL())
        return self._postgresql

    def _template(self, vendor: str) -> Path:
        """The directory of a database that was migrated once; others are copies of it."""
        if vendor not in self._templates:
            directory = self.directory / f"template-{vendor}"
            directory.mkdir()
            url = f"sqlite:///{directory / 'office.sqlite3'}"
            if vendor == "postgresql":
                url = self._things.enter_context(self.postgresql.database())
            Room(directory, url).manage("migrate", "--verbosity", "0")
            self._templates |= {vendor: directory, f"{vendor} url": url}
        return Path(self._templates[vendor])


@dataclass(frozen=True)
class Room:
    """A database and the directory beside it."""

    directory: Path
    url: str

    @property
    def environment(self) -> dict[str, str]:
        return {
            "DATABASE_URL": self.url,
            "VAR_DIR": str(self.directory),
            "DJANGO_SETTINGS_MODULE": "config.settings",
        }

    def manage(self, *words: str) -> None:
        self._do([sys.executable, "manage.py", *words])

    def ask(self, step: str, **values: Any) -> str:
        """A step of `ours`, not measured; the last line that it prints."""
        said = self._do([*OURS, step, json.dumps(values)]).strip()
        return said.splitlines()[-1] if said else ""

    def measured(self, step: str, **values: Any) -> Run:
        """A step of `ours` that ends with the clock."""
        return measured([*OURS, step, json.dumps(values)], self.environment)

    def _do(self, command: Sequence[str]) -> str:
        done = subprocess.run(
            command, cwd=ROOT, env=os.environ | self.environment, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise Failed(f"{' '.join(command)}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
        return done.stdout


OURS = (sys.executable, "-m", "tests.benchmarks.ours")
WIRE = (sys.executable, "-m", "tests.benchmarks.wire")


def limit(*words: object) -> Run:
    """What `wire` takes."""
    return measured([*WIRE, *map(str, words)])


# --- the peer ---

PEER = Path(os.environ.get("PEER", ROOT / "var" / "peer")).absolute()


def peer(room: Room, account: str, port: int) -> Run:
    """What django-mailbox takes for an account."""
    files = room.directory / "files"
    files.mkdir()
    url = f"imap://{account}:{PASSWORD}@{GOOD}:{port}"
    command = [str(PEER / "bin/python"), "-m", "tests.benchmarks.peer", room.url, str(files), url]
    return measured(command)


def has_peer() -> bool:
    return (PEER / "bin/python").exists()
