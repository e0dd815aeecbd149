"""`manage.py synchronize`: the engine alone."""

from __future__ import annotations

import os
import signal
import sys
from datetime import datetime
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import OperationalError
from rich.console import Console
from rich.status import Status

from mailboxes import lifecycle
from mailboxes.alerts import ledger_alerts
from mailboxes.models import Mailbox, Reconciliation, ServerCircuit, SyncState
from mailboxes.sync.ledger import reconcile_soon
from mailboxes.sync.worker import Engine, Summary


class Command(BaseCommand):
    help = "Collect, route, deliver and send what is due; without --once until it is stopped."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--once", action="store_true", help="run what is due, then end with a summary")
        parser.add_argument("--mailbox", metavar="ADDRESS", help="run this mailbox now, due or not, then end")
        parser.add_argument(
            "--reconcile",
            action="store_true",
            help="compare each folder with what we know of it, print the ledger, and end with 1 if it differs",
        )
        parser.add_argument("--threads", type=int, default=settings.SYNC_THREADS, metavar="N")

    def execute(self, *args: Any, **options: Any) -> str | None:
        try:
            return super().execute(*args, **options)
        except OperationalError as error:
            why = str(error).strip().splitlines()[0]
            raise CommandError(
                f"The database does not answer as it should: {why}. Nothing is lost: the next run goes on."
            ) from error

    def handle(self, *args: Any, **options: Any) -> None:
        only = self._mailbox(options["mailbox"]) if options["mailbox"] else None
        if options["threads"] < 1:
            raise CommandError("--threads takes a number from 1.")
        asked_at = reconcile_soon(only) if options["reconcile"] else None
        with _Progress() as progress:
            engine = Engine(options["threads"], on_change=progress.show)
            for name in (signal.SIGINT, signal.SIGTERM):
                signal.signal(name, lambda *_: engine.stop.set())
            if options["once"] or only or asked_at:
                engine.run_once(only)
            else:
                engine.run()
            finished = engine.shut_down()
        self._report(engine.summary)
        if not finished:  # a pass still waits for its server; it is safe to end in the middle
            sys.stdout.flush()
            os._exit(bool(engine.summary.failed))
        differs = self._report_ledgers(asked_at, only) if asked_at else False
        if engine.summary.failed or differs:
            sys.exit(1)

    def _mailbox(self, address: str) -> Mailbox:
        mailbox = Mailbox.objects.filter(email_address__iexact=address, is_active=True).first()
        if mailbox is None:
            raise CommandError(f"No active mailbox has the address {address}.")
        collects, sends = lifecycle.collect_now(mailbox), lifecycle.send_now(mailbox)
        if not collects and not sends:
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
        sent = f"{summary.sent} sent, " if summary.sent else ""
        self.stdout.write(f"{passes}, {summary.collected} collected, {sent}{summary.failed} failed.")

    def _report_ledgers(self, asked_at: datetime, only: Mailbox | None) -> bool:
        """One line for each reconciled mailbox; True when anything is not accounted for."""
        rows = Reconciliation.objects.filter(done_at__gte=asked_at).select_related("mailbox")
        for row in rows.filter(mailbox=only) if only else rows.order_by("mailbox__name", "pk"):
            self.stdout.write(row.sentence)
        unknown = SyncState.objects.filter(reconcile_asked_at__gte=asked_at).select_related("mailbox")
        for state in unknown:
            self.stdout.write(
                f"{state.mailbox.name}: not reconciled, its folder could not be read to the end."
            )
        return unknown.exists() or ledger_alerts().exists()


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
                f"{summary.passes} passes, {summary.collected} collected, {summary.sent} sent, "
                f"{summary.failed} failed"
            )
