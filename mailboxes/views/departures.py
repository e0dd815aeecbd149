"""A user or queue goes, or comes back: each page says what follows before anything is done."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.http import require_http_methods

from .. import departures
from ..access import requires
from ..forms.departures import ActivateForm, HandOverForm
from ..models import Queue, User
from ..roles import ADMINISTER

MODELS: dict[str, Any] = {"user": User, "queue": Queue}


@require_http_methods(["GET", "HEAD", "POST"])
@requires(ADMINISTER)
def deactivate(request: HttpRequest, kind: str, pk: int) -> HttpResponse:
    """What that stops, or what has to be done first."""
    record = _record(kind, pk)
    refused: list[str] = []
    if request.method == "POST":
        try:
            departures.deactivate(record)
        except ValidationError as error:
            refused = error.messages
        else:
            messages.success(request, f"{record.label} is deactivated.")
            return redirect(f"{kind}-edit", pk)
    context = {"stops": departures.what_stops(record), "refused": refused or departures.why_needed(record)}
    return _page(request, "deactivate", record, context, refused=bool(refused))


@require_http_methods(["GET", "HEAD", "POST"])
@requires(ADMINISTER)
def activate(request: HttpRequest, kind: str, pk: int) -> HttpResponse:
    """With or without the mailbox."""
    record = _record(kind, pk)
    form = ActivateForm(request.POST or None)
    refused: list[str] = []
    if request.method == "POST" and form.is_valid():
        try:
            departures.activate(record, with_mailbox=form.cleaned_data["with_mailbox"])
        except ValidationError as error:
            refused = error.messages
        else:
            messages.success(request, f"{record.label} is active.")
            return redirect(f"{kind}-edit", pk)
    context = {"form": form, "refused": refused}
    return _page(request, "activate", record, context, refused=bool(refused or form.errors))


@require_http_methods(["GET", "HEAD", "POST"])
@requires(ADMINISTER)
def delete(request: HttpRequest, kind: str, pk: int) -> HttpResponse:
    """Only a record on which nothing hangs; otherwise what holds it, and Deactivate instead."""
    record = _record(kind, pk)
    refused: list[str] = []
    if request.method == "POST":
        name = record.label
        try:
            departures.delete(record)
        except ValidationError as error:
            refused, record = error.messages, _record(kind, pk)
        else:
            messages.success(request, f"{name} and its mailbox are deleted.")
            return redirect(f"{kind}-list")
    context = {"held": refused or departures.what_holds(record)}
    return _page(request, "delete", record, context, refused=bool(refused))


@require_http_methods(["GET", "HEAD", "POST"])
@requires(ADMINISTER)
def hand_over(request: HttpRequest, pk: int) -> HttpResponse:
    """Everything that one user owns goes to another, at once."""
    user = get_object_or_404(User, pk=pk)
    form = HandOverForm(request.POST or None, user=user)
    if request.method == "POST" and (count := form.try_to_hand_over()) is not None:
        to, records = form.cleaned_data["to"], "record" if count == 1 else "records"
        messages.success(request, f"{to.label} owns {count} {records} of {user.label} now.")
        leaving = request.GET.get("then") == "deactivate"
        return redirect("user-deactivate" if leaving else "user-edit", pk)
    context = {"form": form, "belongings": _belongings(user)}
    return _page(request, "hand_over", user, context, refused=bool(form.errors))


def _record(kind: str, pk: int) -> User | Queue:
    record: User | Queue = get_object_or_404(MODELS[kind], pk=pk)
    return record


def _page(
    request: HttpRequest, name: str, record: User | Queue, context: dict[str, Any], *, refused: bool
) -> HttpResponse:
    context |= {
        "deactivate": reverse(f"{record.kind.value}-deactivate", args=[record.pk]),
        "record": record,
        "kind": record.kind.value,
        "page": reverse(f"{record.kind.value}-edit", args=[record.pk]),
        "list": reverse(f"{record.kind.value}-list"),
    }
    return render(request, f"mailboxes/record_{name}.html", context, status=422 if refused else 200)


SHOWN = 20
_PAGES = {"queue": "queue-edit", "forward mailbox": "mailbox-edit", "profile": "profile-edit"}


def _belongings(user: User) -> list[dict[str, Any]]:
    """For each kind: its name, how many there are, and links to the first ones."""
    return [
        {
            "kind": kind,
            "count": rows.count(),
            "shown": [
                (row.name, reverse(_PAGES[kind], args=[row.pk])) for row in rows.order_by("name")[:SHOWN]
            ],
        }
        for kind, rows in user.belongings().items()
        if rows.exists()
    ]
