"""Who uses an email server profile, how they fare, and what stops when it goes.

A profile knows nothing of mailboxes; what its pages say of them is read here. Counts are those of the list
of mailboxes, so that every figure leads to the list that it counts: active mailboxes with a direction in a state.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta

from django.core.exceptions import ValidationError
from django.db.models import Case, Count, Max, ProtectedError, QuerySet, Value, When
from django.utils import timezone

from emailprofiles.models import EmailServerProfile
from emailprofiles.network import certificate_expires
from emailprofiles.wire import StepName

from .lifecycle import unconfirmed
from .models import (
    Direction,
    EmailConfigurationSettings,
    Kind,
    Mailbox,
    ServerCircuit,
    StepState,
    SyncState,
    TestStep,
    Watch,
    Word,
)
from .models.state import SyncStates
from .standing import Office, Standing, needs_attention, worded

KIND = Case(
    When(queue__isnull=False, then=Value(Kind.QUEUE)),
    When(is_forward_mailbox=True, then=Value(Kind.FORWARD)),
    default=Value(Kind.USER),
)
ICONS = {Kind.QUEUE: "queue", Kind.FORWARD: "forward", Kind.USER: "user"}
NAMED = 2
EXPIRES_SOON = timedelta(days=14)


@dataclass(slots=True)
class Counts:
    """Active mailboxes of one profile, and how many have a direction in each state; by kind, too."""

    total: int = 0
    words: Counter[str] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    words_of_kinds: Counter[tuple[str, str]] = field(default_factory=Counter)
    deactivated: int = 0

    def add(self, kind: str, words: Iterable[str], number: int) -> None:
        self.total += number
        self.kinds[kind] += number
        for word in words:
            self.words[word] += number
            self.words_of_kinds[kind, word] += number

    @property
    def working(self) -> int:
        return self.words[Word.WORKING]

    @property
    def attention(self) -> int:
        return self.words[Word.ATTENTION]


def counted(profiles: Iterable[EmailServerProfile], office: Office) -> dict[int, Counts]:
    """The counts of some profiles, in two queries however many mailboxes use them."""
    counts = {profile.pk: Counts() for profile in profiles}
    users = Mailbox.objects.filter(server_profile__in=counts).order_by()
    active: QuerySet[Mailbox] = users.filter(is_active=True).annotate(of_kind=KIND)
    for direction in Direction:
        active = worded(active, direction, office)
    words = [f"{direction}_word" for direction in Direction]
    groups = active.values_list("server_profile", "of_kind", *words).annotate(number=Count("pk"))
    for profile, kind, *found, number in groups:
        counts[profile].add(kind, set(found), number)
    resting = users.filter(is_active=False).values_list("server_profile").annotate(number=Count("pk"))
    for profile, number in resting:
        counts[profile].deactivated = number
    return counts


@dataclass(frozen=True, slots=True)
class Share:
    """The active mailboxes of one kind that use a profile."""

    kind: Kind
    icon: str
    total: int
    working: int
    attention: int


@dataclass(frozen=True, slots=True)
class Certificate:
    """Until when the certificate is valid that a test saw last, of the server whose certificate ends first."""

    until: date
    shown: Standing


@dataclass(frozen=True, slots=True)
class Use:
    """What the page of a profile says of its mailboxes and its server."""

    counts: Counts
    shares: list[Share]
    others: list[tuple[str, str, int]]
    troubled: list[str]
    last_success: datetime | None
    unconfirmed: int
    circuits: list[ServerCircuit]
    connections: int
    certificate: Certificate | None

    @property
    def mailboxes(self) -> int:
        """All that keep the profile from being deleted."""
        return self.counts.total + self.counts.deactivated


# What the foot of the panel tells beside the columns, in this order.
_OTHERS = (Word.WAITING, Word.OUT_OF_DATE, Word.TESTING, Word.UNTESTED, Word.NOT_SET_UP)


def use_of(profile: EmailServerProfile) -> Use:
    """In a constant number of queries."""
    office = Office.read()
    counts = counted([profile], office)[profile.pk]
    states = SyncState.objects.filter(mailbox__server_profile=profile)
    watches = Watch.objects.filter(mailbox__server_profile=profile, lease_until__gt=office.now)
    return Use(
        counts=counts,
        shares=[_share(kind, counts) for kind in ICONS],
        others=[(word.value, str(word.label), counts.words[word]) for word in _OTHERS if counts.words[word]],
        troubled=_troubled(profile, office) if counts.attention else [],
        last_success=states.aggregate(newest=Max("last_success_at"))["newest"],
        unconfirmed=unconfirmed(profile),
        circuits=[found for (pk, _), found in sorted(office.circuits.items()) if pk == profile.pk],
        connections=states.filter(lease_until__gt=office.now).count() + watches.count(),
        certificate=_certificate(profile),
    )


def _share(kind: Kind, counts: Counts) -> Share:
    working, attention = (counts.words_of_kinds[kind, word] for word in (Word.WORKING, Word.ATTENTION))
    return Share(kind, ICONS[kind], counts.kinds[kind], working, attention)


def _troubled(profile: EmailServerProfile, office: Office) -> list[str]:
    """The names of the first mailboxes that need a person."""
    troubled = Mailbox.objects.filter(needs_attention(office.settings), server_profile=profile)
    return list(troubled.order_by("name").values_list("name", flat=True)[:NAMED])


def _certificate(profile: EmailServerProfile) -> Certificate | None:
    """None where no test has seen one since the profile is as it is."""
    seen = (_last_tls(profile, direction) for direction in (Direction.INCOMING, Direction.OUTGOING))
    until = min((day for said in seen if (day := certificate_expires(said))), default=None)
    return Certificate(until, _validity(until)) if until else None


def _last_tls(profile: EmailServerProfile, direction: Direction) -> str:
    states = SyncState.objects.filter(
        direction=direction,
        tested_profile_version=profile.connection_version,
        mailbox__server_profile=profile,
    )
    steps = TestStep.objects.filter(
        test__mailbox__in=states.values("mailbox"),
        test__finished_at__isnull=False,
        direction=direction,
        name=StepName.TLS,
        state=StepState.PASSED,
    )
    return steps.order_by("-pk").values_list("seen", flat=True).first() or ""


def _validity(until: date) -> Standing:
    left = until - timezone.localdate()
    if left < timedelta(0):
        return Standing("is-bad", "bad", "Expired")
    if left < EXPIRES_SOON:
        return Standing("is-wait", "wait", "Expires soon")
    return Standing("is-ok", "ok", "Valid")


# ── It goes, and comes back ─────────────────────────────────────────────────────────────────


def what_stops(profile: EmailServerProfile) -> list[str]:
    """What deactivating this profile stops, as sentences."""
    receiving, sending = (_running(profile, one) for one in (Direction.INCOMING, Direction.OUTGOING))
    sentences = [_stop(receiving.count(), sending.count())]
    if collecting := receiving.filter(mailbox__is_forward_mailbox=True).count():
        boxes = "a forward mailbox" if collecting == 1 else f"{collecting} forward mailboxes"
        sentences.append(f"Among them is {boxes}: who receives through it gets nothing, too.")
    if profile.is_default:
        sentences.append(
            "It is the default for new mailboxes: until another one is, they begin without a profile."
        )
    sentences.append("Mail stays on the server. Settings, stored credentials and test results are kept.")
    return sentences


def _stop(receiving: int, sending: int) -> str:
    parts = [
        f"{what} for {in_words(number)}"
        for what, number in (("receiving", receiving), ("sending", sending))
        if number
    ]
    return f"This stops {' and '.join(parts)}." if parts else "Nothing runs through this profile now."


def _running(profile: EmailServerProfile, direction: Direction) -> SyncStates:
    approved = EmailConfigurationSettings.load().approved()
    return SyncState.objects.running(direction, approved=approved).filter(mailbox__server_profile=profile)


def what_runs(profile: EmailServerProfile) -> str:
    """What an active profile makes possible now, for whoever has just activated it."""
    receiving, sending = (_running(profile, one).count() for one in (Direction.INCOMING, Direction.OUTGOING))
    parts = [
        f"{in_words(number)} {verb if number > 1 else verb + 's'}"
        for verb, number in (("receive", receiving), ("send", sending))
        if number
    ]
    return f"Again {' and '.join(parts)} through it." if parts else "No mailbox runs through it yet."


def delete(profile: EmailServerProfile) -> None:
    """Raises ValidationError while a mailbox uses it."""
    try:
        profile.delete()
    except ProtectedError as error:
        raise ValidationError(why_kept(Mailbox.objects.filter(server_profile=profile).count())) from error


def why_kept(number: int) -> str:
    """What forbids deleting a profile that so many mailboxes use; "" when nothing does."""
    if not number:
        return ""
    use = "uses" if number == 1 else "use"
    return (
        f"{in_words(number).capitalize()} {use} this profile, deactivated ones included: choose another profile "
        "there first."
    )


def in_words(number: int) -> str:
    return "1 mailbox" if number == 1 else f"{number} mailboxes"
