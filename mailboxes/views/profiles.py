"""What people do to the mailboxes of an email server profile from its page."""

from __future__ import annotations

import logging

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.views.decorators.http import require_POST

from emailprofiles.models import EmailServerProfile

from .. import roles
from ..access import person, requires
from ..lifecycle import confirm_credentials

log = logging.getLogger(__name__)


@require_POST
@requires(roles.ADMINISTER)
def confirm(request: HttpRequest, pk: int) -> HttpResponse:
    """Let stored credentials go to the server as it was shown on the page, and only there."""
    profile = get_object_or_404(EmailServerProfile, pk=pk)
    shown = request.POST.get("location_version", "")
    profile.location_version = int(shown[:9]) if shown.isdecimal() else 0
    try:
        count = confirm_credentials(profile, person(request))
    except ValidationError as error:
        messages.error(request, " ".join(error.messages))
    else:
        log.warning("%s confirmed stored credentials of %d mailboxes for profile %d", request.user, count, pk)
        messages.success(request, f"The stored credentials of {_mailboxes(count)} may go to this server.")
    return redirect("profile-edit", pk)


def _mailboxes(count: int) -> str:
    return "1 mailbox" if count == 1 else f"{count} mailboxes"
