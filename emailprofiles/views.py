"""The pages of email server profiles: the list, and one profile."""

from __future__ import annotations

import logging
from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required, permission_required
from django.core.exceptions import PermissionDenied
from django.db.models import Count, Q
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_http_methods, require_safe

from .forms import ProfileForm
from .models import EmailServerProfile
from .servertypes import USUAL_PORTS

SEE = "emailprofiles.view_emailserverprofile"
# Who administrates email may change profiles; the permission itself is declared where mailboxes are.
CHANGE = "mailboxes.administer_email"

log = logging.getLogger(__name__)


@require_safe
@login_required
@permission_required(SEE, raise_exception=True)
def profile_list(request: HttpRequest) -> HttpResponse:
    """All profiles; an office has a handful."""
    words = request.GET.get("q", "").strip()
    found = EmailServerProfile.objects.defer("password", "outgoing_password").select_related("owner")
    if words:
        found = found.filter(_says(words))
    profiles = found.annotate(used_by=Count("mailboxes")).order_by("-is_active", "-is_default", "name")
    context = {"profiles": profiles, "may_change": request.user.has_perm(CHANGE), "words": words}
    return render(request, "emailprofiles/profile_list.html", context)


def _says(words: str) -> Q:
    return (
        Q(name__icontains=words)
        | Q(description__icontains=words)
        | Q(incoming_host__icontains=words)
        | Q(outgoing_host__icontains=words)
    )


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
        request.POST or None,
        instance=get_object_or_404(EmailServerProfile, pk=pk),
        read_only=not may_change,
    )
    if request.method == "POST" and form.try_save():
        return _saved(request, form, "saved")
    return _shown(request, form, record)


def _saved(request: HttpRequest, form: ProfileForm, done: str) -> HttpResponse:
    profile: EmailServerProfile = form.instance
    if profile.unencrypted_confirmed and "unencrypted_confirmed" in form.changes:
        log.warning("%s confirmed that profile %s works without encryption", request.user, profile.pk)
    messages.success(request, f"{profile.name} is {done}.")
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
        "usual_ports": [
            (f"{protocol}-{security}", port) for (protocol, security), port in USUAL_PORTS.items()
        ],
    }
    return render(request, "emailprofiles/profile_form.html", context, status=422 if form.errors else 200)
