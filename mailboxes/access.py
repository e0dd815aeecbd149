"""Who may open a page: signed in, and permitted, or a page that tells nothing about the record."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, Concatenate, ParamSpec, cast

from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponseBase
from django_htmx.http import HttpResponseClientRedirect

from .models import User

P = ParamSpec("P")
View = Callable[Concatenate[HttpRequest, P], HttpResponseBase]


def requires(permission: str, *, to_change: str = "") -> Callable[[View[P]], View[P]]:
    """Sign-in for the anonymous, 403 for who lacks `permission`, before any record is looked up.

    Anything but GET and HEAD asks for `to_change` as well, when it is named: who may only look is
    shown the page, and refused the change.
    """

    def guard(view: View[P]) -> View[P]:
        @wraps(view)
        def guarded(request: HttpRequest, /, *args: P.args, **kwargs: P.kwargs) -> HttpResponseBase:
            if not request.user.is_authenticated:
                return _to_the_door(request)
            _demand(request, permission)
            if to_change and request.method not in ("GET", "HEAD"):
                _demand(request, to_change)
            return view(request, *args, **kwargs)

        return guarded

    return guard


def signed_in(view: View[P]) -> View[P]:
    """A page for everyone who has signed in."""

    @wraps(view)
    def guarded(request: HttpRequest, /, *args: P.args, **kwargs: P.kwargs) -> HttpResponseBase:
        if not request.user.is_authenticated:
            return _to_the_door(request)
        return view(request, *args, **kwargs)

    return guarded


def person(request: HttpRequest) -> User:
    """Who asks, on a page that needs a sign-in."""
    return cast(User, request.user)


def _to_the_door(request: HttpRequest) -> HttpResponseBase:
    """To the sign-in and back; a fragment takes its whole page along."""
    htmx: Any = getattr(request, "htmx", None)
    if not htmx:
        return redirect_to_login(request.get_full_path())
    return HttpResponseClientRedirect(redirect_to_login(htmx.current_url_abs_path or "/").url)


def _demand(request: HttpRequest, permission: str) -> None:
    user: Any = request.user
    if not user.has_perm(permission):
        raise PermissionDenied
