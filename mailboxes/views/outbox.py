"""The outbox: what was written, what became of it, and what a person can do about it."""

from __future__ import annotations

from collections.abc import Callable

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.db.models import Count, Q, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.http import require_POST, require_safe

from .. import outbox
from ..access import person, signed_in
from ..correspondence import conversation
from ..models import OutgoingFile, OutgoingMessage, OutgoingState
from ..models.outgoing import UNDELIVERED, UNFINISHED, WAITING, failed_lately
from ..standing import Office
from .messages import HARMLESS_TYPES, download, page_of, paragraphs

AT_ONCE = 500

# What the tabs show.
VIEWS: dict[str, tuple[str, tuple[OutgoingState, ...]]] = {
    "waiting": ("Waiting", UNFINISHED),
    "uncertain": ("Uncertain", (OutgoingState.UNCERTAIN,)),
    "failed": ("Failed", UNDELIVERED),
    "sent": ("Sent", (OutgoingState.SENT,)),
    "drafts": ("Drafts", (OutgoingState.DRAFT,)),
}


@require_safe
@signed_in
def outbox_list(request: HttpRequest) -> HttpResponse:
    """Newest first; what a person may not see does not exist for them."""
    view, typed = request.GET.get("view", ""), request.GET.get("q", "").replace("\x00", "").strip()
    page = page_of(_narrowed(request), request, moment="created_at")
    office, counts = Office.read(), _counts(request)
    for one in page.rows:
        one.waits_for = outbox.why_it_waits(one, office)
    context = {
        "page": page,
        "tabs": [(name, label, counts[name]) for name, (label, _) in VIEWS.items()],
        "view": view,
        "is_filtered": bool(typed or view),
        "commands": [name for name in COMMANDS if _fits(name, view)],
        "may_write": bool(outbox.senders(person(request))),
    }
    return render(request, "mailboxes/outbox_list.html", context)


def _visible(request: HttpRequest) -> QuerySet[OutgoingMessage]:
    rows = OutgoingMessage.objects.visible_to(person(request))
    mailbox = ("mailbox__server_profile", "mailbox__user", "mailbox__queue", "mailbox__approval_by")
    rows = rows.select_related(*mailbox, "written_by").defer("html")
    return rows.prefetch_related("recipients", "mailbox__states")


def _narrowed(request: HttpRequest) -> QuerySet[OutgoingMessage]:
    rows = _visible(request).defer("text")
    view, typed = request.GET.get("view", ""), request.GET.get("q", "").replace("\x00", "").strip()[:200]
    if view in VIEWS:
        rows = rows.filter(state__in=VIEWS[view][1])
    if typed:
        to = OutgoingMessage.objects.filter(
            Q(recipients__address__icontains=typed) | Q(recipients__name__icontains=typed)
        )
        told = (
            Q(subject__icontains=typed)
            | Q(message_id=typed.strip("<>"))
            | Q(pk__in=to.order_by().values("pk"))
        )
        rows = rows.filter(told)
    return rows


def _counts(request: HttpRequest) -> dict[str, int]:
    """How many wait for something, or did not arrive lately; what is over is not counted."""
    waiting = Q(state__in=(*UNFINISHED, OutgoingState.UNCERTAIN, OutgoingState.DRAFT)) | failed_lately()
    rows = OutgoingMessage.objects.visible_to(person(request)).filter(waiting).order_by()
    counted = dict(rows.values_list("state").annotate(Count("pk")))
    return {name: sum(counted.get(state, 0) for state in states) for name, (_, states) in VIEWS.items()}


def _fits(command: str, view: str) -> bool:
    """Whether a command can do something for what a tab shows."""
    states = VIEWS[view][1] if view in VIEWS else tuple(OutgoingState)
    return bool(set(states) & set(COMMANDS[command][1]))


@require_safe
@signed_in
def message(request: HttpRequest, pk: int) -> HttpResponse:
    """One message: what it says, whom it reached, and why not yet."""
    found = get_object_or_404(_visible(request), pk=pk)
    context = {
        "message": found,
        "waits_for": outbox.why_it_waits(found, Office.read()),
        "text": list(paragraphs(found.text)),
        "files": found.files.defer("data"),
        "commands": [name for name, (_, states, _) in COMMANDS.items() if found.state in states],
        "conversation": conversation(found, person(request)),
    }
    return render(request, "mailboxes/outbox_message.html", context)


@require_safe
@signed_in
def raw(request: HttpRequest, pk: int) -> HttpResponse:
    """The bytes as they are sent."""
    found = get_object_or_404(_visible(request).exclude(state=OutgoingState.DRAFT), pk=pk)
    return download(found.raw, f"outgoing-{pk}.eml", "message/rfc822")


@require_safe
@signed_in
def file(request: HttpRequest, pk: int, number: int) -> HttpResponse:
    """One file that a message carries; always a download."""
    get_object_or_404(_visible(request), pk=pk)
    found = get_object_or_404(OutgoingFile, message=pk, pk=number)
    says = found.content_type if found.content_type in HARMLESS_TYPES else "application/octet-stream"
    return download(bytes(found.data), found.name, says)


# --- commands ---


def _send_now(request: HttpRequest, found: OutgoingMessage) -> str:
    if not outbox.send_now([found]):
        raise ValidationError("This message does not wait any more.")
    return "It is tried again now."


def _send_again(request: HttpRequest, found: OutgoingMessage) -> str:
    outbox.send_again(found)
    return "It is queued once more, for those who do not have it."


def _arrived(request: HttpRequest, found: OutgoingMessage) -> str:
    outbox.say_it_arrived(found, person(request))
    return "It is noted as sent."


def _cancel(request: HttpRequest, found: OutgoingMessage) -> str:
    outbox.cancel(found)
    found.refresh_from_db(fields=["state"])
    return "It is a draft again." if found.is_draft else "Those who do not have it yet do not get it."


Act = Callable[[HttpRequest, OutgoingMessage], str]
COMMANDS: dict[str, tuple[str, tuple[OutgoingState, ...], Act]] = {
    "now": ("Send now", WAITING, _send_now),
    "again": (
        "Send again",
        (*UNDELIVERED, OutgoingState.UNCERTAIN),
        _send_again,
    ),
    "arrived": ("It arrived", (OutgoingState.UNCERTAIN,), _arrived),
    "cancel": ("Cancel", (*WAITING, *UNDELIVERED), _cancel),
}


@require_POST
@signed_in
def command(request: HttpRequest, pk: int, name: str) -> HttpResponseBase:
    """A command for one message; what cannot be done any more is said, and nothing happens."""
    found = get_object_or_404(_visible(request), pk=pk)
    try:
        messages.success(request, COMMANDS[name][2](request, found))
    except ValidationError as error:
        messages.warning(request, " ".join(error.messages))
    if not OutgoingMessage.objects.visible_to(person(request)).filter(pk=pk).exists():
        return redirect("outbox-list")  # it is a draft again, of who wrote it
    return redirect("outbox-message", pk)


@require_POST
@signed_in
def delete(request: HttpRequest, pk: int) -> HttpResponseBase:
    """Throw a draft away."""
    found = get_object_or_404(_visible(request), pk=pk, written_by=person(request))
    try:
        outbox.delete_draft(found)
    except ValidationError as error:
        messages.warning(request, " ".join(error.messages))
        return redirect("outbox-message", pk)
    messages.success(request, "The draft is deleted.")
    return redirect("outbox-list")


@require_POST
@signed_in
def many(request: HttpRequest) -> HttpResponseBase:
    """A command for what is ticked; says how many it was carried out for, and why not for the others."""
    command = request.POST.get("command", "")
    written = [*request.POST.getlist("pick"), *request.POST.get("page_picks", "").split(",")]
    picks = list(dict.fromkeys(int(pick[:18]) for pick in written if pick.isdecimal()))[:AT_ONCE]
    back = redirect(f"{reverse('outbox-list')}?view={view}" if (view := _view(request)) else "outbox-list")
    if command not in COMMANDS or not picks:
        messages.warning(request, "Select messages first; nothing was done.")
        return back
    label, _, act = COMMANDS[command]
    done, refused = 0, dict[str, int]()
    visible = OutgoingMessage.objects.visible_to(person(request)).only("pk")
    for found in visible.filter(pk__in=picks).order_by("queued_at", "pk"):
        try:
            act(request, found)
            done += 1
        except ValidationError as error:
            sentence = " ".join(error.messages)
            refused[sentence] = refused.get(sentence, 0) + 1
    if done:
        messages.success(request, f"{label}: done for {done} message{'s' if done != 1 else ''}.")
    for sentence, count in refused.items():
        messages.warning(request, f"Not for {count}: {sentence}")
    return back


def _view(request: HttpRequest) -> str:
    asked = request.POST.get("view", "")
    return asked if asked in VIEWS else ""
