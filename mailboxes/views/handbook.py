"""Help inside the product: one page for each topic, linked from the fields that it explains."""

from __future__ import annotations

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
    return render(request, "mailboxes/help/contents.html", {"handbook": handbook.HANDBOOK})


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
