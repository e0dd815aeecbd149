"""The door: sign-in, and the one-time page that makes the first administrator."""

from __future__ import annotations

from typing import Any

from axes.handlers.proxy import AxesProxyHandler
from django.contrib import messages
from django.contrib.auth import login
from django.contrib.auth.views import LoginView
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.html import format_html
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters

from .. import post
from ..access import person
from ..forms.signin import FirstAdministratorForm, SignInForm
from ..models import SetupLink, SignInEvent, User
from ..sessions import SessionStore
from ..throttle import SignInThrottle, minutes_until


class SignIn(LoginView):
    """Sign-in; Django keeps the address to go on to (`next`) on this site."""

    template_name = "registration/login.html"
    authentication_form = SignInForm
    next_page = "home"
    redirect_authenticated_user = True

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        return super().get_context_data(**kwargs) | {"mail_is_set_up": post.is_set_up()}

    def form_valid(self, form: Any) -> HttpResponse:
        response = super().form_valid(form)
        welcome(self.request)
        if not form.cleaned_data["remember"]:
            self.request.session.set_expiry(0)  # until the browser is closed
        return response


def welcome(request: HttpRequest) -> None:
    """Somebody has just come in: say what others did to their sign-in; sessions that are over go."""
    SessionStore.clear_expired()
    for event in SignInEvent.untold(person(request)):
        when = date_format(timezone.localtime(event.at), "j M Y, H:i")
        link = format_html('<a href="{}">Your sign-in</a>', reverse("sessions"))
        sentence = "{}: {} If you did not expect this, ask your administrators. {}"
        messages.warning(request, format_html(sentence, when, event.sentence, link))


def locked_out(
    request: HttpRequest, response: HttpResponse, credentials: dict[str, Any] | None
) -> HttpResponse:
    """django-axes' answer to too many failures: the sign-in page, which says when to try again.

    Who has signed in, and guesses the current password, stays on the page that has said so.
    """
    if request.user.is_authenticated:
        return response
    throttle: SignInThrottle = AxesProxyHandler.get_implementation()
    minutes = minutes_until(throttle.open_again_at(request, credentials))
    context = {
        "form": SignInForm(request, initial={"username": (credentials or {}).get("username", "")}),
        "locked_minutes": minutes,
        "mail_is_set_up": post.is_set_up(),
        "next": request.POST.get("next", ""),
    }
    page = render(request, "registration/login.html", context, status=429)
    page["Retry-After"] = str(minutes * 60)
    return page


@sensitive_post_parameters()
@never_cache
def setup(request: HttpRequest, token: str) -> HttpResponse:
    """The first administrator; the link works once, and only while there is no user."""
    if SetupLink.redeemable(token) is None:
        return render(request, "mailboxes/setup_over.html", status=404)
    form = FirstAdministratorForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        user = form.make(token)
        if user is None:
            return render(request, "mailboxes/setup_over.html", status=404)
        return _welcome(request, user)
    return render(request, "mailboxes/setup.html", {"form": form})


def _welcome(request: HttpRequest, user: User) -> HttpResponse:
    login(request, user)
    return redirect("profile-new")
