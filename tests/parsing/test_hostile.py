"""Mail that was made to harm: everything is bounded, said, and can be stored."""

import time
from dataclasses import fields

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailboxes.parsing import Header, Parsed, _parse

# Ten times what a slow machine needs; what is quadratic takes minutes.
PATIENCE = 10
MB = 1 << 20


def read(raw: bytes) -> Parsed:
    """As `parse` does, without its net."""
    started = time.monotonic()
    parsed = _parse(raw, with_forwarded=True)
    assert time.monotonic() - started < PATIENCE
    for text in texts_of(parsed):
        assert "\0" not in text
        text.encode("utf-8")
    return parsed


def texts_of(parsed: Parsed) -> list[str]:
    texts = [parsed.message_id, parsed.subject, parsed.sender, parsed.sender_name, parsed.recipients_text]
    texts += [
        parsed.text,
        parsed.html,
        parsed.report,
        parsed.returned,
        *parsed.to,
        *parsed.cc,
        *parsed.defects,
    ]
    for header in parsed.headers:
        texts += [header.name, header.value, header.encoded]
    for attachment in parsed.attachments:
        texts += [attachment.name, attachment.content_type, attachment.content_id]
    return texts + (texts_of(parsed.forwarded) if parsed.forwarded else [])


def nested(depth: int, inmost: bytes) -> bytes:
    levels = (b'Content-Type: multipart/mixed; boundary="b%d"\n\n--b%d\n' % (n, n) for n in range(depth))
    return b"Subject: deep\n" + b"".join(levels) + b"\n" + inmost


def test_a_thousand_nested_parts() -> None:
    parsed = read(nested(1000, b"x" * 75 + b"\n"))
    assert parsed.subject == "deep"
    assert parsed.defects == ("parts are nested more than 30 deep; what lies deeper is kept in one piece",)
    (rest,) = parsed.attachments
    assert rest.name == "rest of the message.txt"
    assert rest.data.endswith(b"x\n")


def test_depth_times_size_stays_cheap() -> None:
    read(nested(1000, (b"x" * 75 + b"\n") * 130_000))


def test_boundaries_that_almost_match() -> None:
    levels = (
        b"Content-Type: multipart/mixed; boundary=%s\n\n--%s\n" % (b"a" * n, b"a" * n) for n in range(1, 40)
    )
    read(b"Subject: a\n" + b"".join(levels) + b"\n" + b"--a\xff\n" * 500_000)


def test_a_million_parts() -> None:
    parsed = read(b"Content-Type: multipart/mixed; boundary=b\n\n" + b"--b\n\nx\n" * 1_000_000)
    assert parsed.defects == ("the message has more than 500 parts; the rest is kept in one piece",)
    assert parsed.text.count("x") == 500
    assert len(parsed.attachments[0].data) > 6 * MB


def test_too_many_attachments() -> None:
    part = b"--b\nContent-Type: application/pdf\n\nx\n"
    parsed = read(b"Content-Type: multipart/mixed; boundary=b\n\n" + part * 300)
    assert len(parsed.attachments) == 200
    assert parsed.defects == ("only the first 200 attachments were taken out",)


def test_one_header_of_a_megabyte_hides_no_other() -> None:
    parsed = read(b"X-Padding: " + b"a" * MB + b"\nSubject: still here\nTo: amara@contoso.com\n\nbody")
    assert (parsed.subject, parsed.to, parsed.text) == ("still here", ("amara@contoso.com",), "body")
    assert parsed.defects == ("the header X-Padding is over 32 KB and was cut",)
    assert len(parsed.headers[0].value) <= 32 * 1024


def test_a_header_block_of_a_megabyte_is_cut_and_the_body_found() -> None:
    parsed = read(b"Subject: first\n" + b"X: yyyyyyyyyyyyyyyyy\n" * 50_000 + b"To: a@x.com\n\nbody")
    assert (parsed.subject, parsed.to, parsed.text) == ("first", (), "body")
    assert parsed.defects == ("the header block is over 256 KB and was cut",)


def test_ten_thousand_addresses() -> None:
    written = b", ".join(b"user%d@example.com" % number for number in range(10_000))
    parsed = read(b"To: " + written + b"\n\n")
    assert len(parsed.to) == 1000
    assert "only the first 1000 addresses of To were read" in parsed.defects


def test_too_much_text_is_cut_and_said() -> None:
    parsed = read(b"Subject: long\n\n" + b"long line\n" * 200_000)
    assert len(parsed.text) == 1_000_000
    assert parsed.defects == ("the text is over 1 MB and was cut",)
    assert len(read(b"Content-Type: text/html\n\n" + b"<p>" * MB).html) == 2_000_000


@pytest.mark.parametrize(
    "value",
    [
        b"<" * 120_000,
        b"(" * 120_000,
        b"(" * 60_000 + b")" * 60_000,
        b"()" * 60_000,
        b'"' * 120_001,
        b'"' + b'\\"' * 60_000,
        b"a@b " * 30_000,
        b"@" * 120_000,
        b"a@" + b"b." * 60_000,
        b"," * 120_000,
        b":" * 120_000,
        b";" * 120_000,
        b"a\n " * 40_000,
        b" " * 120_000 + b"x",
        b"=?utf-8?q?a?= " * 9_000,
        b"=?x?q?a" * 17_000,
        b"=?" * 60_000,
        b"=?idna?q?" + b"a" * 30_000 + b"?=",
        b"=?punycode?q?" + b"a" * 30_000 + b"?=",
        b"=?utf-8?b?" + b"/" * 120_000 + b"?=",
        b"text/plain;" + b" " * 100_000 + b"=",
        b"text/plain;" + b'a="b\\";' * 17_000,
        b"text/plain;" + b'a="' * 40_000,
        b"attachment;" + b"".join(b"filename*%d=a;" % number for number in range(9_000)),
        b"Mon " * 30_000,
    ],
    ids=lambda value: repr(value[:12]),
)
@pytest.mark.parametrize(
    "name", ["To", "Subject", "Content-Type", "Content-Disposition", "Date", "Message-ID"]
)
def test_values_that_are_slow_to_read_elsewhere(name: str, value: bytes) -> None:
    read(name.encode() + b": " + value + b"\n\nbody")


@pytest.mark.parametrize("encoding", [b"base64", b"quoted-printable", b"x-uuencode", b"7bit"])
@pytest.mark.parametrize(
    "body", [b"!@#$=", b"A=", b"= ", b"=", b"\r", b"\n", b"\0", b"\xff", b"+2AA-", b"\r\n.\r\n", b"--b \n"]
)
def test_bodies_of_garbage(encoding: bytes, body: bytes) -> None:
    for kind in (b"text/plain; charset=utf-7", b"multipart/mixed; boundary=b", b"message/rfc822"):
        read(
            b"Content-Type: " + kind + b"\nContent-Transfer-Encoding: " + encoding + b"\n\n" + body * 300_000
        )


def test_nuls_and_lone_surrogates_reach_nobody() -> None:
    surrogate = b"\xed\xa0\x80"
    parsed = read(
        b"From: \0A <a\0@x.com>\nSubject: a\0b =?utf-7?q?+2AA-?= " + surrogate + b"\n"
        b"Content-Type: application/pdf; name*=utf-16''%00%d8.pdf\nContent-ID: <\0>\n\n\0" + surrogate
    )
    assert parsed.sender == "a@x.com"
    assert parsed.subject.startswith("ab ")


def test_one_field_of_spaces_and_one_of_nothing() -> None:
    parsed = read(b"Subject:\nTo: \n \n\t\nFrom:x\n\n")
    assert parsed.headers == (Header("Subject", ""), Header("To", ""), Header("From", "x"))


STRUCTURE = (
    b"To: |From: |Subject: |Message-ID: |Date: 1 Jan 2024 10:00 |Content-Type: |multipart/mixed; boundary=b"
    b"|message/rfc822|text/plain|; charset=|utf-16|utf-7|cp037|Content-Transfer-Encoding: base64"
    b"|Content-Disposition: attachment|; filename*0*=|%ed%a0%80|--b|--b--|=?utf-8?b?|?="
).split(b"|")
CHARACTERS = [
    b"\r",
    b"\n",
    b"\r\n",
    b"\n\n",
    b"\0",
    b"\xff",
    b"\xc3\xbc",
    *(b"%c" % c for c in b" \t:;,\"'(<@=a"),
]
PIECES = st.sampled_from(STRUCTURE + CHARACTERS)


@given(st.lists(PIECES, max_size=60).map(b"".join) | st.binary(max_size=500))
def test_nothing_raises(raw: bytes) -> None:
    parsed = read(raw)
    assert len(parsed.body_digest) == 64


@pytest.mark.parametrize("field", [field.name for field in fields(Parsed)])
def test_an_empty_message_has_a_value_for_everything(field: str) -> None:
    assert getattr(read(b""), field) in ("", (), None) or field == "body_digest"
