"""Codes of an authenticator app (RFC 6238) and recovery codes, by allauth.mfa."""

from __future__ import annotations

from typing import Any

from allauth.account.forms import ReauthenticateForm as PasswordAgainForm
from allauth.core import context
from allauth.mfa.adapter import DefaultMFAAdapter
from allauth.mfa.base.forms import AuthenticateForm, ReauthenticateForm
from allauth.mfa.totp.forms import ActivateTOTPForm
from axes.handlers.proxy import AxesProxyHandler
from django.contrib.auth.signals import user_login_failed
from django.core.exceptions import ValidationError
from django.http import HttpRequest

from emailprofiles import secrets
from emailprofiles.forms import Summed

from ..models import User
from ..throttle import minutes_to_wait

# What binds a sealed secret to its column; allauth's adapter does not know the row.
_COLUMN = "mfa.Authenticator.data"


class MFAAdapter(DefaultMFAAdapter):  # type: ignore[misc]
    """Secrets are sealed at rest under FIELD_KEYS, as mail passwords are."""

    error_messages = DefaultMFAAdapter.error_messages | {
        "incorrect_code": "This code is not right. Codes of the app change every 30 seconds, and each works once.",
        "cannot_generate_recovery_codes": "Set up the app first: recovery codes stand in for it.",
    }

    def encrypt(self, text: str) -> str:
        return secrets.seal(text, _COLUMN)

    def decrypt(self, encrypted_text: str) -> str:
        return secrets.open_sealed(encrypted_text, _COLUMN)

    def get_totp_label(self, user: User) -> str:
        return user.get_username()

    def build_totp_svg(self, url: str) -> str:
        """The picture alone, to stand within a page."""
        picture: str = super().build_totp_svg(url)
        return picture[picture.index("<svg") :]


class _Code(Summed):
    """One field for a code, whose failures count like those of a password."""

    label = "Code"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        field = self.fields["code"]
        field.label = self.label
        attributes = {"class": "input mono", "inputmode": "numeric", "autocomplete": "one-time-code"}
        field.widget.attrs = {**attributes, "spellcheck": "false"}


class _Throttled(_Code):
    """Wrong codes are counted by user name and address, in the same place as wrong passwords."""

    user: User

    def clean_code(self) -> str:
        request: HttpRequest = context.request
        who = {"username": self.user.get_username()}
        if not AxesProxyHandler.is_allowed(request, who):
            raise ValidationError(
                f"Too many wrong codes. Try again in {minutes_to_wait(request, who)} minutes."
            )
        try:
            code: str = super().clean_code()  # type: ignore[misc]
        except ValidationError:
            user_login_failed.send(sender=__name__, credentials=who, request=request)
            raise
        return code


class CodeForm(_Throttled, AuthenticateForm):  # type: ignore[misc]
    """At the sign-in: a code of the app, or a recovery code."""

    label = "Code of the app, or a recovery code"


class ConfirmForm(_Throttled, ReauthenticateForm):  # type: ignore[misc]
    """Before the second factor is changed."""

    label = "Code of the app, or a recovery code"


class SetUpForm(_Code, ActivateTOTPForm):  # type: ignore[misc]
    """The first code of the app proves that it has the secret."""

    label = "Code that the app shows now"


class PasswordForm(Summed, PasswordAgainForm):  # type: ignore[misc]
    """The password once more, before the second factor is set up or changed."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["password"].label = "Password"
        self.fields["password"].help_text = ""
        self.fields["password"].widget.attrs = {"class": "input", "autocomplete": "current-password"}
