"""What people do to an email server profile beside editing it; each page says first what follows for mailboxes."""

from __future__ import annotations

import logging
from typing import Any

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_http_methods, require_POST

from emailprofiles import defaults
from emailprofiles.models import EmailServerProfile

from .. import profile_use, roles
from ..access import person, requires
from ..lifecycle import confirm_credentials
from ..models import Mailbox

log = logging.getLogger(__name__)


@require_POST
@requires(roles.ADMINISTER)
def confirm(request: HttpRequest, pk: int) -> HttpResponse:
    """Let stored credentials go to the server as it was shown on the page, and only there."""
    profile = get_object_or_404(EmailServerProfile, pk=pk)
    shown = request.POST.get("location_version", "")
    profile.location_version = int(shown[:9]) if shown.isdecimal() else 0
    try:
        count = confirm_credentials(profile, person(request))
    except ValidationError as error:
        messages.error(request, " ".join(error.messages))
    else:
        log.warning("%s confirmed stored credentials of %d mailboxes for profile %d", request.user, count, pk)
        of_whom = profile_use.in_words(count)
        messages.success(request, f"The stored credentials of {of_whom} may go to this server.")
    return redirect("profile-edit", pk)


@require_http_methods(["GET", "HEAD", "POST"])
@requires(roles.ADMINISTER)
def deactivate(request: HttpRequest, pk: int) -> HttpResponse:
    """What that stops, and then doing it."""
    profile = get_object_or_404(EmailServerProfile, pk=pk)
    if request.method == "POST":
        defaults.deactivate(profile)
        messages.success(request, f"{profile.name} is deactivated. Nothing runs through it any more.")
        return redirect("profile-edit", pk)
    context = {"profile": profile, "stops": profile_use.what_stops(profile)}
    return render(request, "mailboxes/profile_deactivate.html", context)


@require_POST
@requires(roles.ADMINISTER)
def activate(request: HttpRequest, pk: int) -> HttpResponse:
    """What was tested goes on."""
    profile = get_object_or_404(EmailServerProfile, pk=pk)
    defaults.activate(profile)
    messages.success(request, f"{profile.name} is active. {profile_use.what_runs(profile)}")
    return redirect("profile-edit", pk)


@require_POST
@requires(roles.ADMINISTER)
def make_default(request: HttpRequest, pk: int) -> HttpResponse:
    """New mailboxes begin with this profile."""
    profile = get_object_or_404(EmailServerProfile, pk=pk)
    former = EmailServerProfile.objects.filter(is_default=True).exclude(pk=pk).first()
    try:
        defaults.make_default(profile)
    except ValidationError as error:
        messages.error(request, " ".join(error.messages))
    else:
        instead = f", in place of {former.name}" if former else ""
        messages.success(request, f"New mailboxes begin with {profile.name} from now on{instead}.")
    return redirect("profile-edit", pk)


@require_http_methods(["GET", "HEAD", "POST"])
@requires(roles.ADMINISTER)
def delete(request: HttpRequest, pk: int) -> HttpResponse:
    """Only a profile that no mailbox uses; otherwise who uses it, and Deactivate instead."""
    profile = get_object_or_404(EmailServerProfile, pk=pk)
    name, refused = profile.name, False
    if request.method == "POST":
        try:
            profile_use.delete(profile)
        except ValidationError:
            refused = True
        else:
            messages.success(request, f"{name} is deleted.")
            return redirect("profile-list")
    users = Mailbox.objects.filter(server_profile=profile).count()
    context: dict[str, Any] = {"profile": profile, "users": users, "held": profile_use.why_kept(users)}
    return render(request, "mailboxes/profile_delete.html", context, status=422 if refused else 200)
