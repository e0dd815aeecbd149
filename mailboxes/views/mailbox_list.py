"""The list of mailboxes: saved views, searched, filtered, ordered; with the commands for a selection.

However many mailboxes there are, a page asks a constant number of queries, each answered from an index: the
keys of one page are found first, then the rows of these keys are read.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.core.paginator import Page, Paginator
from django.db.models import (
    Case,
    Count,
    F,
    IntegerField,
    Max,
    OuterRef,
    Prefetch,
    QuerySet,
    Subquery,
    Value,
    When,
)
from django.db.models.expressions import OrderBy
from django.db.models.functions import Lower
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from emailprofiles.models import EmailServerProfile

from ..access import person, requires
from ..bulk import commands_of
from ..models import Approval, Direction, Kind, Mailbox, SyncState
from ..models.choices import Command, Word
from ..roles import ADMINISTER, SEE_MAILBOXES
from ..standing import Office, Standing, in_trouble, needs_attention, not_tested, standing, worded
from .selection import VIEWS, Choice, Selection

PAGE = 50
# Counting stops here where it costs more than a look at an index.
CAP = 999
# More profiles than this are searched by name, not chosen from.
MOST_OPTIONS = 100


@dataclass(frozen=True, slots=True)
class Tab:
    """One saved view with its count, shown as "3" or "999+"."""

    name: str
    label: str
    count: int
    is_exact: bool

    @property
    def shown(self) -> str:
        return str(self.count) if self.is_exact or self.count <= CAP else f"{CAP}+"

    @property
    def is_urgent(self) -> bool:
        return self.name == "attention" and self.count > 0


@dataclass(frozen=True, slots=True)
class Row:
    """A mailbox as the list shows it."""

    mailbox: Mailbox
    incoming: Standing
    outgoing: Standing
    act: Standing
    last_success: datetime | None
    is_picked: bool


@require_safe
@requires(SEE_MAILBOXES)
def mailbox_list(request: HttpRequest) -> HttpResponse:
    """One view, searched, filtered and ordered, a page at a time."""
    office, selection = Office.read(), Selection.read(request.GET)
    choice, counts = selection.choice, counted()
    found = choice.mailboxes(office)
    total = counts[choice.view] if choice.view in counts and not choice.is_filtered else found.count()
    order = Order.read(request.GET.get("sort", ""), choice.view)
    keys: Any = Keys(found, order, office, total)
    page: Page[int] = Paginator(keys, PAGE).get_page(request.GET.get("page"))
    rows = rows_of(page, selection, office)
    context = {
        "choice": choice,
        "caption": VIEWS[choice.view],
        "tabs": tabs(counts, choice, total, office),
        "total": total,
        "page": page,
        "rows": rows,
        "columns": columns(order),
        "sort": str(order),
        "order_says": order.offered()[str(order)].lower(),
        "kinds": Kind.choices,
        "states": Word.choices,
        "orders": order.offered(),
        "commands": offered(commands_of(person(request)), choice.view),
        "may_administer": request.user.has_perm(ADMINISTER),
        **profiles_for(choice),
        **picked(selection, rows),
    }
    return render(request, "mailboxes/mailbox_list.html", context)


# ── Counts ──────────────────────────────────────────────────────────────────────────────────


def counted() -> dict[str, int]:
    """The views that one look at an index counts exactly."""
    groups = Mailbox.objects.order_by().values_list(
        "is_active", "is_forward_mailbox", "approval", "server_profile"
    )
    counts = dict.fromkeys(("active", "forward", "approval", "no-profile", "inactive"), 0)
    for is_active, is_forward, approval, profile, number in groups.annotate(number=Count("pk")):
        counts["active" if is_active else "inactive"] += number
        counts["forward"] += number * is_forward
        counts["approval"] += number * (is_active and approval == Approval.PENDING)
        counts["no-profile"] += number * (is_active and profile is None)
    return counts


def tabs(counts: dict[str, int], choice: Choice, total: int, office: Office) -> list[Tab]:
    """All views with their counts; the two that need a look at each direction are counted to the cap only."""
    costly = {
        "attention": in_trouble(office.settings).values("mailbox").distinct(),
        "untested": Mailbox.objects.filter(not_tested()).order_by().values("pk"),
    }
    here = {} if choice.is_filtered else {choice.view: total}
    for name in costly.keys() - here.keys():
        counts[name] = costly[name][: CAP + 1].count()
    exactly = set(VIEWS) - costly.keys() | here.keys()
    return [Tab(name, label, (counts | here)[name], name in exactly) for name, label in VIEWS.items()]


# ── Orders ──────────────────────────────────────────────────────────────────────────────────

URGENT = "urgent"
# Column → how the list is ordered by it when its header is followed first.
COLUMNS = {
    "name": "Name",
    "email": "Email address",
    "kind": "Kind",
    "profile": "Server profile",
    "owner": "Owner",
    "incoming": "Incoming",
    "outgoing": "Outgoing",
    "act": "ACT",
    "success": "Last success",
    "status": "Status",
}
# The newest success is what people look for; everything else begins with the first.
NEWEST_FIRST = "success"
# No column: since when the approval stands as it does. Who approves begins with whoever waits longest.
WAITING = "waiting"


@dataclass(frozen=True, slots=True)
class Order:
    """A column and its direction, or the most urgent first."""

    column: str
    is_reversed: bool = False

    @classmethod
    def read(cls, written: str, view: str = "") -> Order:
        """What the address asks for; without a wish, what suits the view."""
        if written == WAITING or (view == "approval" and not written):
            return cls(WAITING)
        column = written.removeprefix("-")
        return cls(column, written.startswith("-")) if column in COLUMNS else cls(URGENT)

    def __str__(self) -> str:
        return f"{'-' * self.is_reversed}{self.column}"

    @property
    def aria(self) -> str:
        return "descending" if self.is_reversed is not (self.column == NEWEST_FIRST) else "ascending"

    def offered(self) -> dict[str, str]:
        """What the menu offers: three usual orders, and that of a column header while it is in force."""
        usual = {URGENT: "Most urgent first", "name": "Name", NEWEST_FIRST: "Last success"}
        if self.column == WAITING:
            return {WAITING: "Waiting longest first"} | usual
        return usual if str(self) in usual else usual | {str(self): f"{COLUMNS[self.column]}, {self.aria}"}


@dataclass(frozen=True, slots=True)
class Column:
    """A column header: a link that orders by it, or the other way round."""

    name: str
    label: str
    sort: str
    aria: str

    @property
    def is_long(self) -> bool:
        return " " in self.label and self.name != "email"


def columns(order: Order) -> list[Column]:
    return [_column(name, label, order) for name, label in COLUMNS.items()]


def _column(name: str, label: str, order: Order) -> Column:
    if name != order.column:
        return Column(name, label, name, "")
    return Column(name, label, str(Order(name, not order.is_reversed)), order.aria)


class Keys:
    """The keys of what was found, in order: what a Paginator asks of a list."""

    def __init__(self, found: QuerySet[Mailbox], order: Order, office: Office, total: int) -> None:
        self._found, self._order, self._office, self._total = found, order, office, total

    def count(self) -> int:
        return self._total

    def __getitem__(self, part: slice) -> list[int]:
        start, stop = part.start or 0, part.stop
        if self._order.column != URGENT:
            return list(ordered(self._found, self._order, self._office)[start:stop])
        by_name = Order("name")
        need = needs_attention(self._office.settings)
        urgent = ordered(self._found.filter(need), by_name, self._office)
        first = list(urgent[start:stop])
        if len(first) == stop - start:
            return first
        # The urgent ones end on this page, or on one before it: the others follow.
        before = start + len(first) if first or not start else urgent.count()
        others = ordered(self._found.exclude(need), by_name, self._office)
        return first + list(others[max(0, start - before) : stop - before])


def ordered(mailboxes: QuerySet[Mailbox], order: Order, office: Office) -> QuerySet[Mailbox, int]:
    """Their keys by one column; equal ones by name."""
    if order.column in Direction.values:
        mailboxes = worded(mailboxes, Direction(order.column), office)
    keys = [_directed(key, order) for key in _keys_of(order.column)]
    by_name = [] if order.column in ("name", WAITING) else [Lower("name").asc()]
    last = "-pk" if order.is_reversed else "pk"
    return mailboxes.order_by(*keys, *by_name, last).values_list("pk", flat=True)


def _directed(key: Any, order: Order) -> OrderBy:
    """Up or down; what is empty counts as the least. A key that is never empty keeps to the order of its index."""
    empty = order.column in ("profile", NEWEST_FIRST)
    if order.aria == "descending":
        return OrderBy(key, descending=True, nulls_last=empty or None)
    return OrderBy(key, nulls_first=empty or None)


def _keys_of(column: str) -> list[Any]:
    if column in Direction.values:
        return [_rank(f"{column}_word", Word.values)]
    newest = SyncState.objects.filter(mailbox=OuterRef("pk")).order_by().values("mailbox")
    keys: dict[str, list[Any]] = {
        WAITING: [F("approval_at")],
        "name": [Lower("name")],
        "email": [Lower("email_address")],
        "kind": [Case(When(user__isnull=False, then=0), When(queue__isnull=False, then=1), default=2)],
        "profile": [Lower("server_profile__name")],
        "owner": [Lower("owner__first_name"), Lower("owner__last_name"), F("owner__username")],
        "success": [Subquery(newest.annotate(newest=Max("last_success_at")).values("newest"))],
        "status": [Case(When(is_active=True, then=0), default=1), _rank("approval", list(_APPROVALS))],
    }
    return keys[column]


_APPROVALS = (Approval.REJECTED, Approval.PENDING, Approval.APPROVED, Approval.EMPTY)


def _rank(name: str, values: list[str]) -> Case:
    """The place of a value in a list, in SQL."""
    whens = [When(**{name: value}, then=Value(place)) for place, value in enumerate(values)]
    return Case(*whens, default=Value(len(values)), output_field=IntegerField())


# ── Rows ────────────────────────────────────────────────────────────────────────────────────


def rows_of(page: Page[int], selection: Selection, office: Office) -> list[Row]:
    """The mailboxes of these keys, in their order, with all that a row says."""
    keys = list(page.object_list)
    office.open_tests.look_up(keys)
    found = _with_all_of_a_row().in_bulk(keys)
    return [_row(found[key], selection, office) for key in keys if key in found]


def _with_all_of_a_row() -> QuerySet[Mailbox]:
    """Fifty mailboxes share a few profiles: each of these is read once."""
    unseen = (
        "lease_holder",
        "lease_until",
        "skipped",
        "cursor_folder",
        "cursor_generation",
        "cursor_position",
    )
    states = Prefetch("states", SyncState.objects.defer(*unseen))
    return Mailbox.objects.select_related("owner").prefetch_related("server_profile", states)


def _row(mailbox: Mailbox, selection: Selection, office: Office) -> Row:
    incoming, outgoing, act = (standing(mailbox, direction, office) for direction in Direction.values)
    successes = [state.last_success_at for state in mailbox.states.all() if state.last_success_at]
    is_picked = selection.is_all or mailbox.pk in selection.picks
    return Row(mailbox, incoming, outgoing, act, max(successes, default=None), is_picked)


# ── What stands around them ─────────────────────────────────────────────────────────────────


def profiles_for(choice: Choice) -> dict[str, Any]:
    """The menu of server profiles; with very many of them a field in which a part of the name is typed."""
    profiles = list(EmailServerProfile.objects.order_by("name").values_list("pk", "name")[: MOST_OPTIONS + 1])
    if len(profiles) <= MOST_OPTIONS:
        return {"profiles": [(str(pk), name) for pk, name in profiles]}
    named = choice.profile
    if named.isdecimal():
        chosen = EmailServerProfile.objects.filter(pk=int(named[:18]))
        named = chosen.values_list("name", flat=True).first() or named
    return {"profiles": None, "profile_typed": named}


def picked(selection: Selection, rows: list[Row]) -> dict[str, Any]:
    """How many are selected, and those of them that stand on other pages."""
    here = {row.mailbox.pk for row in rows}
    return {
        "is_all": selection.is_all,
        "picked": len(selection.picks),
        "picked_elsewhere": [pick for pick in selection.picks if pick not in here],
        "page_picks": ",".join(str(row.mailbox.pk) for row in rows),
    }


@dataclass(frozen=True, slots=True)
class Button:
    """A command of the bar."""

    command: Command
    label: str
    icon: str


_ICONS = {
    Command.TEST: "run",
    Command.APPROVE: "check",
    Command.REJECT: "close",
    Command.DEFAULTS: "settings",
    Command.ACTIVATE: "ok",
    Command.DEACTIVATE: "off",
    Command.COLLECT: "in",
}
# What makes no sense for anything a view can show.
_POINTLESS = {
    "inactive": {Command.TEST, Command.DEACTIVATE, Command.COLLECT},
    "forward": {Command.APPROVE, Command.REJECT, Command.DEFAULTS},
}
_ONLY_IN = {Command.ACTIVATE: {"inactive", "forward"}}


def offered(commands: list[Command], view: str) -> list[Button]:
    """The commands that this person may give, and that can do something in this view."""
    return [
        Button(command, command.label, _ICONS[command])
        for command in commands
        if command not in _POINTLESS.get(view, ()) and view in _ONLY_IN.get(command, VIEWS)
    ]
