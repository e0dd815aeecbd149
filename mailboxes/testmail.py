"""The message that Test & Enable sends from a mailbox to itself, and how it is known wherever it turns up later.

It is ours by a token that this installation signed: what anybody may write into a header proves nothing. So no table
has to remember it, and it is known even after its test was pruned, or by an engine that knows nothing of the test.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

from django.core.signing import BadSignature, TimestampSigner

from emailprofiles.transports.smtp_words import spoken
from emailprofiles.wire import Envelope

from .parsing import Parsed

HEADER = "X-Sorting-Office-Test"
LATEST = timedelta(days=14)
"""Servers give up handing a message on after four to five days (RFC 5321, section 4.5.4.1)."""


@dataclass(frozen=True, slots=True)
class Probe:
    """One test message, ready to be handed over."""

    envelope: Envelope
    raw: bytes
    token: str

    def is_it(self, header: bytes) -> bool:
        """Whether this is the header of our message. (Some servers write a Message-ID of their own.)"""
        return self.token.encode() in header


def probe(address: str) -> Probe:
    """A new test message from this address to itself; raises SettingsIncomplete for what is no address."""
    here = spoken(address)
    token = _signer().sign(secrets.token_urlsafe(16))
    raw = (
        f"From: {here}\r\n"
        f"To: {here}\r\n"
        "Subject: Test message of Test & Enable\r\n"
        f"Date: {format_datetime(datetime.now(UTC))}\r\n"
        f"Message-ID: <{secrets.token_hex(16)}@{here.rpartition('@')[2]}>\r\n"
        "Auto-Submitted: auto-generated\r\n"  # nothing answers it by itself (RFC 3834, section 5)
        f"{HEADER}: {token}\r\n"
        "MIME-Version: 1.0\r\n"
        "Content-Type: text/plain; charset=utf-8\r\n"
        "Content-Transfer-Encoding: 8bit\r\n"
        "\r\n"
        f"Test & Enable sent this message from {here} to itself to see whether mail arrives.\r\n"
        "It is removed by itself; you need not do anything.\r\n"
    ).encode()
    return Probe(Envelope(here, (here,), len(raw), raw.isascii()), raw, token)


def is_ours(parsed: Parsed) -> bool:
    """Whether this is a test message that this installation sent."""
    tokens = (header.value for header in parsed.headers if header.name.lower() == HEADER.lower())
    return any(map(_is_signed, tokens))


def _is_signed(token: str) -> bool:
    try:
        _signer().unsign(token.strip(), max_age=LATEST)
    except BadSignature:
        return False
    return True


def _signer() -> TimestampSigner:
    return TimestampSigner(salt="mailboxes.testmail")
