"""The list of mailboxes: saved views, searched, filtered, ordered."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.core.paginator import Paginator
from django.db.models import Case, Count, IntegerField, Max, Q, QuerySet, Value, When
from django.db.models.functions import Lower
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from emailprofiles.models import EmailServerProfile

from ..access import requires
from ..models import Approval, Direction, IncomingMethod, Kind, Mailbox, SyncState, TestStatus
from ..models.state import METHOD_FIELDS, vouched
from ..roles import ADMINISTER, SEE_MAILBOXES
from ..standing import Office, Standing, needs_attention, standing
from .mailbox_page import rows_of

PAGE = 50


def not_tested() -> Q:
    """SQL: some server-side direction has no test that vouches for the settings as they are."""
    wanted = Q()
    for direction, field in METHOD_FIELDS.items():
        wanted |= Q(**{"direction": direction, f"mailbox__{field}": IncomingMethod.SERVER_SIDE})
    untested = Q(test_status=TestStatus.NOT_RUN) | ~vouched()
    return Q(is_active=True, pk__in=SyncState.objects.filter(wanted, untested).values("mailbox"))


# view, label, caption of its state (css, icon)
VIEWS: dict[str, tuple[str, str, str]] = {
    "active": ("Active mailboxes", "", ""),
    "attention": ("Needs attention", "is-bad", "bad"),
    "untested": ("Not tested", "", ""),
    "forward": ("Forward mailboxes", "", ""),
    "approval": ("Waiting for approval", "", ""),
    "no-profile": ("Without profile", "", ""),
    "inactive": ("Deactivated", "", ""),
}


def conditions() -> dict[str, Q]:
    """What each view shows."""
    return {
        "active": Q(is_active=True),
        "attention": needs_attention(),
        "untested": not_tested(),
        "forward": Q(is_forward_mailbox=True),
        "approval": Q(is_active=True, approval=Approval.PENDING),
        "no-profile": Q(is_active=True, server_profile=None),
        "inactive": Q(is_active=False),
    }


@dataclass(frozen=True, slots=True)
class Tab:
    """One saved view with its count."""

    name: str
    label: str
    css: str
    icon: str
    count: int


@dataclass(frozen=True, slots=True)
class Row:
    """A mailbox as the list shows it."""

    mailbox: Mailbox
    incoming: Standing
    outgoing: Standing
    act: Standing
    last_success: Any


@require_safe
@requires(SEE_MAILBOXES)
def mailbox_list(request: HttpRequest) -> HttpResponse:
    """The saved views, searched, filtered and ordered; a constant number of queries."""
    where = conditions()
    view = request.GET.get("view", "")
    view = view if view in where else "active"
    found = ordered(filtered(Mailbox.objects.filter(where[view]), request), request.GET.get("sort", ""))
    page = Paginator(rows_of(found), PAGE).get_page(request.GET.get("page"))
    office = Office.read()
    context = {
        "view": view,
        "caption": VIEWS[view][0],
        "tabs": tabs(where),
        "page": page,
        "rows": [_row(mailbox, office) for mailbox in page],
        "kinds": Kind.choices,
        "profiles": EmailServerProfile.objects.order_by("name").values_list("pk", "name"),
        "orders": ORDERS.items(),
        "is_filtered": any(request.GET.get(name) for name in ("q", "kind", "profile")),
        "may_administer": request.user.has_perm(ADMINISTER),
    }
    return render(request, "mailboxes/mailbox_list.html", context)


def tabs(where: dict[str, Q]) -> list[Tab]:
    """All counts in one query."""
    counts = Mailbox.objects.aggregate(
        **{f"in_{number}": Count("pk", filter=condition) for number, condition in enumerate(where.values())}
    )
    return [Tab(name, *VIEWS[name], counts[f"in_{number}"]) for number, name in enumerate(where)]


def filtered(mailboxes: QuerySet[Mailbox], request: HttpRequest) -> QuerySet[Mailbox]:
    """Narrowed by what the person typed and chose; an unknown choice narrows nothing."""
    of_kind: dict[str, Q] = {
        Kind.USER: Q(user__isnull=False),
        Kind.QUEUE: Q(queue__isnull=False),
        Kind.FORWARD: Q(is_forward_mailbox=True),
    }
    if kind := of_kind.get(request.GET.get("kind", "")):
        mailboxes = mailboxes.filter(kind)
    profile = request.GET.get("profile", "")
    if profile.isdecimal():
        mailboxes = mailboxes.filter(server_profile_id=int(profile[:18]))
    for word in request.GET.get("q", "").split()[:5]:
        mailboxes = mailboxes.filter(Q(name__icontains=word) | Q(email_address__icontains=word))
    return mailboxes


ORDERS = {"urgent": "Most urgent first", "name": "Name", "success": "Last success"}


def ordered(mailboxes: QuerySet[Mailbox], order: str) -> QuerySet[Mailbox]:
    """Most urgent first unless the person wants it otherwise."""
    if order == "name":
        return mailboxes.order_by(Lower("name"), "pk")
    if order == "success":
        newest = Max("states__last_success_at")
        return mailboxes.annotate(newest=newest).order_by("-newest", Lower("name"), "pk")
    urgency = Case(When(needs_attention(), then=Value(0)), default=Value(1), output_field=IntegerField())
    return mailboxes.annotate(urgency=urgency).order_by("urgency", Lower("name"), "pk")


def _row(mailbox: Mailbox, office: Office) -> Row:
    incoming, outgoing, act = (standing(mailbox, direction, office) for direction in Direction.values)
    successes = [state.last_success_at for state in mailbox.states.all() if state.last_success_at]
    return Row(mailbox, incoming, outgoing, act, max(successes, default=None))
