"""A new password: for who knows the current one, and by a one-time link for who has forgotten it."""

from __future__ import annotations

from django.contrib import messages
from django.contrib.auth import update_session_auth_hash
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_safe

from .. import door, post
from ..access import person, signed_in
from ..client import counted_address
from ..forms.signin import ForgottenForm, NewPasswordForm, PasswordChangeForm
from ..models import ResetRequest, SignInLink


@sensitive_post_parameters()
@never_cache
@require_http_methods(["GET", "POST"])
@signed_in
def password_change(request: HttpRequest) -> HttpResponseBase:
    """One's own password; all other sessions end."""
    typed = request.POST if request.method == "POST" else None
    form = PasswordChangeForm(request, person(request), typed)
    if form.is_valid():
        messages.success(request, _change(request, form.cleaned_data["password"]))
        return redirect("sessions")
    return render(request, "mailboxes/password.html", {"form": form}, status=422 if form.errors else 200)


def _change(request: HttpRequest, password: str) -> str:
    user = person(request)
    running = user.sessions.filter(expire_date__gt=timezone.now())
    others = running.exclude(session_key=request.session.session_key).count()
    user.set_password(password)
    user.save(update_fields=["password"])
    door.note_new_password(user, by=user)
    update_session_auth_hash(request, user)
    if not others:
        return "Your password is changed. You were signed in nowhere else."
    ended = "1 other session has" if others == 1 else f"{others} other sessions have"
    return f"Your password is changed. {ended} ended: sign in there with the new one."


@never_cache
@require_http_methods(["GET", "POST"])
def forgotten(request: HttpRequest) -> HttpResponse:
    """A link by mail; without mail, whom to ask. The answer never tells whether an address is known."""
    if not post.is_set_up():
        return render(request, "mailboxes/forgotten.html", {"form": None})
    form = ForgottenForm(request.POST if request.method == "POST" else None)
    if not form.is_valid():
        status = 422 if form.errors else 200
        return render(request, "mailboxes/forgotten.html", {"form": form}, status=status)
    if not ResetRequest.allow(counted_address(request)):
        return render(request, "mailboxes/forgotten.html", {"form": form, "too_many": True}, status=429)
    if not _mail_link(request, form.cleaned_data["email"]):
        return render(request, "mailboxes/forgotten.html", {"form": form, "unreachable": True}, status=503)
    return redirect("password_forgotten_sent")


def _mail_link(request: HttpRequest, address: str) -> bool:
    site = post.site(request)
    return post.dispatch(
        lambda: door.link_asked_for(address, lambda token: site + reverse("sign_in_link", args=[token]))
    )


@require_safe
def forgotten_sent(request: HttpRequest) -> HttpResponse:
    """The same words for everyone."""
    return render(request, "mailboxes/forgotten_sent.html", {"minutes": SignInLink.minutes()})


@sensitive_post_parameters()
@never_cache
@require_http_methods(["GET", "POST"])
def sign_in_link(request: HttpRequest, token: str) -> HttpResponse:
    """A new password by a one-time link. To open it does not use it up: mail filters open links, too."""
    link = SignInLink.redeemable(token)
    if link is None:
        return render(request, "mailboxes/sign_in_link_over.html", status=404)
    form = NewPasswordForm(link.user, request.POST if request.method == "POST" else None)
    if not form.is_valid():
        context = {"form": form, "person": link.user}
        status = 422 if form.errors else 200
        return render(request, "mailboxes/sign_in_link.html", context, status=status)
    if not link.redeem(form.cleaned_data["password"]):
        return render(request, "mailboxes/sign_in_link_over.html", status=404)
    messages.success(request, "Your new password is stored. Sign in with it.")
    return redirect("login")
