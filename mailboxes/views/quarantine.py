"""Quarantine: what was collected and could not be delivered, until a person or a change lets it through."""

from __future__ import annotations

from collections.abc import Sequence

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.db.models import Count, QuerySet
from django.http import HttpRequest, HttpResponse, QueryDict
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from emailprofiles.search import options

from .. import alerts, roles, search
from ..access import person, requires
from ..forms.quarantine import DeliverForm, DiscardForm, Targets
from ..models import Mailbox, Message, MessageState
from ..models.mail import Messages
from ..quarantine import AT_ONCE, Outcome, all_again, all_to, discard_all, put_back
from ..routing import REASON_LABELS, Reason
from ..sync.resume import ATTEMPTS
from .messages import page_of

DEFERRED = ("considered", "recipients", "defects")
FORMS: dict[str, type[DeliverForm | DiscardForm]] = {"deliver": DeliverForm, "discard": DiscardForm}


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
    rows = _narrowed(request.GET).defer(*DEFERRED).select_related("mailbox", "waiting_for", "discarded_by")
    page = page_of(rows, request)
    here = [message.pk for message in page.rows]
    picks, collectors = _picks(request.GET), Message.objects.filter(state=MessageState.QUARANTINED)
    return {
        "page": page,
        "collectors": Mailbox.objects.filter(pk__in=collectors.order_by().values("mailbox"))
        .only("pk", "name")
        .order_by("name")[:200],
        "is_filtered": any(request.GET.get(name) for name in ("q", "mailbox", "reason")),
        "is_discarded": request.GET.get("state") == MessageState.DISCARDED,
        "is_all": request.GET.get("all") == "1",
        "at_once": AT_ONCE,
        "picks": picks,
        "picked_elsewhere": [pick for pick in picks if pick not in here],
        "page_picks": ",".join(map(str, here)),
    }


def _narrowed(asked: QueryDict) -> QuerySet[Message]:
    """What a state, a reason, a mailbox and words in an address or a form leave; in no order."""
    discarded = asked.get("state") == MessageState.DISCARDED
    rows: Messages = Message.objects.filter(
        state=MessageState.DISCARDED if discarded else MessageState.QUARANTINED
    )
    if reason := asked.get("reason", ""):
        rows = rows.filter(reason=reason)
    if (collected_by := asked.get("mailbox", "")).isdecimal():
        rows = rows.filter(mailbox=int(collected_by[:18]))
    return search.matching(rows, asked.get("q", ""))


def _picks(asked: QueryDict) -> list[int]:
    """Of `pick` (repeated) and `page_picks`, those of a whole page."""
    written = [*asked.getlist("pick"), *asked.get("page_picks", "").split(",")]
    return list(dict.fromkeys(int(pick[:18]) for pick in written if pick.isdecimal()))[:AT_ONCE]


@require_POST
@requires(roles.ADMINISTER)
def many(request: HttpRequest) -> HttpResponse:
    """A command for what is ticked, or for all that the filters leave; says of each message what became of it."""
    command, chosen = request.POST.get("command", ""), _chosen(request.POST)
    if not chosen or command not in ("again", *FORMS):
        messages.warning(request, "Select messages first; nothing was done.")
        return redirect("quarantine")
    if command == "again":
        return _said(request, "Try again", all_again(chosen))
    return _asked(request, command, chosen)


def _chosen(asked: QueryDict) -> list[Message]:
    rows = Message.objects.defer(*DEFERRED).select_related("mailbox").order_by("-received_at", "-pk")
    if asked.get("all") == "1":
        return list(rows.filter(pk__in=_narrowed(asked).order_by().values("pk"))[:AT_ONCE])
    return list(rows.filter(pk__in=_picks(asked)))


def _asked(request: HttpRequest, command: str, chosen: Sequence[Message]) -> HttpResponse:
    """The page that asks for whom, or why; with the answer the command is carried out."""
    form = FORMS[command](request.POST if "confirmed" in request.POST else None)
    if not (form.is_bound and form.is_valid()):
        return _form(request, command, chosen, form)
    if command == "deliver":
        target = form.cleaned_data["target"]
        return _said(request, f"Deliver to {target.name}", all_to(chosen, target, person(request)))
    reason = form.cleaned_data["reason"]
    return _said(request, "Discard", discard_all(chosen, reason, person(request)))


def _form(
    request: HttpRequest, command: str, chosen: Sequence[Message], form: DeliverForm | DiscardForm
) -> HttpResponse:
    context = {"form": form, "chosen": chosen, "command": command, "message": chosen[0]}
    template = f"mailboxes/quarantine_{command}.html"
    return render(request, template, context, status=422 if form.errors else 200)


def _said(request: HttpRequest, title: str, outcomes: Sequence[Outcome]) -> HttpResponse:
    left = sum(outcome.has_left for outcome in outcomes)
    context = {"title": title, "outcomes": outcomes, "left": left, "stayed": len(outcomes) - left}
    return render(request, "mailboxes/quarantine_outcomes.html", context)


@require_POST
@requires(roles.ADMINISTER)
def retry(request: HttpRequest, pk: int) -> HttpResponse:
    """Route one message anew, now, and say what came of it."""
    _say(request, all_again([_one(pk)])[0])
    return redirect("quarantine")


def _one(pk: int) -> Message:
    rows = Message.objects.select_related("mailbox")
    return get_object_or_404(rows, pk=pk)


def _say(request: HttpRequest, outcome: Outcome) -> None:
    say = messages.success if outcome.has_left else messages.warning
    say(request, f"“{outcome.message}”: {outcome.sentence}")


@require_http_methods(["GET", "POST"])
@requires(roles.ADMINISTER)
def deliver(request: HttpRequest, pk: int) -> HttpResponse:
    """Ask for whom one message is, and deliver it there."""
    message, form = _one(pk), DeliverForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        outcome = all_to([message], form.cleaned_data["target"], person(request))[0]
        if outcome.has_left:
            _say(request, outcome)
            return redirect("quarantine")
        form.add_error("target", outcome.sentence)
    return _form(request, "deliver", [message], form)


@require_http_methods(["GET", "POST"])
@requires(roles.ADMINISTER)
def discard(request: HttpRequest, pk: int) -> HttpResponse:
    """Ask why one message is given up, and discard it."""
    message, form = _one(pk), DiscardForm(request.POST if request.method == "POST" else None)
    if request.method == "POST" and form.is_valid():
        _say(request, discard_all([message], form.cleaned_data["reason"], person(request))[0])
        return redirect("quarantine")
    return _form(request, "discard", [message], form)


@require_POST
@requires(roles.ADMINISTER)
def restore(request: HttpRequest, pk: int) -> HttpResponse:
    """Take a discarded message back into quarantine."""
    message = _one(pk)
    try:
        put_back(message)
    except ValidationError as error:
        messages.warning(request, " ".join(error.messages))
    else:
        alerts.quarantine_watched()
        messages.success(request, f"“{message}” is in quarantine again.")
    return redirect("message", pk)


@require_safe
@requires(roles.ADMINISTER)
def targets(request: HttpRequest) -> HttpResponse:
    """Users and queues that match what is typed."""
    return options(request, Targets())
