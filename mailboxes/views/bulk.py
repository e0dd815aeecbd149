"""One command for many mailboxes: asked, confirmed where it deserves it, and followed on its page."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.core.paginator import Page, Paginator
from django.db.models import Count
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.http import require_POST, require_safe

from .. import bulk
from ..access import person, requires
from ..models import BulkCommand, BulkCommandItem, Command, ItemState
from ..roles import SEE_MAILBOXES
from ..standing import Office, Standing
from .bulk_preview import Consequences, consequences_of
from .frame import engine_silence
from .selection import Selection

PAGE = 50
RECENT = 30


@require_POST
@requires(SEE_MAILBOXES)
def ask(request: HttpRequest) -> HttpResponseBase:
    """Take a command for what is selected; some are shown once more with what they would do."""
    given, selection = _commands(request), Selection.read(request.POST)
    written = request.POST.get("command", "")
    if written == "keep":
        return redirect(list_address(request, selection))
    if written not in Command.values:
        return _back_with(request, selection, "Choose a command above the list.")
    if written not in given:
        raise PermissionDenied
    if not selection:
        sentence = "Nothing is selected: tick the mailboxes first, or select all of the view."
        return _back_with(request, selection, sentence)
    return _consider(request, Command(written), selection)


def _commands(request: HttpRequest) -> list[Command]:
    """What this person may command; who may command nothing is refused before anything is looked up."""
    given = bulk.commands_of(person(request))
    if not given:
        raise PermissionDenied
    return given


def _back_with(request: HttpRequest, selection: Selection, sentence: str) -> HttpResponse:
    messages.warning(request, sentence)
    return redirect(list_address(request, selection))


def _consider(request: HttpRequest, command: Command, selection: Selection) -> HttpResponse:
    office = Office.read()
    mailboxes = selection.mailboxes(office)
    total = mailboxes.count()
    if not total:
        return _back_with(request, selection, "None of these mailboxes is there any more.")
    would = consequences_of(command, mailboxes, office, total)
    if _needs_another_look(request, would, total):
        return _shown_first(request, selection, would, total)
    defaults = would.defaults
    if defaults is not None:
        defaults.credentials = would.credentials
        defaults.sends_credentials = would.credentials > 0 and request.POST.get("sends_credentials") == "1"
    asked = bulk.request(command, mailboxes, person(request), defaults=defaults)
    return redirect(f"{reverse('bulk-command', args=[asked.pk])}?{urlencode(selection.choice.parameters)}")


def _needs_another_look(request: HttpRequest, would: Consequences, total: int) -> bool:
    """Whether the person has not yet seen what this would do, or has seen something else."""
    shown = request.POST.get("shown", "")
    grew = request.POST.get("all") == "1" and shown.isdecimal() and int(shown[:18]) != total
    if request.POST.get("confirmed") != "1":
        return would.deserves_a_look or grew
    return grew or request.POST.get("seen", "") != would.seen


def _shown_first(request: HttpRequest, selection: Selection, would: Consequences, total: int) -> HttpResponse:
    shown = request.POST.get("shown", "")
    changed = request.POST.get("confirmed") == "1" and request.POST.get("seen", "") != would.seen
    context = {
        "would": would,
        "total": total,
        "selection": selection,
        "before": shown if shown.isdecimal() and selection.is_all and int(shown[:18]) != total else "",
        "settings_changed": changed,
        "back": list_address(request, selection),
        "posted": {name: request.POST[name] for name in ("sort", "page", "from") if name in request.POST},
    }
    return render(request, "mailboxes/bulk_confirm.html", context)


def list_address(request: HttpRequest, selection: Selection) -> str:
    """Where the command was given: the list as it was, with what was picked, or the page of one mailbox."""
    if request.POST.get("from") == "mailbox" and len(selection.picks) == 1:
        return reverse("mailbox-edit", args=selection.picks)
    kept = {name: request.POST[name] for name in ("sort", "page") if request.POST.get(name)}
    picked: dict[str, Any] = {"all": "1"} if selection.is_all else {"pick": selection.picks}
    written = urlencode(selection.choice.parameters | kept | picked, doseq=True)
    return f"{reverse('mailbox-list')}?{written}"


# ── The page of a command ───────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Share:
    """How many items are in one state; `x` and `width` are its part of the bar, in percent."""

    state: ItemState
    shown: Standing
    count: int
    x: str
    width: str


# state → outline, the word for a command and for tests; the order is that of the page
_SHOWN = {
    ItemState.REFUSED: ("is-bad", "bad", "Refused", "Failed"),
    ItemState.RUNNING: ("is-info", "run", "Running", "Testing"),
    ItemState.DONE: ("is-ok", "ok", "Done", "Passed"),
    ItemState.STOPPED: ("is-idle", "off", "Stopped", "Stopped"),
    ItemState.WAITING: ("is-idle", "clock", "Waiting", "Waiting"),
}


def shown_as(state: str, command: str) -> Standing:
    css, icon, word, of_tests = _SHOWN[ItemState(state)]
    return Standing(css, icon, of_tests if command == Command.TEST else word)


@require_safe
@requires(SEE_MAILBOXES)
def command(request: HttpRequest, pk: int) -> HttpResponse:
    """How far a command is, and what came of each mailbox; the same after a reload."""
    return render(request, "mailboxes/bulk_command.html", _progress(request, pk))


@require_safe
@requires(SEE_MAILBOXES)
def progress(request: HttpRequest, pk: int) -> HttpResponse:
    """The part of that page that changes; polled while the command is open."""
    return render(request, "mailboxes/_bulk_progress.html", _progress(request, pk) | {"oob": True})


def _progress(request: HttpRequest, pk: int) -> dict[str, Any]:
    asked = get_object_or_404(BulkCommand.objects.select_related("requested_by", "stopped_by"), pk=pk)
    counts = dict(asked.items.order_by().values_list("state").annotate(Count("pk")))
    only = request.GET.get("only", "")
    states = [ItemState(only)] if only in ItemState.values else list(_SHOWN)
    pages: Any = Items(asked, states, counts)
    page: Page[BulkCommandItem] = Paginator(pages, PAGE).get_page(request.GET.get("page"))
    office = Office.read()
    return {
        "asked": asked,
        "total": sum(counts.values()),
        "settled": sum(
            counts.get(state, 0) for state in (ItemState.DONE, ItemState.REFUSED, ItemState.STOPPED)
        ),
        "shares": shares(asked, counts),
        "only": only,
        "page": page,
        "items": [(item, shown_as(item.state, asked.command)) for item in page.object_list],
        "is_test": asked.command == Command.TEST,
        "may_stop": not asked.finished_at and asked.command in bulk.commands_of(person(request)),
        "engine_silence": "" if office.engine_alive else engine_silence(office.engine_seen_at),
        "back": f"{reverse('mailbox-list')}?{_own_parameters(request)}",
    }


def _own_parameters(request: HttpRequest) -> str:
    return urlencode(Selection.read(request.GET).choice.parameters)


def shares(asked: BulkCommand, counts: dict[str, int]) -> list[Share]:
    """The parts of the bar, what is settled first; small ones stay visible in the figures beside it."""
    total = sum(counts.values()) or 1
    drawn, before = [], 0
    for state in (ItemState.DONE, ItemState.REFUSED, ItemState.STOPPED, ItemState.RUNNING, ItemState.WAITING):
        count = counts.get(state, 0)
        x, width = (f"{100 * part / total:.2f}%" for part in (before, count))
        drawn.append(Share(state, shown_as(state, asked.command), count, x, width))
        before += count
    return drawn


class Items:
    """What came of each mailbox, state by state: what a Paginator asks of a list, each part from an index."""

    def __init__(self, asked: BulkCommand, states: list[ItemState], counts: dict[str, int]) -> None:
        self._asked, self._states, self._counts = asked, states, counts

    def count(self) -> int:
        return sum(self._counts.get(state, 0) for state in self._states)

    def __getitem__(self, part: slice) -> list[BulkCommandItem]:
        start, stop = part.start or 0, part.stop
        keys: list[int] = []
        for state in self._states:
            count = self._counts.get(state, 0)
            if start < count and stop > 0:
                of_state = self._asked.items.filter(state=state).order_by("pk").values_list("pk", flat=True)
                keys += of_state[start : min(stop, count)]
            start, stop = max(0, start - count), stop - count
        found = BulkCommandItem.objects.select_related("mailbox").in_bulk(keys)
        return [found[key] for key in keys if key in found]


@require_POST
@requires(SEE_MAILBOXES)
def stop(request: HttpRequest, pk: int) -> HttpResponseBase:
    """What still waits is not done any more."""
    given = _commands(request)
    asked = get_object_or_404(BulkCommand, pk=pk)
    if asked.command not in given:
        raise PermissionDenied
    stopped = bulk.stop(asked, person(request))
    sentence = f"Stopped: {stopped} mailbox{'' if stopped == 1 else 'es'} left as they were."
    messages.success(request, sentence if stopped else "Nothing was waiting any more.")
    return redirect("bulk-command", pk)


@require_safe
@requires(SEE_MAILBOXES)
def recent(request: HttpRequest) -> HttpResponse:
    """The commands that were given lately, the newest first."""
    asked = BulkCommand.objects.select_related("requested_by", "stopped_by")
    page = Paginator(asked, RECENT).get_page(request.GET.get("page"))
    counts: dict[int, dict[str, int]] = {row.pk: {} for row in page}
    items = BulkCommandItem.objects.filter(bulk_command__in=counts).order_by()
    for pk, state, count in items.values_list("bulk_command", "state").annotate(Count("pk")):
        counts[pk][state] = count
    rows = [(row, sum(counts[row.pk].values()), shares(row, counts[row.pk])) for row in page]
    return render(request, "mailboxes/bulk_list.html", {"page": page, "rows": rows})
