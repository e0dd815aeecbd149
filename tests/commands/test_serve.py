"""`serve` and `demo` as processes: they say where to go, and end cleanly on Ctrl-C."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from django.conf import LazySettings
from django.core.signals import request_started

from mailboxes.management.commands.serve import Command, answer
from tests.servers import free_port

ROOT = Path(__file__).parents[2]


@contextmanager
def running(folder: Path, *command: str) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """A command in a process group of its own, and the file with what it says."""
    said = folder / "said"
    clean = {name: value for name, value in os.environ.items() if name not in ("SECRET_KEY", "FIELD_KEYS")}
    environment = clean | {
        "DATABASE_URL": f"sqlite:///{folder / 'db.sqlite3'}",
        "FIELD_KEYS_FILE": str(folder / "keys"),
        "VAR_DIR": str(folder),
    }
    with said.open("w") as out:
        process = subprocess.Popen(
            [sys.executable, "manage.py", *command],
            cwd=ROOT,
            env=environment,
            stdout=out,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        try:
            yield process, said
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def heard(said: Path, pattern: str, process: subprocess.Popen[str], seconds: float = 60) -> re.Match[str]:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := re.search(pattern, said.read_text()):
            return found
        assert process.poll() is None, said.read_text()
        time.sleep(0.1)
    raise AssertionError(said.read_text())


def ends_on_ctrl_c(process: subprocess.Popen[str]) -> None:
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to everyone in the foreground
    assert process.wait(10) == 0
    deadline = time.monotonic() + 5
    while _group_lives(process.pid) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not _group_lives(process.pid)


def _group_lives(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def status(address: str) -> int:
    try:
        with urllib.request.urlopen(address, timeout=10) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def test_serve_on_an_empty_database_prints_a_link_that_works_once_it_is_opened(tmp_path: Path) -> None:
    with running(tmp_path, "serve", "--port", "0") as (process, said):
        link = heard(said, r"within 30 minutes: (http://127\.0\.0\.1:\d+/setup/\S+)", process)[1]
        assert status(link) == 200
        assert status(link[:-5] + "xxxx/") in (403, 404, 410)
        assert oct((tmp_path / "keys").stat().st_mode)[-3:] == "600"
        ends_on_ctrl_c(process)
    assert "Traceback" not in said.read_text()


def test_serve_says_when_its_port_is_taken(tmp_path: Path) -> None:

    port = free_port()
    with (
        socket.create_server(("127.0.0.1", port)),
        running(tmp_path, "serve", "--port", str(port)) as (process, said),
    ):
        assert process.wait(60) == 1
    assert f"Port {port}" in said.read_text()
    assert "Traceback" not in said.read_text()


@pytest.mark.parametrize(("behind", "heard"), [(True, "198.51.100.7"), (False, None)])
def test_what_a_proxy_says_reaches_the_pages_only_where_there_is_one(
    transactional_db: None, settings: LazySettings, behind: bool, heard: str | None
) -> None:
    settings.BEHIND_PROXY = behind
    seen: list[str | None] = []

    def look(environ: dict[str, Any], **_: Any) -> None:
        seen.append(environ.get("HTTP_X_FORWARDED_FOR"))

    pages, closing = Command()._pages("127.0.0.1", 0), threading.Event()
    at_work = threading.Thread(target=answer, args=(pages, closing))
    at_work.start()
    request_started.connect(look)
    try:
        address = f"http://127.0.0.1:{pages.effective_port}/sign-in/"
        asked = urllib.request.Request(address, headers={"X-Forwarded-For": "198.51.100.7"})
        with urllib.request.urlopen(asked, timeout=10) as page:
            assert page.status == 200
    finally:
        request_started.disconnect(look)
        closing.set()
        at_work.join()
    assert seen == [heard]


def test_the_demo_is_an_office_at_work(tmp_path: Path) -> None:
    with running(tmp_path, "demo", "--port", "0") as (process, said):
        address = heard(said, r"open at (http://127\.0\.0\.1:\d+)", process, seconds=90)[1]
        assert re.search(r"user\s+amara", said.read_text())
        assert status(f"{address}/sign-in/") == 200
        ends_on_ctrl_c(process)
    assert "Traceback" not in said.read_text()
