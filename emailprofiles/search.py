"""What the script of a combobox asks for: the records that match what is typed, as options."""

from __future__ import annotations

from django.contrib.auth.decorators import login_required, permission_required
from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string
from django.views.decorators.http import require_safe

from .forms import Candidates, People, Profiles
from .views import CHANGE


def options(request: HttpRequest, candidates: Candidates) -> HttpResponse:
    """A list of options for the text in `q`, never longer than a person reads."""
    picks, more = candidates.found(request.GET.get("q", ""))
    context = {"picks": picks, "says": candidates.count(len(picks), more)}
    return HttpResponse(render_to_string("_found.html", context))


@require_safe
@login_required
@permission_required(CHANGE, raise_exception=True)
def people(request: HttpRequest) -> HttpResponse:
    return options(request, People())


@require_safe
@login_required
@permission_required(CHANGE, raise_exception=True)
def profiles(request: HttpRequest) -> HttpResponse:
    return options(request, Profiles())
