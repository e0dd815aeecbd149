"""The pages of email server profiles: the list, and one profile."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required, permission_required
from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.db.models import Count, Q
from django.db.models.functions import Lower
from django.http import HttpRequest, HttpResponse, QueryDict
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from .forms import ProfileForm, kept
from .models import EmailServerProfile, SecurityChoice

SEE = "emailprofiles.view_emailserverprofile"
# Who administrates email may change profiles; the permission itself is declared where mailboxes are.
CHANGE = "mailboxes.administer_email"

log = logging.getLogger(__name__)


PAGE = 50


@dataclass(frozen=True, slots=True)
class Filter:
    """One choice above the list: what it is called in the address, its options, and what each leaves."""

    name: str
    label: str
    any_of_them: str
    options: dict[str, tuple[str, Q]]


def _sends_readable(side: str) -> Q:
    return ~Q(**{f"{side}_host": ""}) & Q(**{f"{side}_security": SecurityChoice.NONE})


STATE = Filter(
    "state",
    "State",
    "Any state",
    {
        "active": ("Active", Q(is_active=True)),
        "inactive": ("Inactive", Q(is_active=False)),
        "default": ("Default for new mailboxes", Q(is_default=True)),
        "unencrypted": ("Unencrypted", _sends_readable("incoming") | _sends_readable("outgoing")),
        "unused": ("Used by no mailbox", Q(mailboxes=None)),
    },
)
# name in the address, label, columns
ORDERS: dict[str, tuple[str, tuple[Any, ...]]] = {
    "state": ("Active ones first", ("-is_active", "-is_default", Lower("name"), "pk")),
    "name": ("Name", (Lower("name"), "pk")),
    "used": ("Most mailboxes first", ("-used_by", Lower("name"), "pk")),
    "changed": ("Last changed first", ("-changed_at", "-pk")),
}


@require_safe
@login_required
@permission_required(SEE, raise_exception=True)
def profile_list(request: HttpRequest) -> HttpResponse:
    """All profiles, searched, filtered and ordered; a constant number of queries for any number of them."""
    state, order = request.GET.get("state", ""), request.GET.get("sort", "")
    found = EmailServerProfile.objects.filter(_says(request), STATE.options.get(state, ("", Q()))[1])
    order_says, columns = ORDERS.get(order, ORDERS["state"])
    if order == "used":
        found = found.annotate(used_by=Count("mailboxes"))
    ordered = found.defer("password", "outgoing_password").order_by(*columns)
    context = {
        "page": Paginator(ordered, PAGE).get_page(request.GET.get("page")),
        "filters": [(STATE, state, [(value, label) for value, (label, _) in STATE.options.items()])],
        "orders": [(name, label) for name, (label, _) in ORDERS.items()],
        "order": order_says,
        "is_filtered": any(request.GET.get(name) for name in ("q", "state")),
        "may_change": request.user.has_perm(CHANGE),
    }
    return render(request, "emailprofiles/profile_list.html", context)


def _says(request: HttpRequest) -> Q:
    """Each word typed stands in the name, the description or a server location."""
    condition = Q()
    for word in request.GET.get("q", "").replace("\x00", "").split()[:5]:
        fields = ("name", "description", "incoming_host", "outgoing_host")
        condition &= Q(*((f"{field}__icontains", word) for field in fields), _connector=Q.OR)
    return condition


@require_http_methods(["GET", "POST"])
@login_required
@permission_required(CHANGE, raise_exception=True)
def profile_new(request: HttpRequest) -> HttpResponse:
    """A new profile; the first one is proposed as the default for new mailboxes."""
    first = not EmailServerProfile.objects.exists()
    form = ProfileForm(request.POST or None, initial={"owner": request.user.pk, "is_default": first})
    if request.method == "POST" and form.try_save():
        return _saved(request, form, "created")
    return _shown(request, form, None)


@require_http_methods(["GET", "POST"])
@login_required
@permission_required(SEE, raise_exception=True)
def profile_edit(request: HttpRequest, pk: int) -> HttpResponse:
    """One profile; who may not change it sees it all the same, except for secrets."""
    may_change = request.user.has_perm(CHANGE)
    if request.method == "POST" and not may_change:
        raise PermissionDenied
    record = get_object_or_404(EmailServerProfile.objects.select_related("owner"), pk=pk)
    form = ProfileForm(
        _typed_before(request, pk) if request.method == "POST" else None,
        instance=get_object_or_404(EmailServerProfile, pk=pk),
        read_only=not may_change,
    )
    if request.method == "POST" and form.try_save():
        kept.forget(request.session)
        return _saved(request, form, "saved")
    _keep(request, form)
    return _shown(request, form, record)


@require_POST
@login_required
@permission_required(CHANGE, raise_exception=True)
def profile_preview(request: HttpRequest, pk: int) -> HttpResponse:
    """What saving would mean for mailboxes, while somebody types; the passwords are not sent for this."""
    profile = get_object_or_404(EmailServerProfile, pk=pk)
    form = ProfileForm(request.POST, instance=profile)
    form.is_valid()
    return render(request, "emailprofiles/_affects.html", {"consequences": form.consequences})


def _typed_before(request: HttpRequest, pk: int) -> QueryDict:
    """What was sent, with the passwords that were typed before the person was asked once more."""
    data = request.POST.copy()
    if "seen" in data:
        for name, clear in kept.kept(request.session, pk, data).items():
            data[name] = data.get(name) or clear
    return data


def _keep(request: HttpRequest, form: ProfileForm) -> None:
    """Passwords outlive the question, and nothing else."""
    if form.asks:
        kept.keep(request.session, form.instance.pk, form.typed, form.data)
    if form.asks or "seen" in form.data:
        form.say_what_is_kept(set(kept.kept(request.session, form.instance.pk, form.data)))


def _saved(request: HttpRequest, form: ProfileForm, done: str) -> HttpResponse:
    profile: EmailServerProfile = form.instance
    if profile.unencrypted_confirmed and "unencrypted_confirmed" in form.changes:
        log.warning("%s confirmed that profile %s works without encryption", request.user, profile.pk)
    messages.success(request, " ".join((f"{profile.name} is {done}.", *form.followed)))
    for sentence in form.meanwhile:
        messages.info(request, sentence)
    if request.POST.get("then") == "close":
        return redirect("profile-list")
    return redirect("profile-edit", profile.pk)


def _shown(request: HttpRequest, form: ProfileForm, record: EmailServerProfile | None) -> HttpResponse:
    context: dict[str, Any] = {
        "form": form,
        "profile": record,
        "may_change": request.user.has_perm(CHANGE),
        "consequences": form.consequences if form.is_bound else None,
        "then": request.POST.get("then", "stay"),
    }
    return render(request, "emailprofiles/profile_form.html", context, status=422 if form.errors else 200)
