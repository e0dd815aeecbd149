"""How the office shows itself to one person: times, theme, language; and the signature of what they write."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpRequest, HttpResponseBase
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_http_methods

from .. import roles
from ..access import person, signed_in
from ..forms.preferences import PreferencesForm
from ..models import User


@require_http_methods(["GET", "HEAD", "POST"])
@signed_in
def preferences(request: HttpRequest) -> HttpResponseBase:
    """One's own preferences; name, address, user name and role are an administrator's to change."""
    record = get_object_or_404(User, pk=person(request).pk)
    form = PreferencesForm(request.POST or None, instance=record)
    if request.method == "POST" and form.try_save():
        messages.success(request, "Your preferences are saved.")
        return redirect("me")
    context = {"form": form, "role": roles.role_of(person(request)).label}
    return render(request, "mailboxes/preferences.html", context, status=422 if form.errors else 200)
