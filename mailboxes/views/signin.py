"""The door: sign-in, and the one-time page that makes the first administrator."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.contrib.auth import login
from django.contrib.auth.views import LoginView
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters

from .. import door, post
from ..forms.signin import FirstAdministratorForm, SignInForm
from ..models import SetupLink, User
from ..throttle import minutes_to_wait


class SignIn(LoginView):
    """Sign-in; Django keeps the address to go on to (`next`) on this site."""

    template_name = "registration/login.html"
    authentication_form = SignInForm
    next_page = "home"
    redirect_authenticated_user = True

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        return super().get_context_data(**kwargs) | _of_the_door()

    def form_valid(self, form: Any) -> HttpResponse:
        remember = form.cleaned_data["remember"]
        if settings.SIGN_IN_WITH == "allauth":
            from ..entrance.account import let_in

            return let_in(self.request, form.get_user(), remember=remember, to=self.get_success_url())
        response = super().form_valid(form)
        door.welcome(self.request)
        if not remember:
            self.request.session.set_expiry(0)  # until the browser is closed
        return response


def _of_the_door() -> dict[str, Any]:
    """What the sign-in page offers beside a password."""
    sso = settings.SIGN_IN_WITH == "allauth" and settings.SSO_SERVER_URL
    return {"mail_is_set_up": post.is_set_up(), "sso": settings.SSO_NAME if sso else ""}


def locked_out(
    request: HttpRequest, response: HttpResponse, credentials: dict[str, Any] | None
) -> HttpResponse:
    """django-axes' answer to too many failures: the sign-in page, which says when to try again.

    Who has signed in, and guesses the current password, stays on the page that has said so.
    """
    if request.user.is_authenticated:
        return response
    minutes = minutes_to_wait(request, credentials)
    context = {
        "form": SignInForm(request, initial={"username": (credentials or {}).get("username", "")}),
        "locked_minutes": minutes,
        "next": request.POST.get("next", ""),
    }
    page = render(request, "registration/login.html", context | _of_the_door(), status=429)
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
