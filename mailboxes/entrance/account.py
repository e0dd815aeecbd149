"""How django-allauth lets somebody in, once user name and password or the provider have been asked."""

from __future__ import annotations

from typing import Any

from allauth.account.adapter import DefaultAccountAdapter
from allauth.account.utils import perform_login
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, resolve_url

from .. import door
from ..client import client_address
from ..models import SignInEventKind, User

_REMEMBER = "remember_on_this_computer"

_SAYS = {
    "mfa/messages/totp_activated.txt": "The second factor is set up: each sign-in now asks for a code, too.",
    "mfa/messages/totp_deactivated.txt": "The second factor is removed. Your password alone signs you in.",
    "mfa/messages/recovery_codes_generated.txt": "Keep these recovery codes. They are shown this once.",
}
_EVENTS = {
    "mfa/email/totp_activated": SignInEventKind.FACTOR_ADDED,
    "mfa/email/totp_deactivated": SignInEventKind.FACTOR_REMOVED,
    "mfa/email/recovery_codes_generated": SignInEventKind.CODES_MADE,
}


def let_in(request: HttpRequest, user: User, *, remember: bool, to: str) -> HttpResponse:
    """Sign in, or ask for a code first; `to` is an address of this site."""
    request.session[_REMEMBER] = remember
    response: HttpResponse = perform_login(request, user, email_verification="none", redirect_url=to)
    return response


class AccountAdapter(DefaultAccountAdapter):  # type: ignore[misc]
    """Our sentences, our record of what happened, and no way to sign up."""

    def is_open_for_signup(self, request: HttpRequest) -> bool:
        return False

    def get_client_ip(self, request: HttpRequest) -> str:
        return client_address(request) or "unknown"

    def post_login(
        self, request: HttpRequest, user: User, *, redirect_url: str | None = None, **others: Any
    ) -> HttpResponse:
        if not request.session.pop(_REMEMBER, False):
            request.session.set_expiry(0)  # until the browser is closed
        door.welcome(request)
        return redirect(redirect_url or resolve_url("home"))

    def respond_user_inactive(self, request: HttpRequest, user: User) -> HttpResponse:
        return redirect("login")

    def add_message(
        self, request: HttpRequest, level: int, message_template: str = "", *args: Any, **others: Any
    ) -> None:
        sentence = others.get("message") or _SAYS.get(message_template)
        if sentence:
            messages.add_message(request, level, sentence)

    def send_notification_mail(self, template_prefix: str, user: User, *args: Any, **others: Any) -> None:
        if kind := _EVENTS.get(template_prefix):
            door.note_second_factor(user, kind)
