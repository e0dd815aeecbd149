"""Mailboxes: the list, the form, and the commands of one record."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.core.paginator import Paginator
from django.db.models import Case, Count, IntegerField, Max, Q, QuerySet, Value, When
from django.db.models.functions import Lower
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.html import format_html_join
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from emailprofiles.forms import people_found, written_as
from emailprofiles.models import EmailServerProfile

from .. import lifecycle
from ..access import person, requires
from ..configtest import plan
from ..forms.mailbox import MailboxForm
from ..models import (
    Alert,
    Approval,
    ConfigurationTest,
    Direction,
    IncomingMethod,
    Kind,
    Mailbox,
    SyncState,
    TestStatus,
)
from ..models.state import METHOD_FIELDS, vouched
from ..roles import ADMINISTER, APPROVE, SEE_ALERTS, SEE_MAILBOXES
from ..standing import Office, Standing, first_unmet, needs_attention, standing
from .frame import engine_silence
from .mailbox_page import activity_of, checks_of, label_of, results_of

PAGE = 50
SUGGESTED = 20


def rows_of(mailboxes: QuerySet[Mailbox]) -> QuerySet[Mailbox]:
    """With everything that a row or a page of a mailbox reads."""
    return mailboxes.select_related(
        "server_profile", "owner", "user", "queue", "approval_by", "changed_by"
    ).prefetch_related("states")


# ── The list ────────────────────────────────────────────────────────────────────────────────


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


# ── The form ────────────────────────────────────────────────────────────────────────────────


@require_http_methods(["GET", "HEAD", "POST"])
@requires(ADMINISTER)
def new(request: HttpRequest) -> HttpResponseBase:
    """A new forward mailbox; mailboxes of users and queues are made with them."""
    form = MailboxForm(request.POST or None, instance=_new_forward(request), initial=_proposed(request))
    if request.method == "POST" and _saved(request, form):
        return _after_save(request, form.instance)
    return render(request, "mailboxes/mailbox_new.html", {"form": form, "office": Office.read()})


def _new_forward(request: HttpRequest) -> Mailbox:
    return Mailbox.new_forward(owner=person(request))


def _proposed(request: HttpRequest) -> dict[str, Any]:
    """What the empty form proposes; a request that leaves a field out gets the record's own default."""
    profile = EmailServerProfile.objects.filter(is_default=True, is_active=True).first()
    own = profile is not None and profile.authenticate_using == "mailbox"
    return {
        "incoming_method": IncomingMethod.SERVER_SIDE,
        "server_profile": profile.pk if profile else None,
        "allow_credentials": own or profile is None,
    }


@require_http_methods(["GET", "HEAD", "POST"])
@requires(SEE_MAILBOXES, to_change=ADMINISTER)
def edit(request: HttpRequest, pk: int) -> HttpResponseBase:
    """One mailbox of any kind; who may only look sees the same page with nothing to change."""
    mailbox = _mailbox(pk)
    may_administer = request.user.has_perm(ADMINISTER)
    form = MailboxForm(request.POST or None, instance=mailbox, read_only=not may_administer)
    if request.method == "POST" and _saved(request, form):
        return _after_save(request, mailbox)
    # A refused form has left its marks on the record in memory: the page shows the stored one.
    stored = _mailbox(pk) if form.is_bound else mailbox
    context = _page(request, stored) | {"form": form, "may_administer": may_administer}
    return render(request, "mailboxes/mailbox_edit.html", context)


def _saved(request: HttpRequest, form: MailboxForm) -> bool:
    form.instance.changed_by = person(request)
    return form.try_save()


def _after_save(request: HttpRequest, mailbox: Mailbox) -> HttpResponse:
    then = request.POST.get("then")
    if then == "test":
        return _test(request, mailbox)
    messages.success(request, f"{mailbox.name} is saved.")
    return redirect("mailbox-list") if then == "close" else redirect("mailbox-edit", mailbox.pk)


def _page(request: HttpRequest, mailbox: Mailbox) -> dict[str, Any]:
    """Everything around the form of one mailbox."""
    office = Office.read()
    return _results(mailbox, office) | {
        "activity": activity_of(mailbox, person(request)),
        "alerts": _open_alerts(mailbox) if request.user.has_perm(SEE_ALERTS) else [],
        "may_approve": request.user.has_perm(APPROVE),
        "may_collect": first_unmet(mailbox, Direction.INCOMING, office) is None
        and mailbox.incoming_method == IncomingMethod.SERVER_SIDE,
    }


def _results(mailbox: Mailbox, office: Office) -> dict[str, Any]:
    """The part of the page that a running test changes."""
    return {
        "mailbox": mailbox,
        "office": office,
        "label": label_of(mailbox, office),
        "checks": checks_of(mailbox, office),
        "results": results_of(mailbox, office),
        "is_testing": mailbox.pk in office.open_tests,
        "tested_on": mailbox.mailbox_test_completed_on,
        "engine_silence": "" if office.engine_alive else engine_silence(office.engine_seen_at),
    }


def _open_alerts(mailbox: Mailbox) -> QuerySet[Alert]:
    return Alert.objects.filter(mailbox=mailbox, resolved_at=None)[:5]


# ── Fragments ───────────────────────────────────────────────────────────────────────────────


@require_safe
@requires(ADMINISTER)
def owners(request: HttpRequest) -> HttpResponse:
    """Suggestions for the owner, as options of a datalist."""
    found = people_found(request.GET.get("owner", ""))[:SUGGESTED]
    options = ((written_as(user),) for user in found)
    return HttpResponse(format_html_join("", '<option value="{}"></option>', options))


@require_POST
@requires(ADMINISTER)
def new_methods(request: HttpRequest) -> HttpResponse:
    return _methods(request, _new_forward(request))


@require_POST
@requires(ADMINISTER)
def methods(request: HttpRequest, pk: int) -> HttpResponse:
    return _methods(request, _mailbox(pk))


def _methods(request: HttpRequest, mailbox: Mailbox) -> HttpResponse:
    """The section Synchronization Method for what is chosen now; nothing is saved or judged."""
    chosen = {name: value for name, value in request.POST.items() if name in MailboxForm.base_fields}
    form = MailboxForm(instance=mailbox, initial=chosen)
    context = {"form": form, "office": Office.read(), "mailbox": mailbox, "may_administer": True, "oob": True}
    return render(request, "mailboxes/_mailbox_methods.html", context)


@require_safe
@requires(SEE_MAILBOXES)
def results(request: HttpRequest, pk: int) -> HttpResponse:
    """The test results as they are now; polled while a test is open."""
    mailbox = _mailbox(pk)
    context = _results(mailbox, Office.read())
    context |= {"may_administer": request.user.has_perm(ADMINISTER), "oob": True}
    return render(request, "mailboxes/_mailbox_results.html", context)


# ── Commands ────────────────────────────────────────────────────────────────────────────────


@require_POST
@requires(ADMINISTER)
def test(request: HttpRequest, pk: int) -> HttpResponse:
    """Ask for Test & Enable; a worker takes it up at once."""
    return _test(request, _mailbox(pk))


def _test(request: HttpRequest, mailbox: Mailbox) -> HttpResponse:
    if any(plan(mailbox, direction) for direction in Direction.values):
        ConfigurationTest.request(mailbox, person(request))
    else:
        messages.warning(request, "Nothing to test: no direction is Forward Mailbox or server-side here.")
    return redirect(reverse("mailbox-edit", args=[mailbox.pk]) + "#results")


@require_POST
@requires(APPROVE)
def approve(request: HttpRequest, pk: int) -> HttpResponse:
    mailbox = _mailbox(pk)
    return _told(request, mailbox, "approved", lambda: lifecycle.approve(mailbox, person(request)))


@require_POST
@requires(APPROVE)
def reject(request: HttpRequest, pk: int) -> HttpResponse:
    mailbox = _mailbox(pk)
    return _told(request, mailbox, "rejected", lambda: lifecycle.reject(mailbox, person(request)))


@require_POST
@requires(ADMINISTER)
def activate(request: HttpRequest, pk: int) -> HttpResponse:
    mailbox = _mailbox(pk)
    return _told(request, mailbox, "active", lambda: lifecycle.activate(mailbox))


@require_POST
@requires(ADMINISTER)
def deactivate(request: HttpRequest, pk: int) -> HttpResponse:
    mailbox = _mailbox(pk)
    return _told(request, mailbox, "deactivated: nothing runs for it", lambda: lifecycle.deactivate(mailbox))


@require_POST
@requires(ADMINISTER)
def collect(request: HttpRequest, pk: int) -> HttpResponse:
    """Make incoming mail due at once, or say what keeps it from running."""
    mailbox = _mailbox(pk)
    if lifecycle.collect_now(mailbox):
        messages.success(request, f"{mailbox.name} is collected as soon as a worker is free.")
    else:
        need = first_unmet(mailbox, Direction.INCOMING, Office.read())
        why = need.sentence if need else "incoming email is not server-side"
        messages.error(request, f"Not collected: {why}.")
    return redirect("mailbox-edit", mailbox.pk)


def _mailbox(pk: int) -> Mailbox:
    return get_object_or_404(rows_of(Mailbox.objects.all()), pk=pk)


def _told(request: HttpRequest, mailbox: Mailbox, done: str, act: Callable[[], None]) -> HttpResponse:
    """Act, and say that it is done or why it was refused."""
    try:
        act()
    except ValidationError as error:
        messages.error(request, " ".join(error.messages))
    else:
        messages.success(request, f"{mailbox.name} is {done}.")
    return redirect("mailbox-edit", mailbox.pk)
