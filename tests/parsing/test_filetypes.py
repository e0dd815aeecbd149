"""What an attachment is, what it says it is, and which may not be taken out."""

from __future__ import annotations

import pytest

from mailboxes.filetypes import detect, disagrees, why_blocked
from mailboxes.parsing import file_name, parse
from mailboxes.reading import ask_for_files, attached, load_files

PROGRAM = b"MZ\x90\x00\x03"
BLOCKED = frozenset({"exe", "js", "lnk", "com"})


@pytest.mark.parametrize(
    ("data", "media_type"),
    [
        (b"%PDF-1.7\n", "application/pdf"),
        (b"\r\n%PDF-1.4", "application/pdf"),
        (b"\x89PNG\r\n\x1a\n", "image/png"),
        (b"RIFF\x00\x00\x00\x00WEBP", "image/webp"),
        (b"PK\x03\x04", "application/zip"),
        (PROGRAM, "application/x-msdownload"),
        (b"\x7fELF\x02", "application/x-executable"),
        (b"  <!DOCTYPE HTML>", "text/html"),
        (b"Hello", ""),
        (b"", ""),
    ],
)
def test_the_first_bytes_say_what_it_is(data: bytes, media_type: str) -> None:
    assert detect(data) == media_type


@pytest.mark.parametrize(
    ("name", "declared", "data", "sentence"),
    [
        ("a.pdf", "application/pdf", PROGRAM, "It says application/pdf and is a program."),
        ("a.pdf", "application/octet-stream", PROGRAM, "Its name says a PDF; it is a program."),
        ("a.pdf", "application/pdf", b"%PDF-", ""),
        (
            "a.docx",
            "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
            b"PK\x03\x04",
            "",
        ),
        ("a.bin", "application/octet-stream", b"Hello", ""),
        ("a.jpg", "image/jpg", b"\xff\xd8\xff", ""),
    ],
)
def test_what_is_not_what_it_says_gets_a_sentence(
    name: str, declared: str, data: bytes, sentence: str
) -> None:
    assert disagrees(name, declared, detect(data)) == sentence


@pytest.mark.parametrize(
    ("name", "declared", "data", "blocked"),
    [
        ("invoice.pdf.exe", "application/pdf", b"x", True),
        ("invoice.pdf .EXE", "application/pdf", b"x", True),
        ("invoice.exe. ", "application/pdf", b"x", True),
        ("invoice.pdf", "application/pdf", PROGRAM, True),
        ("invoice", "application/x-msdownload", b"x", True),
        ("invoice", "text/javascript", b"x", True),
        ("contoso.com.pdf", "application/pdf", b"%PDF-", False),
        ("exe", "text/plain", b"x", False),
    ],
)
def test_name_type_and_content_each_block(name: str, declared: str, data: bytes, blocked: bool) -> None:
    assert bool(why_blocked(name, declared, detect(data), BLOCKED)) is blocked
    assert why_blocked(name, declared, detect(data), frozenset()) == ""


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("CON", "_CON"),
        ("nul.txt", "_nul.txt"),
        ("Com1 .txt", "_Com1.txt"),
        ("console.txt", "console.txt"),
        ("C:evil.txt", "evil.txt"),
        ("C:\\temp\\a.txt", "a.txt"),
        ("invoice\u202efdp.exe", "invoicefdp.exe"),
        ("in\u200bvo\u2066ice\ufeff.pdf", "invoice.pdf"),
        ("a.pdf" + " " * 90 + ".exe", "a.pdf.exe"),
        (" ..hidden. ", "hidden"),
    ],
)
def test_a_stored_name_does_no_harm(written: str, name: str) -> None:
    assert file_name(written, "text/plain", 1) == name


def test_a_long_name_is_cut_by_octets_and_keeps_its_end() -> None:
    name = file_name("ü" * 300 + ".pdf.exe", "text/plain", 1)
    assert len(name.encode()) <= 200
    assert name.endswith("ü.exe")


INNER = b'Subject: in\r\nContent-Type: application/pdf; name="b.pdf"\r\n\r\nsecond'
RAW = (
    b'Content-Type: multipart/mixed; boundary="x"\r\n\r\n--x\r\nContent-Disposition: attachment; filename=a.txt\r\n'
    b"Content-Transfer-Encoding: base64\r\n\r\nZmlyc3Q=\r\n--x\r\nContent-Type: message/rfc822\r\n\r\n"
    + INNER
    + b"\r\n--x--\r\n"
)


def asked(numbers: list[int], forwarded: bool) -> dict[int, bytes]:
    return load_files(attached(ask_for_files(RAW, numbers, forwarded)))


def test_attachments_are_found_again_by_the_numbers_they_were_given() -> None:
    assert [part.name for part in parse(RAW).attachments] == ["a.txt", "attachment-2.eml"]
    assert asked([1, 2, 3], forwarded=False) == {1: b"first", 2: INNER}
    assert asked([1, 2], forwarded=True) == {1: b"second"}
