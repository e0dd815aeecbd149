"""Quarantine: what was collected and could not be delivered, until a person or a change lets it through."""

from __future__ import annotations

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.db.models import Count
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from emailprofiles.search import options

from .. import roles
from ..access import person, requires
from ..forms.quarantine import DeliverForm, Targets
from ..models import Mailbox, Message, MessageState
from ..routing import REASON_LABELS, Reason
from ..sync.resume import ATTEMPTS, deliver_to, try_again
from .messages import page_of, searched


@require_safe
@requires(roles.SEE_ALERTS)
def quarantine(request: HttpRequest) -> HttpResponse:
    """Administrators see the messages; who only looks sees how many wait for which reason."""
    waiting = Message.objects.filter(state=MessageState.QUARANTINED)
    counts = dict(waiting.order_by().values_list("reason").annotate(Count("pk")))
    context = {
        "reasons": [(reason, REASON_LABELS[Reason(reason)], counts[reason]) for reason in sorted(counts)],
        "total": sum(counts.values()),
        "attempts": ATTEMPTS,
        "says": f"After {ATTEMPTS} failed attempts to read a message we stop and wait for you; nothing is discarded "
        "without a person.",
    }
    if person(request).has_perm(roles.ADMINISTER):
        context |= _listed(request)
    return render(request, "mailboxes/quarantine.html", context)


def _listed(request: HttpRequest) -> dict[str, object]:
    rows = Message.objects.filter(state=MessageState.QUARANTINED).without_bodies()
    collected_by = request.GET.get("mailbox", "")
    if reason := request.GET.get("reason", ""):
        rows = rows.filter(reason=reason)
    if collected_by.isdecimal():
        rows = rows.filter(mailbox=int(collected_by[:18]))
    found = searched(rows.defer("raw", "text", "html", "considered"), request.GET.get("q", ""))
    collectors = Message.objects.filter(state=MessageState.QUARANTINED).order_by().values("mailbox")
    return {
        "page": page_of(found.select_related("mailbox", "waiting_for"), request),
        "collectors": Mailbox.objects.filter(pk__in=collectors).only("pk", "name").order_by("name")[:200],
        "is_filtered": any(request.GET.get(name) for name in ("q", "mailbox", "reason")),
    }


@require_POST
@requires(roles.ADMINISTER)
def retry(request: HttpRequest, pk: int) -> HttpResponse:
    """Route one message anew, now, and say what came of it."""
    message = get_object_or_404(Message.objects.without_bodies(), pk=pk)
    try:
        result = try_again(message)
    except ValidationError as error:
        messages.warning(request, " ".join(error.messages))
    else:
        _say(request, result)
    return redirect("quarantine")


def _say(request: HttpRequest, result: Message) -> None:
    if result.state == MessageState.QUARANTINED:
        sentence = f"“{result}” stays in quarantine. {result.reason_label}: {result.explanation}"
        messages.warning(request, sentence)
    else:
        messages.success(request, f"“{result}” was delivered. {result.explanation}")


@require_http_methods(["GET", "POST"])
@requires(roles.ADMINISTER)
def deliver(request: HttpRequest, pk: int) -> HttpResponse:
    """Ask for whom one message is, and deliver it there."""
    message = get_object_or_404(Message.objects.without_bodies().select_related("mailbox"), pk=pk)
    form = DeliverForm(request.POST or None)
    if request.method == "POST" and form.is_valid() and _delivered(request, message, form):
        return redirect("quarantine")
    status = 422 if form.errors else 200
    return render(
        request, "mailboxes/quarantine_deliver.html", {"message": message, "form": form}, status=status
    )


@require_safe
@requires(roles.ADMINISTER)
def targets(request: HttpRequest) -> HttpResponse:
    """Users and queues that match what is typed."""
    return options(request, Targets())


def _delivered(request: HttpRequest, message: Message, form: DeliverForm) -> bool:
    target: Mailbox = form.cleaned_data["target"]
    try:
        deliver_to(message, target, person(request))
    except ValidationError as error:
        form.add_error("target", error)
        return False
    messages.success(request, f"“{message}” was delivered to {target.name}.")
    return True
