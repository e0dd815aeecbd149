"""The pages of the past: a mailbox and its earlier tests, and the changes of each record."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import Model
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.urls import reverse
from django.utils import timezone
from django.utils.dateparse import parse_datetime
from django.views.decorators.http import require_safe

from emailprofiles.history import entries_of
from emailprofiles.models import EmailServerProfile

from .. import history, roles
from ..access import requires
from ..models import ConfigurationTest, EmailConfigurationSettings, Queue, User
from .mailbox_page import mailbox_of, run_of
from .recent import HOUR, Asked, changed, kinds_for, past

PAGE = 50


@require_safe
@requires(roles.SEE_MAILBOXES)
def mailbox(request: HttpRequest, pk: int) -> HttpResponse:
    """What happened at one mailbox, all of it or one kind."""
    record = mailbox_of(pk)
    kinds = kinds_for(request.user.has_perm(roles.SEE_ALERTS))
    kind = request.GET.get("kind", "")
    chosen = {kind: kinds[kind]} if kind in kinds else kinds
    asked_before = _moment(request.GET.get("before", ""))
    asked = Asked(record, PAGE, asked_before or timezone.now() + HOUR, by_hour=True)
    events = past(asked, chosen)
    more = past(Asked(record, 1, events[-1].when, by_hour=True), chosen) if events else []
    context = {
        "record": record,
        "title": f"History of {record.name}",
        "crumbs": [("Mailboxes", reverse("mailbox-list")), (record.name, reverse("mailbox-edit", args=[pk]))],
        "kinds": [(name, label) for name, (label, _) in kinds.items()],
        "kind": kind if kind in kinds else "",
        "events": events,
        "older": events[-1].when.isoformat() if more else "",
        "is_newest": asked_before is None,
    }
    return render(request, "mailboxes/history.html", context)


def _moment(written: str) -> datetime | None:
    """The moment in an address; None for anything else."""
    try:
        moment = parse_datetime(written)
    except ValueError:
        return None
    return moment if moment is not None and moment.tzinfo is not None else None


@require_safe
@requires(roles.SEE_MAILBOXES)
def test_run(request: HttpRequest, pk: int, test: int) -> HttpResponse:
    """One finished test of a mailbox, step by step."""
    record = mailbox_of(pk)
    run = get_object_or_404(
        ConfigurationTest.objects.select_related("requested_by").prefetch_related("steps"),
        pk=test,
        mailbox=record,
        finished_at__isnull=False,
    )
    context = {"mailbox": record, "run": run, "results": run_of(run, record)}
    return render(request, "mailboxes/test_run.html", context)


# ── Changes of a record ─────────────────────────────────────────────────────────────────────


@require_safe
@requires(roles.SEE_PROFILES)
def profile(request: HttpRequest, pk: int) -> HttpResponse:
    return _changes(request, get_object_or_404(EmailServerProfile, pk=pk))


@require_safe
@requires(roles.ADMINISTER)
def user(request: HttpRequest, pk: int) -> HttpResponse:
    return _changes(request, get_object_or_404(User, pk=pk))


@require_safe
@requires(roles.ADMINISTER)
def queue(request: HttpRequest, pk: int) -> HttpResponse:
    return _changes(request, get_object_or_404(Queue, pk=pk))


@require_safe
@requires(roles.ADMINISTER)
def configuration(request: HttpRequest) -> HttpResponse:
    return _changes(request, EmailConfigurationSettings.load())


@dataclass(frozen=True, slots=True)
class Home:
    """Where the pages of a kind of record are."""

    page: str
    history: str
    list_label: str = ""
    list_page: str = ""

    def address(self, name: str, record: Model) -> str:
        return reverse(name, args=[record.pk] if self.list_page else [])


HOMES: dict[type[Model], Home] = {
    EmailServerProfile: Home("profile-edit", "profile-history", "Email Server Profiles", "profile-list"),
    User: Home("user-edit", "user-history", "Users", "user-list"),
    Queue: Home("queue-edit", "queue-history", "Queues", "queue-list"),
    EmailConfigurationSettings: Home("configuration", "configuration-history"),
}


def history_address(record: Model) -> str:
    """The page of all changes of a record."""
    home = HOMES[type(record)]
    return home.address(home.history, record)


def _changes(request: HttpRequest, record: Any) -> HttpResponse:
    """All changes of a record, newest first."""
    home = HOMES[type(record)]
    before = request.GET.get("before", "")
    entries = entries_of(record).order_by("-pk")
    if before.isdecimal():
        entries = entries.filter(pk__lt=int(before[:18]))
    listed = history.told(entries[: PAGE + 1])
    crumbs = [(str(record), home.address(home.page, record))]
    if home.list_page:
        crumbs.insert(0, (home.list_label, reverse(home.list_page)))
    context = {
        "record": record,
        "title": f"Changes of {record}",
        "crumbs": crumbs,
        "events": [changed(entry) for entry in listed[:PAGE]],
        "older": listed[PAGE - 1].pk if len(listed) > PAGE else "",
        "is_newest": not before.isdecimal(),
    }
    return render(request, "mailboxes/history.html", context)
