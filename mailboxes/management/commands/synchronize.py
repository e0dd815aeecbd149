"""`manage.py synchronize`: the engine alone."""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from rich.console import Console
from rich.status import Status

from mailboxes import lifecycle
from mailboxes.models import Mailbox, ServerCircuit
from mailboxes.sync.worker import Engine, Summary


class Command(BaseCommand):
    help = "Collect, route and deliver what is due; without --once until it is stopped."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--once", action="store_true", help="run what is due, then end with a summary")
        parser.add_argument("--mailbox", metavar="ADDRESS", help="run this mailbox now, due or not, then end")
        parser.add_argument("--threads", type=int, default=settings.SYNC_THREADS, metavar="N")

    def handle(self, *args: Any, **options: Any) -> None:
        only = self._mailbox(options["mailbox"]) if options["mailbox"] else None
        if options["threads"] < 1:
            raise CommandError("--threads takes a number from 1.")
        with _Progress() as progress:
            engine = Engine(options["threads"], on_change=progress.show)
            for name in (signal.SIGINT, signal.SIGTERM):
                signal.signal(name, lambda *_: engine.stop.set())
            if options["once"] or only:
                engine.run_once(only)
            else:
                engine.run()
            finished = engine.shut_down()
        self._report(engine.summary)
        if not finished:  # a pass still waits for its server; it is safe to end in the middle
            sys.stdout.flush()
            os._exit(bool(engine.summary.failed))
        if engine.summary.failed:
            sys.exit(1)

    def _mailbox(self, address: str) -> Mailbox:
        mailbox = Mailbox.objects.filter(email_address__iexact=address, is_active=True).first()
        if mailbox is None:
            raise CommandError(f"No active mailbox has the address {address}.")
        if not lifecycle.collect_now(mailbox):
            raise CommandError(
                f"Incoming mail of {mailbox.name} does not run. `test_mailbox {address}` says what is missing."
            )
        # Someone asked for this one: it is the probe of a server in trouble.
        ServerCircuit.objects.filter(profile=mailbox.server_profile).delete()
        return mailbox

    def _report(self, summary: Summary) -> None:
        for failure in summary.failures:
            self.stderr.write(failure)
        passes = f"{summary.passes} pass{'' if summary.passes == 1 else 'es'}"
        self.stdout.write(f"{passes}, {summary.collected} collected, {summary.failed} failed.")


class _Progress:
    """A live line on a terminal, nothing otherwise: the summary says it all."""

    def __init__(self) -> None:
        console = Console(stderr=True)
        self._status: Status | None = (
            console.status("Looking for due mailboxes") if console.is_terminal else None
        )

    def __enter__(self) -> _Progress:
        if self._status:
            self._status.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._status:
            self._status.stop()

    def show(self, summary: Summary) -> None:
        if self._status:
            self._status.update(
                f"{summary.passes} passes, {summary.collected} collected, {summary.failed} failed"
            )
