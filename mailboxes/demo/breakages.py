"""Broken mail, as devices and old programs send it.

Each function makes one message for an address, with a token for what must be unique.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from email.utils import format_datetime

from .forwarding import header_lines


def unknown_charset(address: str, at: datetime, token: str) -> bytes:
    return _broken_head(address, at, token, "Scan from device 7", 'text/plain; charset="x-scanjet-7"') + (
        b"Content-Transfer-Encoding: 8bit\r\n\r\nSeite 1 von 2: Lieferschein, Gr\xf6\xdfe A4\r\n"
    )


def unclosed_mime(address: str, at: datetime, token: str) -> bytes:
    head = _broken_head(address, at, token, "Scan from device 7", 'multipart/mixed; boundary="=_scan"')
    return head + (
        b"\r\n--=_scan\r\nContent-Type: text/plain\r\n\r\nOne page attached.\r\n"
        b"--=_scan\r\nContent-Type: application/pdf; name=scan.pdf\r\n"
        b"Content-Transfer-Encoding: base64\r\n\r\nJVBERi0xLjQKMSAwIG9iajw8L1R5cGUv\r\n"
    )


def with_nuls(address: str, at: datetime, token: str) -> bytes:
    return _broken_head(address, at, token, "Meter reading", "text/plain") + (
        b"\r\ncounter\x00\x00\x00 4711\x00\r\nend\r\n"
    )


def without_message_id(address: str, at: datetime, token: str) -> bytes:
    return (
        header_lines(
            "From: Door 3 <door3@device.example.net>",
            f"To: {address}",
            f"Date: {format_datetime(at)}",
            f"Subject: Door left open {token[:4]}",
        )
        + b"\r\nDoor 3 has been open for ten minutes.\r\n"
    )


def unlisted_recipients(address: str, at: datetime, token: str) -> bytes:
    return (
        header_lines(
            "From: Warehouse <warehouse@example.org>",
            "To: unlisted-recipients:; (no To-header on input)",
            f"Date: {format_datetime(at)}",
            "Subject: Gate times next week",
            f"Message-ID: <{token}@example.org>",
        )
        + b"\r\nThe gate opens at six from Monday on.\r\n"
    )


def raw_latin_headers(address: str, at: datetime, token: str) -> bytes:
    return (
        b"From: Zentrallager M\xfcnchen <lager@example.org>\r\n"
        b"Subject: R\xfcckst\xe4nde, bitte pr\xfcfen\r\n"
        + header_lines(f"To: {address}", "Date: Montag, kurz nach acht", "Message-ID: <>")
        + b"\r\nSiehe Liste an der T\xfcr.\r\n"
    )


def _broken_head(address: str, at: datetime, token: str, subject: str, content_type: str) -> bytes:
    return header_lines(
        "From: <scanner@device.example.net>",
        f"To: {address}",
        f"Date: {format_datetime(at)}",
        f"Subject: {subject}",
        f"Message-ID: <{token}@device.example.net>",
        "MIME-Version: 1.0",
        f"Content-Type: {content_type}",
    )


BREAKAGES: Sequence[Callable[[str, datetime, str], bytes]] = (
    unknown_charset,
    unclosed_mime,
    with_nuls,
    without_message_id,
    unlisted_recipients,
    raw_latin_headers,
)
