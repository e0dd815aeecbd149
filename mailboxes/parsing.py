"""Reading one message: bytes in, a frozen value out. Never raises, whatever the bytes; imports no Django.

It runs in a child process (`mailboxes.sync.parser`), because bytes of strangers are opened here.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone
from email.utils import parsedate_to_datetime
from typing import NamedTuple

from mailboxes import filetypes, mime
from mailboxes.addresslist import MAX_ADDRESSES, Address, addresses

MAX_ATTACHMENTS = 200
MAX_TEXT = 1_000_000
MAX_HTML = 2_000_000
MAX_FILE_NAME = 200
MAX_REPORT = 64 * mime.KB
MAX_RETURNED = 32 * mime.KB


class Header(NamedTuple):
    """One header field as shown: unfolded, decoded, at most 32 KB of it.

    `encoded` is the value before its encoded words were decoded, and only set where that differs: addresses
    are read from `written`, so that a decoded display name is never taken for one.
    """

    name: str
    value: str
    encoded: str = ""

    @property
    def written(self) -> str:
        return self.encoded or self.value


@dataclass(frozen=True, slots=True)
class Attachment:
    """One attachment: a harmless file name, never empty; the Content-ID is without brackets.

    `content_type` is what the part says of itself, `detected_type` what its first bytes are, "" if unknown. `size`
    counts the octets of `data`, which is left out (b"") where only a description is asked for.
    """

    name: str
    content_type: str
    content_id: str
    is_inline: bool
    data: bytes = field(repr=False)
    detected_type: str = ""
    size: int = 0


@dataclass(frozen=True, slots=True)
class Parsed:
    """A message as far as it could be read. Every text can be stored: valid Unicode, no NUL.

    `message_id` is without angle brackets; addresses are addr-specs with the domain in lower case; `sent_at`
    is in UTC; `headers` stand in order, the topmost first; `forwarded` is the inner message when exactly one
    is attached; `body_digest` is equal for copies of one mail that came by different routes; `defects` says
    in plain words what could not be read. "" and None stand for what the message does not say.

    A delivery report (RFC 3464, RFC 6522) has its fields in `report`, and the header of the message that it gives
    back in `returned`: lines as they were written, the first 64 KB and 32 KB of them. See `mailboxes.answers`.
    """

    message_id: str = ""
    subject: str = ""
    sender: str = ""
    sender_name: str = ""
    to: tuple[str, ...] = ()
    cc: tuple[str, ...] = ()
    recipients_text: str = ""
    sent_at: datetime | None = None
    headers: tuple[Header, ...] = ()
    text: str = ""
    html: str = ""
    attachments: tuple[Attachment, ...] = ()
    forwarded: Parsed | None = None
    body_digest: str = ""
    defects: tuple[str, ...] = ()
    report: str = ""
    returned: str = ""


def parse(raw: bytes, *, whole: bool = True) -> Parsed:
    """Read a message. Only running out of memory is raised: the child process answers for that.

    Without `whole` what it says and the bytes of attachments are left out: they are asked for when somebody looks.
    """
    try:
        return _parse(raw, with_forwarded=True, whole=whole)
    except MemoryError:
        raise
    except Exception:  # the promise of this function; the tests call _parse, so that nothing hides behind it
        return Parsed(body_digest=hashlib.sha256(raw).hexdigest(), defects=("the message could not be read",))


def _parse(raw: bytes, with_forwarded: bool, whole: bool = True) -> Parsed:
    raw = mime.with_line_feeds(raw)
    defects = Defects()
    fields, start = mime.read_header(raw, mime.message_start(raw), len(raw), defects.note)
    head = _Head(fields, defects)
    body = _Body([(part, part.data(raw)) for part in mime.parts(raw, fields, start, defects.note)], defects)
    sender = next(iter(head.addresses("from") or head.addresses("sender")), Address("", ""))
    return Parsed(
        message_id=_message_id(head.written("message-id")),
        subject=head.text("subject"),
        sender=sender.address,
        sender_name=mime.decoded(sender.name) if sender.address else head.text("from").strip("<> "),
        to=tuple(address.address for address in head.addresses("to")),
        cc=tuple(address.address for address in head.addresses("cc")),
        recipients_text=", ".join(filter(None, (head.text("to"), head.text("cc")))),
        sent_at=_sent_at(head.written("date")),
        headers=head.headers(),
        text=body.text("text/plain", MAX_TEXT, "text", whole),
        html=body.text("text/html", MAX_HTML, "formatted text", whole),
        attachments=body.attachments(whole),
        forwarded=body.forwarded(whole) if with_forwarded else None,
        body_digest=body.digest(head),
        report=body.report(),
        returned=body.returned(head),
        defects=defects.sentences(),
    )


class Defects:
    """What could not be read, each said once."""

    def __init__(self) -> None:
        self._found: dict[str, None] = {}

    def note(self, sentence: str) -> None:
        self._found.setdefault(sentence)

    def sentences(self) -> tuple[str, ...]:
        return tuple(self._found)


class _Head:
    """The fields of one header, by name (lower case), with what is needed to show them."""

    def __init__(self, fields: Sequence[mime.Field], defects: Defects) -> None:
        self._fields = fields
        self._named: dict[str, list[bytes | str]] = {}
        for name, value in fields:
            self._named.setdefault(name.lower(), []).append(value)
        self._topmost = {name: values[0] for name, values in self._named.items()}
        self._texts: dict[str, str] = {}
        self._defects = defects
        self._content_type = mime.content_value(self._topmost, "content-type")
        self._charset = mime.parameter(self._content_type, "charset")

    def written(self, name: str) -> str:
        """The topmost value on one line, encoded words as they are."""
        return self._written(self._topmost.get(name, b""))

    def text(self, name: str) -> str:
        """The same, decoded."""
        if name not in self._texts:
            self._texts[name] = mime.decoded(self.written(name))
        return self._texts[name]

    def addresses(self, name: str) -> list[Address]:
        """The addresses of all fields of this name."""
        found = [
            address
            for value in self._named.get(name, ())
            for address in addresses(self._readable(value), MAX_ADDRESSES + 1)
        ]
        if len(found) > MAX_ADDRESSES:
            self._defects.note(f"only the first {MAX_ADDRESSES} addresses of {name.title()} were read")
        return found[:MAX_ADDRESSES]

    def says_delivery_report(self) -> bool:
        is_report = self._content_type.lower().startswith("multipart/report")
        return is_report and mime.parameter(self._content_type, "report-type").lower() == "delivery-status"

    def headers(self) -> tuple[Header, ...]:
        return tuple(
            [
                Header(name, value)
                if isinstance(value, str) and "=?" not in value
                else self._header(name, value)
                for name, value in self._fields
            ]
        )

    def _header(self, name: str, value: bytes | str) -> Header:
        if len(value) > mime.MAX_SHOWN_FIELD:
            self._defects.note(f"the header {name} is over 32 KB and was cut")
        written = self._written(value)
        shown = mime.decoded(written)
        return Header(name, shown, encoded="" if shown == written else written)

    def _written(self, value: bytes | str) -> str:
        return self._readable(value[: mime.MAX_SHOWN_FIELD])

    def _readable(self, value: bytes | str) -> str:
        return mime.readable(value, self._charset)


class _Body:
    """The parts of one message with their decoded bytes, sorted into what is read and what is attached."""

    def __init__(self, contents: list[tuple[mime.Part, bytes]], defects: Defects) -> None:
        self._contents = contents
        self._defects = defects

    def text(self, content_type: str, limit: int, what: str, whole: bool) -> str:
        """What stands in the body as `content_type`, several parts after one another, with LF line ends.

        If it is not asked for, nothing is decoded unless there is so much that it may have to be cut.
        """
        read = [one for one in self._contents if one[0].content_type == content_type and _is_read(one[0])]
        if not whole and sum(len(data) + 2 for _, data in read) <= limit:
            return ""
        shown = (mime.decode(data, part.charset or _own_charset(part, data)) for part, data in read)
        text = _with_line_feeds("\n\n".join(filter(None, shown)))
        if len(text) > limit:
            self._defects.note(f"the {what} is over {limit // 1_000_000} MB and was cut")
        return text[:limit] if whole else ""

    def attachments(self, whole: bool) -> tuple[Attachment, ...]:
        attached = [(part, data) for part, data in self._contents if not _is_read(part)]
        if len(attached) > MAX_ATTACHMENTS:
            self._defects.note(f"only the first {MAX_ATTACHMENTS} attachments were taken out")
        numbered = enumerate(attached[:MAX_ATTACHMENTS], start=1)
        return tuple(_attachment(part, data, number, whole) for number, (part, data) in numbered)

    def forwarded(self, whole: bool) -> Parsed | None:
        """The inner message, when exactly one is attached."""
        inner = [data for part, data in self._contents if part.content_type in _MESSAGE_TYPES]
        return _parse(inner[0], with_forwarded=False, whole=whole) if len(inner) == 1 else None

    def report(self) -> str:
        """The fields of a delivery report; "" if this is none."""
        found = self._first(_STATUS_TYPES)
        return self._first_lines(*found, MAX_REPORT, "delivery report") if found else ""

    def returned(self, head: _Head) -> str:
        """The header of the message that a delivery report gives back; "" if this is none, or gives none back."""
        found = self._first(_RETURNED_TYPES)
        if found is None or not (self._first(_STATUS_TYPES) or head.says_delivery_report()):
            return ""
        part, data = found
        return self._first_lines(
            part, mime.header_block(data), MAX_RETURNED, "header of the returned message"
        )

    def _first(self, content_types: set[str]) -> tuple[mime.Part, bytes] | None:
        return next((one for one in self._contents if one[0].content_type in content_types), None)

    def _first_lines(self, part: mime.Part, data: bytes, limit: int, what: str) -> str:
        """As many whole lines as fit into so many octets: half an address is another address."""
        if len(data) > limit:
            self._defects.note(f"the {what} is over {limit // mime.KB} KB and was cut")
            data = data[:limit].rpartition(b"\n")[0]
        return _with_line_feeds(mime.decode(data, part.charset))

    def digest(self, head: _Head) -> str:
        """sha256 over From, Date, Subject and the decoded parts.

        Blind to what changes on the way: trace headers, folding, boundaries, transfer encodings, line ends.
        """
        digest = hashlib.sha256()
        for name in ("from", "date", "subject"):
            digest.update(" ".join(head.text(name).split()).encode() + b"\0")
        for part, data in self._contents:
            body = data.replace(b"\r\n", b"\n").rstrip()
            digest.update(f"{part.content_type} {len(body)}\0".encode())
            digest.update(body)
        return digest.hexdigest()


_LINE_END = re.compile(r"\r{1,2}\n|\r")


def _with_line_feeds(text: str) -> str:
    if "\r\r" in text:
        return _LINE_END.sub("\n", text)
    return text.replace("\r\n", "\n").replace("\r", "\n")


_META_CHARSET = re.compile(rb"<meta[^>]{0,200}charset=[\"']?([\w.:+-]{1,60})", re.IGNORECASE)


def _own_charset(part: mime.Part, data: bytes) -> str:
    """What a page says itself about its charset; "" for anything but a page that does."""
    found = _META_CHARSET.search(data, 0, 2048) if part.content_type == "text/html" else None
    return found[1].decode("ascii") if found else ""


_MESSAGE_TYPES = {"message/rfc822", "message/global"}
_STATUS_TYPES = {"message/delivery-status", "message/global-delivery-status"}  # RFC 3464, RFC 6533
_RETURNED_TYPES = {*_MESSAGE_TYPES, "text/rfc822-headers", "message/global-headers"}


def _is_read(part: mime.Part) -> bool:
    """Part of the text a person reads, as opposed to an attachment (RFC 2183)."""
    named = part.disposition == "attachment" or part.file_name
    return part.content_type in {"text/plain", "text/html"} and not named


def _attachment(part: mime.Part, data: bytes, number: int, whole: bool) -> Attachment:
    return Attachment(
        name=file_name(part.file_name, part.content_type, number),
        content_type=part.content_type,
        content_id=part.content_id[:255],
        is_inline=part.disposition != "attachment" and bool(part.content_id or part.disposition == "inline"),
        data=data if whole else b"",
        detected_type=filetypes.detect(data),
        size=len(data),
    )


_SUFFIXES = {
    "application/pdf": ".pdf",
    "image/gif": ".gif",
    "image/jpeg": ".jpg",
    "image/png": ".png",
    "message/delivery-status": ".txt",
    "message/global": ".eml",
    "message/rfc822": ".eml",
    "text/calendar": ".ics",
    "text/html": ".html",
    "text/plain": ".txt",
    "text/rfc822-headers": ".txt",
}


def file_name(written: str, content_type: str, number: int) -> str:
    """A file name that does no harm anywhere: no path, no drive, no invisible characters, no device of Windows.

    1 to 200 octets in UTF-8, and the last extension is always kept: it says what a double click would do.
    """
    last = re.split(r"[/\\]", written)[-1]
    visible = "".join(letter for letter in last if unicodedata.category(letter) not in _INVISIBLE)
    without_drive = re.sub(r"^[A-Za-z]:", "", visible.strip())
    name = re.sub(r'[<>:"|?*]', "_", " ".join(without_drive.split())).strip(" .")
    if not name:
        return f"attachment-{number}{_SUFFIXES.get(content_type, '')}"
    if _DEVICE.match(name):
        name = f"_{name}"
    stem, dot, suffix = name.rpartition(".")
    if not dot or len(suffix.encode()) > 80:
        return _cut(name, MAX_FILE_NAME).rstrip(" .")
    return _cut(stem, MAX_FILE_NAME - len(suffix.encode()) - 1).rstrip(" ") + dot + suffix


def _cut(text: str, octets: int) -> str:
    """The beginning of `text` that fits into so many octets, no character cut in two."""
    return text.encode()[:octets].decode("utf-8", "ignore")


_DEVICE = re.compile(
    r"(?:con|prn|aux|nul|conin\$|conout\$|com[0-9¹²³]|lpt[0-9¹²³])\s*(?:\.|$)", re.IGNORECASE
)
"""Names that are devices on Windows, whatever extension follows."""


_INVISIBLE = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
"""Unicode's categories: control, format (bidi overrides too), surrogate, private, unassigned, separators."""


def _message_id(written: str) -> str:
    """The id without its angle brackets (RFC 5322, section 3.6.4); "" for an empty or an absurd one."""
    match = re.search(r"<([^<>]*)>", written)
    identity = (match[1] if match else written).strip()
    return identity if len(identity) <= 998 else ""


# The standard library takes it for the year 2000.
_YEAR_ZERO = re.compile(r"[A-Za-z] 0{3,}\b")
_ISO_8601 = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d")

_RFC_5322_DATE = re.compile(
    r"(?:[A-Z][a-z]{2}, )?(\d\d?) ([A-Z][a-z]{2}) (\d{4}) (\d\d):(\d\d):([0-5]\d) ([+-]\d\d)(\d\d)", re.ASCII
)
_MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]

_AS_RFC_5322 = [
    (r"\([^()]*\)", " "),  # comments
    (r"\s+", " "),
    (r"^ ?[^\W\d]{2,12}\.?, ?", ""),  # the day of the week, in any language
    (r"([A-Za-z]{3})\. ", r"\1 "),
    (r"(:\d\d):60\b", r"\1:59"),  # a leap second
    (r" 1(\d\d) (?=\d)", r" 20\1 "),  # years since 1900 (RFC 5322, 4.3)
    (r" (?:UT|UTC|GMT) ?([+-]\d)", r" \1"),
    (r"([+-]\d\d):(\d\d) ?$", r"\1\2"),
    (r" (?:CET|MEZ) ?$", " +0100"),
    (r" (?:CEST|MESZ|EET) ?$", " +0200"),
    (r" EEST ?$", " +0300"),
]
"""What programs write instead of the Date of RFC 5322, and how it is meant."""


def _exact_date(written: str) -> datetime | None:
    """A date that is written exactly as RFC 5322 has it; None for any other."""
    found = _RFC_5322_DATE.fullmatch(written)
    if found is None or found[2] not in _MONTHS:
        return None
    day, month, year, hour, minute, second, hours, minutes = found.groups()
    east = timedelta(hours=int(hours), minutes=int(hours[0] + minutes))
    zone = timezone(east)
    return datetime(
        int(year), _MONTHS.index(month) + 1, int(day), int(hour), int(minute), int(second), tzinfo=zone
    )


def _plain_date(written: str) -> str:
    for pattern, meant in _AS_RFC_5322:
        written = re.sub(pattern, meant, written)
    return written


def _any_date(written: str) -> datetime:
    if _ISO_8601.match(written):
        return datetime.fromisoformat(written)
    return parsedate_to_datetime(_plain_date(written))


def _sent_at(written: str) -> datetime | None:
    """The Date in UTC; None for one that is missing, unreadable or out of all reason."""
    written = mime.decoded(written[:200])
    if _YEAR_ZERO.search(written):
        return None
    try:
        date = _exact_date(written) or _any_date(written)
        date = date.replace(tzinfo=date.tzinfo or UTC).astimezone(UTC)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return date if 1970 <= date.year < 3000 else None
