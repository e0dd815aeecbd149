"""Numbered system checks of signing in; the README lists them beside those of `emailprofiles`."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.checks import CheckMessage, Error, register


@register()
def links_lead_here(**kwargs: Any) -> list[CheckMessage]:
    """E006: links are mailed, and whoever asks for one could choose the host that they lead to."""
    open_names = [name for name in settings.ALLOWED_HOSTS if name.startswith(("*", "."))]
    if not settings.EMAIL_URL or settings.SITE_URL or not open_names:
        return []
    message = f"EMAIL_URL is set, and ALLOWED_HOSTS allows any name ({', '.join(open_names)})."
    hint = "Name the host in ALLOWED_HOSTS, or set SITE_URL to the address that links in mails begin with."
    return [Error(message, hint=hint, id="sortingoffice.E006")]


@register()
def throttle_makes_sense(**kwargs: Any) -> list[CheckMessage]:
    """E007: a sign-in that could never fail, or would be closed before the first attempt."""
    if 1 <= settings.SIGN_IN_ATTEMPTS <= settings.SIGN_IN_ATTEMPTS_PER_ADDRESS:
        return []
    message = "SIGN_IN_ATTEMPTS must be at least 1, and SIGN_IN_ATTEMPTS_PER_ADDRESS not less than that."
    return [Error(message, id="sortingoffice.E007")]


@register()
def single_sign_on_makes_sense(**kwargs: Any) -> list[CheckMessage]:
    """E008: a sign-in that does not exist, or a provider that cannot be asked safely."""
    said = []
    if settings.SIGN_IN_WITH not in ("django", "allauth"):
        said.append("SIGN_IN_WITH must be django or allauth.")
    if settings.SSO_SERVER_URL and settings.SIGN_IN_WITH != "allauth":
        said.append("SSO_SERVER_URL needs SIGN_IN_WITH=allauth.")
    if settings.SSO_SERVER_URL and not (settings.SSO_CLIENT_ID and settings.SSO_CLIENT_SECRET):
        said.append("SSO_SERVER_URL needs SSO_CLIENT_ID and SSO_CLIENT_SECRET.")
    if any(not _is_private(address) for address in (settings.SSO_SERVER_URL, *settings.SSO_OTHER_ORIGINS)):
        said.append("SSO_SERVER_URL and SSO_OTHER_ORIGINS must begin with https://, except on this machine.")
    return [Error(sentence, id="sortingoffice.E008") for sentence in said]


def _is_private(address: str) -> bool:
    """Nobody can listen: TLS, or this machine."""
    parts = urlsplit(address)
    return not address or parts.scheme == "https" or parts.hostname in ("127.0.0.1", "::1", "localhost")
