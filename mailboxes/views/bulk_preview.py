"""What a command would do to a selection, counted in the database and told before it is done."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from django.db.models import Case, Count, Q, QuerySet, Value, When
from django.db.models.functions import Lower

from emailprofiles.models import AuthenticateUsing, EmailServerProfile

from ..bulk import as_words, default_settings
from ..models import (
    AppliedDefaults,
    Command,
    Direction,
    EmailConfigurationSettings,
    IncomingMethod,
    Kind,
    Mailbox,
    SyncState,
    Word,
)
from ..standing import Office
from .selection import KINDS, in_state

NAMED = 5


@dataclass(frozen=True, slots=True)
class Change:
    """So many mailboxes change one field from this to that."""

    label: str
    before: str
    after: str
    count: int


@dataclass(frozen=True, slots=True)
class Clip:
    """So many mailboxes get something else than the default, and why."""

    label: str
    default: str
    instead: str
    why: str
    count: int


@dataclass(slots=True)
class Consequences:
    """What a command would do; `seen` is what a person confirms by it, beside the number."""

    command: Command
    total: int
    names: list[str] = field(default_factory=list)
    stops: int = 0
    forward: int = 0
    changes: list[Change] = field(default_factory=list)
    clips: list[Clip] = field(default_factory=list)
    changed: int = 0
    unchanged: int = 0
    left_alone: int = 0
    credentials: int = 0
    defaults: AppliedDefaults | None = None

    @property
    def unnamed(self) -> int:
        return self.total - len(self.names)

    @property
    def deserves_a_look(self) -> bool:
        if self.command == Command.DEFAULTS:
            return True
        return self.command in (Command.DEACTIVATE, Command.REJECT) and self.total > 1

    @property
    def seen(self) -> str:
        return "" if self.defaults is None else f"{as_words(self.defaults)} {self.credentials}"


def consequences_of(
    command: Command, mailboxes: QuerySet[Mailbox], office: Office, total: int
) -> Consequences:
    """Counted only for commands that are shown before they are done."""
    would = Consequences(command, total)
    would.names = list(mailboxes.order_by(Lower("name"), "pk").values_list("name", flat=True)[:NAMED])
    if command == Command.DEFAULTS:
        _apply(would, mailboxes, office)
    elif would.deserves_a_look:
        running = in_state(mailboxes, Word.WORKING, office)
        if command == Command.REJECT:
            running = running.filter(_needs_approval(office.settings))
        would.stops = running.count()
        would.forward = mailboxes.filter(is_forward_mailbox=True).count()
    return would


def _needs_approval(settings: EmailConfigurationSettings) -> Q:
    needs = Q(pk__in=[])
    for kind, is_kind in KINDS.items():
        if settings.requires_approval(kind):
            needs |= is_kind
    return needs


# ── Apply Default Email Settings ────────────────────────────────────────────────────────────

_METHODS = ("incoming_method", "outgoing_method", "act_method")
_LABELS = {
    "server_profile": "Server Profile",
    "incoming_method": "Incoming Email",
    "outgoing_method": "Outgoing Email",
    "act_method": "Appointments, Contacts, and Tasks",
}
_WORDS = dict(IncomingMethod.choices)


@dataclass(frozen=True, slots=True)
class _Alike:
    """Mailboxes that are alike in all that the defaults look at."""

    kind: Kind
    profile: str
    profile_id: int | None
    methods: dict[str, str]
    stores_credentials: bool
    runs: bool
    count: int


def _alike(mailboxes: QuerySet[Mailbox], office: Office) -> Iterator[_Alike]:
    """All of the selection in groups, one query however many there are."""
    no: dict[str, Any] = {"default": Value(False)}
    running = SyncState.objects.running(*Direction, approved=office.settings.approved()).order_by()
    grouped = mailboxes.order_by().annotate(
        of_kind=Case(*(When(is_kind, then=Value(kind)) for kind, is_kind in KINDS.items())),
        stores=Case(When(~Q(password=""), allow_credentials=True, then=Value(True)), **no),
        runs=Case(When(pk__in=running.values("mailbox"), then=Value(True)), **no),
    )
    rows = grouped.values_list(
        "of_kind", "server_profile__name", "server_profile", *_METHODS, "stores", "runs"
    ).annotate(number=Count("pk"))
    for kind, name, profile, incoming, outgoing, act, stores, runs, number in rows:
        methods = dict(zip(_METHODS, (incoming, outgoing, act), strict=True))
        yield _Alike(Kind(kind), name or "None", profile, methods, bool(stores), bool(runs), number)


def _apply(would: Consequences, mailboxes: QuerySet[Mailbox], office: Office) -> None:
    would.defaults = default_settings()
    profile = would.defaults.server_profile
    changes: Counter[tuple[str, str, str]] = Counter()
    clips: Counter[tuple[str, str, str, str]] = Counter()
    for alike in _alike(mailboxes, office):
        if alike.kind == Kind.FORWARD:
            would.left_alone += alike.count
            continue
        wanted = office.settings.methods_for(alike.kind, profile)
        for name, default, why in _clipped(alike.kind, wanted, profile, office.settings):
            clips[_LABELS[name], _WORDS[default], _WORDS[wanted[name]], why] += alike.count
        found = list(_changes(alike, wanted, profile))
        for change in found:
            changes[change] += alike.count
        _add(would, alike, profile, is_changed=bool(found))
    would.changes = [Change(*change, count) for change, count in sorted(changes.items(), key=_as_on_the_form)]
    would.clips = [Clip(*clip, count) for clip, count in sorted(clips.items(), key=_as_on_the_form)]


def _as_on_the_form(counted: tuple[tuple[str, ...], int]) -> tuple[int, int, tuple[str, ...]]:
    """In the order of the fields, the most mailboxes first."""
    words, count = counted
    return list(_LABELS.values()).index(words[0]), -count, words


def _changes(
    alike: _Alike, wanted: dict[str, str], profile: EmailServerProfile | None
) -> Iterator[tuple[str, str, str]]:
    if profile is not None and alike.profile_id != profile.pk:
        yield _LABELS["server_profile"], alike.profile, profile.name
    for name, method in wanted.items():
        if alike.methods[name] != method:
            yield _LABELS[name], _WORDS[alike.methods[name]], _WORDS[method]


def _add(would: Consequences, alike: _Alike, profile: EmailServerProfile | None, *, is_changed: bool) -> None:
    if not is_changed:
        would.unchanged += alike.count
        return
    would.changed += alike.count
    would.stops += alike.count * alike.runs
    if profile is None or profile.authenticate_using != AuthenticateUsing.MAILBOX:
        return
    if alike.profile_id != profile.pk and alike.stores_credentials:
        would.credentials += alike.count


def _clipped(
    kind: Kind,
    wanted: dict[str, str],
    profile: EmailServerProfile | None,
    settings: EmailConfigurationSettings,
) -> Iterator[tuple[str, str, str]]:
    """The fields in which this kind gets something else than the default, with the reason."""
    for name, method in wanted.items():
        default = getattr(settings, f"default_{name}")
        if default != method:
            yield name, default, _why(kind, name, default, profile)


def _why(kind: Kind, name: str, default: str, profile: EmailServerProfile | None) -> str:
    if name == "act_method" and kind != Kind.USER:
        return "only a user has appointments, contacts, and tasks"
    if default == IncomingMethod.OUTLOOK:
        return "a queue has no Outlook of its own"
    if profile is None:
        return "there is no active default server profile"
    lacks = {
        "incoming_method": "has no incoming server",
        "outgoing_method": "has no outgoing server",
        "act_method": "cannot synchronize appointments, contacts, and tasks",
    }
    return f"the profile {profile.name} {lacks[name]}"
