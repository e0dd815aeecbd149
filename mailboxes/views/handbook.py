"""Help inside the product: one page for each topic, linked from the fields that it explains."""

from __future__ import annotations

import tomllib
from functools import cache

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from .. import handbook
from ..access import signed_in
from ..routing import ROUTING_HEADERS


@require_safe
@signed_in
def contents(request: HttpRequest) -> HttpResponse:
    """All topics, by what they are good for."""
    return render(
        request, "mailboxes/help/contents.html", {"handbook": handbook.HANDBOOK, "version": _version()}
    )


@cache
def _version() -> str:
    """As pyproject.toml says it."""
    project = tomllib.loads((settings.BASE_DIR / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return str(project["version"])


@require_safe
@signed_in
def topic(request: HttpRequest, slug: str) -> HttpResponse:
    """One topic, beside the list of the others."""
    try:
        found = handbook.topic(slug)
    except KeyError:
        raise Http404 from None
    context = {"topic": found, "handbook": handbook.HANDBOOK, "routing_headers": ROUTING_HEADERS}
    return render(request, found.template, context)
