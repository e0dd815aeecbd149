"""A private PostgreSQL on loopback: nothing outside a temporary directory is touched.

    with PostgreSQL() as server:
        with server.database() as url: ...      # a new, empty database
        server.kill(); server.start()           # as a power cut has it

`python -m tests.postgres COMMAND…` runs a command with such a database as its DATABASE_URL.

It keeps its promises of durability (`fsync` stays on), so that a kill proves something. It refuses to run as
root: then it runs as the user that its package made, or as nobody.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Self

import psycopg
import pytest

from tests.servers import GOOD, free_port

_numbers = count(1)


def programs() -> Path | None:
    """Where `initdb` and `postgres` lie: Debian keeps them out of the PATH."""
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[4]))
    on_path = shutil.which("initdb")
    return versions[-1].parent if versions else Path(on_path).parent if on_path else None


def needs_postgresql() -> Path:
    """Skip the test where it is not installed; under CI that is a failure."""
    if (found := programs()) is not None:
        return found
    words = "PostgreSQL is not installed (Debian: apt-get install postgresql)"
    if os.environ.get("CI", "").lower() in ("true", "1"):
        pytest.fail(words)
    pytest.skip(words)


class PostgreSQL:
    """One server, started by `with`; `database()` gives each test a database of its own."""

    def __init__(self) -> None:
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self._bin = needs_postgresql()
        self.base = Path(tempfile.mkdtemp(prefix="postgresql-", dir="/tmp"))  # short: a socket lies in it
        self._own(self.base)
        options = ("--auth=trust", "--username=office", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync")
        subprocess.run(self._as_user("initdb", "-D", self.data, *options), check=True, capture_output=True)
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
        shutil.rmtree(self.base, ignore_errors=True)

    @property
    def data(self) -> str:
        return str(self.base / "data")

    def start(self) -> None:
        options = ("-h", GOOD, "-p", str(self.port), "-k", str(self.base), "-c", "max_connections=60")
        log = (self.base / "log").open("ab")
        self._process = subprocess.Popen(
            self._as_user("postgres", "-D", self.data, *options), stdout=log, stderr=log, cwd="/tmp"
        )
        log.close()
        self._wait_until_it_answers()

    def stop(self) -> None:
        """An orderly end that waits for nobody (*fast* shutdown)."""
        self._signal(signal.SIGINT)

    def kill(self) -> None:
        """An end without any order: what was not committed to the disk is gone."""
        self._signal(signal.SIGQUIT)

    def _signal(self, number: int) -> None:
        if self._process is None:
            return
        with contextlib.suppress(OSError, ValueError):
            os.kill(int((self.base / "data/postmaster.pid").read_text().split()[0]), number)
        self._process.wait(20)
        self._process = None

    def url(self, name: str) -> str:
        return f"postgres://office@{GOOD}:{self.port}/{name}"

    @contextlib.contextmanager
    def database(self, template: str = "template1") -> Iterator[str]:
        """The URL of a new database, a copy of `template` that nobody is connected to."""
        name = f"office_{os.getpid()}_{next(_numbers)}"
        self._administer(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
        try:
            yield self.url(name)
        finally:
            self._administer(f'DROP DATABASE "{name}" WITH (FORCE)')

    def _administer(self, statement: str) -> None:
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(statement)

    def _wait_until_it_answers(self) -> None:
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            assert self._process is not None
            if self._process.poll() is not None:
                break
            with contextlib.suppress(psycopg.OperationalError):
                psycopg.connect(self.url("postgres"), connect_timeout=2).close()
                return
            time.sleep(0.05)
        raise RuntimeError(f"PostgreSQL did not start:\n{(self.base / 'log').read_text(errors='replace')}")

    # who runs it

    def _as_user(self, program: str, *arguments: str) -> Sequence[str]:
        command = [str(self._bin / program), *arguments]
        return command if os.geteuid() else ["runuser", "-u", self._user, "--", *command]

    @property
    def _user(self) -> str:
        with contextlib.suppress(KeyError):
            return pwd.getpwnam("postgres").pw_name
        return "nobody"

    def _own(self, path: Path) -> None:
        if os.geteuid() == 0:
            os.chown(path, pwd.getpwnam(self._user).pw_uid, -1)


def run(command: Sequence[str]) -> int:
    """The exit code of a command that has a database of its own."""
    with PostgreSQL() as server, server.database() as url:
        return subprocess.run(command, env=os.environ | {"DATABASE_URL": url}, check=False).returncode


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
