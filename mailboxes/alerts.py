"""Alerts: one open row per cause, raised again and again without a second one, resolved once."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import Count, F, Min, Q, QuerySet
from django.utils import timezone
from django.utils.formats import date_format

from emailprofiles.errors import MailError
from emailprofiles.models import EmailServerProfile

from .models import (
    Alert,
    AlertLevel,
    Direction,
    EmailConfigurationSettings,
    Mailbox,
    Message,
    MessageState,
    OutgoingState,
    ServerCircuit,
    SyncState,
    TestStatus,
)
from .models.state import SyncStates, vouched
from .routing import REASON_LABELS, Reason

QUARANTINE = "quarantine"
OUTBOX_AGE, OUTBOX_FAILED, OUTBOX_STORM = "outbox:age:", "outbox:failed:", "outbox:storm:"
OUTBOX_UNCERTAIN = "outbox:uncertain:"
MOST_FAILING = "most-failing:"
LATELY = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Sentences:
    """What an alert says."""

    title: str
    why: str
    what_we_do: str
    what_you_can_do: str
    server_words: str = ""


def direction_cause(mailbox_id: int, direction: str) -> str:
    return f"mailbox:{mailbox_id}:{direction}"


def server_cause(profile_id: int, direction: str = Direction.INCOMING) -> str:
    outgoing = ":outgoing" if direction == Direction.OUTGOING else ""
    return f"server:{profile_id}{outgoing}"


def uncertain_cause(mailbox_id: int) -> str:
    return f"{OUTBOX_UNCERTAIN}{mailbox_id}"


def copies_cause(mailbox_id: int) -> str:
    return f"outbox:copies:{mailbox_id}"


def storm_cause(mailbox_id: int) -> str:
    return f"{OUTBOX_STORM}{mailbox_id}"


def failed_cause(mailbox_id: int) -> str:
    return f"{OUTBOX_FAILED}{mailbox_id}"


def age_cause(mailbox_id: int) -> str:
    return f"{OUTBOX_AGE}{mailbox_id}"


def direction_stopped(mailbox: Mailbox, direction: str, error: MailError) -> None:
    """This direction waits for a person."""
    verb = "Receiving" if direction == Direction.INCOMING else "Sending"
    sentences = Sentences(
        title=f"{verb} for {mailbox.name} stopped",
        why=f"{error}.",
        what_we_do="Nothing more is tried in this direction until it has been tested again. No mail is lost: it "
        f"stays {'on the server' if direction == Direction.INCOMING else 'in the outbox'}.",
        what_you_can_do=f"{error.advice} Then choose Test & Enable.",
        server_words=error.server_words,
    )
    cause = direction_cause(mailbox.pk, direction)
    _raise(cause, sentences, mailbox=mailbox, direction=direction, owner=mailbox.owner)


def server_in_trouble(profile: EmailServerProfile, direction: str, error: MailError) -> None:
    """The server fails for everyone: its mailboxes wait."""
    count = profile.mailboxes.filter(**{"is_active": True, f"{direction}_method": "server_side"}).count()
    what = "The server" if direction == Direction.INCOMING else "The outgoing server"
    sentences = Sentences(
        title=f"{what} of {profile.name} is in trouble",
        why=f"{error}.",
        what_we_do=f"{count} mailbox{'es' if count != 1 else ''} of this profile wait; one of them asks again "
        "from time to time, and all go on when it gets through.",
        what_you_can_do=error.advice,
        server_words=error.server_words,
    )
    cause = server_cause(profile.pk, direction)
    _raise(cause, sentences, profile=profile, owner=profile.owner, direction=direction)


def outbox_uncertain(mailbox: Mailbox) -> None:
    """Of some messages nobody here knows whether they were sent; resolved when no such message is left."""
    count = mailbox.outgoing.filter(state=OutgoingState.UNCERTAIN).count()
    cause = uncertain_cause(mailbox.pk)
    if not count:
        resolve(cause, "Somebody decided on each of them.")
        return
    sentences = Sentences(
        title=f"{mailbox.name}: nobody knows whether {count} message{'s were' if count != 1 else ' was'} sent",
        why="The connection or the program ended after the message was handed over, before the server's reply was "
        "noted.",
        what_we_do="Such a message is not sent a second time by itself, since the recipient may have it. All other "
        "mail goes on.",
        what_you_can_do="Open the outbox. Ask the recipient or look for the Message-ID in the log of the mail server; "
        "then say that it arrived, or send it again.",
    )
    about = {"mailbox": mailbox, "direction": Direction.OUTGOING, "owner": mailbox.owner}
    _raise(cause, sentences, level=AlertLevel.WARNING, **about)


def outbox_old(mailbox: Mailbox, count: int, why: str, since: datetime) -> None:
    """Mail of this mailbox has waited too long."""
    sentences = Sentences(
        title=f"{mailbox.name}: {count} message{'s wait' if count != 1 else ' waits'} to be sent, the oldest since "
        f"{date_format(timezone.localtime(since), 'j M, H:i')}",
        why=why,
        what_we_do="They stay in the outbox in their order, and leave as soon as they can.",
        what_you_can_do="Open the outbox: each message says what it waits for. After how long you are told stands in "
        "Email Configuration Settings.",
    )
    about = {"mailbox": mailbox, "direction": Direction.OUTGOING, "owner": mailbox.owner}
    _raise(age_cause(mailbox.pk), sentences, level=AlertLevel.WARNING, **about)


def copies_not_kept(mailbox: Mailbox, error: MailError) -> None:
    """Mail leaves, and the folder on the server that is to hold a copy of it does not get one."""
    sentences = Sentences(
        title=f"{mailbox.name}: copies of sent mail cannot be kept",
        why=f"{error}.",
        what_we_do="Mail is sent as always, and stands in the outbox. Its copy is tried again at longer and longer "
        "intervals, up to an hour; three days after a message was sent it is given up. One that is too large for the "
        "server is not tried again.",
        what_you_can_do="Look at the incoming server and at the folder for copies of sent mail in the profile: this "
        "account must be able to sign in and to write there, and needs room. To do without copies, leave that folder "
        "empty.",
        server_words=error.server_words,
    )
    about = {"mailbox": mailbox, "direction": Direction.OUTGOING, "owner": mailbox.owner}
    _raise(copies_cause(mailbox.pk), sentences, level=AlertLevel.WARNING, **about)


def outbox_failed(mailbox: Mailbox, count: int, latest: str, why: str) -> None:
    """Mail of this mailbox did not arrive; resolved when it was sent again, taken back, or is a week old."""
    sentences = Sentences(
        title=f"{mailbox.name}: {count} message{'s' if count != 1 else ''} could not be sent",
        why=f"The latest, “{latest[:200]}”: {why or 'some recipients did not get it.'}",
        what_we_do="It is not tried again by itself. All other mail goes on.",
        what_you_can_do="Open the outbox under Failed: with each recipient stand the server's own words. Take the "
        "message back to the drafts and put it right, or send it again.",
    )
    about = {"mailbox": mailbox, "direction": Direction.OUTGOING, "owner": mailbox.owner}
    _raise(failed_cause(mailbox.pk), sentences, level=AlertLevel.WARNING, **about)


def automatic_storm(mailbox: Mailbox, cause: str, why: str) -> None:
    """Automatic mail of one mailbox was held back, so that two machines do not answer each other for ever."""
    sentences = Sentences(
        title=f"{mailbox.name}: automatic mail was stopped",
        why=why,
        what_we_do="Further automatic mail of this kind is refused for an hour. What people write is sent as always.",
        what_you_can_do="Look in the outbox at what was sent by itself, and switch off what makes it, here or at the "
        "recipient's.",
    )
    about = {"mailbox": mailbox, "direction": Direction.OUTGOING, "owner": mailbox.owner}
    _raise(cause, sentences, level=AlertLevel.ERROR, **about)


def settings_ignored(mailbox: Mailbox, cause: str, why: str, what_you_can_do: str) -> None:
    """Something is done, but not as the record asks; mail is not affected."""
    sentences = Sentences(
        title=f"{mailbox.name}: copies stay on the server",
        why=why,
        what_we_do="Mail is collected and delivered as always; only the server's copies are left as they are.",
        what_you_can_do=what_you_can_do,
    )
    _warn(cause, mailbox, sentences)


def folder_renumbered(mailbox: Mailbox, cause: str, times: int) -> None:
    """The server gives the folder new numbers again and again, so none of them can be relied upon."""
    sentences = Sentences(
        title=f"{mailbox.name}: the server numbers its messages anew again and again",
        why=f"The folder got new numbers (UIDVALIDITY) {times} times within a day. A number that changes could name "
        "somebody else's message.",
        what_we_do="Mail is collected and delivered as always, each message once. Nothing is deleted on the server "
        "until its numbers have lasted for a day.",
        what_you_can_do="Ask whoever runs the mail server: a restored backup does this once, a broken index or two "
        "servers behind one name do it all the time.",
    )
    _warn(cause, mailbox, sentences)


def ledger_differs(mailbox: Mailbox, cause: str, missing: int, difference: int) -> None:
    """Messages that are on the server, or were, and of which we know nothing."""
    count = missing or difference
    sentences = Sentences(
        title=f"{mailbox.name}: {count} message{'s are' if count != 1 else ' is'} not accounted for",
        why=f"The server holds {missing} that an earlier cycle passed over."
        if missing
        else f"The ledger says that {difference} more or fewer were seen than are stored or skipped with a reason.",
        what_we_do="What is still on the server is collected in the next cycle; then everything is counted again.",
        what_you_can_do="Open the ledger of this mailbox. If the difference stays, compare the folder in a mail "
        "program with the messages here.",
    )
    _warn(cause, mailbox, sentences)


def ledger_cause(mailbox_id: int) -> str:
    return f"ledger:{mailbox_id}"


def ledger_alerts() -> QuerySet[Alert]:
    """Open alerts about messages that are not accounted for."""
    return Alert.objects.filter(cause__startswith="ledger:", resolved_at=None)


def _warn(cause: str, mailbox: Mailbox, sentences: Sentences) -> None:
    _raise(cause, sentences, mailbox=mailbox, owner=mailbox.owner, level=AlertLevel.WARNING)


def messages_unavailable(mailbox: Mailbox, cause: str, count: int) -> None:
    """The server lists messages and does not hand them over; everything else goes on."""
    sentences = Sentences(
        title=f"{mailbox.name}: {count} message{'s' if count != 1 else ''} cannot be collected",
        why="The server lists them and does not hand them over.",
        what_we_do="We ask for them again in every cycle; all other mail is collected and delivered.",
        what_you_can_do="Open the folder in a mail program and look for a message that does not open, or ask whoever "
        "runs the server to look into its log.",
    )
    _warn(cause, mailbox, sentences)


def quarantine_watched() -> None:
    """Raise, bring up to date or resolve the alert on the growth of the quarantine; one count when all is well."""
    limit = EmailConfigurationSettings.load().quarantine_alert_at
    waiting = Message.objects.filter(state=MessageState.QUARANTINED).order_by()
    count = waiting.count() if limit else 0
    if not limit or count < limit:
        resolve(QUARANTINE, "The alert is switched off." if not limit else f"{count} messages are left.")
        return
    reasons = waiting.values_list("reason").annotate(count=Count("pk")).order_by("-count", "reason")
    said = "; ".join(f"{REASON_LABELS[Reason(reason)]}: {number}" for reason, number in reasons if reason)
    since = waiting.aggregate(since=Min("received_at"))["since"]
    oldest = f" The oldest was received on {since:%d %B %Y}." if since else ""
    sentences = Sentences(
        title=f"{count} message{'s wait' if count != 1 else ' waits'} in quarantine",
        why=f"{said}.{oldest}",
        what_we_do="All other mail is collected and delivered. What waits for a mailbox is delivered by itself when "
        "that mailbox may receive; nothing is discarded without a person.",
        what_you_can_do="Open the quarantine and begin with the reason that most of them share. The number from which "
        "you are told stands in Email Configuration Settings.",
    )
    told = Alert.objects.filter(cause=QUARANTINE, resolved_at=None, why=sentences.why)
    if not told.exists():  # asked at the end of every pass: nothing is written when nothing is new
        _raise(QUARANTINE, sentences, level=AlertLevel.WARNING)


@dataclass(frozen=True, slots=True)
class Failing:
    """Of how many mailboxes of a profile that are in use how many fail, how many of these failed lately, and why most
    of them do."""

    mailboxes: int
    failing: int
    lately: int
    why: str


def most_failing_cause(profile_id: int) -> str:
    return f"{MOST_FAILING}{profile_id}"


def profiles_watched(now: datetime) -> None:
    """Raise, bring up to date or resolve the alert on profiles most of whose mailboxes fail, where they ask for it.

    It is raised when more than half of them failed lately, and stays for as long as more than half fail.
    """
    told = dict(
        Alert.objects.filter(cause__startswith=MOST_FAILING, resolved_at=None).values_list("cause", "why")
    )
    for profile in EmailServerProfile.objects.filter(send_alert_email=True).select_related("owner"):
        cause = most_failing_cause(profile.pk)
        why = told.pop(cause, None)
        found = _failing(profile, now)
        if 2 * (found.lately if why is None else found.failing) > found.mailboxes:
            if found.why != why:
                _most_failing(profile, found)
        elif why is not None:
            resolve(cause, "No more than half of its mailboxes fail now.")
    for cause in told:
        resolve(cause, "The profile does not ask for this alert any more.")


def _failing(profile: EmailServerProfile, now: datetime) -> Failing:
    """Tested mailboxes count, with a direction that fails or has stopped, or whose server is in trouble for longer
    than a mail would wait."""
    office = EmailConfigurationSettings.load()
    states = SyncState.objects.filter(vouched(), mailbox__server_profile=profile)
    states = states.set_up(*Direction, approved=office.approved()).exclude(test_status=TestStatus.NOT_RUN)
    circuits = ServerCircuit.objects.filter(profile=profile, since__lte=now - office.alert_mail_grace)
    waits = {circuit.direction: circuit.reason for circuit in circuits}
    fails = Q(failures__gt=0) | Q(enabled=False) | Q(test_status=TestStatus.FAILURE) | Q(direction__in=waits)
    lately = Q(last_run_at__gt=now - LATELY) | Q(failing_since__gt=now - LATELY) | Q(direction__in=waits)
    mailboxes, failing, recent = (
        states.filter(condition).order_by().values("mailbox").distinct().count()
        for condition in (Q(), fails, fails & lately)
    )
    if waits:
        return Failing(mailboxes, failing, recent, f"Its server is in trouble. {next(iter(waits.values()))}")
    return Failing(mailboxes, failing, recent, _said_most(states.filter(fails), failing, mailboxes))


def _said_most(states: SyncStates, failing: int, mailboxes: int) -> str:
    said = states.exclude(last_error="").order_by().values_list("last_error").annotate(count=Count("pk"))
    most = said.order_by("-count", "last_error").first()
    counted = f"{failing} of {mailboxes} mailbox{'es fail' if mailboxes != 1 else ' fails'}."
    return f"{counted} Most often: {most[0].removesuffix('.')}." if most else counted


def _most_failing(profile: EmailServerProfile, found: Failing) -> None:
    sentences = Sentences(
        title=f"Most mailboxes of {profile.name} fail",
        why=found.why,
        what_we_do="What may pass by itself is tried again, at longer and longer intervals; what needs a person waits. "
        "No mail is lost: it stays on the server.",
        what_you_can_do="Look for what they have in common: the server, its certificate, its limits, a password that "
        "was changed for all. Then choose Test & Enable for those that stopped.",
    )
    _raise(most_failing_cause(profile.pk), sentences, profile=profile, owner=profile.owner)


def _raise(cause: str, sentences: Sentences, **about: object) -> None:
    said = {name: getattr(sentences, name) for name in Sentences.__dataclass_fields__}
    _, made = Alert.objects.get_or_create(cause=cause, resolved_at=None, defaults=said | about)
    if not made:
        Alert.objects.filter(cause=cause, resolved_at=None).update(
            times=F("times") + 1, last_seen_at=timezone.now(), **said
        )


class Told:
    """The alerts that were open about some mailboxes: to resolve one that is not among them costs nothing."""

    def __init__(self, mailboxes: Iterable[Mailbox]) -> None:
        chosen = list(mailboxes)
        about = Q(mailbox__in=chosen) | Q(profile__in={mailbox.server_profile_id for mailbox in chosen})
        rows = dict(Alert.objects.filter(about, resolved_at=None).values_list("cause", "mailbox_id"))
        self._causes, self._mailboxes = set(rows), set(rows.values())

    def of(self, mailbox: Mailbox) -> bool:
        """Whether any was open about this mailbox."""
        return mailbox.pk in self._mailboxes

    def add(self, cause: str) -> None:
        """One more is open."""
        self._causes.add(cause)

    def resolve(self, cause: str, resolution: str) -> None:
        """Close the alert of this cause, if it was open."""
        if cause in self._causes:
            resolve(cause, resolution)
            self._causes.discard(cause)


def resolve(cause: str, resolution: str) -> bool:
    """Close the open alert of this cause, if there is one; returns whether there was."""
    rows = Alert.objects.filter(cause=cause, resolved_at=None)
    return rows.update(resolved_at=timezone.now(), resolution=resolution) > 0
