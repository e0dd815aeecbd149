"""The commands of one mailbox."""

from __future__ import annotations

from collections.abc import Callable

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.views.decorators.http import require_POST

from .. import lifecycle
from ..access import person, requires
from ..bulk import NOTHING_TO_TEST
from ..configtest import plan
from ..models import ConfigurationTest, Direction, Mailbox
from ..roles import ADMINISTER, APPROVE
from .frame import local_address
from .mailbox_page import mailbox_of


@require_POST
@requires(ADMINISTER)
def test(request: HttpRequest, pk: int) -> HttpResponse:
    """Ask for Test & Enable; a worker takes it up at once."""
    return ask_for_test(request, mailbox_of(pk))


def ask_for_test(request: HttpRequest, mailbox: Mailbox, *, enables: bool = True) -> HttpResponse:
    """Request a test, and show its ladder."""
    request_test(request, mailbox, enables=enables)
    return redirect(reverse("mailbox-edit", args=[mailbox.pk]) + "#results")


def request_test(request: HttpRequest, mailbox: Mailbox, *, enables: bool = True) -> None:
    """Request a test, or a look that enables nothing; or say that there is nothing to test."""
    if any(plan(mailbox, direction) for direction in Direction.values):
        ConfigurationTest.request(mailbox, person(request), enables=enables)
    else:
        messages.warning(request, NOTHING_TO_TEST)


@require_POST
@requires(APPROVE)
def approve(request: HttpRequest, pk: int) -> HttpResponse:
    mailbox = mailbox_of(pk)
    return _told(request, mailbox, "approved", lambda: lifecycle.approve(mailbox, person(request)))


@require_POST
@requires(APPROVE)
def reject(request: HttpRequest, pk: int) -> HttpResponse:
    mailbox = mailbox_of(pk)
    return _told(request, mailbox, "rejected", lambda: lifecycle.reject(mailbox, person(request)))


@require_POST
@requires(ADMINISTER)
def activate(request: HttpRequest, pk: int) -> HttpResponse:
    mailbox = mailbox_of(pk)
    return _told(request, mailbox, "active", lambda: lifecycle.activate(mailbox))


@require_POST
@requires(ADMINISTER)
def deactivate(request: HttpRequest, pk: int) -> HttpResponse:
    mailbox = mailbox_of(pk)
    return _told(request, mailbox, "deactivated: nothing runs for it", lambda: lifecycle.deactivate(mailbox))


@require_POST
@requires(ADMINISTER)
def collect(request: HttpRequest, pk: int) -> HttpResponse:
    """Make incoming mail due at once, or say what keeps it from running."""
    mailbox = mailbox_of(pk)
    if lifecycle.collect_now(mailbox):
        messages.success(request, f"{mailbox.name} is collected as soon as a worker is free.")
    else:
        messages.error(request, lifecycle.why_not_collected(mailbox))
    return redirect("mailbox-edit", mailbox.pk)


def _told(request: HttpRequest, mailbox: Mailbox, done: str, act: Callable[[], None]) -> HttpResponse:
    """Act, and say that it is done or why it was refused."""
    try:
        act()
    except ValidationError as error:
        messages.error(request, " ".join(error.messages))
    else:
        messages.success(request, f"{mailbox.name} is {done}.")
    back = local_address(request, request.POST.get("next", ""))
    return redirect(back or reverse("mailbox-edit", args=[mailbox.pk]))
