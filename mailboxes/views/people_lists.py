"""The lists of users and queues: searched, filtered, ordered; a constant number of queries for any size."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from django.core.paginator import Paginator
from django.db.models import Count, F, OrderBy, OuterRef, Q, QuerySet, Subquery
from django.db.models.functions import Coalesce, Lower
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from .. import roles
from ..access import requires
from ..models import Approval, EmailConfigurationSettings, Mailbox, Queue, User
from ..standing import Standing, approval_stops
from .mailbox_page import approval_of

PAGE = 50

Order = str | OrderBy | Lower


@dataclass(frozen=True, slots=True)
class Filter:
    """One choice above a list: what it is called in the address, its options, and what each leaves."""

    name: str
    label: str
    any_of_them: str
    options: dict[str, tuple[str, Q]]

    def narrow(self, request: HttpRequest) -> Q:
        """The condition of what is chosen; an unknown choice narrows nothing."""
        return self.options.get(request.GET.get(self.name, ""), ("", Q()))[1]


STATE = Filter(
    "state",
    "State",
    "Any state",
    {"active": ("Active", Q(is_active=True)), "inactive": ("Inactive", Q(is_active=False))},
)
APPROVAL = Filter(
    "approval",
    "Email approval",
    "Any approval",
    {
        approval.value: (str(approval.label), Q(mailbox__approval=approval))
        for approval in (Approval.PENDING, Approval.APPROVED, Approval.REJECTED)
    },
)
VISIBILITY = Filter(
    "visibility",
    "Visibility",
    "Public and private",
    {"public": ("Public", Q(is_private=False)), "private": ("Private", Q(is_private=True))},
)
LONGEST_WAIT: tuple[Order, ...] = (F("mailbox__approval_at").asc(nulls_last=True), "pk")

# name in the address, label, columns
Orders = dict[str, tuple[str, tuple[Order, ...]]]
USER_ORDERS: Orders = {
    "name": ("Name", ("-is_active", "first_name", "last_name", "pk")),
    "seen": ("Last sign-in", (F("last_login").desc(nulls_last=True), "pk")),
    "new": ("Newest first", ("-date_joined", "-pk")),
    "waiting": ("Longest approval first", LONGEST_WAIT),
}
QUEUE_ORDERS: Orders = {
    "name": ("Name", ("-is_active", "name", "pk")),
    "owner": ("Owner", ("owner__first_name", "owner__last_name", "name", "pk")),
    "new": ("Newest first", ("-created_at", "-pk")),
    "waiting": ("Longest approval first", LONGEST_WAIT),
}


@dataclass(frozen=True, slots=True)
class Row:
    """A user or queue as its list shows it; `note` is a user's role, or a queue's number of members."""

    record: Any
    note: Any
    approval: Standing


@require_safe
@requires(roles.ADMINISTER)
def user_list(request: HttpRequest) -> HttpResponse:
    """Everyone, active people first; each with role, approval and mailbox."""
    role = Filter(
        "role",
        "Role",
        "Any role",
        {role.value: (str(role.label), roles.having(role)) for role in roles.Role},
    )
    users = User.objects.filter(_contains(request, "username", "first_name", "last_name", "email"))
    found = users.prefetch_related("groups")
    return _list(
        request, "user", found, (role, STATE, APPROVAL), USER_ORDERS, lambda user: roles.role_of(user).label
    )


@require_safe
@requires(roles.ADMINISTER)
def queue_list(request: HttpRequest) -> HttpResponse:
    """All queues, active ones first; each with owner, members, approval and mailbox."""
    owner = ("owner__first_name", "owner__last_name", "owner__username")
    queues = Queue.objects.filter(_contains(request, "name", "email_address", "description", *owner))
    memberships: Any = Queue.members.through.objects.filter(queue=OuterRef("pk")).order_by()
    counted = memberships.values("queue").annotate(number=Count("pk")).values_list("number")
    found = queues.select_related("owner").annotate(member_count=Coalesce(Subquery(counted), 0))
    return _list(
        request,
        "queue",
        found,
        (VISIBILITY, STATE, APPROVAL),
        QUEUE_ORDERS,
        lambda queue: queue.member_count,
    )


def _list(
    request: HttpRequest,
    kind: str,
    found: QuerySet[Any],
    filters: tuple[Filter, ...],
    orders: Orders,
    note: Callable[[Any], Any],
) -> HttpResponse:
    for narrowing in filters:
        found = found.filter(narrowing.narrow(request))
    _, order = orders.get(request.GET.get("sort", ""), orders["name"])
    # Keys first: a page far down is found without reading the rows before it.
    page = Paginator(found.order_by(*order).values_list("pk", flat=True), PAGE).get_page(
        request.GET.get("page")
    )
    read = found.select_related("mailbox__approval_by").defer("mailbox__password").in_bulk(list(page))
    page.object_list = [read[pk] for pk in page if pk in read]
    settings = EmailConfigurationSettings.load()
    context = {
        "page": page,
        "rows": [Row(record, note(record), _approval(record.mailbox, settings)) for record in page],
        "filters": [
            (
                one,
                request.GET.get(one.name, ""),
                [(value, label) for value, (label, _) in one.options.items()],
            )
            for one in filters
        ],
        "orders": [(name, label) for name, (label, _) in orders.items()],
        "is_filtered": any(request.GET.get(name) for name in ("q", *(one.name for one in filters))),
    }
    return render(request, f"mailboxes/{kind}_list.html", context)


def _contains(request: HttpRequest, *fields: str) -> Q:
    """Each word typed stands in one of the fields."""
    condition = Q()
    for word in request.GET.get("q", "").replace("\x00", "").split()[:5]:
        condition &= Q(*((f"{field}__icontains", word) for field in fields), _connector=Q.OR)
    return condition


def _approval(mailbox: Mailbox, settings: EmailConfigurationSettings) -> Standing:
    """The approval in a list, where it says also whether anything waits for it."""
    shown = approval_of(mailbox)
    if mailbox.approval == Approval.APPROVED:
        return shown
    stops = "nothing runs" if approval_stops(mailbox, settings) else "not required"
    return replace(shown, detail=", ".join(filter(None, (shown.detail, stops))))
