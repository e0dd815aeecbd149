"""The panels of the past on the pages of records; they bring their own queries, a few however long it is."""

from __future__ import annotations

from typing import Any

from django import template
from django.db.models import Model

from emailprofiles.history import entries_of

from .. import roles
from ..history import preceded_by, told
from ..models import Alert, Direction, Mailbox
from ..views.histories import history_address
from ..views.mailbox_page import LABELS, outcomes_of
from ..views.recent import recent

register = template.Library()

RECENT = 8
CHANGES = 6
TESTS = 5


@register.inclusion_tag("mailboxes/_recent.html", takes_context=True)
def recent_panel(context: dict[str, Any], mailbox: Mailbox) -> dict[str, Any]:
    """What happened at a mailbox lately."""
    sees_alerts = context["request"].user.has_perm(roles.SEE_ALERTS)
    return {"mailbox": mailbox, "events": recent(mailbox, RECENT, sees_alerts=sees_alerts)[:RECENT]}


@register.inclusion_tag("mailboxes/_changes.html")
def changes_panel(record: Model) -> dict[str, Any]:
    """The last changes of a record."""
    return {"entries": told(entries_of(record)[:CHANGES]), "address": history_address(record)}


@register.simple_tag
def what_preceded(alert: Alert, mailbox: Mailbox) -> str:
    """What was changed before a direction of this mailbox stopped; "" for other alerts, or for nothing."""
    return preceded_by(mailbox, alert.direction, alert.since) if alert.direction else ""


@register.inclusion_tag("mailboxes/_earlier_tests.html")
def earlier_tests(mailbox: Mailbox) -> dict[str, Any]:
    """The tests before the one that stands under Configuration Test Results."""
    tests = mailbox.tests.select_related("requested_by").prefetch_related("steps")
    listed = [test for test in tests[: TESTS + 2] if test.finished_at is not None]
    latest = mailbox.tests.values_list("pk", flat=True).first()
    earlier = [test for test in listed if test.pk != latest]
    return {
        "mailbox": mailbox,
        "labels": [LABELS[direction] for direction in Direction],
        "tests": [(test, outcomes_of(test)) for test in earlier[:TESTS]],
        "has_more": len(earlier) > TESTS,
    }
