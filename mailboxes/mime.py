"""Taking the bytes of a message apart (RFC 5322, RFC 2045 to 2047, RFC 2231), hostile ones too.

Why not email.parser: it must have built a tree before anyone can count its parts or its depth, it walks every
line through every open boundary, and parts of it are quadratic. Here each limit is checked before the work it
bounds, all scans are linear, and nothing raises. A message is never copied: a part is a range of its bytes.
"""

from __future__ import annotations

import binascii
import codecs
import re
import string
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import groupby, islice
from operator import itemgetter
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

KB = 1024
MAX_HEADER = 256 * KB
MAX_FIELD = 128 * KB
MAX_SHOWN_FIELD = 32 * KB
MAX_CONTENT_FIELD = 8 * KB
MAX_PARTS = 500
MAX_DEPTH = 30

Note = Callable[[str], object]
"""Takes one plain sentence about what could not be read."""


class Field(NamedTuple):
    """One header field: its name as written, its value as bytes (folded, at most MAX_FIELD of it).

    In a plain header (`_plain_fields`) the value is text already, on one line, as `readable` gives it.
    """

    name: str
    value: bytes | str


class Part(NamedTuple):
    """One part that has no parts of its own: its content fields and where its body stands in the bytes."""

    content_type: str
    charset: str
    disposition: str
    file_name: str
    content_id: str
    encoding: str
    start: int
    end: int

    def data(self, raw: bytes) -> bytes:
        """The body without its transfer encoding (RFC 2045, section 6)."""
        body = raw[self.start : self.end]
        if self.encoding == "base64":
            return _base64_body(body)
        return _quoted_printable_body(body) if self.encoding == "quoted-printable" else body


# --- header fields ---

_FIELD = re.compile(rb"([!-9;-~]{1,200})[ \t]*:([^\n]*(?:\n[ \t][^\n]*)*)(?:\n|\Z)")
_BLANK_LINE = re.compile(rb"\n\r{0,2}(?:\n|\Z)")
_EMPTY_FIRST_LINE = re.compile(rb"\r{0,2}(?:\n|\Z)")
_LINE = re.compile(rb"[^\n]*(?:\n|\Z)")


def with_line_feeds(raw: bytes) -> bytes:
    """`raw`, or a readable form of it: UTF-8 without a mark, and line feeds where all lines end in a CR."""
    if raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raw = raw.decode("utf-16", "replace").encode("utf-8", "replace")
    if raw.startswith(codecs.BOM_UTF8):
        raw = raw[3:]
    return raw if b"\n" in raw else raw.replace(b"\r", b"\n")


def message_start(raw: bytes) -> int:
    """Where the header begins: after the From_ line of an mbox file, if there is one."""
    first = _LINE.match(raw)
    mbox = first is not None and raw.startswith((b"From ", b">From "))
    return first.end() if first and mbox else 0


def read_header(raw: bytes, start: int, end: int, note: Note) -> tuple[list[Field], int]:
    """The fields from `start`, topmost first, and where the body begins.

    A field longer than MAX_FIELD is cut; once MAX_HEADER is used up the rest is left out. The body is found
    all the same.
    """
    stop, body = _header_end(raw, start, end)
    if stop - start <= MAX_SHOWN_FIELD and (plain := _plain_fields(raw[start:stop])) is not None:
        return plain, body
    return _any_fields(raw, start, stop, body, note)


def header_block(raw: bytes) -> bytes:
    """The lines of the header of a message, as they are; empty lines above them are passed over."""
    start = message_start(raw := raw.lstrip(b"\r\n"))
    return raw[start : _header_end(raw, start, len(raw))[0]]


def _any_fields(raw: bytes, start: int, stop: int, body: int, note: Note) -> tuple[list[Field], int]:
    """The fields between these places, one after the other, and where the body begins: earlier than at `body` if
    what follows is none."""
    fields: list[Field] = []
    used = 0
    while start < stop:
        match = _FIELD.match(raw, start, stop)
        if match is None:
            after = _end_of_line(raw, start, stop)
            if not _FIELD.match(raw, after, stop):
                return fields, start
            note("a line of the header could not be read and was passed over")
            start = after
            continue
        used += min(match.end() - start, MAX_SHOWN_FIELD)
        if used > MAX_HEADER:
            note("the header block is over 256 KB and was cut")
            break
        fields.append(Field(match[1].decode("ascii"), match[2][:MAX_FIELD]))
        start = match.end()
    return fields, body


_PRINTABLE = bytes(range(0x20, 0x7F)) + b"\t\n"
_PLAIN_FIELD = re.compile(r"^([!-9;-~]{1,200}) *:(.*)$", re.MULTILINE)


def _plain_fields(block: bytes) -> list[Field] | None:
    """The fields of a header of which every line is as it should be, all at once; None for any other header.

    That is nearly every header, and what is left for a closer look is what was written by a broken program.
    """
    block = block.replace(b"\r\n", b"\n")
    if block.translate(None, _PRINTABLE):
        return None
    text = block.decode("ascii").replace("\n\t", " ").replace("\n ", " ").replace("\t", " ")
    fields = [Field(name, value.strip()) for name, value in _PLAIN_FIELD.findall(text)]
    lines = text.count("\n") + (not text.endswith("\n") and text != "")
    return fields if len(fields) == lines else None


def _header_end(raw: bytes, start: int, end: int) -> tuple[int, int]:
    """Where the fields end, and where the body begins after the empty line."""
    empty = _EMPTY_FIRST_LINE.match(raw, start, end)
    if empty:
        return start, empty.end()
    blank = _BLANK_LINE.search(raw, start, end)
    return (blank.start() + 1, blank.end()) if blank else (end, end)


def _end_of_line(raw: bytes, start: int, end: int) -> int:
    line_feed = raw.find(b"\n", start, end)
    return end if line_feed < 0 else line_feed + 1


def topmost(fields: Sequence[Field]) -> dict[str, bytes | str]:
    """Name (lower case) → the value of the topmost field of this name."""
    return {written.lower(): value for written, value in reversed(fields)}


# --- parts ---

_COMMENT = re.compile(r"\([^()]{0,200}\)")
_REST_OF_BOUNDARY = re.compile(rb"(--)?[ \t]*\r{0,2}(?=\n|\Z)")
_MEDIA_TYPE = re.compile(r"[a-z0-9!#$&^_.+-]{1,127}/[a-z0-9!#$&^_.+-]{1,127}")
_PARAMETER = re.compile(r';\s*([^\s=;"]{1,80})\s*=\s*("(?:[^"\\]|\\.)*"|[^;]*)', re.DOTALL)


def parts(raw: bytes, fields: Sequence[Field], start: int, note: Note) -> Iterator[Part]:
    """The parts without parts of their own of the message whose body begins at `start`, in order.

    An attached message is one part. Past MAX_PARTS or MAX_DEPTH what follows is kept as one part, unread.
    """
    return _Walk(raw, note).entity(_part(fields, start, len(raw)), fields, depth=0)


class _Walk:
    """One walk over the parts of a message, counting as it goes."""

    def __init__(self, raw: bytes, note: Note) -> None:
        self.raw = raw
        self.note = note
        self.seen = 0

    def entity(self, part: Part, fields: Sequence[Field], depth: int) -> Iterator[Part]:
        if not part.content_type.startswith("multipart/"):
            yield part
            return
        if depth >= MAX_DEPTH:
            self.note(f"parts are nested more than {MAX_DEPTH} deep; what lies deeper is kept in one piece")
            yield _unread(part.start, part.end)
            return
        boundary = parameter(content_value(topmost(fields), "content-type"), "boundary").rstrip()
        bodies = list(islice(self.bodies(boundary, part.start, part.end), MAX_PARTS + 1))
        if bodies:
            yield from self.children(bodies, part, depth)
        else:
            self.note("the message says it has several parts, but they could not be found")
            yield _part([], part.start, part.end)

    def children(self, bodies: list[tuple[int, int]], parent: Part, depth: int) -> Iterator[Part]:
        default = "message/rfc822" if parent.content_type == "multipart/digest" else "text/plain"
        for start, end in bodies:
            self.seen += 1
            if self.seen > MAX_PARTS:
                self.note(f"the message has more than {MAX_PARTS} parts; the rest is kept in one piece")
                yield _unread(start, parent.end)
                return
            fields, body = read_header(self.raw, start, end, self.note)
            yield from self.entity(_part(fields, body, end, default), fields, depth + 1)

    def bodies(self, boundary: str, start: int, end: int) -> Iterator[tuple[int, int]]:
        """The ranges between the boundary lines (RFC 2046, section 5.1.1); none without a boundary.

        What a boundary opens again behind the closing line is a part, too: it is not to go unseen.
        """
        if not boundary:
            return
        opened, closed = -1, False
        for line_feed, line_end, closes in self.boundary_lines(boundary, max(start - 1, 0), end):
            if opened >= 0:
                yield opened, max(opened, self.end_of_body(line_feed))
            if closed and not closes:
                self.note("the message goes on behind the end of its parts")
            closed = closed or closes
            opened = -1 if closes else min(line_end + 1, end)
        if opened >= 0:
            yield opened, end

    def boundary_lines(self, boundary: str, start: int, end: int) -> Iterator[tuple[int, int, bool]]:
        """(the line feed before the line, its end, whether it closes) for each boundary line, in order."""
        written = b"\n--" + boundary.encode("utf-8", "replace")
        found = self.raw.find(written, start, end)
        while found >= 0:
            rest = _REST_OF_BOUNDARY.match(self.raw, found + len(written), end)
            if rest:
                yield found, rest.end(), bool(rest[1])
            found = self.raw.find(written, rest.end() if rest else found + 1, end)

    def end_of_body(self, line_feed: int) -> int:
        """The line's end before a boundary belongs to the boundary."""
        return line_feed - 1 if self.raw[line_feed - 1 : line_feed] == b"\r" else line_feed


def _part(fields: Sequence[Field], start: int, end: int, default: str = "text/plain") -> Part:
    """The part of these fields; what a few fields say is remembered, since most parts say the same."""
    if len(fields) <= USUAL_FIELDS:
        return Part(*_usual_content(tuple(fields), default), start, end)
    return Part(*_content(fields, default), start, end)


class Content(NamedTuple):
    """What the fields of a part say of its body."""

    content_type: str
    charset: str
    disposition: str
    file_name: str
    content_id: str
    encoding: str


USUAL_FIELDS = 4


@lru_cache(maxsize=256)
def _usual_content(fields: tuple[Field, ...], default: str) -> Content:
    return _content(fields, default)


def _content(fields: Sequence[Field], default: str) -> Content:
    values = topmost(fields)
    described = content_value(values, "content-type")
    placed = content_value(values, "content-disposition")
    return Content(
        content_type=_media_type(described, default),
        charset=parameter(described, "charset"),
        disposition=placed.partition(";")[0].strip().lower(),
        file_name=parameter(placed, "filename") or parameter(described, "name"),
        content_id=content_value(values, "content-id").strip().strip("<>"),
        encoding=_without_comments(content_value(values, "content-transfer-encoding"))
        .partition(";")[0]
        .strip(' "')
        .lower(),
    )


def _media_type(described: str, default: str) -> str:
    """The type as meant; one that cannot be read is text (RFC 2045, section 5.2)."""
    written = re.sub(r"\s*/\s*", "/", _without_comments(described).strip().lower()[:300])
    match = _MEDIA_TYPE.match(written)
    if match is None:
        return "text/plain" if written else default
    return "text/plain" if match[0] == "plain/text" else match[0]


def _without_comments(value: str) -> str:
    return _COMMENT.sub(" ", value)


def _unread(start: int, end: int) -> Part:
    return Part("application/octet-stream", "", "attachment", "rest of the message.txt", "", "", start, end)


def content_value(values: Mapping[str, bytes | str], name: str) -> str:
    """The value of a Content-* field among the `topmost`, not longer than a sensible one is."""
    return readable(values.get(name, b"")[:MAX_CONTENT_FIELD])


def parameter(value: str, name: str) -> str:
    """One parameter of a field, decoded (RFC 2231, and RFC 2047 where programs misuse it); "" if absent."""
    found = _parameters(value) if ";" in value else {}
    if f"{name}*" in found:
        return _extended([(f"{name}*", found[f"{name}*"])])
    in_sections = any(key.startswith(f"{name}*") for key in found)
    sections = [(key, found[key]) for key in _sections(name, found)] if in_sections else []
    return _extended(sections) if sections else decoded(found.get(name, ""))


@lru_cache(maxsize=16)  # each is asked for several names
def _parameters(value: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for key, text in _PARAMETER.findall(value):
        found.setdefault(key.lower(), _unquoted(text.strip()))
    return found


def _sections(name: str, found: dict[str, str]) -> Iterator[str]:
    """The keys of a value in sections: name*0, name*1*, … up to the first gap; some begin with 1, or write 01."""
    numbered = {int(match[1]): key for key in found if (match := _SECTION.fullmatch(key.removeprefix(name)))}
    first = min(numbered, default=0)
    for number in range(first, first + len(numbered)):
        if number not in numbered:
            return
        yield numbered[number]


def _extended(sections: list[tuple[str, str]]) -> str:
    first_key, first = sections[0]
    charset = ""
    if first_key.endswith("*") and first.count("'") >= 2:
        charset, _, rest = first.split("'", 2)
        sections = [(first_key, rest), *sections[1:]]
    written = (
        unquote_to_bytes(text) if key.endswith("*") else text.encode("utf-8", "replace")
        for key, text in sections
    )
    return decoded(decode(b"".join(written), charset))


def _unquoted(text: str) -> str:
    if not text.startswith('"'):
        return text
    # A backslash in a file name is more often a Windows path than an escape (RFC 822 allows both readings).
    return re.sub(r'\\(["\\])', r"\1", text.strip('"'))


_SECTION = re.compile(r"\*([0-9]{1,4})\*?")
_SOFT_BREAK = re.compile(rb"=[ \t]+(?=\r?\n)")
MAX_GLUED = 1000


def _quoted_printable_body(body: bytes) -> bytes:
    if b"= " in body or b"=\t" in body:
        body = _SOFT_BREAK.sub(b"=", body)
    return binascii.a2b_qp(body)


_TAIL = 1_000
_BASE64 = bytes(string.ascii_letters + string.digits + "+/=\r\n", "ascii")


def _base64_body(body: bytes) -> bytes:
    """A body in base64, also one glued of several; what is plainly no base64 stays as it is."""
    strange = len(body.translate(None, _BASE64))
    if strange * 100 > len(body) * 15:
        return body
    if strange or not 0 < body.count(b"=", 0, _end_of_base64(body)) <= MAX_GLUED:
        return _base64(body)
    return b"".join(map(_base64, re.findall(rb"[^=]+=*", body)))


def _end_of_base64(body: bytes) -> int:
    """Where the last letter ends; a body of many megabytes is not copied to find that out."""
    tail = body[-_TAIL:].rstrip(b"=\r\n")
    return max(len(body) - _TAIL, 0) + len(tail) if tail else len(body.rstrip(b"=\r\n"))


def _base64(body: bytes) -> bytes:
    try:
        return binascii.a2b_base64(body)
    except binascii.Error:
        letters = re.sub(rb"[^A-Za-z0-9+/]+", b"", body)
        whole = letters[:-1] if len(letters) % 4 == 1 else letters
        return binascii.a2b_base64(whole + b"=" * (-len(whole) % 4))


# --- characters ---

_ENCODED_WORD = re.compile(
    r"=\?([^?\s*]{1,60})(?:\*[^?\s]{0,60})?\?([QqBb])\?([^?]*(?:(?<!=)\?[^?=][^?]*){0,3})\?="
)
_FOLD = re.compile(r"\r{0,2}\n(?=[ \t])")
_JAPANESE = re.compile(rb"\x1b\$[@B]")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_CHARSET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:+-]{0,59}")

_WIDER = {
    "ascii": "utf-8",
    "iso8859-1": "cp1252",
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "euc_kr": "cp949",
    "shift_jis": "cp932",
    "iso2022_jp": "iso2022_jp_ext",
}
"""Charsets that are declared where in truth a larger one is meant (as browsers read them)."""

_ALIASES = {
    "iso-8859-8-i": "iso8859-8",
    "iso-8859-8-e": "iso8859-8",
    "windows-874": "cp874",
    "x-euc-jp": "euc_jp",
    "x-gbk": "gb18030",
    "x-sjis": "cp932",
}
"""Names that programs of mail use and Python does not know."""

_NOT_OF_MAIL = {"idna", "punycode", "unicode-escape", "raw-unicode-escape", "undefined", "mbcs", "oem"}
"""Python's codecs that are no charsets; some take quadratic time."""


def decode(data: bytes, charset: str) -> str:
    """Text by the declared charset, else UTF-8, else Windows-1252; safe to store.

    What is good UTF-8 is no Windows-1252, whatever was declared: that is what some programs always declare.
    """
    declared = _codec(charset)
    for codec in ("utf-8",) if declared == "cp1252" else (declared, "utf-8"):
        try:
            return safe(data.decode(codec).removeprefix("\ufeff"))
        except (UnicodeError, LookupError):
            continue
    return safe(data.decode("cp1252", "replace") if declared == "cp1252" else _damaged(data))


def _damaged(data: bytes) -> str:
    """UTF-8 with a few spoilt bytes, or cut off in a character, stays UTF-8; anything else is read as
    Windows-1252, which never fails."""
    text = data.decode("utf-8", "replace")
    whole = text.removesuffix("\ufffd")
    foreign = len(re.findall(r"[^\x00-\x7f]", whole))
    if foreign and whole.count("\ufffd") * 10 <= foreign:
        return text
    return data.decode("cp1252", "replace")


def _codec(charset: str) -> str:
    """Python's name for a declared charset; "utf-8" where it is unknown or none."""
    if not _CHARSET.fullmatch(charset):
        return "utf-8"
    try:
        name = codecs.lookup(_ALIASES.get(charset.lower(), charset)).name
    except LookupError:
        return "utf-8"
    return "utf-8" if name in _NOT_OF_MAIL else _WIDER.get(name, name)


def safe(text: str) -> str:
    """`text` as every database takes it: no NUL, no lone surrogates."""
    text = text.replace("\x00", "")
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


def readable(value: bytes | str, charset: str = "") -> str:
    """A field's value as one line of text, encoded words left as they are (RFC 5322, 2.2.3; RFC 6532)."""
    if isinstance(value, str):
        return value
    try:
        text = value.decode("iso2022_jp_ext" if b"\x1b" in value and _JAPANESE.search(value) else "utf-8")
    except UnicodeDecodeError:
        text = decode(value, charset)
    return _one_line(_FOLD.sub("", text) if "\n" in text else text)


def decoded(text: str) -> str:
    """`text` with its encoded words decoded (RFC 2047); those of one charset are joined before that."""
    if "=?" not in text:
        return text
    shown: list[str] = []
    pending: list[tuple[str, bytes]] = []
    position = 0
    for match in _ENCODED_WORD.finditer(text):
        between = text[position : match.start()]
        if between.strip() or not pending:
            shown += [*_joined(pending), between]
            pending = []
        pending.append((match[1].lower(), _word(match[2], match[3])))
        position = match.end()
    shown += [*_joined(pending), text[position:]]
    return _one_line("".join(shown))


def _joined(words: list[tuple[str, bytes]]) -> Iterator[str]:
    for charset, group in groupby(words, key=itemgetter(0)):
        yield decode(b"".join(data for _, data in group), charset)


def _word(encoding: str, text: str) -> bytes:
    written = text.encode("ascii", "replace")
    return _base64(written) if encoding in "Bb" else binascii.a2b_qp(written, header=True)


def _one_line(text: str) -> str:
    if text.isascii() and text.isprintable():
        return text.strip()
    return safe(_CONTROL.sub(" ", text.replace("\x00", ""))).strip()
