"""`manage.py demo`: `serve` beside demo mail servers, with people at work and mail flowing in.

Nothing here can do what the product cannot: the office is provisioned from a file, its mailboxes are
tested and enabled like any other, and the letters come in by SMTP.
"""

from __future__ import annotations

import os
import secrets
import shutil
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError, CommandParser
from django.db import connection

from emailprofiles.history import acting
from mailboxes import configtest, provision
from mailboxes.demo import office as demo_office
from mailboxes.demo.letters import Postman, letters
from mailboxes.demo.servers import HOST, DemoServers, Ports
from mailboxes.models import Mailbox
from mailboxes.sync import leases
from mailboxes.sync.worker import run_test

from . import serve

FOLDER = settings.VAR_DIR / "demo"
INSIDE = "SORTING_OFFICE_DEMO"


class Command(serve.Command):
    help = "A whole office to look at: pages, engine, mail servers, people and their mail."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--keep", action="store_true", help="go on with the office of the last demo")

    def handle(self, *args: Any, **options: Any) -> None:
        if os.environ.get(INSIDE) != "1":
            _begin_in_its_own_folder(options["keep"])
        super().handle(*args, **options)

    @contextmanager
    def beside(self, stop: threading.Event, options: dict[str, Any]) -> Iterator[None]:
        office = demo_office.read()
        self.password, mail_password = _passwords()
        os.environ["DEMO_PASSWORD"], os.environ["DEMO_MAIL_PASSWORD"] = self.password, mail_password
        with DemoServers(demo_office.people(office, mail_password), _ports()) as servers:
            _remember(servers)
            self._furnish(office, servers)
            postman = Postman(letters(office, seed=secrets.randbits(32)), HOST, servers.inbound_port)
            postman.start()
            try:
                yield
            finally:
                postman.stop()

    def welcome(self, address: str) -> None:
        self.stdout.write(
            f"\nSorting Office is open at {address}\n"
            f"  user      amara   (administrator; also hanna: approver, bram: staff, priya: user)\n"
            f"  password  {self.password}\n"
            "Mail comes in by itself. These four can write, to each other and to anyone at example.org, who answers;\n"
            "nobody@example.org is refused, later@ is put off, gone@ comes back, silent@ leaves it uncertain.\n"
            "Ctrl-C closes the office.\n"
        )

    def _furnish(self, office: dict[str, Any], servers: DemoServers) -> None:
        profile = office["profile"][0]
        profile["incoming"]["port"], profile["outgoing"]["port"] = servers.imap_port, servers.smtp_port
        self.stdout.write("People move in …")
        with acting(way="the demo"):
            report = provision.apply(office)
        if report.wrong:
            raise CommandError("\n".join(str(line) for line in report.lines))
        untested = [
            mailbox for mailbox in Mailbox.objects.filter(is_active=True) if _has_to_be_tested(mailbox)
        ]
        self.stdout.write(f"Test & Enable for {len(untested)} mailboxes …")
        self.stdout.flush()
        # Forward mailboxes first: the others ask whether one runs.
        for mailbox in sorted(untested, key=lambda mailbox: not mailbox.is_forward_mailbox):
            test = leases.own_test(mailbox, leases.this_process())
            if test is not None:
                run_test(test, lambda: False)
        connection.close()


def _has_to_be_tested(mailbox: Mailbox) -> bool:
    directions = ("incoming", "outgoing", "act")
    return any(configtest.plan(mailbox, d) and mailbox.test_status(d) != "success" for d in directions)


def _begin_in_its_own_folder(keep: bool) -> None:
    """Begin anew as the same command on a database of its own: the demo never touches the real one."""
    if not keep:
        shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True, exist_ok=True)
    surroundings = {
        name: value for name, value in os.environ.items() if name not in ("SECRET_KEY", "FIELD_KEYS")
    }
    surroundings |= {
        INSIDE: "1",
        "DATABASE_URL": f"sqlite:///{FOLDER / 'demo.sqlite3'}",
        "FIELD_KEYS_FILE": str(FOLDER / "keys"),
    }
    os.execve(sys.executable, [sys.executable, *sys.argv], surroundings)  # noqa: S606 - ourselves again


def _passwords() -> tuple[str, str]:
    """The passwords of this office: made at its beginning, kept with it."""
    path = FOLDER / "passwords"
    if not path.exists():
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(f"{secrets.token_urlsafe(9)}\n{secrets.token_urlsafe(16)}\n")
    sign_in, mail = path.read_text().split()
    return sign_in, mail


def _ports() -> Ports:
    """Those of last time, so that profiles need no change; else whatever is free."""
    path: Path = FOLDER / "ports"
    return Ports(*map(int, path.read_text().split())) if path.exists() else Ports()


def _remember(servers: DemoServers) -> None:
    ports = (servers.imap_port, servers.smtp_port, servers.inbound_port)
    (FOLDER / "ports").write_text(" ".join(map(str, ports)))
