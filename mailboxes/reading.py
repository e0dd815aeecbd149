"""What the parser child is asked for, and how it answers: bytes in, bytes out, and both ends of them.

An answer is data and never unpickled: a message that took the child over could have the engine run what it likes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import fields
from datetime import datetime
from operator import attrgetter
from typing import Any, NamedTuple

from mailboxes.parsing import Attachment, Header, Parsed, parse

# --- in the child ---


def describe(raw: bytes) -> bytes:
    """All that is needed to route a message and to list it: neither what it says, nor the bytes of attachments."""
    return dumps(parse(raw, whole=False))


def attached(request: bytes) -> bytes:
    """The bytes of some attachments, by their numbers; those that are not there are left out.

    `request` as `ask_for_files` makes it.
    """
    asked, message = _asked(request)
    found = dict(enumerate(message.attachments, start=1))
    return dump_files({number: found[number].data for number in asked["numbers"] if number in found})


def words(request: bytes) -> bytes:
    """What a message says; `request` as `ask_for_words` makes it."""
    _, message = _asked(request)
    return json.dumps([message.text, message.html], ensure_ascii=False).encode()


def _asked(request: bytes) -> tuple[dict[str, Any], Parsed]:
    line, _, raw = request.partition(b"\n")
    asked = json.loads(line)
    parsed = parse(raw)
    return asked, (parsed.forwarded or Parsed()) if asked["forwarded"] else parsed


# --- requests ---


def ask_for_files(raw: bytes, numbers: Sequence[int], forwarded: bool) -> bytes:
    """Attachments of a message, or, with `forwarded`, of the one message that is attached to it."""
    return _request(raw, numbers=list(numbers), forwarded=forwarded)


def ask_for_words(raw: bytes, forwarded: bool) -> bytes:
    """What it says, or what the message that is attached to it says."""
    return _request(raw, forwarded=forwarded)


def _request(raw: bytes, **asked: object) -> bytes:
    """One line of JSON, then the message as it was collected."""
    return json.dumps(asked).encode() + b"\n" + raw


# --- answers ---

_NAMES = tuple(field.name for field in fields(Parsed))
_values = attrgetter(*_NAMES)
_described = attrgetter("name", "content_type", "content_id", "is_inline", "detected_type", "size")


def dumps(parsed: Parsed) -> bytes:
    """A description: all but the bytes of attachments."""
    return json.dumps(_plain(parsed), ensure_ascii=False, separators=(",", ":")).encode()


def loads(answer: bytes) -> Parsed:
    """The description again. Raises ValueError for what is none."""
    try:
        return _parsed(json.loads(answer))
    except (TypeError, LookupError, RecursionError) as error:
        raise ValueError(f"no description of a message: {type(error).__name__}") from error


def _plain(parsed: Parsed) -> list[Any]:
    values = list(_values(parsed))
    values[_SENT_AT] = parsed.sent_at.isoformat() if parsed.sent_at else None
    values[_ATTACHMENTS] = list(map(_described, parsed.attachments))
    values[_FORWARDED] = _plain(parsed.forwarded) if parsed.forwarded else None
    return values


def _parsed(values: list[Any]) -> Parsed:
    values[_SENT_AT] = datetime.fromisoformat(values[_SENT_AT]) if values[_SENT_AT] else None
    values[_ATTACHMENTS] = tuple([_attachment(*one) for one in values[_ATTACHMENTS]])
    values[_FORWARDED] = _parsed(values[_FORWARDED]) if values[_FORWARDED] else None
    values[_HEADERS] = tuple([Header(*one) for one in values[_HEADERS]])
    for index in _TUPLES:
        values[index] = tuple(values[index])
    return Parsed(*values)


def _attachment(
    name: str, content_type: str, content_id: str, is_inline: bool, detected: str, size: int
) -> Attachment:
    return Attachment(name, content_type, content_id, is_inline, b"", detected, size)


_SENT_AT, _ATTACHMENTS, _FORWARDED, _HEADERS, *_TUPLES = (
    _NAMES.index(name) for name in ("sent_at", "attachments", "forwarded", "headers", "to", "cc", "defects")
)


def dump_files(files: Mapping[int, bytes]) -> bytes:
    """The bytes of some attachments, by their numbers: a line that says how long each is, then all of them."""
    lengths = json.dumps({number: len(data) for number, data in files.items()})
    return b"".join([lengths.encode(), b"\n", *files.values()])


def load_files(answer: bytes) -> dict[int, bytes]:
    """The bytes by number again. Raises ValueError for what is none of these."""
    line, _, rest = answer.partition(b"\n")
    files, start = {}, 0
    for number, length in json.loads(line).items():
        files[int(number)] = rest[start : start + length]
        start += length
    return files


class Words(NamedTuple):
    """What a message says, as plain text and as HTML; "" for what it has not."""

    text: str
    html: str


def load_words(answer: bytes) -> Words:
    """What a message says. Raises ValueError for what is none of it."""
    text, html = json.loads(answer)
    return Words(str(text), str(html))
