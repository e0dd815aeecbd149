"""The beginning of an answer: to whom, under which subject, in which conversation, and what is quoted."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from enum import StrEnum

from django.utils import timezone
from django.utils.formats import date_format

from . import mime, words
from .addresslist import addresses
from .answers import TWENTY_LETTERS
from .models import Mailbox, Message, OutgoingMessage, RecipientKind, User
from .models.mail import Original
from .sync.parser import Poison, take_out
from .writing import FORWARDED, File, Person, chain, one_line, shown

HEADER_READ = 256 * mime.KB
QUOTED = 100_000
"""So many characters of a message are quoted."""

_ANSWER = re.compile(r"^(?:\s*(?:re|aw|antw|sv|vs|fwd?|wg)\s*(?:\[\d+\])?\s*:)+\s*", re.IGNORECASE)
_TOKEN = re.compile(rf"\s*\[#{TWENTY_LETTERS}\]", re.IGNORECASE)


class How(StrEnum):
    """What the answer is."""

    REPLY = "reply"
    ALL = "all"
    FORWARD = "forward"


def begun(message: Message, how: How, by: User, senders: Sequence[Mailbox]) -> OutgoingMessage:
    """An answer that is not stored yet: From is who got the message, if this person may write from there."""
    reached = set(message.deliveries.values_list("mailbox_id", flat=True))
    sender = next((one for one in senders if one.pk in reached), senders[0])
    text = words.of(message)[0].text[:QUOTED]
    answer = OutgoingMessage(mailbox=sender, written_by=by, answers=message)
    plain_subject = _TOKEN.sub("", _ANSWER.sub("", message.subject)).strip()
    answer.subject = one_line(f"{'Fwd' if how is How.FORWARD else 'Re'}: {plain_subject}")
    answer.text = _forwarded(message, text) if how is How.FORWARD else _quoted(message, text)
    answer.references = " ".join(chain([*_references(message), message.message_id]))
    if how is How.FORWARD:
        answer.answers = None
    return answer


def recipients_of(message: Message, how: How, own: Iterable[Mailbox]) -> dict[str, list[Person]]:
    """Reply-To, else From; with all, also who else was named, without ourselves. Nobody for a forward."""
    if how is How.FORWARD:
        return {}
    fields = _fields(message)
    to = _people(fields.get("reply-to", ())) or _people(fields.get("from", ()))
    to = to or ([Person(message.sender_name, message.sender)] if message.sender else [])
    ours = {one.email_address.lower() for one in own}
    if how is How.REPLY:
        return {RecipientKind.TO: to}
    others = _people([*fields.get("to", ()), *fields.get("cc", ())])
    known = ours | {one.address.lower() for one in to}
    rest = {one.address.lower(): one for one in others if one.address.lower() not in known}
    return {RecipientKind.TO: to, RecipientKind.CC: list(rest.values())}


def taken_out(message: Message, numbers: Iterable[int]) -> list[File]:
    """Attachments of a forwarded message, as far as they may be handed out and can be taken out of it."""
    parts = {
        one.number: one for one in message.attachments.filter(number__in=list(numbers), is_blocked=False)
    }
    found = take_out(message.raw, list(parts), message.shows_forwarded) if parts else {}
    data = {} if isinstance(found, Poison) else found
    return [File(parts[number].name, parts[number].content_type, octets) for number, octets in data.items()]


def _fields(message: Message) -> dict[str, list[str]]:
    """The header as it was collected, by name; of a message that was attached to another, nothing."""
    if message.shows_forwarded:
        return {}
    raw = bytes(Original.objects.values_list("raw", flat=True).get(pk=message.pk))[:HEADER_READ]
    raw = mime.with_line_feeds(raw)
    fields, _ = mime.read_header(raw, mime.message_start(raw), len(raw), lambda _: None)
    named: dict[str, list[str]] = {}
    for name, value in fields:
        named.setdefault(name.lower(), []).append(mime.readable(value))
    return named


def _people(values: Iterable[str]) -> list[Person]:
    found = (one for value in values for one in addresses(value, 200))
    people = (Person(one_line(mime.decoded(one.name))[:200], one.address) for one in found)
    return list({one.address.lower(): one for one in people}.values())


def _references(message: Message) -> list[str]:
    fields = _fields(message)
    written = " ".join(fields.get("references", ()) or fields.get("in-reply-to", ()))
    return re.findall(r"<([^<>\s]{1,998})>", written)


def _written_at(message: Message) -> str:
    moment = timezone.localtime(message.sent_at or message.received_at)
    return date_format(moment, "j M Y \\a\\t H:i")


def _author(message: Message) -> str:
    return shown(Person(message.sender_name, message.sender)) if message.sender else "somebody"


def _quoted(message: Message, text: str) -> str:
    lines = "\n".join(
        f"> {line}" if not line.startswith(">") else f">{line}" for line in text.strip().splitlines()
    )
    return f"\n\nOn {_written_at(message)}, {one_line(_author(message))} wrote:\n{lines}\n"


def _forwarded(message: Message, text: str) -> str:
    head = {
        "From": _author(message),
        "Date": _written_at(message),
        "To": message.recipients[:2000],
        "Subject": message.subject,
    }
    lines = "\n".join(f"{name}: {one_line(value)}" for name, value in head.items() if value)
    return f"\n\n{FORWARDED}\n{lines}\n\n{text.strip()}\n"
