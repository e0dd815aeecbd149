"""`manage.py provision FILE.toml`: the office as a file says it is."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from rich.console import Console
from rich.table import Table
from rich.text import Text

from emailprofiles.history import acting
from mailboxes import provision
from mailboxes.provision import Outcome, Report

COLOURS = {
    Outcome.NEW: "green",
    Outcome.CHANGED: "yellow",
    Outcome.EQUAL: "dim",
    Outcome.WRONG: "bold red",
}


class Command(BaseCommand):
    help = "Create or update settings, profiles, users, queues and forward mailboxes from a file."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", type=Path, metavar="FILE.toml")
        parser.add_argument("--dry-run", action="store_true", help="say what would change, and write nothing")

    def handle(self, *args: Any, **options: Any) -> None:
        file: Path = options["file"]
        with acting(way=f"provision {file.name}"):
            report = provision.apply(_read(file), dry_run=options["dry_run"], folder=file.parent)
        if self.stdout.isatty():
            console = Console(force_terminal=True)
            with console.capture() as capture:
                console.print(_table(report))
            self.stdout.write(capture.get())
        else:
            self.stdout.writelines(f"{line}\n" for line in report.lines)
        counts = ", ".join(f"{report.count(outcome)} {outcome}" for outcome in Outcome)
        if report.wrong:
            raise CommandError(f"{counts}. Nothing was written.")
        self.stdout.write(f"{counts}." + ("" if report.is_written else " Nothing was written: a dry run."))


def _read(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise CommandError(f"{file} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise CommandError(f"{file} is not UTF-8 text.") from error
    except tomllib.TOMLDecodeError as error:
        raise CommandError(f"{file} is not a TOML file: {error}.") from error


def _table(report: Report) -> Table:
    table = Table("", "Record", "What, or why", box=None, pad_edge=False)
    for line in report.lines:
        table.add_row(Text(line.outcome, COLOURS[line.outcome]), Text(line.record), Text(line.why))
    return table
