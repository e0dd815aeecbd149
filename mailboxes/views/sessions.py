"""Where a person is signed in, and how to end it; what an administrator does to somebody's sign-in."""

from __future__ import annotations

from uuid import UUID

from django.conf import settings
from django.contrib import messages
from django.contrib.auth import logout
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe

from .. import door, post, roles
from ..access import person, requires, signed_in
from ..models import Session, SignInLink, User

SHOWN = 50


@require_safe
@signed_in
def session_list(request: HttpRequest) -> HttpResponse:
    """One's own sessions, the one in use first, and what happened to one's sign-in."""
    user = person(request)
    running = user.sessions.filter(expire_date__gt=timezone.now())
    rows = [(session, session.session_key == request.session.session_key) for session in running[:SHOWN]]
    context = {
        "rows": sorted(rows, key=lambda row: not row[1]),
        "total": running.count(),
        "offers_second_factor": settings.SIGN_IN_WITH == "allauth",
        "has_second_factor": door.has_second_factor(user),
        "events": list(user.sign_in_events.select_related("by")[:20]),
    }
    return render(request, "mailboxes/sessions.html", context)


@require_POST
@signed_in
def session_end(request: HttpRequest, reference: UUID) -> HttpResponseBase:
    """End one of one's own sessions; the one in use is signed out."""
    session = Session.objects.filter(user=person(request), reference=reference).first()
    if session is not None and session.session_key == request.session.session_key:
        logout(request)
        return redirect("login")
    if session is not None:
        session.delete()
        messages.success(request, f"The session in {session.browser} has ended.")
    else:
        messages.info(request, "That session had ended already.")
    return redirect("sessions")


@require_POST
@signed_in
def sessions_end_others(request: HttpRequest) -> HttpResponseBase:
    """End all of one's sessions but this one."""
    running = person(request).sessions.exclude(session_key=request.session.session_key)
    ended, _ = running.delete()
    messages.success(request, f"{ended} other session{'' if ended == 1 else 's'} ended.")
    return redirect("sessions")


@never_cache
@require_POST
@requires(roles.ADMINISTER)
def user_link(request: HttpRequest, pk: int) -> HttpResponse:
    """Make a one-time link for somebody, and show it: this once, and nowhere else."""
    user = get_object_or_404(User, pk=pk)
    if not user.is_active:
        messages.error(request, f"{user.label} is inactive and cannot sign in. Activate this user first.")
        return redirect("user-edit", pk)
    token = door.make_link(user, by=person(request))
    context = {
        "record": user,
        "link": post.site(request) + reverse("sign_in_link", args=[token]),
        "minutes": SignInLink.minutes(),
        "mailed": post.is_set_up(),
    }
    return render(request, "mailboxes/user_link.html", context)


@require_POST
@requires(roles.ADMINISTER)
def user_end_sessions(request: HttpRequest, pk: int) -> HttpResponse:
    """End all sessions of somebody."""
    user = get_object_or_404(User, pk=pk)
    ended = door.end_sessions(user, by=person(request))
    messages.success(request, f"{ended} session{'' if ended == 1 else 's'} of {user.label} ended.")
    return redirect("user-edit", pk)


@require_POST
@requires(roles.ADMINISTER)
def user_remove_second_factor(request: HttpRequest, pk: int) -> HttpResponse:
    """Remove the second factor of somebody who has lost it."""
    user = get_object_or_404(User, pk=pk)
    if door.remove_second_factor(user, by=person(request)):
        messages.success(request, f"{user.label} signs in without a code now.")
    else:
        messages.info(request, f"{user.label} had no second factor.")
    return redirect("user-edit", pk)
