"""Users and queues: lists, new ones, and one of each with its mailbox a click away."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.contrib import messages
from django.contrib.auth import update_session_auth_hash
from django.core.paginator import Paginator
from django.db.models import Count, Q
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.html import format_html
from django.views.decorators.http import require_http_methods, require_safe

from .. import door, roles
from ..access import person, requires
from ..forms.people import QueueForm, UserForm
from ..models import Mailbox, Queue, User

PAGE = 50


@require_safe
@requires(roles.ADMINISTER)
def user_list(request: HttpRequest) -> HttpResponse:
    """Everyone, active people first; each with role and mailbox."""
    words = request.GET.get("q", "").strip()
    found = User.objects.filter(_contains(words, "username", "first_name", "last_name", "email"))
    found = _of_state(found, request).select_related("mailbox").defer("mailbox__password")
    ordered = found.prefetch_related("groups").order_by("-is_active", "first_name", "last_name", "pk")
    page = Paginator(ordered, PAGE).get_page(request.GET.get("page"))
    rows = [(user, roles.role_of(user).label) for user in page]
    return _list(request, "mailboxes/user_list.html", words, page=page, rows=rows)


@require_safe
@requires(roles.ADMINISTER)
def queue_list(request: HttpRequest) -> HttpResponse:
    """All queues, active ones first; each with owner, members and mailbox."""
    words = request.GET.get("q", "").strip()
    found = Queue.objects.filter(_contains(words, "name", "email_address", "description"))
    found = _of_state(found, request).select_related("owner", "mailbox").defer("mailbox__password")
    ordered = found.annotate(member_count=Count("members")).order_by("-is_active", "name", "pk")
    page = Paginator(ordered, PAGE).get_page(request.GET.get("page"))
    return _list(request, "mailboxes/queue_list.html", words, page=page)


def _list(request: HttpRequest, template: str, words: str, **context: Any) -> HttpResponse:
    asked = {"words": words, "state": request.GET.get("state", "")}
    return render(request, template, context | asked)


def _contains(words: str, *fields: str) -> Q:
    """Each word typed stands in one of the fields."""
    condition = Q()
    for word in words.split()[:5]:
        condition &= Q(*((f"{field}__icontains", word) for field in fields), _connector=Q.OR)
    return condition


def _of_state(found: Any, request: HttpRequest) -> Any:
    states = {"active": True, "inactive": False}
    state = request.GET.get("state", "")
    return found.filter(is_active=states[state]) if state in states else found


@require_http_methods(["GET", "POST"])
@requires(roles.ADMINISTER)
def user_new(request: HttpRequest) -> HttpResponse:
    """A new person; the mailbox comes with them."""
    form = UserForm(request.POST or None, initial={"time_zone": settings.TIME_ZONE})
    if request.method == "POST" and form.try_save():
        return _saved(request, form.instance, "user")
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
        return _saved(request, form.instance, "user")
    return _shown(request, "mailboxes/user_form.html", form, record)


@require_http_methods(["GET", "POST"])
@requires(roles.ADMINISTER)
def queue_new(request: HttpRequest) -> HttpResponse:
    """A new queue; the mailbox comes with it."""
    form = QueueForm(request.POST or None, initial={"owner": person(request).pk})
    if request.method == "POST" and form.try_save():
        return _saved(request, form.instance, "queue")
    return _shown(request, "mailboxes/queue_form.html", form, None)


@require_http_methods(["GET", "POST"])
@requires(roles.ADMINISTER)
def queue_edit(request: HttpRequest, pk: int) -> HttpResponse:
    """One queue."""
    record = get_object_or_404(Queue.objects.select_related("mailbox", "owner"), pk=pk)
    form = QueueForm(request.POST or None, instance=get_object_or_404(Queue, pk=pk))
    if request.method == "POST" and form.try_save():
        return _saved(request, form.instance, "queue")
    return _shown(request, "mailboxes/queue_form.html", form, record)


def _saved(request: HttpRequest, record: User | Queue, kind: str) -> HttpResponse:
    mailbox = Mailbox.objects.only("pk").get(**{kind: record})
    sentence = '{} is saved. <a href="{}">Open the mailbox</a>'
    messages.success(request, format_html(sentence, record.label, reverse("mailbox-edit", args=[mailbox.pk])))
    return (
        redirect(f"{kind}-list")
        if request.POST.get("then") == "close"
        else redirect(f"{kind}-edit", record.pk)
    )


def _shown(request: HttpRequest, template: str, form: Any, record: User | Queue | None) -> HttpResponse:
    return render(request, template, {"form": form, "record": record}, status=422 if form.errors else 200)
