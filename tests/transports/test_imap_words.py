"""What servers are known to say, and what it means."""

from __future__ import annotations

import imaplib
import ssl

import pytest
from imapclient import exceptions

from emailprofiles.errors import (
    ConnectionLost,
    EncryptionRequired,
    FolderMissing,
    FolderReadOnly,
    MailError,
    MayNotOpen,
    MessageRefused,
    MessageTooLarge,
    ProtocolError,
    ServerBusy,
    SignInRefused,
    TimedOut,
    TlsFailed,
    TryLater,
)
from emailprofiles.transports.imap_session import Refused
from emailprofiles.transports.imap_words import (
    AT_APPEND,
    AT_CHANGE,
    AT_SELECT,
    AT_SIGN_IN,
    LIBRARY_ERRORS,
    Reading,
    meaning,
)


@pytest.mark.parametrize(
    ("words", "error"),
    [
        ("[AUTHENTICATIONFAILED] Authentication failed.", SignInRefused),
        ("[AUTHENTICATIONFAILED] Invalid credentials (Failure)", SignInRefused),
        ("[ALERT] Application-specific password required: https://support.google.com", SignInRefused),
        ("LOGIN failed.", SignInRefused),
        ("AUTHENTICATE failed.", SignInRefused),
        ("[EXPIRED] Password expired", SignInRefused),
        ("[AUTHORIZATIONFAILED] Master user is not allowed", MayNotOpen),
        (
            "[PRIVACYREQUIRED] Plaintext authentication disallowed on non-secure (SSL/TLS) connections.",
            EncryptionRequired,
        ),
        ("[UNAVAILABLE] Temporary authentication failure. [mail:2026-11-24 00:00:00]", ServerBusy),
        ("[UNAVAILABLE] Internal error occurred. Refer to server log for more information.", ServerBusy),
        (
            "[LIMIT] Maximum number of connections from user+IP exceeded (mail_max_userip_connections=10)",
            TryLater,
        ),
        ("[ALERT] Too many simultaneous connections. (Failure)", TryLater),
        ("[ALERT] Account exceeded command or bandwidth limits. (Failure)", TryLater),
        ("User is authenticated but not connected.", TryLater),
        ("[INUSE] Mailbox in use", TryLater),
        ("Server Unavailable. 15", ServerBusy),
        ("Too many connections, try again later", ServerBusy),
        ("LOGIN failed: Request is throttled. Suggested Backoff Time: 87 milliseconds", TryLater),
    ],
)
def test_refusals_at_the_sign_in(words: str, error: type[MailError]) -> None:
    assert meaning(words, AT_SIGN_IN, SignInRefused) is error


@pytest.mark.parametrize(
    ("words", "error"),
    [
        ("[NONEXISTENT] Unknown Mailbox: Orders (Failure)", FolderMissing),
        ("Mailbox doesn't exist: Orders", FolderMissing),
        ("Orders doesn't exist.", FolderMissing),
        ("[INUSE] Mailbox is locked", TryLater),
        ("[UNAVAILABLE] backend away", ServerBusy),
    ],
)
def test_refusals_of_a_folder(words: str, error: type[MailError]) -> None:
    assert meaning(words, AT_SELECT, FolderMissing) is error


def test_a_refused_change_is_a_matter_of_rights_or_of_time() -> None:
    assert meaning("[NOPERM] Permission denied", AT_CHANGE, TryLater) is FolderReadOnly
    assert meaning("Mailbox is read-only", AT_CHANGE, TryLater) is FolderReadOnly
    assert meaning("[OVERQUOTA] Quota exceeded", AT_CHANGE, TryLater) is TryLater


@pytest.mark.parametrize(
    ("words", "error"),
    [
        ("[TOOBIG] Message too large", MessageTooLarge),
        (
            "[LIMIT] Mail size is larger than the maximum size allowed by server configuration",
            MessageTooLarge,
        ),
        ("Message size exceeds fixed limit", MessageTooLarge),
        ("Message contains NUL characters", MessageRefused),
        ("[TRYCREATE] Mailbox doesn't exist: Sent", FolderMissing),
        ("[OVERQUOTA] Quota exceeded (mailbox for user is full)", TryLater),
        ("[LIMIT] Slow down", TryLater),
        ("[NOPERM] Permission denied", FolderReadOnly),
        ("[UNAVAILABLE] Internal error occurred", ServerBusy),
        ("No", TryLater),
    ],
)
def test_refusals_of_a_copy(words: str, error: type[MailError]) -> None:
    assert meaning(words, AT_APPEND, TryLater) is error


@pytest.mark.parametrize(
    ("raised", "error"),
    [
        (imaplib.IMAP4.error("anything"), ProtocolError),
        (imaplib.IMAP4.error("SELECT command error: BAD [b'Unknown command']"), ProtocolError),
        (imaplib.IMAP4.error("UID command error: BAD [b'[LIMIT] slow down']"), TryLater),
        (imaplib.IMAP4.abort("socket error: EOF"), ConnectionLost),
        (imaplib.IMAP4.abort("command: SELECT => socket error: EOF"), ConnectionLost),
        (imaplib.IMAP4.abort("Server shutting down."), ServerBusy),
        (imaplib.IMAP4.abort("Disconnected for inactivity."), ConnectionLost),
        (imaplib.IMAP4.abort("unexpected response: b'what'"), ProtocolError),
        (imaplib.IMAP4.abort("socket error: unterminated line: b'* OK'"), ProtocolError),
        (imaplib.IMAP4.readonly("mailbox status changed to READ-ONLY"), FolderReadOnly),
        (exceptions.ProtocolError("uneven"), ProtocolError),
        (exceptions.CapabilityError("no MOVE"), ProtocolError),
        (Refused("no reason"), ProtocolError),
        (TimeoutError(), TimedOut),
        (BrokenPipeError(), ConnectionLost),
        (ssl.SSLEOFError(), ConnectionLost),
        (ssl.SSLError(1, "internal"), TlsFailed),
        (ValueError("invalid literal"), ProtocolError),
        (RecursionError(), ProtocolError),
        (ConnectionLost("here"), ConnectionLost),
    ],
)
def test_every_exception_of_the_libraries_has_its_error(raised: Exception, error: type[MailError]) -> None:
    assert isinstance(raised, (MailError, *LIBRARY_ERRORS))
    assert type(Reading("INBOX").translate(raised)) is error


def test_the_tables_know_every_exception_that_imapclient_defines() -> None:
    defined = [
        kind for kind in vars(exceptions).values() if isinstance(kind, type) and issubclass(kind, Exception)
    ]
    assert defined
    assert all(issubclass(kind, LIBRARY_ERRORS) for kind in defined)
