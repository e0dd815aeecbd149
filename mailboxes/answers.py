"""What comes back to a mail that we sent: an answer of a person or of a machine, or a delivery report. Pure.

Whoever writes to us writes what they like: that a message names a mail of ours is its own word. Only a token can
be known to nobody but those who have seen that mail. Nothing here raises, whatever the message says.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import NamedTuple

from mailboxes.addresslist import MAX_ADDRESS_LENGTH, address_of, addresses
from mailboxes.parsing import Parsed

MAX_ANSWERED = 50
MAX_TOKENS = 50
MAX_STATUSES = 1000
MAX_ID = 998
MAX_SAID = 500
MAX_ENVELOPE_ID = 100
"""What a server takes as ENVID (RFC 3461, section 4.4)."""

# ── Which mail is meant ─────────────────────────────────────────────────────────────────────

TWENTY_LETTERS = "[a-z2-7]{20}"
"""A token, as a pattern."""
MARK = "so-"
"""Begins it in a reply address: support+so-TOKEN@contoso.com."""

_BRACKETED = re.compile(r"<([^<>]*)>")
_IN_ADDRESS = re.compile(rf'\+{MARK}({TWENTY_LETTERS})"?@', re.IGNORECASE | re.ASCII)
_IN_SUBJECT = re.compile(rf"\[#({TWENTY_LETTERS})\]", re.IGNORECASE | re.ASCII)
_RECIPIENTS = ("delivered-to", "x-original-to", "envelope-to")


def answered(parsed: Parsed) -> list[str]:
    """The ids, without angle brackets, of the messages that this one answers; the most telling first, each once.

    In-Reply-To, then References from the last to the first (RFC 5322, section 3.6.4). At most 50.
    """
    thread = [one for written in _written(parsed, "references") for one in _ids(written)]
    return _unique([*_directly_answered(parsed), *reversed(thread)], MAX_ANSWERED)


def _directly_answered(parsed: Parsed) -> list[str]:
    return [one for written in _written(parsed, "in-reply-to") for one in _ids(written)]


def _ids(written: str) -> list[str]:
    """The message ids of one field. Some programs leave the brackets out, some fold within a long id."""
    found = _BRACKETED.findall(written) or [word for word in written.split() if "@" in word]
    ids = ("".join(one.split()) for one in found)
    return [one for one in ids if 0 < len(one) <= MAX_ID]


def tokens(parsed: Parsed) -> list[str]:
    """The tokens by which mails of ours are known again, in lower case, each once: at most 50.

    They stand in a recipient's address, local+so-TOKEN@domain, or in the subject, [#TOKEN].
    """
    found = [*_tokens_in_addresses(parsed), *_IN_SUBJECT.findall(parsed.subject)]
    return _unique([one.lower() for one in found], MAX_TOKENS)


def _tokens_in_addresses(parsed: Parsed) -> list[str]:
    noted = (
        address.address
        for name in _RECIPIENTS
        for written in _written(parsed, name)
        for address in addresses(written)
    )
    recipients = [*parsed.to, *parsed.cc, *noted]
    return [match[1].lower() for address in recipients if (match := _IN_ADDRESS.search(address))]


class Clue(NamedTuple):
    """What names a mail of ours: its message id, without angle brackets, or else its token; `known_by` says where
    it stands, for people. A mail that has it need not exist."""

    known_by: str
    message_id: str = ""
    token: str = ""


def clues(parsed: Parsed) -> list[Clue]:
    """By what the mail that a message answers, or reports on, may be known; the most telling first."""
    return [*_clues_of_report(parsed), *_clues_of_answer(parsed)]


def _clues_of_report(parsed: Parsed) -> Iterator[Clue]:
    if report := reported(parsed):
        if report.envelope_id:
            yield Clue("delivery report", token=report.envelope_id.lower())
        if report.message_id:
            yield Clue("delivery report", message_id=report.message_id)


def _clues_of_answer(parsed: Parsed) -> Iterator[Clue]:
    direct, in_addresses = set(_directly_answered(parsed)), set(_tokens_in_addresses(parsed))
    for one in answered(parsed):
        yield Clue("In-Reply-To" if one in direct else "References", message_id=one)
    for one in tokens(parsed):
        yield Clue(f"token in the {'address' if one in in_addresses else 'subject'}", token=one)


def _written(parsed: Parsed, name: str) -> list[str]:
    """The values of all fields of this name (lower case), the topmost first."""
    return [header.written for header in parsed.headers if header.name.lower() == name]


def _unique(found: Iterable[str], limit: int) -> list[str]:
    return list(islice(dict.fromkeys(found), limit))


# ── Mail of machines ────────────────────────────────────────────────────────────────────────

_LIST_FIELDS = {
    "list-archive",
    "list-help",
    "list-id",
    "list-owner",
    "list-post",
    "list-subscribe",
    "list-unsubscribe",
}
_FOR_MANY = {"bulk", "list", "junk", "auto_reply"}
_NO_ANSWERS = {"all", "oof", "autoreply"}
"""In X-Auto-Response-Suppress; what else may stand there is about receipts ([MS-OXCMAIL], 2.1.3.2.20)."""

_MACHINE = re.compile(
    r"mailer[-_]?daemon\b|postmaster\b|owner-|listserv\b|majordomo\b|.*-request\Z"
    r"|microsoftexchange[0-9a-f]{32}\Z"
    r"|(?:.*[^a-z])?(?:no|do[-_.]?not)[-_.]?reply(?![a-z])",
    re.DOTALL,
)
_WORD = re.compile(r"[\w-]{1,60}")


def is_automatic(parsed: Parsed) -> str:
    """Why this counts as mail of a machine, which is never answered; "" for mail of a person.

    A part of a sentence, such as *it is a delivery report* (RFC 3834, section 2; RFC 5230, section 4.6).
    """
    marks = (_mark(header.name.lower(), header.written) for header in parsed.headers)
    return _report(parsed) or next(filter(None, marks), "") or _machine(parsed)


def _report(parsed: Parsed) -> str:
    """Of delivery, or of something else, such as reading or a complaint (RFC 8098, RFC 5965)."""
    if parsed.report or parsed.returned:
        return "it is a delivery report"
    types = _written(parsed, "content-type")
    is_report = bool(types) and types[0].lower().startswith("multipart/report")
    return "it is a report of a machine" if is_report else ""


def _mark(name: str, written: str) -> str:
    """What one field says against an answer; "" for nearly every field."""
    if name == "auto-submitted":
        word = _first_word(written)
        return "" if word in {"", "no"} else f"its Auto-Submitted says {word}"
    if name == "precedence":
        word = _first_word(written)
        return f"its Precedence says {word}" if word in _FOR_MANY else ""
    if name == "x-auto-response-suppress":
        unwanted = {word.strip().lower() for word in written.split(",")}
        return "its sender wants no automatic answer" if unwanted & _NO_ANSWERS else ""
    if name == "return-path":
        return "" if written.strip("<> ") else "its Return-Path is empty"
    return "it comes from a mailing list" if name in _LIST_FIELDS else ""


def _first_word(written: str) -> str:
    """In lower case; comments before it are left out, as parameters behind it are."""
    found = _WORD.search(re.sub(r"\([^()]*\)", " ", written))
    return found[0].lower() if found else ""


def _machine(parsed: Parsed) -> str:
    """A sender behind which nobody reads; MAILER-DAEMON often has no domain."""
    sender = parsed.sender or parsed.sender_name
    local = sender.rpartition("@")[0] or sender
    return "its sender is a machine" if _MACHINE.match(local[:MAX_ADDRESS_LENGTH].lower()) else ""


# ── Delivery reports ────────────────────────────────────────────────────────────────────────


class Status(NamedTuple):
    """What became of the mail to one recipient (RFC 3464, section 2.3). "" stands for what is not said.

    `recipient` is the address as we wrote it, if the report knows it, else the one where delivery ended; the
    domain is in lower case. `action` is failed, delayed, delivered, relayed or expanded, `status` a code such as
    5.1.1 (RFC 3463), `said` what the server answered, on one line of at most 500 characters.
    """

    recipient: str
    action: str
    status: str
    said: str


class Report(NamedTuple):
    """A delivery report: the ENVID that we gave the mail, its message id without angle brackets, and what became of
    it. "" stands for what is not said."""

    envelope_id: str
    message_id: str
    statuses: tuple[Status, ...]


def reported(parsed: Parsed) -> Report | None:
    """What a delivery report says; None if the message is none. At most 1000 recipients are read."""
    if not (parsed.report or parsed.returned):
        return None
    groups = list(_groups(parsed.report))
    envelope_id = next((group[_ENVELOPE] for group in groups if _ENVELOPE in group), "")
    returned = next(_groups(parsed.returned), {})
    ids = _ids(returned.get("message-id", ""))
    about_recipients = (group for group in groups if _FINAL in group or _ORIGINAL in group)
    return Report(
        envelope_id=_one_line(_XTEXT.sub(_character, envelope_id))[:MAX_ENVELOPE_ID],
        message_id=ids[0] if ids else "",
        statuses=tuple(map(_status, islice(about_recipients, MAX_STATUSES))),
    )


def failed(parsed: Parsed) -> list[str]:
    """The addresses that a bounce names in X-Failed-Recipients, as Exim writes it, instead of a report; [] for what
    no mail server sent."""
    paths = _written(parsed, "return-path")
    local = (parsed.sender or parsed.sender_name).partition("@")[0].lower()
    if not (local in ("", "mailer-daemon") or (paths and not paths[0].strip("<> "))):
        return []
    named = (addresses(written) for written in _written(parsed, "x-failed-recipients"))
    return _unique([address.address for found in named for address in found], MAX_STATUSES)


_ENVELOPE = "original-envelope-id"
_ORIGINAL = "original-recipient"
_FINAL = "final-recipient"
_ACTIONS = {"failed", "delayed", "delivered", "relayed", "expanded"}

_FOLD = re.compile(r"\n[ \t]++(?=\S)")
_EMPTY_LINES = re.compile(r"\n\s*\n")
_FIELD = re.compile(r"^([!-9;-~]{1,200})[ \t]*:(.*)$", re.MULTILINE)
_TYPE = re.compile(r"\s*[a-z][\w-]*\s*;", re.IGNORECASE)
_CODE = re.compile(r"\b[245]\.\d{1,3}\.\d{1,3}\b", re.ASCII)
_XTEXT = re.compile(r"\+([0-9A-F]{2})")
_NEEDED_XTEXT = re.compile(r"\+(2B|3D)")


def _groups(text: str) -> Iterator[dict[str, str]]:
    """The groups of fields between empty lines: name in lower case → value, unfolded; the topmost of each name."""
    for block in _EMPTY_LINES.split(_FOLD.sub(" ", text)):
        if fields := _FIELD.findall(block):
            yield {name.lower(): value.strip() for name, value in reversed(fields)}


def _status(group: dict[str, str]) -> Status:
    code = _CODE.search(group.get("status", ""))
    action = _first_word(group.get("action", ""))
    return Status(
        recipient=_recipient(group),
        action=action if action in _ACTIONS else "",
        status=code[0] if code else "",
        said=_one_line(_without_type(group.get("diagnostic-code", "")))[:MAX_SAID],
    )


def _recipient(group: dict[str, str]) -> str:
    """The address, or, if neither is one, such as a name of the server's own users, what is written there."""
    original, final = (_without_type(group.get(name, "")) for name in (_ORIGINAL, _FINAL))
    address = address_of(_plus(original)) or address_of(_plus(final))
    return address or _one_line(final or original)[:MAX_ADDRESS_LENGTH]


def _plus(address: str) -> str:
    """Without what xtext must encode in an address, + and = (RFC 3461, section 4). Many servers decode it
    before they report, and of those amara+42@contoso.com is meant as it stands."""
    return _NEEDED_XTEXT.sub(_character, address)


def _character(found: re.Match[str]) -> str:
    return chr(int(found[1], 16))


def _without_type(value: str) -> str:
    """Without *rfc822;* or *smtp;* before it."""
    found = _TYPE.match(value)
    return value[found.end() :] if found else value


def _one_line(text: str) -> str:
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())
