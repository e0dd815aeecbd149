"""Alerts: one for each cause, open ones first."""

from __future__ import annotations

from datetime import timedelta

from django.core.paginator import Paginator
from django.db.models import Count, F, Q
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.http import require_safe

from .. import roles
from ..access import requires
from ..models import Alert, AlertLevel

PAGE = 25
SHOWN_AFTERWARDS = timedelta(days=30)


@require_safe
@requires(roles.SEE_ALERTS)
def alert_list(request: HttpRequest) -> HttpResponse:
    """All of them, or those of one level, or those that are resolved."""
    recent = Q(resolved_at=None) | Q(resolved_at__gt=timezone.now() - SHOWN_AFTERWARDS)
    alerts = Alert.objects.filter(recent)
    view = request.GET.get("view", "")
    rows = alerts.filter(_of(view)).select_related("mailbox", "profile", "owner").defer("mailbox__password")
    ordered = rows.order_by(F("resolved_at").desc(nulls_first=True), "-since", "-pk")
    context = {
        "page": Paginator(ordered, PAGE).get_page(request.GET.get("page")),
        "counts": _counts(alerts),
        "view": view,
    }
    return render(request, "mailboxes/alert_list.html", context)


def _of(view: str) -> Q:
    if view in AlertLevel.values:
        return Q(level=view, resolved_at=None)
    return {"open": Q(resolved_at=None), "resolved": Q(resolved_at__isnull=False)}.get(view, Q())


def _counts(alerts: object) -> dict[str, int]:
    names = ["", "open", "resolved", *AlertLevel.values]
    return Alert.objects.aggregate(**{name or "all": Count("pk", filter=_of(name)) for name in names})
