"""The ledger of one mailbox: everything that its server ever showed us, and where it is now."""

from __future__ import annotations

from django.contrib import messages
from django.db.models import Count
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST, require_safe

from .. import lifecycle, roles
from ..access import requires
from ..alerts import ledger_cause
from ..models import Alert, Direction, Mailbox, Reconciliation, SkippedMessage, SkipReason
from ..sync.ledger import balances, reconcile_soon
from .mailbox_page import mailbox_of


@require_safe
@requires(roles.SEE_MAILBOXES)
def ledger(request: HttpRequest, pk: int) -> HttpResponse:
    """What was seen, stored and skipped in each generation of the folder, and the last comparison with the server."""
    mailbox = mailbox_of(pk)
    may_administer = request.user.has_perm(roles.ADMINISTER)
    context = {
        "mailbox": mailbox,
        "balances": balances(mailbox),
        "skipped": _skipped(mailbox),
        "found": Reconciliation.objects.filter(mailbox=mailbox).first(),
        "asked_at": mailbox.state(Direction.INCOMING).reconcile_asked_at,
        "alert": Alert.objects.filter(cause=ledger_cause(pk), resolved_at=None).first(),
        "may_administer": may_administer,
    }
    return render(request, "mailboxes/ledger.html", context)


def _skipped(mailbox: Mailbox) -> list[tuple[str, int]]:
    rows = SkippedMessage.objects.filter(mailbox=mailbox).order_by()
    counts = dict(rows.values_list("why").annotate(Count("pk")))
    return [(str(SkipReason(why).label), counts[why]) for why in sorted(counts)]


@require_POST
@requires(roles.ADMINISTER)
def reconcile(request: HttpRequest, pk: int) -> HttpResponse:
    """Have the folder compared in a cycle that comes at once, or say what keeps the mailbox from running."""
    mailbox = mailbox_of(pk)
    if lifecycle.collect_now(mailbox):
        reconcile_soon(mailbox)
        messages.success(request, f"{mailbox.name} is reconciled as soon as a worker is free.")
    else:
        messages.error(request, lifecycle.why_not_collected(mailbox))
    return redirect("mailbox-ledger", pk)
