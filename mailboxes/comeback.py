"""What comes back: which outgoing message a collected one belongs to, and what a delivery report changes.

Whoever writes to us may write anything. A message is tied only by what nobody guesses, a Message-ID or a token of
ours, and a report is believed only about recipients of the message that it names.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from emailprofiles.errors import SettingsIncomplete
from emailprofiles.transports.smtp_words import spoken

from . import alerts, answers, clock, outbox
from .answers import Clue, Status
from .models import Answer, Mailbox, OutgoingMessage, OutgoingRecipient, OutgoingState
from .parsing import Parsed

LONGEST_ID = 320


class Tie(NamedTuple):
    """To which outgoing message a collected one belongs, and how we know.

    `mailboxes` are those from which anything that it names was sent; `told` is what it reports of recipients.
    """

    outgoing_id: int
    known_by: str
    mailboxes: frozenset[int] = frozenset()
    is_report: bool = False
    told: tuple[Status, ...] = ()


class _Sent(NamedTuple):
    pk: int
    mailbox_id: int
    message_id: str
    token: str


def anything_sent() -> bool:
    """Whether anything ever left, or waits to: otherwise nothing can come back."""
    return OutgoingMessage.objects.exclude(message_id="").exists()


def ties(messages: Sequence[Parsed]) -> list[Tie | None]:
    """For each message where it belongs; None for one that belongs nowhere. At most two queries."""
    named = [answers.clues(parsed) for parsed in messages]
    every = [clue for many in named for clue in many]
    by_id = _sent("message_id", {c.message_id for c in every if 0 < len(c.message_id) <= LONGEST_ID})
    by_token = _sent("token", {c.token for c in every if c.token})
    return [_tie(parsed, many, by_id, by_token) for parsed, many in zip(messages, named, strict=True)]


def _sent(column: str, values: set[str]) -> dict[str, _Sent]:
    if not values:
        return {}
    rows = OutgoingMessage.objects.exclude(message_id="").filter(**{f"{column}__in": values}).order_by()
    found = [_Sent(*row) for row in rows.values_list(*_Sent._fields)]
    return {getattr(one, column): one for one in found}


def _tie(
    parsed: Parsed, clues: Iterable[Clue], by_id: dict[str, _Sent], by_token: dict[str, _Sent]
) -> Tie | None:
    """The first that is found decides; a mail of ours that is collected here carries its own token."""
    found = [
        (clue, sent)
        for clue in clues
        if (sent := by_id.get(clue.message_id) or by_token.get(clue.token))
        and sent.message_id != parsed.message_id
    ]
    if not found:
        return None
    (clue, sent), report = found[0], answers.reported(parsed)
    told = report.statuses if report else tuple(_failed(one) for one in answers.failed(parsed))
    return Tie(
        sent.pk,
        clue.known_by,
        frozenset(one.mailbox_id for _, one in found),
        is_report=report is not None or bool(told),
        told=told,
    )


def _failed(address: str) -> Status:
    return Status(address, "failed", "", "")


# ── What is written ─────────────────────────────────────────────────────────────────────────


class Arrived(NamedTuple):
    """A collected message that is tied, by its row; `same_key` as in its row."""

    message_id: int
    same_key: str
    tie: Tie


def write(arrived: Sequence[Arrived], tried_before: Sequence[int]) -> None:
    """Note what these messages belong to, and what they report, in the caller's transaction.

    Of messages that were tried before, what was noted then is replaced. A report counts once, however many copies
    of it are collected.
    """
    reports = [one for one in arrived if one.tie.is_report]
    heard = _heard(reports)
    if tried_before:
        Answer.objects.filter(message__in=tried_before).delete()
    Answer.objects.bulk_create(
        Answer(
            message_id=one.message_id,
            outgoing_id=one.tie.outgoing_id,
            known_by=one.tie.known_by,
            is_report=one.tie.is_report,
        )
        for one in arrived
    )
    if reports:
        _believe(reports, heard)


def _heard(reports: Sequence[Arrived]) -> set[tuple[int, int | str]]:
    """(outgoing message, row or same key) of the reports that were believed already."""
    if not reports:
        return set()
    of_these = Answer.objects.filter(outgoing__in={one.tie.outgoing_id for one in reports}, is_report=True)
    rows = of_these.values_list("outgoing_id", "message_id", "message__same_key", named=True)
    return {
        (row.outgoing_id, mark) for row in rows for mark in (row.message_id, row.message__same_key) if mark
    }


def _believe(reports: Sequence[Arrived], heard: set[tuple[int, int | str]]) -> None:
    keys = {one.tie.outgoing_id for one in reports}
    rows = OutgoingMessage.objects.select_for_update().filter(pk__in=keys).order_by("pk")
    outgoing = {one.pk: one for one in rows}
    for one in reports:
        marks = {(one.tie.outgoing_id, mark) for mark in (one.message_id, one.same_key) if mark}
        if marks & heard or one.tie.outgoing_id not in outgoing:
            continue
        heard |= marks
        _settle(outgoing[one.tie.outgoing_id], one.tie.told)


_SETTLED_BY_REPORT = (OutgoingState.SENT, OutgoingState.UNCERTAIN)


def _settle(message: OutgoingMessage, told: Sequence[Status]) -> None:
    """What a report says of recipients of this message, of whom the server had the mail, or may have had it."""
    recipients = list(message.recipients.filter(state__in=_SETTLED_BY_REPORT))
    of_address = {form: one for one in recipients for form in _forms(one.address)}
    before = {one.pk: one.state for one in recipients}
    concerned = {}
    for status in told:
        one = of_address.get(status.recipient.lower())
        if one is not None and _note(one, status):
            concerned[one.pk] = one
    if not concerned:
        return
    OutgoingRecipient.objects.bulk_update(concerned.values(), ["state", "said", "changed_at", "confirmed_at"])
    changed = [one for one in concerned.values() if one.state != before[one.pk]]
    if not changed:
        return
    outbox.follow(message)
    if message.state == OutgoingState.BOUNCED:
        _explain(message)
    if OutgoingState.UNCERTAIN in {before[one.pk] for one in changed}:
        alerts.outbox_uncertain(Mailbox.objects.select_related("owner").get(pk=message.mailbox_id))


def _forms(address: str) -> set[str]:
    """An address as it is written here, and as a server was told it (RFC 5891)."""
    try:
        return {address.lower(), spoken(address).lower()}
    except SettingsIncomplete:
        return {address.lower()}


def _note(recipient: OutgoingRecipient, status: Status) -> bool:
    """Whether anything follows for this recipient; what one report said before stands, once it said *failed*."""
    if recipient.state == OutgoingState.BOUNCED or status.action not in _ACTIONS:
        return False
    moment, words = clock.now(), _words(status)
    if status.action == "failed":
        recipient.state, recipient.said = OutgoingState.BOUNCED, words or "A report says that it failed."
        recipient.confirmed_at = None
    elif status.action == "delayed":
        recipient.said = f"Delayed: {words}" if words else "A report says that it is delayed."
        return True
    else:
        recipient.state, recipient.confirmed_at = OutgoingState.SENT, recipient.confirmed_at or moment
    recipient.changed_at = moment
    return True


_ACTIONS = {"failed", "delayed", "delivered", "relayed", "expanded"}


def _words(status: Status) -> str:
    """ "5.1.1 User unknown": what the server said, with its code."""
    return status.said if status.status in status.said else f"{status.status} {status.said}".strip()


NAMED = 5


def _explain(message: OutgoingMessage) -> None:
    """Why it bounced, and what to do about it, for who wrote it."""
    bounced = list(message.recipients.filter(state=OutgoingState.BOUNCED))
    more = len(bounced) - NAMED
    who = ", ".join(one.address for one in bounced[:NAMED]) + (f" and {more} more" if more > 0 else "")
    said = next((one.said for one in bounced if one.said), "")
    message.why = f"It came back: {who} could not be reached. The server said: {said}"
    message.advice = ADVICE
    message.server_words = said
    message.save(update_fields=["why", "advice", "server_words"])


ADVICE = (
    "Check how the address is written, and ask the recipient whether it is still in use and takes mail. Then write "
    "again to the right address, or send this message again once their server takes it."
)
