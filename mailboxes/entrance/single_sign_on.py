"""Single sign-on by one OpenID Connect provider, by allauth.socialaccount.

The provider says who somebody is; which of our users that is, says the address it has verified, at every
sign-in anew. Nothing of it is stored, and nobody is made a user by it.
"""

from __future__ import annotations

import logging
import ssl
from collections.abc import Callable
from functools import wraps
from typing import Any
from urllib.parse import urlsplit

import requests
from allauth.core.exceptions import ImmediateHttpResponse
from allauth.socialaccount.adapter import DefaultSocialAccountAdapter
from allauth.socialaccount.providers.base import AuthError
from django.conf import settings
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from requests.adapters import HTTPAdapter

from ..models import User
from .account import let_in

SECONDS = 10

log = logging.getLogger(__name__)


class ProviderConnection(HTTPAdapter):
    """Verifies the certificate against the system's authorities and that of TLS_CA_FILE."""

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        context = ssl.create_default_context()
        if settings.TLS_CA_FILE:
            context.load_verify_locations(settings.TLS_CA_FILE)
        super().init_poolmanager(*args, ssl_context=context, **kwargs)

    def send(self, request: Any, *args: Any, **kwargs: Any) -> requests.Response:
        return super().send(request, *args, **kwargs | {"timeout": SECONDS})


def provider_session() -> requests.Session:
    """Speaks to the configured provider, and to nobody else: what it names elsewhere is refused."""
    session = requests.Session()
    session.trust_env = False
    session.adapters.clear()
    for address in (settings.SSO_SERVER_URL, *settings.SSO_OTHER_ORIGINS):
        session.mount(origin(address) + "/", ProviderConnection())
    return session


def origin(address: str) -> str:
    """Scheme, host and port of an address."""
    parts = urlsplit(address)
    return f"{parts.scheme}://{parts.netloc}"


def verified_address(claims: dict[str, Any]) -> str:
    """The address that the provider has verified; "" when it says so for none.

    `claims` has what the token and the userinfo endpoint said; they must speak of the same person (OpenID
    Connect Core 1.0, section 5.3.2).
    """
    token, info = claims.get("id_token") or {}, claims.get("userinfo") or {}
    if token and info and token.get("sub") != info.get("sub"):
        return ""
    said = info or token
    return str(said.get("email", "")) if said.get("email_verified") is True else ""


def asking_the_provider(view: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
    """The view, which says so when the provider cannot be asked, or does not say where to go on."""

    @wraps(view)
    def asking(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        try:
            return view(request, *args, **kwargs)
        except (requests.RequestException, KeyError) as error:
            log.exception("Single sign-on failed: %s", type(error).__name__)
            return render(request, "socialaccount/authentication_error.html", status=503)

    return asking


class SocialAccountAdapter(DefaultSocialAccountAdapter):  # type: ignore[misc]
    """Whoever the provider vouches for is an active user here already, or stays outside."""

    def is_open_for_signup(self, request: HttpRequest, sociallogin: Any) -> bool:
        return False

    def get_requests_session(self) -> requests.Session:
        return provider_session()

    def pre_social_login(self, request: HttpRequest, sociallogin: Any) -> None:
        """Decides the sign-in, whatever allauth would do next."""
        address = verified_address(sociallogin.account.extra_data)
        user = User.objects.filter(email__iexact=address, is_active=True).first() if address else None
        if user is None or user.email.casefold() != address.casefold():
            raise ImmediateHttpResponse(_unknown(request, address))
        to = sociallogin.get_redirect_url(request) or ""
        raise ImmediateHttpResponse(let_in(request, user, remember=False, to=to))

    def on_authentication_error(
        self,
        request: HttpRequest,
        provider: Any,
        error: Any = None,
        exception: Exception | None = None,
        extra_context: Any = None,
    ) -> None:
        if error == AuthError.CANCELLED:
            messages.info(request, f"The sign-in with {settings.SSO_NAME} was given up.")
            raise ImmediateHttpResponse(redirect("login"))
        log.error("Single sign-on failed (%s): %s", error, exception)


def _unknown(request: HttpRequest, address: str) -> HttpResponse:
    log.warning("Single sign-on: no active user has the address that was vouched for")
    return render(request, "socialaccount/unknown.html", {"address": address}, status=403)
