"""Where a person lands, and what stands behind the gear."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_safe

from .. import roles
from ..access import requires, signed_in
from .frame import CONFIGURATION

_SAYS = {
    "mailbox": "How the mail of each address is synchronized: users, queues, forward mailboxes.",
    "profile": "How to speak to a mail server: location, security, sign-in. Many mailboxes share one.",
    "queue": "Shared addresses, such as Support. Each has its own mailbox.",
    "user": "People who sign in here, and whose mail is synchronized. Each has a mailbox.",
    "configuration": "Defaults for new mailboxes, approvals, and how forwarded copies are recognised.",
    "routing": "Paste a message, and see for whom it would be and why. Nothing is delivered.",
}


@signed_in
def home(request: HttpRequest) -> HttpResponseBase:
    """Mailboxes for who looks after them, what waits for who approves, messages for everyone else."""
    user = request.user
    if not user.has_perm(roles.SEE_MAILBOXES):
        return redirect("message-list")
    only_approves = user.has_perm(roles.APPROVE) and not user.has_perm(roles.ADMINISTER)
    return redirect(reverse("mailbox-list") + ("?view=approval" if only_approves else ""))


@require_safe
@requires(roles.SEE_MAILBOXES)
def settings_home(request: HttpRequest) -> HttpResponse:
    """Settings > Email Configuration: the gear's page."""
    entries = [
        {"label": label, "icon": icon, "address": reverse(page), "says": _SAYS[section]}
        for section, label, icon, page, permission in CONFIGURATION
        if request.user.has_perm(permission)
    ]
    return render(request, "mailboxes/settings_home.html", {"entries": entries})
