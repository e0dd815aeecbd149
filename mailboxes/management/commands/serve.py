"""`manage.py serve`: the whole product in one process tree, pages and engine."""

from __future__ import annotations

import os
import signal
import sys
import threading
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.core.servers.basehttp import get_internal_wsgi_application
from django.urls import reverse
from waitress import wasyncore
from waitress.server import create_server

from mailboxes.models import SetupLink, User
from mailboxes.sync.worker import Engine

WEB_THREADS = 8


class Command(BaseCommand):
    help = "Migrate, then run pages and engine until Ctrl-C."
    # They ask the database, which `migrate` makes first.
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--host", default="127.0.0.1")
        parser.add_argument("--port", type=int, default=8000, help="0 lets the system choose (default: 8000)")
        parser.add_argument("--threads", type=int, default=settings.SYNC_THREADS, metavar="N")

    def handle(self, *args: Any, **options: Any) -> None:
        stop = threading.Event()
        for name in (signal.SIGINT, signal.SIGTERM):
            signal.signal(name, lambda *_: stop.set())
        call_command("migrate", verbosity=0, interactive=False)
        self.check()
        settings.STATIC_ROOT.mkdir(parents=True, exist_ok=True)  # empty is fine: the finders are asked, too
        with self.beside(stop, options):
            pages = self._pages(options["host"], options["port"])
            finished = self._work(stop, pages, options)
        sys.stdout.flush()
        if not finished:  # a pass still waits for its server; it is safe to end in the middle
            os._exit(0)

    def beside(self, stop: threading.Event, options: dict[str, Any]) -> AbstractContextManager[object]:
        """What runs beside pages and engine; the demo has its mail servers here."""
        return nullcontext()

    def welcome(self, address: str) -> None:
        """Say where to go; with no user yet, by the one-time link."""
        self.stdout.write(f"Sorting Office is open at {address}")
        if not User.objects.exists():
            link = reverse("setup", args=[SetupLink.issue()])
            self.stdout.write(f"Make the first administrator within 30 minutes: {address}{link}")
        self.stdout.write("Ctrl-C closes it.")

    def _pages(self, host: str, port: int) -> Any:
        try:
            return create_server(
                get_internal_wsgi_application(),
                map={},
                host=host,
                port=port,
                threads=WEB_THREADS,
                ident=None,
                # What a proxy says is dropped, unless one stands in front and is believed.
                clear_untrusted_proxy_headers=not settings.BEHIND_PROXY,
            )
        except OSError as error:
            raise CommandError(
                f"Port {port} of {host} cannot be used: {error.strerror}. Choose another --port."
            ) from error

    def _work(self, stop: threading.Event, pages: Any, options: dict[str, Any]) -> bool:
        """Until `stop`; then everything ends within seconds. False when a pass had to be left behind."""
        engine = Engine(options["threads"])
        closing = threading.Event()
        at_work = [
            threading.Thread(target=run, daemon=True) for run in (engine.run, lambda: answer(pages, closing))
        ]
        for thread in at_work:
            thread.start()
        host = options["host"] if ":" not in options["host"] else f"[{options['host']}]"
        self.welcome(f"http://{host}:{pages.effective_port}")
        self.stdout.flush()
        while not stop.wait(1) and at_work[0].is_alive():
            pass
        closing.set()
        at_work[1].join(5)
        return engine.shut_down()


def answer(pages: Any, closing: threading.Event) -> None:
    """Serve the pages until `closing`, then close them: in this one thread, and after the last answer.

    A socket that is closed while others still use its number may by then be a file of the database.
    """
    while not closing.is_set():
        wasyncore.loop(timeout=0.5, map=pages._map, use_poll=True, count=1)
    pages.task_dispatcher.shutdown(timeout=3)
    if not pages.task_dispatcher.threads:
        pages.close()
