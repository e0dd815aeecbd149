"""The outbox: what is queued leaves in its order, once; what people may do with it, and what it waits for.

draft → queued → sending → sent | deferred (until) | failed (why) | uncertain | bounced
"""

from __future__ import annotations

import random
import uuid
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import Count, Max, Min, Q, QuerySet
from django.utils import timezone

from emailprofiles.errors import MailError, SettingsIncomplete
from emailprofiles.transports.smtp_words import spoken

from . import alerts, clock, filetypes, mime, safehtml, writing
from .answers import MARK, is_automatic
from .models import (
    Alert,
    Direction,
    EmailConfigurationSettings,
    Mailbox,
    Message,
    OutgoingFile,
    OutgoingMessage,
    OutgoingMethod,
    OutgoingOriginal,
    OutgoingRecipient,
    OutgoingState,
    RecipientKind,
    SyncState,
    TokenPlace,
    User,
)
from .models.outgoing import UNDELIVERED, UNFINISHED, WAITING, failed_lately
from .parsing import parse
from .standing import Office, first_unmet
from .sync import backoff
from .writing import File, Letter, Person

MAX_RECIPIENTS = 500
AUTOMATIC_TO_ONE = 10
AUTOMATIC_IN_ALL = 200
AN_HOUR = timedelta(hours=1)


def senders(user: User) -> list[Mailbox]:
    """The mailboxes that this person may write from: the own one, and those of own queues, that send at all."""
    own = Mailbox.objects.own(user).select_related("user", "queue", "server_profile")
    may = own.filter(is_active=True, outgoing_method=OutgoingMethod.SERVER_SIDE)
    return list(may.order_by("queue__name", "pk"))


def signature_of(mailbox: Mailbox) -> str:
    """What stands below what a person writes from this mailbox."""
    regarding = mailbox.user or mailbox.queue
    return regarding.signature if regarding else ""


# --- writing ---


def save_draft(
    message: OutgoingMessage,
    recipients: dict[str, Sequence[Person]],
    files: Sequence[File] = (),
    *,
    kept_files: Iterable[int] | None = None,
) -> OutgoingMessage:
    """Store a draft with whom it is for and what it carries; raises ValidationError by field.

    Of the files it has already, those in `kept_files` stay (None: all of them).
    """
    people = _each_once(recipients)
    with transaction.atomic():
        if message.pk is not None:
            _lock(message, OutgoingState.DRAFT, otherwise="This message is not a draft any more.")
        elif message.answers is not None:
            message.conversation = _conversation_with(message.answers) or message.conversation
        message.save()
        message.recipients.all().delete()
        OutgoingRecipient.objects.bulk_create(
            OutgoingRecipient(
                message=message, kind=kind, position=place, name=one.name[:200], address=one.address
            )
            for place, (kind, one) in enumerate(people)
        )
        if kept_files is not None:
            message.files.exclude(pk__in=kept_files).delete()
        OutgoingFile.objects.bulk_create(
            OutgoingFile(
                message=message,
                name=one.name[:255],
                content_type=one.content_type[:255],
                size=len(one.data),
                data=one.data,
            )
            for one in files
        )
    return message


def _conversation_with(answered: Message) -> uuid.UUID | None:
    """The conversation to which the message that is answered belongs; None for one that begins with this answer."""
    ours = OutgoingMessage.objects.filter(Q(came_back__message=answered) | Q(answers=answered))
    return ours.order_by("pk").values_list("conversation", flat=True).first()


def _each_once(recipients: dict[str, Sequence[Person]]) -> list[tuple[str, Person]]:
    """Each address where it stands first: To, then Cc, then Bcc."""
    seen: dict[str, tuple[str, Person]] = {}
    for kind in RecipientKind.values:
        for one in recipients.get(kind, ()):
            seen.setdefault(one.address.lower(), (kind, one))
    return list(seen.values())


def queue(message: OutgoingMessage) -> OutgoingMessage:
    """Draft → queued: composed now, its Message-ID fixed; it leaves when its turn comes.

    Raises ValidationError by field (to, files, mailbox, text); then it stays a draft.
    """
    recipients, files = list(message.recipients.all()), list(message.files.all())
    settings = EmailConfigurationSettings.load()
    check(message, recipients, files, settings)
    mailbox = message.mailbox
    message.html = safehtml.clean(message.html).html if message.html else ""
    try:
        message.message_id = writing.new_message_id(mailbox.email_address)
        raw = writing.written(_letter(message, recipients, files, settings))
    except ValueError as error:
        raise ValidationError({"to": f"An address cannot be written in a mail: {error}."}) from error
    if len(raw) > settings.max_message_octets:
        raise ValidationError({"files": _too_large(len(raw), settings)})
    message.size, message.queued_at, message.state = len(raw), clock.now(), OutgoingState.QUEUED
    message.copy_wanted = _keeps_copies(mailbox)
    with transaction.atomic():
        _lock(message, OutgoingState.DRAFT, otherwise="This message is queued already.")
        message.why = message.advice = message.server_words = ""
        message.attempts, message.next_attempt_at, message.finished_at = 0, None, None
        OutgoingOriginal.objects.filter(message=message).delete()
        OutgoingOriginal.objects.create(message=message, raw=raw, is_ascii=raw.isascii())
        if [*message.recipients.values_list("pk")] != [(one.pk,) for one in recipients]:
            raise ValidationError(
                "The draft was changed meanwhile, perhaps in another window. Send it once more."
            )
        message.recipients.update(state=OutgoingState.QUEUED, said="", changed_at=message.queued_at)
        message.save()
    hurry([mailbox.pk])
    return message


def send(
    mailbox: Mailbox,
    *,
    to: Sequence[Person],
    subject: str,
    text: str,
    cc: Sequence[Person] = (),
    bcc: Sequence[Person] = (),
    html: str = "",
    files: Sequence[File] = (),
    answers: Message | None = None,
    by: User | None = None,
    is_automatic: bool = False,
    asks_report: bool = False,
) -> OutgoingMessage:
    """Write and queue in one step, for code; raises ValidationError by field, and then keeps nothing."""
    message = OutgoingMessage(
        mailbox=mailbox,
        written_by=by,
        subject=subject,
        text=text,
        html=html,
        answers=answers,
        is_automatic=is_automatic,
        asks_report=asks_report,
    )
    save_draft(message, {"to": to, "cc": cc, "bcc": bcc}, files)
    try:
        return queue(message)
    except ValidationError:
        delete_draft(message)
        raise


def _letter(
    message: OutgoingMessage,
    recipients: Sequence[OutgoingRecipient],
    files: Sequence[OutgoingFile],
    settings: EmailConfigurationSettings,
) -> Letter:
    mailbox, answered = message.mailbox, message.answers
    place = settings.track_by_token
    local, _, domain = mailbox.email_address.rpartition("@")
    people = {
        kind: [Person(one.name, one.address) for one in recipients if one.kind == kind]
        for kind in (RecipientKind.TO, RecipientKind.CC)
    }
    return Letter(
        sender=Person(mailbox.name, mailbox.email_address),
        to=people[RecipientKind.TO],
        cc=people[RecipientKind.CC],
        subject=_with_token(message) if place == TokenPlace.SUBJECT else message.subject,
        text=writing.signed(message.text, signature_of(mailbox)) if message.written_by_id else message.text,
        html=message.html,
        files=[File(one.name, one.content_type, bytes(one.data)) for one in files],
        date=timezone.localtime(clock.now()),
        message_id=message.message_id,
        in_reply_to=answered.message_id if answered else "",
        references=message.references.split(),
        reply_to=f"{local}+{MARK}{message.token}@{domain}" if place == TokenPlace.ADDRESS else "",
        is_automatic=message.is_automatic,
    )


def _with_token(message: OutgoingMessage) -> str:
    """The subject, cut so that the token is not."""
    token = f" [#{message.token}]"
    return message.subject[: writing.MAX_SUBJECT - len(token)] + token


def check(
    message: OutgoingMessage,
    recipients: Sequence[OutgoingRecipient],
    files: Sequence[OutgoingFile],
    settings: EmailConfigurationSettings,
) -> None:
    """Whether this can be queued at all; raises ValidationError by field."""
    broken: dict[str, list[str]] = {}
    if not recipients:
        broken["to"] = ["Name at least one recipient."]
    elif len(recipients) > MAX_RECIPIENTS:
        broken["to"] = [
            f"{len(recipients)} recipients are too many for one message: at most {MAX_RECIPIENTS}."
        ]
    if unspoken := [one.address for one in recipients if not _can_be_spoken(one.address)]:
        broken["to"] = [f"No mail can be sent to {', '.join(unspoken[:5])}: check the spelling."]
    if message.mailbox.outgoing_method != OutgoingMethod.SERVER_SIDE:
        broken["mailbox"] = [
            f"{message.mailbox.name} sends nothing from here: its outgoing method is "
            f"{message.mailbox.get_outgoing_method_display()}."
        ]
    blocked = settings.blocked_extensions()
    refused = [
        f"“{one.name}”: {because}"
        for one in files
        if (
            because := filetypes.why_blocked(
                one.name, one.content_type, filetypes.detect(bytes(one.data)), blocked
            )
        )
    ]
    if sum(one.size for one in files) > settings.max_message_octets:
        refused.append(_too_large(sum(one.size for one in files), settings))
    if refused:
        broken["files"] = refused
    if message.is_automatic and (sentence := _never_answered(message) or _storm(message, recipients)):
        broken["to"] = [sentence]
    if broken:
        raise ValidationError(broken)


def _never_answered(message: OutgoingMessage) -> str:
    """Why nothing automatic may answer this: two machines would answer each other for ever (RFC 3834, section 2).

    Of what was forwarded as attachment the header at hand is another one's.
    """
    answered = message.answers
    if answered is None or answered.shows_forwarded:
        return ""
    why = is_automatic(parse(mime.header_block(answered.raw), whole=False))
    return f"Nothing answers “{answered}” by itself: {why}." if why else ""


def _keeps_copies(mailbox: Mailbox) -> bool:
    return mailbox.server_profile is not None and mailbox.server_profile.keeps_copies


def _too_large(octets: int, settings: EmailConfigurationSettings) -> str:
    return (
        f"The message would be {octets / 1_000_000:.1f} MB; at most {settings.max_message_size_mb} MB are sent. "
        "Leave out files, or make them smaller."
    )


def _can_be_spoken(address: str) -> bool:
    try:
        spoken(address)
    except SettingsIncomplete:
        return False
    return True


def _storm(message: OutgoingMessage, recipients: Sequence[OutgoingRecipient]) -> str:
    """The breaker of automatic mail: why no more of it leaves for now; "" while all is well."""
    mailbox = message.mailbox
    automatic = _automatic_lately(mailbox)
    addresses = [one.address for one in recipients]
    to_one = OutgoingRecipient.objects.filter(message__in=automatic, address__in=addresses)
    most = _most_often(to_one)
    if most and most[1] >= AUTOMATIC_TO_ONE:
        why = f"{most[0]} got {most[1]} automatic messages from {mailbox.email_address} within an hour."
    elif (count := automatic.count()) >= AUTOMATIC_IN_ALL:
        why = f"{mailbox.email_address} sent {count} automatic messages within an hour."
    else:
        return ""
    alerts.automatic_storm(mailbox, alerts.storm_cause(mailbox.pk), why)
    return f"{why} No more are sent for now."


def _automatic_lately(mailbox: Mailbox) -> QuerySet[OutgoingMessage]:
    since = clock.now() - AN_HOUR
    return OutgoingMessage.objects.filter(is_automatic=True, mailbox=mailbox, queued_at__gt=since).order_by()


def _most_often(recipients: QuerySet[OutgoingRecipient]) -> tuple[str, int] | None:
    counted = recipients.order_by().values_list("address").annotate(n=Count("pk"))
    return counted.order_by("-n").first()


def watch_storms() -> None:
    """Resolve the alerts on mailboxes that are so quiet again that their automatic mail leaves."""
    opened = Alert.objects.filter(cause__startswith=alerts.OUTBOX_STORM, resolved_at=None)
    for alert in opened.exclude(mailbox=None).select_related("mailbox").defer("mailbox__password"):
        assert alert.mailbox is not None
        automatic = _automatic_lately(alert.mailbox)
        most = _most_often(OutgoingRecipient.objects.filter(message__in=automatic))
        if automatic.count() < AUTOMATIC_IN_ALL and (most is None or most[1] < AUTOMATIC_TO_ONE):
            alerts.resolve(alert.cause, "Automatic mail leaves again.")


# --- what people do with what is queued ---


def send_now(messages: Iterable[OutgoingMessage]) -> int:
    """Try these at once, whatever the time until which they were deferred; returns how many wait."""
    keys = [one.pk for one in messages]
    rows = OutgoingMessage.objects.filter(pk__in=keys, state__in=WAITING)
    mailboxes = set(rows.order_by().values_list("mailbox_id", flat=True))
    count = rows.update(next_attempt_at=None, state=OutgoingState.QUEUED)
    hurry(mailboxes, even_after_failures=True)
    return count


def hurry(mailboxes: Iterable[int], *, even_after_failures: bool = False) -> None:
    """Let what was queued there leave at once, unless the mailbox was put off after failures."""
    states = SyncState.objects.filter(mailbox__in=list(mailboxes), direction=Direction.OUTGOING)
    if not even_after_failures:
        states = states.filter(failures=0)
    states.update(next_run_at=clock.now())


def send_again(message: OutgoingMessage) -> None:
    """Queue once more, with the same Message-ID, for those who do not have it: recipients of whom it failed, bounced
    or is uncertain. Raises ValidationError for a message without such."""
    again = (*UNDELIVERED, OutgoingState.UNCERTAIN)
    with transaction.atomic():
        locked = _lock(message, *again, otherwise="This message is sent, or waits already.")
        locked.recipients.filter(state__in=again).update(
            state=OutgoingState.QUEUED, said="", changed_at=clock.now()
        )
        locked.attempts, locked.queued_at = 0, clock.now()
        locked.why = locked.advice = locked.server_words = ""
        locked.copy_wanted = locked.copied_at is None and _keeps_copies(locked.mailbox)
        locked.save(update_fields=["attempts", "queued_at", "why", "advice", "server_words"])
        follow(locked)
    alerts.outbox_uncertain(locked.mailbox)
    hurry([locked.mailbox_id])


def say_it_arrived(message: OutgoingMessage, by: User) -> None:
    """A person found out that an uncertain message was sent; raises ValidationError for any other."""
    with transaction.atomic():
        locked = _lock(message, OutgoingState.UNCERTAIN, otherwise="This message is not uncertain any more.")
        locked.recipients.filter(state=OutgoingState.UNCERTAIN).update(
            state=OutgoingState.SENT, said=f"{by.label} said that it arrived.", changed_at=clock.now()
        )
        follow(locked)
    alerts.outbox_uncertain(locked.mailbox)


def cancel(message: OutgoingMessage) -> None:
    """Take back a message that waits, or that nobody got: it is a draft again. If some have it already, or nobody
    wrote it whose draft it could be, the others do not get it any more.

    Raises ValidationError when it is on its way, or there is nobody left to be kept from it.
    """
    with transaction.atomic():
        locked = _lock(
            message,
            *WAITING,
            *UNDELIVERED,
            otherwise="This message was sent, or is on its way.",
        )
        waiting = locked.recipients.filter(state__in=WAITING)
        is_with_nobody = not locked.recipients.exclude(state__in=(*WAITING, *UNDELIVERED)).exists()
        if locked.written_by_id is not None and is_with_nobody:
            _back_to_drafts(locked)
        elif waiting.update(state=OutgoingState.FAILED, said=CANCELLED, changed_at=clock.now()):
            follow(locked)
            locked.advice = "Send it again if the others should have it, too."
            locked.save(update_fields=["advice"])
        else:
            raise ValidationError("Some have this message: write a new one for those who do not.")


CANCELLED = "Cancelled before it was sent."


def _back_to_drafts(message: OutgoingMessage) -> None:
    message.recipients.update(state=OutgoingState.DRAFT, said="", changed_at=None)
    message.state, message.next_attempt_at, message.queued_at = OutgoingState.DRAFT, None, None
    message.finished_at = None
    message.why = message.advice = message.server_words = ""
    message.copy_wanted = False
    message.save()


def delete_draft(message: OutgoingMessage) -> None:
    """Raises ValidationError for anything but a draft."""
    with transaction.atomic():
        _lock(message, OutgoingState.DRAFT, otherwise="Only a draft can be deleted.").delete()


def _lock(message: OutgoingMessage, *states: OutgoingState, otherwise: str) -> OutgoingMessage:
    locked = OutgoingMessage.objects.select_for_update().filter(pk=message.pk, state__in=states).first()
    if locked is None:
        raise ValidationError(otherwise)
    return locked


# --- how it stands ---


_MOST_URGENT = (
    OutgoingState.SENDING,
    OutgoingState.UNCERTAIN,
    OutgoingState.DEFERRED,
    OutgoingState.QUEUED,
    OutgoingState.FAILED,
    OutgoingState.BOUNCED,
    OutgoingState.SENT,
)


def follow(message: OutgoingMessage) -> None:
    """Let a message stand as its recipients do, in the caller's transaction."""
    stand(message, OutgoingRecipient.objects.filter(message=message).values_list("state", flat=True))


def stand(message: OutgoingMessage, recipients: Iterable[str], error: MailError | None = None) -> None:
    """The same for who knows how these stand; `error` is why the message stands no better."""
    states = set(recipients)
    state, moment = next((one for one in _MOST_URGENT if one in states), OutgoingState.FAILED), clock.now()
    message.state = state
    message.sending_since = message.sending_since if state == OutgoingState.SENDING else None
    message.next_attempt_at = None
    if state == OutgoingState.DEFERRED:
        message.next_attempt_at = moment + backoff.delay(max(message.attempts, 1), random.SystemRandom())
    message.finished_at = None if state in (*UNFINISHED, OutgoingState.UNCERTAIN) else moment
    if state == OutgoingState.SENT:
        message.why = message.advice = message.server_words = ""
    elif error is not None:
        message.why, message.advice, message.server_words = f"{error}.", error.advice, error.server_words
    elif state == OutgoingState.FAILED:
        message.why, message.advice, message.server_words = _not_for(message), "", ""
    if state == OutgoingState.FAILED and OutgoingState.SENT not in states:
        message.copy_wanted = False  # nobody got it
    message.save(
        update_fields=[
            "state",
            "attempts",
            "sending_since",
            "next_attempt_at",
            "finished_at",
            "why",
            "advice",
            "server_words",
            "copy_wanted",
        ]
    )


def _not_for(message: OutgoingMessage) -> str:
    """Who does not have a message, of which others were spoken of last."""
    failed = OutgoingRecipient.objects.filter(message=message, state=OutgoingState.FAILED).order_by(
        "position"
    )
    return " ".join(f"Not sent to {one.address}: {one.said}" for one in failed[:3])


def why_it_waits(message: OutgoingMessage, office: Office) -> str:
    """Why a message in the outbox has not left yet, as a sentence; "" for one that does not wait."""
    if message.state not in UNFINISHED:
        return ""
    if need := first_unmet(message.mailbox, Direction.OUTGOING, office):
        return f"{need.sentence}{f' ({need.detail})' if need.detail else ''}."
    if not office.engine_alive:
        return "No engine runs that would send it."
    if message.state == OutgoingState.SENDING:
        return "It is being handed over."
    if message.state == OutgoingState.DEFERRED:
        return message.why or "The server asked to try again later."
    return "It leaves in a moment."


def watch_age() -> None:
    """Raise, bring up to date or resolve the alert on mail that has waited too long, for each mailbox."""
    settings = EmailConfigurationSettings.load()
    minutes, moment = settings.outbox_alert_minutes, clock.now()
    old = OutgoingMessage.objects.filter(
        Q(state__in=UNFINISHED), queued_at__lt=moment - timedelta(minutes=minutes)
    ).order_by()
    counted = old.values_list("mailbox").annotate(count=Count("pk"), since=Min("queued_at"))
    found = {pk: (count, since) for pk, count, since in counted} if minutes else {}
    opened = Alert.objects.filter(cause__startswith=alerts.OUTBOX_AGE, resolved_at=None)
    told = {alert.mailbox_id: alert for alert in opened.only("mailbox_id", "title", "why")}
    for mailbox_id in told.keys() - found.keys():
        alerts.resolve(alerts.age_cause(mailbox_id or 0), "Nothing waits any more.")
    if not found:
        return
    mailboxes = Mailbox.objects.select_related("server_profile", "owner").prefetch_related("states")
    office = Office.read()
    for mailbox in mailboxes.filter(pk__in=found):
        count, since = found[mailbox.pk]
        need = first_unmet(mailbox, Direction.OUTGOING, office)
        why = f"{need.sentence}." if need else _deferred_why(mailbox)
        known = told.get(mailbox.pk)
        if known is None or known.why != why or not known.title.startswith(f"{mailbox.name}: {count} "):
            alerts.outbox_old(mailbox, count, why, since)


def watch_failures() -> None:
    """The same for the alerts on mail that did not arrive, and on mail of which nobody knows."""
    uncertain = OutgoingMessage.objects.filter(state=OutgoingState.UNCERTAIN).order_by().values("mailbox")
    asked = Alert.objects.filter(cause__startswith=alerts.OUTBOX_UNCERTAIN, resolved_at=None)
    for alert in asked.exclude(mailbox__in=uncertain).select_related("mailbox"):
        alerts.resolve(alert.cause, "Of each of them it is known by now.")
    failed = OutgoingMessage.objects.filter(failed_lately()).order_by()
    counted = failed.values_list("mailbox").annotate(count=Count("pk"), newest=Max("finished_at"))
    found = {pk: (count, newest) for pk, count, newest in counted}
    opened = Alert.objects.filter(cause__startswith=alerts.OUTBOX_FAILED, resolved_at=None)
    told = {alert.mailbox_id: alert for alert in opened.only("mailbox_id", "title", "last_seen_at")}
    for mailbox_id in told.keys() - found.keys():
        alerts.resolve(alerts.failed_cause(mailbox_id or 0), "Sent again, taken back, or a week old.")
    for mailbox in Mailbox.objects.select_related("owner").filter(pk__in=found):
        (count, newest), known = found[mailbox.pk], told.get(mailbox.pk)
        as_told = (
            known and known.title.startswith(f"{mailbox.name}: {count} ") and newest <= known.last_seen_at
        )
        latest = None if as_told else failed.filter(mailbox=mailbox).order_by("-finished_at").first()
        if latest is not None:
            alerts.outbox_failed(mailbox, count, str(latest), latest.why)


def _deferred_why(mailbox: Mailbox) -> str:
    waiting = OutgoingMessage.objects.filter(mailbox=mailbox, state__in=UNFINISHED).order_by("queued_at")
    return waiting.values_list("why", flat=True).first() or "The server takes them slowly, or not at all."


def age(message: OutgoingMessage) -> datetime:
    """Since when it is what it is: written, or queued."""
    return message.queued_at or message.created_at
