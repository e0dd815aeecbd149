"""What the page of one mailbox shows beside its form: how each direction stands, why, and the last test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.contrib import messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.shortcuts import get_object_or_404
from django.urls import reverse
from django.utils import timezone
from django.utils.formats import date_format

from .. import roles
from ..alerts import ledger_cause
from ..configtest import Ladder, Rung, ladders, ladders_of
from ..history import preceded_by
from ..models import (
    Alert,
    Approval,
    ConfigurationTest,
    Delivery,
    Direction,
    EmailConfigurationSettings,
    IncomingMethod,
    Kind,
    Mailbox,
    Message,
    MessageState,
    Reconciliation,
    Survey,
    SurveyShare,
    SyncState,
    TestStatus,
    User,
    Watch,
)
from ..models.outgoing import UNFINISHED
from ..standing import Office, Precondition, Standing, approval_stops, preconditions, standing
from ..survey import SHARE_LABELS, is_whole, scope
from .frame import engine_silence

# The words of Configuration Test Results, and what is shown beside them.
RESULTS = {
    "not_run": Standing("is-idle", "idle", "Not Run"),
    "success": Standing("is-ok", "ok", "Success"),
    "failure": Standing("is-bad", "bad", "Failure"),
    "running": Standing("is-info", "run", "Running"),
}
OUT_OF_DATE = Standing("is-wait", "run", "Out of date")
RUNGS = {
    "passed": Standing("is-ok", "ok", "Passed"),
    "failed": Standing("is-bad", "bad", "Failed"),
    "not_reached": Standing("is-idle", "idle", "Not reached"),
    "running": Standing("is-info", "run", "Running"),
    "waiting": Standing("is-idle", "idle", "Waiting"),
}
APPROVALS = {
    Approval.EMPTY: Standing("is-idle", "off", "Empty", "not needed here"),
    Approval.APPROVED: Standing("is-info", "check", "Approved"),
    Approval.PENDING: Standing("is-wait", "clock", "Pending", "waits for an approver"),
    Approval.REJECTED: Standing("is-bad", "bad", "Rejected"),
}
LABELS = {
    Direction.INCOMING: "Incoming Email",
    Direction.OUTGOING: "Outgoing Email",
    Direction.ACT: "Appointments, Contacts, and Tasks",
}


def rows_of(mailboxes: QuerySet[Mailbox]) -> QuerySet[Mailbox]:
    """With everything that a row or a page of a mailbox reads."""
    return mailboxes.select_related(
        "server_profile", "owner", "user", "queue", "approval_by", "changed_by"
    ).prefetch_related("states")


def mailbox_of(pk: int) -> Mailbox:
    """One mailbox as its page reads it; raises Http404."""
    return get_object_or_404(rows_of(Mailbox.objects.all()), pk=pk)


def results_page(mailbox: Mailbox, office: Office) -> dict[str, Any]:
    """The part of a mailbox's page that a running test changes, for `_mailbox_results.html`.

    `page_address` and `results_address` say where the page is, and where this part of it is fetched again.
    """
    return {
        "page_address": reverse("mailbox-edit", args=[mailbox.pk]),
        "results_address": reverse("mailbox-results", args=[mailbox.pk]),
        "mailbox": mailbox,
        "office": office,
        "label": label_of(mailbox, office),
        "checks": checks_of(mailbox, office),
        "results": results_of(mailbox, office),
        "found": found_in(mailbox),
        "approval_stops": approval_stops(mailbox, office.settings),
        "is_testing": mailbox.pk in office.open_tests,
        "tested_on": mailbox.mailbox_test_completed_on,
        "engine_silence": "" if office.engine_alive else engine_silence(office.engine_seen_at),
    }


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell of the record's label."""

    name: str
    state: Standing
    long_name: str = ""
    topic: str = ""


def label_of(mailbox: Mailbox, office: Office) -> list[Cell]:
    """The three directions and the approval, as the label of the record shows them."""
    return [
        Cell("Incoming", standing(mailbox, Direction.INCOMING, office)),
        Cell("Outgoing", standing(mailbox, Direction.OUTGOING, office)),
        Cell("ACT", standing(mailbox, Direction.ACT, office), LABELS[Direction.ACT]),
        Cell("Email approval", approval_of(mailbox), topic="approval"),
    ]


def say_what_a_new_address_waits_for(request: HttpRequest, mailbox: Mailbox) -> None:
    """After a save that changed the address, or brought a new one."""
    if stopped := approval_stops(mailbox, EmailConfigurationSettings.load()):
        messages.warning(request, f"The address is new. {stopped}")


def approval_of(mailbox: Mailbox) -> Standing:
    """The approval of the address, by whom and when."""
    shown = APPROVALS[Approval(mailbox.approval)]
    if mailbox.approval_at is None:
        return shown
    day = date_format(timezone.localtime(mailbox.approval_at), "j M Y")
    if mailbox.approval == Approval.PENDING:
        return Standing(shown.css, shown.icon, shown.word, f"since {day}")
    by = f"{mailbox.approval_by.label}, {day}" if mailbox.approval_by else day
    return Standing(shown.css, shown.icon, shown.word, by)


@dataclass(frozen=True, slots=True)
class Check:
    """One precondition as shown, with the place where it can be met, or a word on who meets it."""

    need: Precondition
    css: str
    icon: str
    address: str = ""
    invitation: str = ""


@dataclass(frozen=True, slots=True)
class Checks:
    """Why one direction runs or does not: the first unmet precondition on top."""

    direction: str
    title: str
    says: str
    checks: list[Check]


# For the name of an unmet precondition: where it can be met, and the words of that link.
Places = dict[str, tuple[str, str]]


def checks_of(
    mailbox: Mailbox, office: Office, places: Callable[[Mailbox, str], Places] | None = None
) -> list[Checks]:
    """One list for each direction that somebody wants to run here; those that are stopped come first."""
    where = places or places_of
    wanted = (IncomingMethod.SERVER_SIDE, IncomingMethod.FORWARD)
    lists = [
        _checks(mailbox, direction, office, where(mailbox, direction))
        for direction in Direction.values
        if mailbox.method(direction) in wanted
    ]
    return sorted(lists, key=lambda listed: all(check.need.met for check in listed.checks))


def _checks(mailbox: Mailbox, direction: str, office: Office, places: Places) -> Checks:
    needs = preconditions(mailbox, direction, office)
    unmet = sum(not need.met for need in needs)
    checks = [_check(need, places) for need in sorted(needs, key=lambda need: need.met)]
    name = LABELS[Direction(direction)].replace("Email", "email")
    if not unmet:
        return Checks(
            direction, f"{name} runs", f"{len(needs)} of {len(needs)} preconditions are met", checks
        )
    says = f"Stopped by {unmet} of {len(needs)}.{_what_waits(mailbox, direction)}"
    return Checks(direction, f"Why is {_in_prose(name)} not running?", says, checks)


def _what_waits(mailbox: Mailbox, direction: str) -> str:
    """How much mail a stopped direction keeps from leaving; of incoming mail only the server knows."""
    if direction != Direction.OUTGOING:
        return ""
    count = mailbox.outgoing.filter(state__in=UNFINISHED).count()
    return f" {count} message{'s wait' if count != 1 else ' waits'} in its outbox." if count else ""


def _in_prose(name: str) -> str:
    return name[0].lower() + name[1:]


def _check(need: Precondition, places: Places) -> Check:
    if need.met:
        return Check(need, "is-ok", "ok")
    we_handle_it = need.name in ("not postponed", "circuit closed")
    css, icon = ("is-wait", "clock") if we_handle_it else ("is-bad", "bad")
    return Check(need, css, icon, *places.get(need.name, ("", "")))


def places_of(mailbox: Mailbox, direction: str) -> Places:
    """Where an administrator meets what is unmet."""
    return {
        "method is server-side": (f"#id_{direction}_method", "Change the method"),
        "profile chosen and active": ("#id_server_profile", "Choose a profile"),
        "credentials present": ("#id_allow_credentials", "Type them"),
        "credentials confirmed": (_profile_page(mailbox), "Open the profile"),
        "test passed": (f"#test-{direction}", "Show the test"),
        "forward mailbox runs": (f"{reverse('mailbox-list')}?view=forward", "Show forward mailboxes"),
    }


def _profile_page(mailbox: Mailbox) -> str:
    return reverse("profile-edit", args=[mailbox.server_profile_id]) if mailbox.server_profile_id else ""


@dataclass(frozen=True, slots=True)
class Result:
    """One direction under Configuration Test Results: its field, and its ladder if there is one."""

    direction: str
    label: str
    field: Standing
    beside: str
    badge: Standing
    said: str
    duration_ms: int | None
    steps: list[tuple[Rung, Standing]]
    is_open: bool
    preceded: str = ""


def results_of(mailbox: Mailbox, office: Office) -> list[Result]:
    """The last or the running test, for all three directions."""
    tested = {ladder.direction: ladder for ladder in ladders(mailbox)}
    return [_result(mailbox, Direction(name), tested.get(name), office) for name in Direction.values]


def _result(mailbox: Mailbox, direction: Direction, ladder: Ladder | None, office: Office) -> Result:
    field = RESULTS[mailbox.test_status(direction)]
    if ladder is None:
        said = _nothing_to_test(mailbox, direction)
        return Result(direction, LABELS[direction], field, "", field, said, None, [], is_open=False)
    running = mailbox.pk in office.open_tests
    badge = OUT_OF_DATE if ladder.out_of_date else RESULTS[ladder.status]
    return Result(
        direction,
        LABELS[direction],
        RESULTS["running"] if running else field,
        _beside(ladder),
        badge,
        f"Settings changed since. {ladder.sentence}" if ladder.out_of_date else ladder.sentence,
        ladder.duration_ms,
        [(rung, RUNGS[rung.state]) for rung in ladder.rungs],
        is_open=running or badge.word == "Failure",
        preceded=_preceded(mailbox, ladder),
    )


@dataclass(frozen=True, slots=True)
class Found:
    """What the last test found in the folder, and what it did with it: nothing."""

    survey: Survey
    is_running: bool
    only_looked: bool
    shares: list[tuple[SurveyShare, str]]

    @property
    def part(self) -> str:
        """What was looked at, when that is not all that would be collected."""
        return "" if is_whole(self.survey) else scope(self.survey)


def found_in(mailbox: Mailbox) -> Found | None:
    """The survey of the last test, if it took one."""
    test = mailbox.tests.select_related("survey").first()
    survey = getattr(test, "survey", None)
    if test is None or survey is None:
        return None
    shares = survey.shares.select_related("mailbox").defer("mailbox__password")
    return Found(
        survey,
        is_running=test.finished_at is None,
        only_looked=not test.enables,
        shares=[(share, SHARE_LABELS.get(share.reason, "")) for share in shares],
    )


def _preceded(mailbox: Mailbox, ladder: Ladder) -> str:
    """What was changed before this direction failed."""
    failed = ladder.status == TestStatus.FAILURE
    return preceded_by(mailbox, ladder.direction, ladder.ended_at) if failed else ""


def run_of(test: ConfigurationTest, mailbox: Mailbox) -> list[Result]:
    """What an earlier test found, without a word on what has become of it."""
    return [
        Result(
            ladder.direction,
            LABELS[Direction(ladder.direction)],
            RESULTS[ladder.status],
            "",
            RESULTS[ladder.status],
            ladder.sentence,
            ladder.duration_ms,
            [(rung, RUNGS[rung.state]) for rung in ladder.rungs],
            is_open=True,
            preceded=_preceded(mailbox, ladder),
        )
        for ladder in ladders_of(test, mailbox)
    ]


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one direction of a test ended, for a list of tests."""

    label: str
    state: Standing


def outcomes_of(test: ConfigurationTest) -> list[Outcome]:
    """All three directions; uses prefetched `steps`."""
    passed = test.results()
    words = {True: RESULTS["success"], False: RESULTS["failure"], None: RESULTS["not_run"]}
    return [Outcome(LABELS[direction], words[passed.get(direction)]) for direction in Direction]


def _beside(ladder: Ladder) -> str:
    if ladder.out_of_date:
        return "Out of date: settings changed since"
    return "Only looked at: nothing was enabled" if ladder.only_looked else ""


def _nothing_to_test(mailbox: Mailbox, direction: Direction) -> str:
    method = mailbox.method(direction)
    if method == IncomingMethod.NONE:
        return "The method is None: nothing to test"
    if method == IncomingMethod.OUTLOOK:
        return "The Outlook client does this: nothing to test here"
    return "Not tested yet"


@dataclass(frozen=True, slots=True)
class Fact:
    """A line of the panel Activity; `address` leads to the list behind a figure."""

    name: str
    value: str
    address: str = ""


def activity_of(mailbox: Mailbox, viewer: User) -> list[Fact]:
    """The last and next cycle of incoming mail, and how much came."""
    state = mailbox.state(Direction.INCOMING)
    facts = []
    if mailbox.incoming_method == IncomingMethod.SERVER_SIDE:
        facts = [
            Fact("Last cycle", _moment(state.last_run_at) or "never"),
            Fact("Last success", _moment(state.last_success_at) or "never"),
            Fact(
                "Next cycle", _moment(state.next_run_at) or ("as soon as it can" if state.enabled else "none")
            ),
            *_told_of_mail(mailbox, state),
        ]
    facts += _collected(mailbox, viewer)
    if mailbox.kind != Kind.FORWARD:
        delivered = Delivery.objects.filter(mailbox=mailbox).order_by().count()
        facts.append(Fact("Delivered here", str(delivered), _messages(mailbox)))
    return facts


def _told_of_mail(mailbox: Mailbox, state: SyncState) -> Iterator[Fact]:
    """Whether the server tells at once that mail arrived, where the profile asks for that."""
    profile = mailbox.server_profile
    if profile is None or not state.enabled or not profile.asks_for_push:
        return
    watch = Watch.objects.filter(mailbox=mailbox).first()
    if watch is not None and watch.lease_until and watch.lease_until > timezone.now():
        yield Fact("As soon as mail arrives", "yes, the server tells")
    elif watch is not None and watch.last_error:
        again = f" Asked again at {_moment(watch.again_at)}." if watch.again_at else ""
        yield Fact("As soon as mail arrives", f"no: {watch.last_error}{again}")
    else:
        yield Fact("As soon as mail arrives", "not now: no connection is free, or the engine rests")


def _collected(mailbox: Mailbox, viewer: User) -> list[Fact]:
    if mailbox.incoming_method == IncomingMethod.FORWARD:
        return []
    since = timezone.now() - timedelta(hours=24)
    collected = Message.objects.filter(mailbox=mailbox).order_by()
    waiting = collected.filter(state=MessageState.QUARANTINED).count()
    quarantine = f"{reverse('quarantine')}?mailbox={mailbox.pk}"
    ledger = reverse("mailbox-ledger", args=[mailbox.pk])
    return [
        Fact("Collected in 24 h", str(collected.filter(collected_at__gt=since).count()), _messages(mailbox)),
        Fact("Ledger", _accounted(mailbox), ledger if viewer.has_perm(roles.SEE_MAILBOXES) else ""),
        Fact("Quarantine", str(waiting), quarantine if waiting and viewer.has_perm(roles.SEE_ALERTS) else ""),
    ]


def _accounted(mailbox: Mailbox) -> str:
    """In a word, whether everything that was seen is accounted for."""
    if Alert.objects.filter(cause=ledger_cause(mailbox.pk), resolved_at=None).exists():
        return "differs"
    return "balanced" if Reconciliation.objects.filter(mailbox=mailbox).exists() else "not compared yet"


def _messages(mailbox: Mailbox) -> str:
    return f"{reverse('message-list')}?mailbox={mailbox.pk}"


def _moment(moment: Any) -> str:
    if moment is None:
        return ""
    local = timezone.localtime(moment)
    today = local.date() == timezone.localdate()
    return date_format(local, "H:i:s" if today else "j M Y, H:i")
