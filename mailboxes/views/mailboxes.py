"""One mailbox: its form, and the parts of its page that change while it is shown."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from emailprofiles.models import EmailServerProfile

from ..access import person, requires
from ..forms.mailbox import MailboxForm
from ..models import Alert, Direction, IncomingMethod, Mailbox
from ..roles import ADMINISTER, APPROVE, SEE_ALERTS, SEE_MAILBOXES
from ..standing import Office, first_unmet
from .mailbox_commands import ask_for_test
from .mailbox_page import activity_of, mailbox_of, results_page, say_what_a_new_address_waits_for


@require_http_methods(["GET", "HEAD", "POST"])
@requires(ADMINISTER)
def new(request: HttpRequest) -> HttpResponseBase:
    """A new forward mailbox; mailboxes of users and queues are made with them."""
    form = MailboxForm(request.POST or None, instance=_new_forward(request), initial=_proposed(request))
    if request.method == "POST" and form.try_save():
        return _after_save(request, form)
    return render(request, "mailboxes/mailbox_new.html", {"form": form, "office": Office.read()})


def _new_forward(request: HttpRequest) -> Mailbox:
    return Mailbox.new_forward(owner=person(request))


def _proposed(request: HttpRequest) -> dict[str, Any]:
    """What the empty form proposes; a request that leaves a field out gets the record's own default."""
    profile = EmailServerProfile.objects.filter(is_default=True, is_active=True).first()
    own = profile is not None and profile.authenticate_using == "mailbox"
    return {
        "incoming_method": IncomingMethod.SERVER_SIDE,
        "server_profile": profile.pk if profile else None,
        "allow_credentials": own or profile is None,
    }


@require_http_methods(["GET", "HEAD", "POST"])
@requires(SEE_MAILBOXES, to_change=ADMINISTER)
def edit(request: HttpRequest, pk: int) -> HttpResponseBase:
    """One mailbox of any kind; who may only look sees the same page with nothing to change."""
    office, mailbox = Office.read(pk), mailbox_of(pk)
    may_administer = request.user.has_perm(ADMINISTER)
    form = MailboxForm(request.POST or None, instance=mailbox, read_only=not may_administer)
    if request.method == "POST" and form.try_save():
        if "email_address" in form.changes:
            say_what_a_new_address_waits_for(request, mailbox_of(pk))
        return _after_save(request, form)
    # A refused form has left its marks on the record in memory: the page shows the stored one.
    stored = mailbox_of(pk) if form.is_bound else mailbox
    context = _page(request, stored, office) | {"form": form, "may_administer": may_administer}
    return render(request, "mailboxes/mailbox_edit.html", context)


def _after_save(request: HttpRequest, form: MailboxForm) -> HttpResponse:
    mailbox, then = form.instance, request.POST.get("then")
    for sentence in form.meanwhile:
        messages.info(request, sentence)
    if then in ("test", "look"):
        return ask_for_test(request, mailbox, enables=then == "test")
    messages.success(request, f"{mailbox.name} is saved.")
    return redirect("mailbox-list") if then == "close" else redirect("mailbox-edit", mailbox.pk)


def _page(request: HttpRequest, mailbox: Mailbox, office: Office) -> dict[str, Any]:
    """Everything around the form of one mailbox."""
    return results_page(mailbox, office) | {
        "activity": activity_of(mailbox, person(request)),
        "alerts": _open_alerts(mailbox) if request.user.has_perm(SEE_ALERTS) else [],
        "may_approve": request.user.has_perm(APPROVE),
        "may_collect": first_unmet(mailbox, Direction.INCOMING, office) is None
        and mailbox.incoming_method == IncomingMethod.SERVER_SIDE,
    }


def _open_alerts(mailbox: Mailbox) -> QuerySet[Alert]:
    return Alert.objects.filter(mailbox=mailbox, resolved_at=None)[:5]


# ── Fragments ───────────────────────────────────────────────────────────────────────────────


@require_POST
@requires(ADMINISTER)
def new_methods(request: HttpRequest) -> HttpResponse:
    return _methods(request, _new_forward(request))


@require_POST
@requires(ADMINISTER)
def methods(request: HttpRequest, pk: int) -> HttpResponse:
    return _methods(request, mailbox_of(pk))


def _methods(request: HttpRequest, mailbox: Mailbox) -> HttpResponse:
    """The section Synchronization Method for what is chosen now; nothing is saved or judged."""
    chosen = {name: value for name, value in request.POST.items() if name in MailboxForm.base_fields}
    form = MailboxForm(instance=mailbox, initial=chosen)
    context = {"form": form, "office": Office.read(), "mailbox": mailbox, "may_administer": True, "oob": True}
    return render(request, "mailboxes/_mailbox_methods.html", context)


@require_safe
@requires(SEE_MAILBOXES)
def results(request: HttpRequest, pk: int) -> HttpResponse:
    """The test results as they are now; polled while a test is open."""
    office, mailbox = Office.read(pk), mailbox_of(pk)
    context = results_page(mailbox, office)
    context |= {"may_administer": request.user.has_perm(ADMINISTER), "oob": True}
    return render(request, "mailboxes/_mailbox_results.html", context)
