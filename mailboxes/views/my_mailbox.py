"""Everyone's own mailbox: how it stands, its alerts, its credentials, its test. No address here names a record."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_safe

from ..access import person, signed_in
from ..forms.credentials import OwnCredentialsForm
from ..models import Alert, Mailbox
from ..standing import Office
from .mailbox_commands import request_test
from .mailbox_page import Places, activity_of, checks_of, results_page, rows_of


@require_http_methods(["GET", "HEAD", "POST"])
@signed_in
def my_mailbox(request: HttpRequest) -> HttpResponseBase:
    """The page; a post stores the three columns of Credentials, whatever else it brings."""
    office, mailbox = _office(request), _own(request)
    form = OwnCredentialsForm(request.POST or None, instance=mailbox)
    if request.method == "POST" and form.try_save():
        return _after_save(request, form)
    # A refused form has left its marks on the record in memory: the page shows the stored one.
    stored = _own(request) if form.is_bound else mailbox
    context = _results(stored, office) | {
        "form": form,
        "alerts": Alert.objects.filter(mailbox=stored, resolved_at=None),
        "activity": activity_of(stored, person(request)),
    }
    return render(request, "mailboxes/my_mailbox.html", context, status=422 if form.errors else 200)


@require_safe
@signed_in
def results(request: HttpRequest) -> HttpResponse:
    """The test results as they are now; polled while a test is open."""
    office, mailbox = _office(request), _own(request)
    context = _results(mailbox, office) | {"oob": True}
    return render(request, "mailboxes/_mailbox_results.html", context)


def _office(request: HttpRequest) -> Office:
    return Office.read(*Mailbox.objects.filter(user=person(request)).values_list("pk", flat=True))


def _own(request: HttpRequest) -> Mailbox:
    """The mailbox of who asks; raises Http404 for somebody without one."""
    return get_object_or_404(rows_of(Mailbox.objects.all()), user=person(request))


def _after_save(request: HttpRequest, form: OwnCredentialsForm) -> HttpResponse:
    for sentence in form.meanwhile:
        messages.info(request, sentence)
    then = request.POST.get("then")
    if then in ("test", "look"):
        request_test(request, form.instance, enables=then == "test")
        return redirect(reverse("my-mailbox") + "#results")
    messages.success(request, "Your credentials are saved.")
    return redirect("my-mailbox")


def _results(mailbox: Mailbox, office: Office) -> dict[str, Any]:
    """The part of the page that a running test changes."""
    return results_page(mailbox, office) | {
        "checks": checks_of(mailbox, office, _places),
        "page_address": reverse("my-mailbox"),
        "results_address": reverse("my-mailbox-results"),
        "is_own": True,
    }


def _places(mailbox: Mailbox, direction: str) -> Places:
    """What the person can do about what is unmet, or who can."""
    administrator = "An email administrator can change this."
    return {
        "mailbox active": ("", administrator),
        "method is server-side": ("", administrator),
        "profile chosen and active": ("", administrator),
        "address approved": ("", "An address approver decides. Testing works meanwhile."),
        "credentials present": ("#id_allow_credentials", "Type them"),
        "credentials confirmed": ("", "Ask an email administrator, or type your password again."),
        "test passed": (f"#test-{direction}", "Show the test"),
        "forward mailbox runs": ("", "An email administrator looks after forward mailboxes."),
    }
