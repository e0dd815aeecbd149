"""The queues of the person who asks, and the public ones that everyone may join. A private one is told to nobody."""

from __future__ import annotations

from dataclasses import dataclass

from django.contrib import messages
from django.core.paginator import Paginator
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_POST, require_safe

from ..access import person, signed_in
from ..models import Queue, User

PAGE = 50


@dataclass(frozen=True, slots=True)
class Row:
    """A queue, and how the viewer takes part: as its owner, as a member, or not yet."""

    queue: Queue
    is_owner: bool
    is_member: bool


@require_safe
@signed_in
def own_queues(request: HttpRequest) -> HttpResponse:
    """Own queues and public ones, by name."""
    user = person(request)
    found = _known_to(user).select_related("owner", "mailbox").defer("mailbox__password")
    for word in request.GET.get("q", "").replace("\x00", "").split()[:5]:
        found = found.filter(
            Q(name__icontains=word) | Q(email_address__icontains=word) | Q(description__icontains=word)
        )
    page = Paginator(found.order_by("name", "pk"), PAGE).get_page(request.GET.get("page"))
    joined = set(user.queues.filter(pk__in=[queue.pk for queue in page]).values_list("pk", flat=True))
    rows = [Row(queue, queue.owner_id == user.pk, queue.pk in joined) for queue in page]
    context = {"page": page, "rows": rows, "is_filtered": bool(request.GET.get("q"))}
    return render(request, "mailboxes/own_queues.html", context)


@require_POST
@signed_in
def join(request: HttpRequest, pk: int) -> HttpResponseBase:
    """Become a member of a public queue, and see all of its messages."""
    queue = get_object_or_404(_open_to_all(), pk=pk)
    queue.members.add(person(request))
    messages.success(request, f"You are a member of {queue.name}: you see its messages, earlier ones, too.")
    return redirect("own-queues")


@require_POST
@signed_in
def leave(request: HttpRequest, pk: int) -> HttpResponseBase:
    """Cease to be a member; into a private queue, only an administrator brings somebody back."""
    queue = get_object_or_404(person(request).queues, pk=pk)
    queue.members.remove(person(request))
    messages.success(request, f"You have left {queue.name}: you do not see its messages any more.")
    return redirect("own-queues")


def _known_to(user: User) -> QuerySet[Queue]:
    """Those that the user owns or works on, and the public ones that are active."""
    own = Q(owner=user) | Q(pk__in=user.queues.order_by().values("pk"))
    return Queue.objects.filter(own | Q(pk__in=_open_to_all().order_by().values("pk")))


def _open_to_all() -> QuerySet[Queue]:
    return Queue.objects.filter(is_private=False, is_active=True)
