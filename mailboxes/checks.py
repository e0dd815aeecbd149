"""Numbered system checks of signing in; the README lists them beside those of `emailprofiles`."""

from __future__ import annotations

from typing import Any

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
