"""How a direction of a mailbox stands: what it needs to run, and the word a page shows for it.

`preconditions` is the list on the mailbox page, and `SyncStates.running` its twin in SQL, which the
engine asks; `standing` is the word on the pages, and `worded` its twin, by which lists are filtered and
ordered. Tests hold each pair equal.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime

from django.contrib.humanize.templatetags.humanize import naturaltime
from django.db.models import Case, CharField, Exists, F, FilteredRelation, OuterRef, Q, QuerySet, Value, When
from django.db.models.functions import Coalesce
from django.db.models.lookups import Exact
from django.utils import timezone
from django.utils.formats import date_format

from emailprofiles.models import AuthenticateUsing, EmailServerProfile

from . import clock
from .models import (
    Approval,
    ConfigurationTest,
    Direction,
    EmailConfigurationSettings,
    EngineProcess,
    IncomingMethod,
    Mailbox,
    ServerCircuit,
    SyncState,
    TestStatus,
)
from .models.choices import Word
from .models.state import METHOD_FIELDS, SyncStates


class OpenTests:
    """Which mailboxes are being tested: asked for those that are shown, never for all."""

    def __init__(self) -> None:
        self._known: dict[int, bool] = {}

    def look_up(self, mailboxes: Iterable[int]) -> None:
        """Ask for the mailboxes of a list in one query."""
        asked = dict.fromkeys(mailboxes, False)
        if not asked:
            return
        tested = ConfigurationTest.objects.filter(finished_at=None, mailbox__in=asked).order_by()
        self._known |= asked | dict.fromkeys(tested.values_list("mailbox_id", flat=True), True)

    def __contains__(self, mailbox: int) -> bool:
        if mailbox not in self._known:
            self.look_up([mailbox])
        return self._known[mailbox]


@dataclass(frozen=True, slots=True)
class Office:
    """What all mailboxes share, read once for a page or a decision."""

    settings: EmailConfigurationSettings
    now: datetime
    circuits: dict[tuple[int, str], ServerCircuit]
    forward_mailbox_runs: bool
    forward_mailbox_exists: bool
    engine_alive: bool
    engine_seen_at: datetime | None
    open_tests: OpenTests

    @classmethod
    def read(cls, *mailboxes: int) -> Office:
        """Whether these mailboxes are being tested is asked first: rows that are read later then show what a test
        changed that is over, and a page that shows less is asked for again."""
        open_tests = OpenTests()
        open_tests.look_up(mailboxes)
        settings = EmailConfigurationSettings.load()
        engine = EngineProcess.objects.order_by("-seen_at").first()
        now = clock.now()
        forward = Mailbox.objects.filter(is_forward_mailbox=True, is_active=True)
        return cls(
            settings=settings,
            now=now,
            circuits={(one.profile_id, one.direction): one for one in ServerCircuit.objects.all()},
            forward_mailbox_runs=_forward_mailbox_runs(settings),
            forward_mailbox_exists=forward.exists(),
            engine_alive=engine is not None and engine.seen_at > now - EngineProcess.SILENCE,
            engine_seen_at=engine.seen_at if engine else None,
            open_tests=open_tests,
        )

    def circuit(self, mailbox: Mailbox, direction: str) -> ServerCircuit | None:
        """That of the server this direction speaks to, while it is open."""
        return self.circuits.get((mailbox.server_profile_id or 0, direction))

    def in_trouble(self, direction: str) -> list[int]:
        """The profiles whose server fails in this direction."""
        return [profile for profile, of in self.circuits if of == direction]


def _forward_mailbox_runs(settings: EmailConfigurationSettings) -> bool:
    running = SyncState.objects.running(Direction.INCOMING, approved=settings.approved())
    return running.filter(mailbox__is_forward_mailbox=True).exists()


@dataclass(frozen=True, slots=True)
class Precondition:
    """One thing a direction needs; `sentence` says how it is, `detail` adds since when or which."""

    name: str
    met: bool
    sentence: str
    detail: str = ""


def preconditions(mailbox: Mailbox, direction: str, office: Office) -> list[Precondition]:
    """What this direction needs to run, in the order in which it is asked."""
    return list(_asked(mailbox, direction, office))


def first_unmet(mailbox: Mailbox, direction: str, office: Office) -> Precondition | None:
    """What keeps this direction from running; None when it runs."""
    return next((need for need in _asked(mailbox, direction, office) if not need.met), None)


def _asked(mailbox: Mailbox, direction: str, office: Office) -> Iterator[Precondition]:
    yield _active(mailbox)
    if mailbox.method(direction) == IncomingMethod.FORWARD:
        yield _approved(mailbox, office.settings)
        yield _forward_runs(office)
        return
    yield _server_side(mailbox, direction)
    yield _profile_active(mailbox.server_profile)
    yield _approved(mailbox, office.settings)
    yield _credentials_present(mailbox)
    yield _credentials_confirmed(mailbox)
    yield _test_passed(mailbox, direction)
    yield _not_postponed(mailbox.state(direction), office.now)
    yield _circuit_closed(mailbox, direction, office)


def _either(name: str, met: bool, yes: str, no: str, detail: str = "") -> Precondition:
    return Precondition(name, met, yes if met else no, detail)


def _active(mailbox: Mailbox) -> Precondition:
    return _either("mailbox active", mailbox.is_active, "Mailbox is active", "The mailbox is deactivated")


def _server_side(mailbox: Mailbox, direction: str) -> Precondition:
    method = mailbox.method(direction)
    labels = dict(IncomingMethod.choices)
    return _either(
        "method is server-side",
        method == IncomingMethod.SERVER_SIDE,
        "Method is server-side",
        f"The method is {labels[method]}",
    )


def _profile_active(profile: EmailServerProfile | None) -> Precondition:
    if profile is None:
        return Precondition("profile chosen and active", False, "No server profile is chosen")
    return _either(
        "profile chosen and active",
        profile.is_active,
        "Server profile is active",
        "The server profile is deactivated",
        profile.name,
    )


def _approved(mailbox: Mailbox, settings: EmailConfigurationSettings) -> Precondition:
    name = "address approved"
    if mailbox.approval == Approval.APPROVED:
        return Precondition(name, True, "Email address is approved", _day(mailbox.approval_at))
    if not settings.requires_approval(mailbox.kind):
        return Precondition(name, True, "Email address needs no approval")
    if mailbox.approval == Approval.REJECTED:
        return Precondition(name, False, "The email address was rejected", _decided(mailbox))
    since = f"since {_day(mailbox.approval_at)}" if mailbox.approval_at else ""
    return Precondition(name, False, "The email address waits for approval", since)


def _decided(mailbox: Mailbox) -> str:
    """By whom and when the approval was decided, as far as that is known."""
    by = f"by {mailbox.approval_by.label}" if mailbox.approval_by else ""
    return ", ".join(filter(None, (by, _day(mailbox.approval_at))))


def approval_stops(mailbox: Mailbox, settings: EmailConfigurationSettings) -> str:
    """What waits for an approval of the address, why, and what to do about it; "" when nothing does."""
    need = _approved(mailbox, settings)
    if need.met:
        return ""
    said = f"{need.sentence} {need.detail}".strip()
    stopped = f"{said}: nothing is delivered to {mailbox.email_address} or sent from there."
    if mailbox.approval == Approval.REJECTED:
        return (
            f"{stopped} If the address is wrong, put it right: a changed address asks for approval anew. If it is "
            "right, an address approver can still approve it."
        )
    if mailbox.incoming_method == IncomingMethod.FORWARD:
        return (
            f"{stopped} Mail that a forward mailbox collects for it waits in quarantine, and is delivered once "
            "the address is approved."
        )
    return f"{stopped} Its mail stays on the server until the address is approved."


def _credentials_present(mailbox: Mailbox) -> Precondition:
    profile = mailbox.server_profile
    own = profile is not None and profile.authenticate_using == AuthenticateUsing.MAILBOX
    present = mailbox.allow_credentials and bool(mailbox.username) and bool(mailbox.password)
    return _either(
        "credentials present",
        not own or present,
        "Credentials are present",
        "The profile asks for this mailbox's own user name and password",
        "" if own else "those of the profile",
    )


def _credentials_confirmed(mailbox: Mailbox) -> Precondition:
    profile = mailbox.server_profile
    confirmed = (
        profile is None
        or profile.authenticate_using != AuthenticateUsing.MAILBOX
        or not mailbox.allow_credentials
        or mailbox.credentials_location_version == profile.location_version
    )
    return _either(
        "credentials confirmed",
        confirmed,
        "Credentials belong to this server",
        "The server changed: an administrator must confirm that the stored credentials may go there",
    )


def _test_passed(mailbox: Mailbox, direction: str) -> Precondition:
    state: SyncState = mailbox.state(direction)
    name, vouched = "test passed", state.vouches_for(mailbox)
    if vouched and state.test_status == TestStatus.SUCCESS:
        stopped = f"It stopped: {state.last_error}" if state.last_error else "It was stopped"
        return _either(name, state.enabled, "Test has passed", stopped, _ago(state.failing_since))
    if vouched and state.test_status == TestStatus.FAILURE:
        return Precondition(name, False, "The last test failed")
    never = state.test_status == TestStatus.NOT_RUN
    return Precondition(name, False, "Not tested yet" if never else "Settings changed since the last test")


def _not_postponed(state: SyncState, now: datetime) -> Precondition:
    postponed = state.failures > 0 and state.next_run_at is not None and state.next_run_at > now
    detail = f"again at {_clock(state.next_run_at)}" if postponed else ""
    return _either(
        "not postponed",
        not postponed,
        "Not postponed",
        f"Postponed after failures: {state.last_error}",
        detail,
    )


def _circuit_closed(mailbox: Mailbox, direction: str, office: Office) -> Precondition:
    circuit = office.circuit(mailbox, direction)
    if circuit is None:
        return Precondition("circuit closed", True, "The server answers")
    return Precondition(
        "circuit closed",
        False,
        f"The server is in trouble: {circuit.reason}",
        f"one mailbox asks again at {_clock(circuit.open_until)}",
    )


def _forward_runs(office: Office) -> Precondition:
    sentence = (
        "No forward mailbox runs" if office.forward_mailbox_exists else "There is no active forward mailbox"
    )
    return _either("forward mailbox runs", office.forward_mailbox_runs, "A forward mailbox runs", sentence)


@dataclass(frozen=True, slots=True)
class Standing:
    """A direction's state as shown: outline (icon), word, colour (css) and age."""

    css: str
    icon: str
    word: str
    detail: str = ""


def standing(mailbox: Mailbox, direction: str, office: Office) -> Standing:
    """The running state of one direction; the mailbox comes with profile and `states`."""
    method = mailbox.method(direction)
    if method in (IncomingMethod.NONE, IncomingMethod.OUTLOOK):
        detail = "method is None" if method == IncomingMethod.NONE else "done by the Outlook client"
        return Standing("is-idle", "off", "Switched off", detail)
    if not mailbox.is_active:
        return Standing("is-idle", "off", "Switched off", "mailbox is deactivated")
    if mailbox.pk in office.open_tests:
        return Standing("is-info", "run", "Testing")
    if method == IncomingMethod.FORWARD:
        return _forwarded(mailbox, office)
    return _server_side_standing(mailbox, direction, office)


def _forwarded(mailbox: Mailbox, office: Office) -> Standing:
    need = first_unmet(mailbox, Direction.INCOMING, office)
    if need is None:
        return Standing("is-ok", "forward", "Working", "via forward mailbox")
    if need.name == "address approved":
        return Standing("is-idle", "idle", "Not set up", "not approved")
    return Standing("is-idle", "idle", "Not set up", "no forward mailbox runs")


_NOT_SET_UP = {
    "profile chosen and active": "no active profile",
    "address approved": "not approved",
    "credentials present": "no credentials",
    "credentials confirmed": "credentials not confirmed",
}


def _server_side_standing(mailbox: Mailbox, direction: str, office: Office) -> Standing:
    state: SyncState = mailbox.state(direction)
    need = first_unmet(mailbox, direction, office)
    if need is None:
        success = f"last success {_ago(state.last_success_at)}" if state.last_success_at else "enabled"
        return Standing("is-ok", "ok", "Working", success)
    if need.name in _NOT_SET_UP:
        return Standing("is-idle", "idle", "Not set up", _NOT_SET_UP[need.name])
    if need.name == "test passed":
        return _untested(mailbox, state)
    circuit = office.circuit(mailbox, direction) if need.name == "circuit closed" else None
    again = circuit.open_until if circuit else None
    return Standing("is-wait", "clock", "Waiting", f"retry {_clock(again or state.next_run_at)}")


def _untested(mailbox: Mailbox, state: SyncState) -> Standing:
    if state.test_status == TestStatus.NOT_RUN:
        return Standing("is-idle", "idle", "Not tested")
    if not state.vouches_for(mailbox):
        return Standing("is-wait", "run", "Out of date", "settings changed since")
    return Standing("is-bad", "bad", "Needs attention", _ago(state.failing_since))


# ── The same in SQL ─────────────────────────────────────────────────────────────────────────


def worded(mailboxes: QuerySet[Mailbox], direction: Direction, office: Office) -> QuerySet[Mailbox]:
    """With the Word of `standing` for one direction, under the name `incoming_word`, and so on."""
    state = f"{direction}_state"
    joined = mailboxes.annotate(
        **{state: FilteredRelation("states", condition=Q(states__direction=direction))}
    )
    return joined.annotate(**{f"{direction}_word": _word(direction, state, office)})


def _word(direction: Direction, state: str, office: Office) -> Case:
    method = METHOD_FIELDS[direction]
    ours = [IncomingMethod.FORWARD, IncomingMethod.SERVER_SIDE]
    tested = ConfigurationTest.objects.filter(finished_at=None).order_by().values("mailbox")
    through = Q(pk__in=[]) if not office.forward_mailbox_runs else office.settings.approved("")
    return Case(
        When(~Q(**{f"{method}__in": ours}) | Q(is_active=False), then=Value(Word.OFF)),
        When(pk__in=tested, then=Value(Word.TESTING)),
        When(through, **{method: IncomingMethod.FORWARD}, then=Value(Word.WORKING)),
        When(
            _set_up(office.settings),
            **{method: IncomingMethod.SERVER_SIDE},
            then=_tested_word(direction, state, office),
        ),
        default=Value(Word.NOT_SET_UP),
        output_field=CharField(),
    )


def _set_up(settings: EmailConfigurationSettings) -> Q:
    own = {"allow_credentials": True, "credentials_location_version": F("server_profile__location_version")}
    of_profile = ~Q(server_profile__authenticate_using=AuthenticateUsing.MAILBOX)
    present = Q(**own) & ~Q(username="") & ~Q(password="")
    return settings.approved("") & Q(server_profile__is_active=True) & (of_profile | present)


def _tested_word(direction: Direction, state: str, office: Office) -> Case:
    vouched_for = Q(
        **{
            f"{state}__tested_mailbox_version": F("connection_version"),
            f"{state}__tested_profile_version": Coalesce(F("server_profile__connection_version"), 0),
        }
    )
    passed = vouched_for & Q(**{f"{state}__test_status": TestStatus.SUCCESS, f"{state}__enabled": True})
    postponed = Q(**{f"{state}__failures__gt": 0, f"{state}__next_run_at__gt": office.now})
    waits = postponed | Q(server_profile__in=office.in_trouble(direction))
    return Case(
        When(passed & waits, then=Value(Word.WAITING)),
        When(passed, then=Value(Word.WORKING)),
        When(**{f"{state}__test_status": TestStatus.NOT_RUN}, then=Value(Word.UNTESTED)),
        When(~vouched_for, then=Value(Word.OUT_OF_DATE)),
        default=Value(Word.ATTENTION),
        output_field=CharField(),
    )


def in_trouble(settings: EmailConfigurationSettings | None = None) -> SyncStates:
    """The directions that need a person."""
    settings = settings or EmailConfigurationSettings.load()
    return SyncState.objects.stopped(*Direction, approved=settings.approved()).order_by()


def needs_attention(settings: EmailConfigurationSettings | None = None) -> Q:
    """Mailboxes with a direction that is ours to do, failed its test or stopped, with the settings as they are."""
    return Q(pk__in=in_trouble(settings).values("mailbox"))


def not_tested() -> Q:
    """Active mailboxes with a server-side direction that no test vouches for, whatever else it lacks."""
    asked, ours = Q(), Q()
    for direction, method in METHOD_FIELDS.items():
        asked |= Q(**{method: IncomingMethod.SERVER_SIDE})
        ours |= Q(Exact(OuterRef(method), Value(IncomingMethod.SERVER_SIDE)), direction=direction)
    untested = SyncState.objects.filter(ours, mailbox=OuterRef("pk")).exclude(
        ~Q(test_status=TestStatus.NOT_RUN),
        tested_mailbox_version=OuterRef("connection_version"),
        tested_profile_version=Coalesce(OuterRef("server_profile__connection_version"), 0),
    )
    # The methods first: most mailboxes then need no look at their states.
    return Q(is_active=True) & asked & Q(Exists(untested))


def _day(moment: datetime | None) -> str:
    return date_format(timezone.localtime(moment), "j M Y") if moment else ""


def _clock(moment: datetime | None) -> str:
    return date_format(timezone.localtime(moment), "H:i") if moment else ""


def _ago(moment: datetime | None) -> str:
    return str(naturaltime(moment)) if moment else ""
