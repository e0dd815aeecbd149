"""Mail that is small to send and dear to read elsewhere. Each goes through a real child with its deadline.

What is quadratic takes minutes at these sizes; the deadline leaves a slow machine ten times what it needs.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterator

import pytest

from mailboxes import mime, safehtml
from mailboxes.parsing import MAX_ATTACHMENTS, Parsed
from mailboxes.sync.parser import Parser

from .limits import hold

DEADLINE = 15
HEAD = b"From: ines@example.org\nSubject: Bomb\n"
MIXED = HEAD + b"Content-Type: multipart/mixed; boundary=b\n\n"


def typed(content_type: bytes, body: bytes, encoding: bytes = b"8bit") -> bytes:
    return (
        HEAD + b"Content-Type: " + content_type + b"\nContent-Transfer-Encoding: " + encoding + b"\n\n" + body
    )


def field(name: bytes, value: bytes) -> bytes:
    return name + b": " + value + b"\n" + HEAD + b"\nHello\n"


def tree(depth: int) -> bytes:
    """Two children at each level: 2^depth leaves."""
    if not depth:
        return b"\nleaf\n"
    mark = b"t%d" % depth
    child = tree(depth - 1)
    return (
        b'Content-Type: multipart/mixed; boundary="' + mark + b'"\n\n--' + mark + b"\n" + child
        + b"\n--" + mark + b"\n" + child + b"\n--" + mark + b"--\n"
    )  # fmt: skip


def nested(depth: int, kind: bytes) -> bytes:
    return HEAD + b"".join(kind.replace(b"%", b"%d" % n) for n in range(depth)) + b"\nat the bottom\n"


def in_base64(levels: int) -> bytes:
    """A message in base64 in a message in base64 …"""
    raw = HEAD + b"\nat the bottom\n"
    for _ in range(levels):
        raw = typed(b"message/rfc822", base64.encodebytes(raw), b"base64")
    return raw


BOMBS: dict[str, Callable[[], bytes]] = {
    "parts": lambda: MIXED + b"--b\n\nx\n" * 300_000,
    "closing lines": lambda: MIXED + b"--b--\n" * 500_000,
    "opened and closed in turn": lambda: MIXED + b"--b\n\nx\n--b--\n" * 200_000,
    "a tree of parts": lambda: HEAD + tree(14),
    "nested parts": lambda: nested(20_000, b"Content-Type: multipart/mixed; boundary=b%\n\n--b%\n"),
    "nested messages": lambda: nested(20_000, b"Content-Type: message/rfc822\n\n"),
    "nested digests": lambda: nested(20_000, b"Content-Type: multipart/digest; boundary=b%\n\n--b%\n\n"),
    "messages in base64 in each other": lambda: in_base64(25),
    "many messages attached": lambda: MIXED + b"--b\nContent-Type: message/rfc822\n\nSubject: x\n\nx\n" * 50_000,
    "one boundary for all": lambda: HEAD + b"Content-Type: multipart/mixed; boundary=b\n\n--b\n" * 50_000,
    "headers by number": lambda: b"X: y\n" * 500_000 + HEAD + b"\nHello\n",
    "headers without a colon": lambda: HEAD + b"no colon here\nX: y\n" * 200_000 + b"\nHello\n",
    "a header by length": lambda: field(b"X-Long", b"y" * 5_000_000),
    "a header by lines": lambda: field(b"X-Folded", b"y\n " * 1_500_000),
    "a header of blanks": lambda: field(b"Subject", b" " * 3_000_000 + b"x"),
    "encoded words": lambda: field(b"Subject", b"=?utf-8?q?=C3=BC?= " * 200_000),
    "encoded words in turn of charset": lambda: field(b"Subject", b"=?utf-16?b?AGEA?= =?utf-7?q?+APw-?= " * 100_000),
    "encoded words with question marks": lambda: field(b"Subject", b"=?utf-8?q?a?b?c?d?e" * 150_000),
    "encoded words never closed": lambda: field(b"Subject", b"=?utf-8?q?" * 300_000),
    "encoded words of stateful charsets": lambda: field(b"Subject", b"=?iso-2022-jp?b?GyRC?= " * 150_000),
    "headers of encoded words": lambda: b"X: =?utf-8?q?=C3=BC?=\n" * 100_000 + HEAD + b"\nHello\n",
    "addresses": lambda: field(b"To", b"Amara <amara@contoso.com>, " * 100_000),
    "headers of addresses": lambda: b"To: a@x.example, b@x.example\n" * 100_000 + HEAD + b"\nHello\n",
    "comments": lambda: field(b"To", b"(" * 60_000 + b"a@x.example" + b")" * 60_000),
    "comments never closed": lambda: field(b"To", b"a@x.example (" * 60_000),
    "comments of a type": lambda: field(b"Content-Type", b"(" * 60_000 + b"text/plain" + b")" * 60_000),
    "comments of a date": lambda: field(b"Date", b"(" * 60_000 + b"1 Jan 2026" + b")" * 60_000),
    "groups": lambda: field(b"To", b"g:" * 60_000 + b"a@x.example;" * 60_000),
    "quotes": lambda: field(b"To", b'"\\"' * 60_000),
    "dots and spaces of an address": lambda: field(b"To", b"<" + b" . " * 60_000 + b"@x.example>"),
    "parameters": lambda: field(b"Content-Type", b"text/plain" + b"; a=b" * 60_000),
    "sections of a name": lambda: field(
        b"Content-Disposition", b"attachment" + b"".join(b"; filename*%d=x" % n for n in range(9999))
    ),
    "a boundary of a megabyte": lambda: HEAD + b"Content-Type: multipart/mixed; boundary=" + b"b" * 1_000_000 + b"\n\n",
    "boundaries that almost match": lambda: MIXED + b"--b \t" * 500_000 + b"x\n" + b"--b \n--bb\n" * 200_000,
    "base64 of padding": lambda: typed(b"text/plain", b"A=" * 2_000_000, b"base64"),
    "base64 of pieces": lambda: typed(b"text/plain", b"QQ==\n" * 1_000_000, b"base64"),
    "base64 of garbage": lambda: typed(b"text/plain", b"A!\xff" * 1_500_000, b"base64"),
    "quoted-printable of breaks": lambda: typed(b"text/plain", b"= \n" * 1_500_000, b"quoted-printable"),
    "quoted-printable of blanks": lambda: typed(b"text/plain", b"=" + b" " * 3_000_000, b"quoted-printable"),
    "text of carriage returns": lambda: typed(b"text/plain", b"\r" * 3_000_000 + b"\n"),
    "text in utf-7": lambda: typed(b"text/plain; charset=utf-7", b"+2AA-" * 600_000),
    "text in hz": lambda: typed(b"text/plain; charset=hz", b"~{" * 1_500_000),
    "text of spoilt bytes": lambda: typed(b"text/plain; charset=utf-8", b"\xff\xc3" * 1_500_000),
    "a page of tags": lambda: typed(b"text/html", b"<div>" * 600_000),
    "a page of meta": lambda: typed(b"text/html", b"<meta " * 500_000),
    "carriage returns only": lambda: b"Subject: x\r" * 300_000,
    "empty lines": lambda: b"\n" * 3_000_000,
    "utf-16": lambda: b"\xff\xfe" + ("Subject: x\r\n" * 200_000).encode("utf-16-le"),
}  # fmt: skip


@pytest.fixture(scope="module")
def parser() -> Iterator[Parser]:
    with Parser(deadline=DEADLINE) as parser:
        yield parser


@pytest.mark.parametrize("bomb", BOMBS)
def test_it_is_read_in_time_and_within_the_limits(parser: Parser, bomb: str) -> None:
    (parsed,) = parser.parse_many([BOMBS[bomb]()])
    assert isinstance(parsed, Parsed), parsed
    hold(parsed)
    assert len(parsed.defects) < 50
    assert len(parsed.attachments) <= MAX_ATTACHMENTS


@pytest.mark.parametrize(
    ("bomb", "says"),
    [
        ("parts", f"the message has more than {mime.MAX_PARTS} parts; the rest is kept in one piece"),
        ("a tree of parts", f"the message has more than {mime.MAX_PARTS} parts; the rest is kept in one piece"),
        ("nested parts", f"parts are nested more than {mime.MAX_DEPTH} deep; what lies deeper is kept in one piece"),
        ("many messages attached", "only the first 200 attachments were taken out"),
        ("headers by number", "the header block is over 256 KB and was cut"),
        ("a header by length", "the header X-Long is over 32 KB and was cut"),
        ("addresses", "only the first 1000 addresses of To were read"),
        ("opened and closed in turn", "the message goes on behind the end of its parts"),
    ],
)  # fmt: skip
def test_what_was_left_out_is_said(parser: Parser, bomb: str, says: str) -> None:
    (parsed,) = parser.parse_many([BOMBS[bomb]()])
    assert isinstance(parsed, Parsed)
    assert says in parsed.defects


PAGES = {
    "nested": "<div>" * 100_000,
    "nested and closed": "<div>" * 100_000 + "</div>" * 100_000,
    "closed for nothing": "<span>" * 5_000 + "</div>" * 200_000,
    "nested tables": "<table><tr><td>" * 20_000,
    "formatting crosswise": "<b><i><a href=x>" * 20_000,
    "never closed": "<a " * 200_000,
    "comments": "<!--" * 200_000,
    "attributes": "<p " + "a=b " * 100_000 + ">",
    "entities": "&amp" * 200_000,
}


@pytest.mark.parametrize("markup", PAGES)
def test_a_page_is_cleaned_with_a_bounded_number_of_tags(markup: str) -> None:
    """What is open is walked through at many a tag: without the bound these take minutes."""
    shown = safehtml.clean(PAGES[markup] + "the last words").html
    assert len(re.findall("<[a-z]", shown)) <= 3 * safehtml.MAX_TAGS  # what is implied is added
    if markup not in {"never closed", "comments"}:
        assert "the last words" in shown
