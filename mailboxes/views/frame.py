"""What every page shows around its content, and the person it is shown to."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any

from django.conf import settings
from django.contrib.auth.models import AnonymousUser
from django.db.models import Count, Q, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect
from django.urls import reverse
from django.utils import timezone, translation
from django.utils.formats import date_format
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.http import require_POST

from emailprofiles.history import acting

from .. import clock, roles
from ..access import person, signed_in
from ..models import Alert, EngineProcess, Mailbox, Message, MessageState, OutgoingMessage, OutgoingState
from ..models.choices import Theme
from ..models.outgoing import UNFINISHED, failed_lately


class PersonMiddleware:
    """Times are shown in the viewer's own zone, sentences in their language; changes are signed with their name."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        user = request.user
        with (
            timezone.override(getattr(user, "zone", None)),
            translation.override(_language_of(user)),
            _signed_by(user),
        ):
            return self.get_response(request)


def _signed_by(user: Any) -> AbstractContextManager[None]:
    return acting(user) if user.is_authenticated else acting(way="a page without sign-in")


def _language_of(user: Any) -> str:
    """A language that a later version dropped is no reason to show no page."""
    chosen: str = getattr(user, "language", "")
    return chosen if chosen in dict(settings.LANGUAGES) else settings.LANGUAGE_CODE


@dataclass(frozen=True, slots=True)
class Entry:
    """One pigeonhole of the rack; `section` begins the names of its pages."""

    section: str
    label: str
    icon: str
    address: str
    count: str = ""
    urgent: bool = False


@dataclass(frozen=True, slots=True)
class EngineBadge:
    """Whether somebody does the work, and since when not."""

    css: str
    icon: str
    sentence: str


# section, label, icon, name of the page, permission
CONFIGURATION = (
    ("mailbox", "Mailboxes", "mailbox", "mailbox-list", roles.SEE_MAILBOXES),
    ("profile", "Email Server Profiles", "server", "profile-list", roles.SEE_PROFILES),
    ("queue", "Queues", "queue", "queue-list", roles.ADMINISTER),
    ("user", "Users", "user", "user-list", roles.ADMINISTER),
    ("configuration", "Email Configuration Settings", "settings", "configuration", roles.ADMINISTER),
    ("routing", "Routing Simulator", "route", "routing-simulator", roles.ADMINISTER),
)

# Counts are capped: beyond this a figure says no more than "many".
_MANY = 999


class Frame:
    """The frame of one page; each part is read when the template asks for it, so a fragment costs nothing."""

    themes = Theme.choices

    def __init__(self, request: HttpRequest) -> None:
        self.request = request
        # A request that is refused before anybody is recognised has no user.
        self.user: Any = getattr(request, "user", AnonymousUser())

    @property
    def theme(self) -> str:
        """What the person chose; empty when the operating system decides."""
        chosen: str = getattr(self.user, "theme", Theme.AUTO)
        return "" if chosen == Theme.AUTO else chosen

    @property
    def language(self) -> str:
        """The language of the sentences, for screen readers."""
        return translation.get_language() or settings.LANGUAGE_CODE

    @property
    def section(self) -> str:
        match = self.request.resolver_match
        name = match.url_name if match else None
        return (name or "").partition("-")[0]

    @cached_property
    def role(self) -> str:
        return str(roles.role_of(self.user).label)

    @property
    def sees_alerts(self) -> bool:
        return bool(self.user.has_perm(roles.SEE_ALERTS))

    @property
    def sees_configuration(self) -> bool:
        return bool(self.user.has_perm(roles.SEE_MAILBOXES))

    @cached_property
    def alerts(self) -> str:
        return _capped(Alert.objects.filter(resolved_at=None))

    @cached_property
    def own_alerts(self) -> str | None:
        """How many alerts of the own mailbox are open; None for somebody without a mailbox."""
        mailboxes = Mailbox.objects.filter(user=self.user.pk)
        opened = mailboxes.annotate(opened=Count("alerts", filter=Q(alerts__resolved_at=None)))
        counts = list(opened.values_list("opened", flat=True))
        return str(counts[0] or "") if counts else None

    @cached_property
    def unsent(self) -> str:
        """How many messages wait in the outbox, or for a person, or did not arrive lately."""
        waiting = Q(state__in=(*UNFINISHED, OutgoingState.UNCERTAIN)) | failed_lately()
        return _capped(OutgoingMessage.objects.visible_to(self.user).filter(waiting))

    @cached_property
    def work(self) -> list[Entry]:
        entries = [
            Entry("message", "Messages", "message", reverse("message-list")),
            Entry("outbox", "Outbox", "outbox", reverse("outbox-list"), self.unsent),
            Entry("own", "My queues", "queue", reverse("own-queues")),
        ]
        if self.own_alerts is not None:
            address, alerts = reverse("my-mailbox"), self.own_alerts
            entries = [Entry("my", "My mailbox", "mailbox", address, alerts, urgent=True), *entries]
        if self.sees_alerts:
            waiting = _capped(Message.objects.filter(state=MessageState.QUARANTINED))
            entries += [
                Entry("quarantine", "Quarantine", "quarantine", reverse("quarantine"), waiting),
                Entry("alert", "Alerts", "bell", reverse("alert-list"), self.alerts, urgent=True),
            ]
        return entries

    @cached_property
    def configuration(self) -> list[Entry]:
        return [
            Entry(section, label, icon, reverse(page))
            for section, label, icon, page, permission in CONFIGURATION
            if self.user.has_perm(permission)
        ]

    @cached_property
    def engine(self) -> EngineBadge:
        seen = EngineProcess.objects.order_by("-seen_at").values_list("seen_at", flat=True).first()
        if seen is not None and seen > clock.now() - EngineProcess.SILENCE:
            return EngineBadge("is-ok", "ok", "Engine running")
        return EngineBadge("is-bad", "bad", engine_silence(seen))


def engine_silence(seen: datetime | None) -> str:
    """The sentence for an engine that is not running."""
    if seen is None:
        return "Engine not running"
    return f"Engine not running since {date_format(timezone.localtime(seen), 'j M, H:i')}"


def _capped(rows: QuerySet[Any]) -> str:
    """A count for the rack: empty for none, and never a slow one."""
    count = rows.order_by()[: _MANY + 1].count()
    return "" if not count else f"{_MANY}+" if count > _MANY else str(count)


def frame(request: HttpRequest) -> dict[str, object]:
    """Template context of the frame."""
    return {"frame": Frame(request)}


@require_POST
@signed_in
def set_theme(request: HttpRequest) -> HttpResponseBase:
    """Store light, dark or what the operating system says, and go back to the page."""
    user = person(request)
    chosen = request.POST.get("theme", "")
    if chosen in Theme.values:
        user.theme = chosen
        user.save(update_fields=["theme"])
    return redirect(local_address(request, request.POST.get("next", "")) or reverse("home"))


def local_address(request: HttpRequest, address: str) -> str:
    """The address if it leads to this site, else "": nobody is sent elsewhere by a link to us."""
    safe = url_has_allowed_host_and_scheme(
        address, allowed_hosts={request.get_host()}, require_https=request.is_secure()
    )
    return address if safe else ""
