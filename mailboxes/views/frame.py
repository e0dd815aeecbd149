"""What every page shows around its content, and the person it is shown to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from django.http import HttpRequest, HttpResponse
from django.utils import timezone


class PersonMiddleware:
    """Times are shown in the viewer's own zone."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        with timezone.override(_zone_of(request.user)):
            return self.get_response(request)


def _zone_of(user: Any) -> ZoneInfo | None:
    try:
        return ZoneInfo(user.time_zone) if user.is_authenticated else None
    except ZoneInfoNotFoundError:
        return None


def frame(request: HttpRequest) -> dict[str, object]:
    """Template context of the frame."""
    return {}
