"""Users and queues: new ones, and one of each with its mailbox a click away."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.contrib import messages
from django.contrib.auth import update_session_auth_hash
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.html import format_html
from django.views.decorators.http import require_http_methods

from .. import door, roles
from ..access import person, requires
from ..departures import what_holds
from ..forms.people import QueueForm, UserForm
from ..models import Mailbox, Queue, User
from ..standing import Office, approval_stops
from .mailbox_page import label_of, rows_of, say_what_a_new_address_waits_for


@require_http_methods(["GET", "POST"])
@requires(roles.ADMINISTER)
def user_new(request: HttpRequest) -> HttpResponse:
    """A new person; the mailbox comes with them."""
    form = UserForm(request.POST or None, initial={"time_zone": settings.TIME_ZONE})
    if request.method == "POST" and form.try_save():
        return _saved(request, form, "user")
    return _shown(request, "mailboxes/user_form.html", form, None)


@require_http_methods(["GET", "POST"])
@requires(roles.ADMINISTER)
def user_edit(request: HttpRequest, pk: int) -> HttpResponse:
    """One person."""
    record = get_object_or_404(User.objects.select_related("mailbox"), pk=pk)
    form = UserForm(request.POST or None, instance=get_object_or_404(User, pk=pk))
    if request.method == "POST" and form.try_save():
        if form.cleaned_data["new_password"]:
            door.note_new_password(form.instance, by=person(request))
        if form.instance.pk == person(request).pk:  # a new password ends all sessions but this one
            update_session_auth_hash(request, form.instance)
        return _saved(request, form, "user")
    return _shown(request, "mailboxes/user_form.html", form, record)


@require_http_methods(["GET", "POST"])
@requires(roles.ADMINISTER)
def queue_new(request: HttpRequest) -> HttpResponse:
    """A new queue; the mailbox comes with it."""
    form = QueueForm(request.POST or None, initial={"owner": person(request).pk})
    if request.method == "POST" and form.try_save():
        return _saved(request, form, "queue")
    return _shown(request, "mailboxes/queue_form.html", form, None)


@require_http_methods(["GET", "POST"])
@requires(roles.ADMINISTER)
def queue_edit(request: HttpRequest, pk: int) -> HttpResponse:
    """One queue."""
    record = get_object_or_404(Queue.objects.select_related("mailbox", "owner"), pk=pk)
    form = QueueForm(request.POST or None, instance=get_object_or_404(Queue, pk=pk))
    if request.method == "POST" and form.try_save():
        return _saved(request, form, "queue")
    return _shown(request, "mailboxes/queue_form.html", form, record)


def _saved(request: HttpRequest, form: UserForm | QueueForm, kind: str) -> HttpResponse:
    record: User | Queue = form.instance
    for sentence in form.meanwhile:
        messages.info(request, sentence)
    mailbox = rows_of(Mailbox.objects.all()).get(**{kind: record})
    sentence = '{} is saved. <a href="{}">Open the mailbox</a>'
    messages.success(request, format_html(sentence, record.label, reverse("mailbox-edit", args=[mailbox.pk])))
    if record.address_field in form.changes:
        say_what_a_new_address_waits_for(request, mailbox)
    if request.POST.get("then") == "close":
        return redirect(f"{kind}-list")
    return redirect(f"{kind}-edit", record.pk)


def _shown(request: HttpRequest, template: str, form: Any, record: User | Queue | None) -> HttpResponse:
    context = {"form": form, "record": record} | (_beside(record) if record else {})
    return render(request, template, context, status=422 if form.errors else 200)


def _beside(record: User | Queue) -> dict[str, Any]:
    """What stands beside the form of a user or queue: the mailbox, what waits, and whether it can go."""
    mailbox, office = rows_of(Mailbox.objects.all()).get(**{record.kind: record}), Office.read()
    return {
        "mailbox": mailbox,
        "label": label_of(mailbox, office),
        "approval_stops": approval_stops(mailbox, office.settings),
        "held": what_holds(record),
        "owned": record.owned() if isinstance(record, User) else [],
        "kind": record.kind.value,
        "has_second_factor": isinstance(record, User) and door.has_second_factor(record),
    }
