"""The door: sign-in, and the one-time page that makes the first administrator."""

from __future__ import annotations

from typing import Any

from axes.handlers.proxy import AxesProxyHandler
from django.contrib.auth import login
from django.contrib.auth.views import LoginView
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters

from ..forms.signin import FirstAdministratorForm, SignInForm
from ..models import SetupLink, User
from ..throttle import SignInThrottle, minutes_until


class SignIn(LoginView):
    """Sign-in; Django keeps the address to go on to (`next`) on this site."""

    template_name = "registration/login.html"
    authentication_form = SignInForm
    next_page = "home"
    redirect_authenticated_user = True

    def form_valid(self, form: Any) -> HttpResponse:
        response = super().form_valid(form)
        if not form.cleaned_data["remember"]:
            self.request.session.set_expiry(0)  # until the browser is closed
        return response


def locked_out(
    request: HttpRequest, response: HttpResponse, credentials: dict[str, Any] | None
) -> HttpResponse:
    """django-axes' answer to too many failures: the sign-in page, which says when to try again."""
    throttle: SignInThrottle = AxesProxyHandler.get_implementation()
    minutes = minutes_until(throttle.open_again_at(request, credentials))
    context = {
        "form": SignInForm(request, initial={"username": (credentials or {}).get("username", "")}),
        "locked_minutes": minutes,
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
