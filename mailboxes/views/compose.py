"""Writing: a new message, an answer to one that was collected, and going on with a draft."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from django.contrib import messages
from django.db import IntegrityError
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_http_methods, require_safe

from emailprofiles.search import options

from .. import outbox, replying
from ..access import person, signed_in
from ..answers import TWENTY_LETTERS
from ..forms.compose import ComposeForm
from ..forms.recipients import Correspondents
from ..models import Mailbox, Message, OutgoingMessage, OutgoingState, RecipientKind, User
from ..models.outgoing import new_token
from ..replying import How
from ..writing import Person


@dataclass(frozen=True, slots=True)
class Answering:
    """The collected message that is answered or forwarded, as the address or the page names it."""

    message: Message
    how: How

    @classmethod
    def asked(cls, request: HttpRequest) -> Answering | None:
        """None when nothing is answered; 404 for a message that this person may not see."""
        given = request.POST if "answers" in request.POST else request.GET
        number, how = given.get("answers", ""), given.get("how", "")
        if not number.isdecimal() or how not in list(How):
            return None
        visible = Message.objects.visible_to(person(request))
        return cls(get_object_or_404(visible, pk=int(number[:18])), How(how))


@require_http_methods(["GET", "HEAD", "POST"])
@signed_in
def new(request: HttpRequest) -> HttpResponseBase:
    """A message that is not stored yet; `answers` and `how` in the address say what it answers.

    The page carries the token that the message will have: sent twice, it is one message all the same.
    """
    user, answering = person(request), Answering.asked(request)
    senders = outbox.senders(user)
    if not senders:
        own = Mailbox.objects.own(user).select_related("server_profile")
        return render(request, "mailboxes/compose_closed.html", {"own": own})
    token = request.POST.get("token", "")
    stored = (
        OutgoingMessage.objects.filter(token=token).first() if re.fullmatch(TWENTY_LETTERS, token) else None
    )
    if stored and stored.written_by == user:
        if stored.is_draft:
            return _write(request, stored, {}, answering)
        return redirect("outbox-message", stored.pk)
    draft, initial = _begun(request, user, senders, answering)
    draft.token = new_token() if stored or not re.fullmatch(TWENTY_LETTERS, token) else token
    try:
        return _write(request, draft, initial, answering)
    except IntegrityError:
        # Sent twice at the same time, and the other one was first.
        first = OutgoingMessage.objects.filter(token=token, written_by=user).first()
        if first is None:
            raise
        return redirect("outbox-message", first.pk)


def _begun(
    request: HttpRequest, user: User, senders: list[Mailbox], answering: Answering | None
) -> tuple[OutgoingMessage, dict[str, Any]]:
    """An empty message, or the beginning of an answer."""
    if answering is None:
        chosen, address = request.GET.get("from", ""), request.GET.get("to", "")
        mailbox = next((one for one in senders if str(one.pk) == chosen), senders[0])
        draft = OutgoingMessage(mailbox=mailbox, written_by=user)
        return draft, {"mailbox": mailbox.pk, "to": [Person("", address)] if address else []}
    draft = replying.begun(answering.message, answering.how, user, senders)
    people = replying.recipients_of(answering.message, answering.how, [draft.mailbox])
    initial: dict[str, Any] = {"mailbox": draft.mailbox_id, "subject": draft.subject, "text": draft.text}
    return draft, initial | {str(kind): given for kind, given in people.items()}


@require_http_methods(["GET", "HEAD", "POST"])
@signed_in
def edit(request: HttpRequest, pk: int) -> HttpResponseBase:
    """Go on with a draft of one's own."""
    own = _written_by(request).filter(state=OutgoingState.DRAFT)
    if request.method == "POST" and not own.filter(pk=pk).exists():
        return _too_late(request, get_object_or_404(_written_by(request), pk=pk))
    draft = get_object_or_404(own, pk=pk)
    recipients = list(draft.recipients.all())
    initial = {
        "mailbox": draft.mailbox_id,
        "subject": draft.subject,
        "text": draft.text,
        "as_html": bool(draft.html),
        "asks_report": draft.asks_report,
    } | {
        kind: [Person(one.name, one.address) for one in recipients if one.kind == kind]
        for kind in RecipientKind.values
    }
    return _write(request, draft, initial)


def _written_by(request: HttpRequest) -> QuerySet[OutgoingMessage]:
    return OutgoingMessage.objects.visible_to(person(request)).filter(written_by=person(request))


def _too_late(request: HttpRequest, sent: OutgoingMessage) -> HttpResponse:
    """It was sent from another window: what was typed here is kept, as the beginning of another message."""
    draft = OutgoingMessage(mailbox=sent.mailbox, written_by=person(request))
    form = ComposeForm(person(request), draft, None, request.POST)
    form.add_error(
        None,
        "This message was sent from another window. What you typed here stands below as a new one, without files: "
        "send it only if it is to go as well.",
    )
    return _page(request, form, draft)


def _write(
    request: HttpRequest,
    draft: OutgoingMessage,
    initial: dict[str, Any],
    answering: Answering | None = None,
) -> HttpResponseBase:
    user, posted = person(request), request.method == "POST"
    forwards = answering.message if answering and answering.how is How.FORWARD else None
    sent = (request.POST, request.FILES) if posted else (None, None)
    form = ComposeForm(user, draft, forwards, *sent, initial=initial)
    if answering and not forwards and not posted:
        form.fields["text"].widget.attrs["autofocus"] = True  # whom it is for stands there already
    if posted and (form.try_send() if request.POST.get("then") == "send" else form.try_save()):
        return _done(request, draft)
    return _page(request, form, draft, answering)


def _page(
    request: HttpRequest, form: ComposeForm, draft: OutgoingMessage, answering: Answering | None = None
) -> HttpResponse:
    signatures = [(one.name, outbox.signature_of(one)) for one in outbox.senders(person(request))]
    context = {
        "form": form,
        "draft": draft,
        "answering": answering,
        "signatures": [(name, text) for name, text in signatures if text],
    }
    return render(request, "mailboxes/compose.html", context, status=422 if form.errors else 200)


def _done(request: HttpRequest, draft: OutgoingMessage) -> HttpResponse:
    if draft.is_draft:
        messages.success(request, "The draft is saved.")
        return redirect("outbox-edit", draft.pk)
    messages.success(request, "The message is in the outbox.")
    return redirect("outbox-message", draft.pk)


@require_safe
@signed_in
def recipients(request: HttpRequest) -> HttpResponse:
    """Who may be meant by what is typed."""
    return options(request, Correspondents(person(request)))
