"""Email Configuration Settings: one record, one page."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods

from .. import post, roles
from ..access import requires
from ..forms.settings import SettingsForm
from ..models import Approval, EmailConfigurationSettings, Mailbox


@require_http_methods(["GET", "POST"])
@requires(roles.ADMINISTER)
def configuration(request: HttpRequest) -> HttpResponse:
    """The defaults of new mailboxes, the approvals, and how forwarded copies are recognised."""
    form = SettingsForm(request.POST or None, instance=EmailConfigurationSettings.load())
    if request.method == "POST" and form.try_save():
        messages.success(request, "Email Configuration Settings are saved.")
        for sentence in form.meanwhile:
            messages.info(request, sentence)
        close = request.POST.get("then") == "close"
        return redirect("settings-home" if close else "configuration")
    waiting = Mailbox.objects.filter(is_active=True, approval=Approval.PENDING).count()
    context = {"form": form, "waiting": waiting, "mail_is_set_up": post.is_set_up()}
    return render(request, "mailboxes/configuration.html", context, status=422 if form.errors else 200)
