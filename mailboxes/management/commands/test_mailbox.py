"""`manage.py test_mailbox`: Test & Enable on the command line, executed here, no engine needed."""

from __future__ import annotations

import json
import sys
import time
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from rich.console import Console
from rich.markup import escape

from mailboxes import configtest
from mailboxes.models import ConfigurationTest, Mailbox, Survey
from mailboxes.survey import SAME_MAIL, SHARE_LABELS
from mailboxes.sync import leases
from mailboxes.sync.worker import run_test

MARKS = {"passed": "[green]ok[/green]  ", "failed": "[red]FAIL[/red]", "not_reached": "  . "}


class Command(BaseCommand):
    help = "Test each direction of these mailboxes against the real server; what passes is enabled."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("addresses", nargs="*", metavar="ADDRESS")
        parser.add_argument("--profile", metavar="NAME", help="all active mailboxes of this profile")
        parser.add_argument("--look", action="store_true", help="only say what is there: nothing is enabled")
        parser.add_argument("--json", action="store_true", help="one JSON document instead of text")

    def handle(self, *args: Any, **options: Any) -> None:
        mailboxes = self._chosen(options["addresses"], options["profile"])
        console = Console(highlight=False, soft_wrap=True)
        results = []
        for mailbox in mailboxes:
            results.append(self._test(mailbox, enables=not options["look"]))
            if not options["json"]:
                _show(console, results[-1])
        if options["json"]:
            self.stdout.write(json.dumps(results, indent=2))
        if not all(result["passed"] for result in results):
            sys.exit(1)

    def _chosen(self, addresses: list[str], profile: str | None) -> list[Mailbox]:
        found = (
            {m.email_address.lower(): m for m in Mailbox.objects.filter(is_active=True)} if addresses else {}
        )
        for address in addresses:
            if address.lower() not in found:
                raise CommandError(f"No active mailbox has the address {address}.")
        chosen = [found[address.lower()] for address in addresses]
        if profile:
            chosen += Mailbox.objects.filter(server_profile__name__iexact=profile, is_active=True).order_by(
                "name"
            )
        if not chosen:
            raise CommandError("Name at least one address, or a profile that has active mailboxes.")
        return chosen

    def _test(self, mailbox: Mailbox, *, enables: bool) -> dict[str, Any]:
        test = _finished(mailbox, enables=enables)
        ladders = configtest.ladders(Mailbox.objects.get(pk=mailbox.pk))
        return {
            "mailbox": mailbox.email_address,
            "passed": bool(ladders) and all(ladder.status == "success" for ladder in ladders),
            "directions": [_direction(ladder) for ladder in ladders],
            "what_is_there": _survey(test),
        }


def _finished(mailbox: Mailbox, *, enables: bool) -> ConfigurationTest:
    """A test that we ran to its end; while another worker is at one of this mailbox, ours follows."""
    while True:
        test = leases.own_test(mailbox, leases.this_process(), enables=enables)
        if test is not None and run_test(test, lambda: False) is not None:
            return test
        time.sleep(0.2)


def _direction(ladder: configtest.Ladder) -> dict[str, Any]:
    steps = [{name: getattr(rung, name) for name in rung.__slots__} for rung in ladder.rungs]
    return {"direction": ladder.direction, "status": ladder.status, "steps": steps}


def _survey(test: ConfigurationTest) -> dict[str, Any] | None:
    """What the test found in the folder, if it looked; times as ISO 8601."""
    found = Survey.objects.filter(test=test).first()
    if found is None:
        return None
    shares = found.shares.select_related("mailbox")
    return {
        "folder": found.folder,
        "messages": found.messages,
        "is_counted": found.is_counted,
        "dealt_with": found.dealt_with,
        "oldest": found.oldest_at.isoformat() if found.oldest_at else None,
        "after_process_email_from": found.wanted,
        "looked_at": found.looked_at,
        "would_go_to": [
            {"mailbox": share.mailbox.email_address, "messages": share.messages}
            for share in shares
            if share.mailbox
        ],
        "nobody": [
            {"reason": SHARE_LABELS[share.reason], "messages": share.messages}
            for share in shares
            if not share.mailbox and share.reason != SAME_MAIL
        ],
        "another_copy": sum(share.messages for share in shares if share.reason == SAME_MAIL),
    }


def _show(console: Console, result: dict[str, Any]) -> None:
    console.print(f"[bold]{escape(result['mailbox'])}[/bold]")
    if not result["directions"]:
        console.print("  Nothing to test: no direction is done by this server.")
    for direction in result["directions"]:
        console.print(f"  {direction['direction']}: {direction['status']}")
        for step in direction["steps"]:
            _show_step(console, step)
    if result["what_is_there"]:
        _show_survey(console, result["what_is_there"])


def _show_survey(console: Console, found: dict[str, Any]) -> None:
    """Each share on a line of its own; the step said the rest."""
    for share in found["would_go_to"]:
        console.print(f"    {share['messages']:>7,} would go to {share['mailbox']}", markup=False)
    for share in found["nobody"]:
        console.print(f"    {share['messages']:>7,} to nobody: {share['reason']}", markup=False)


def _show_step(console: Console, step: dict[str, Any]) -> None:
    took = f" ({step['duration_ms']} ms)" if step["duration_ms"] is not None else ""
    console.print(f"    {MARKS[step['state']]} {step['name']}{took}", escape(step["seen"]))
    if step["state"] == "failed":
        console.print(f"         Why: {step['cause']}", markup=False)
        console.print(f"         What you can do: {step['advice']}", markup=False)
        if step["server_words"]:
            console.print(f"         The server said: {step['server_words']}", markup=False)
