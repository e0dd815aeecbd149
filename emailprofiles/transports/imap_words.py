"""What an IMAP server means when it refuses, and what the libraries raise, as our errors: tables only."""

from __future__ import annotations

import imaplib
from collections.abc import Iterable
from dataclasses import dataclass

from emailprofiles import network
from emailprofiles.errors import (
    ConnectionLost,
    EncryptionRequired,
    FolderMissing,
    FolderReadOnly,
    MailError,
    MayNotOpen,
    MessageRefused,
    MessageTooLarge,
    NotOnBehalf,
    ProtocolError,
    ServerBusy,
    SignInRefused,
    TryLater,
)
from emailprofiles.transports.imap_session import Refused

UNREADABLE = (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError)
"""What the libraries' parsers may raise over an answer that was made to break them."""

LIBRARY_ERRORS = (OSError, imaplib.IMAP4.error, *UNREADABLE)
"""All that may come up from below while a command is under way."""


@dataclass(frozen=True, slots=True)
class Meaning:
    """A refusal in which one of `words` occurs (in lower case) is this `error`."""

    words: tuple[str, ...]
    error: type[MailError]


# Response codes are those of RFC 5530; the wordings are Dovecot's, Gmail's, Exchange's, Cyrus' and Courier's.
ANYTIME = (
    Meaning(
        ("[privacyrequired]", "disallowed on non-secure", "requires tls", "must issue a starttls"),
        EncryptionRequired,
    ),
    Meaning(
        (
            "[inuse]",
            "[limit]",
            "[overquota]",
            "[throttled]",
            "user+ip",
            "too many simultaneous connections",
            "exceeded command or bandwidth",
            "authenticated but not connected",
            "request is throttled",
            "mailbox is locked",
            "too many login",
            "rate limit",
        ),
        TryLater,
    ),
    Meaning(
        (
            "[unavailable]",
            "[serverbug]",
            "temporar",
            "too many connections",
            "maximum number of connections",
            "server unavailable",
            "server busy",
            "server is busy",
            "system error",
            "internal error",
            "shutting down",
            "try again later",
            "try later",
        ),
        ServerBusy,
    ),
)
AT_SIGN_IN = (
    Meaning(("[authenticationfailed]", "[expired]", "[contactadmin]"), SignInRefused),
    Meaning(("[authorizationfailed]",), MayNotOpen),
    *ANYTIME,
)
# The same for an account that signs in for another's mailbox (RFC 4616).
AT_SIGN_IN_ON_BEHALF = (Meaning(AT_SIGN_IN[0].words, NotOnBehalf), *AT_SIGN_IN[1:])
AT_SELECT = (
    Meaning(
        ("[nonexistent]", "[noperm]", "doesn't exist", "does not exist", "unknown mailbox"), FolderMissing
    ),
    *ANYTIME,
)
AT_CHANGE = (
    Meaning(("[noperm]", "read-only", "permission denied", "not permitted"), FolderReadOnly),
    *ANYTIME,
)
AT_APPEND = (
    Meaning(
        (
            "[toobig]",
            "too big",
            "too large",
            "maximum size",
            "maximum message size",
            "maximum allowed size",
            "maximum supported size",
            "message size exceeds",
        ),
        MessageTooLarge,
    ),
    Meaning(("message contains",), MessageRefused),
    Meaning(
        ("[trycreate]", "[nonexistent]", "doesn't exist", "does not exist", "unknown mailbox"), FolderMissing
    ),
    *AT_CHANGE,
)


def meaning(words: str, table: Iterable[Meaning], otherwise: type[MailError]) -> type[MailError]:
    """What a refusal means, by its response code or its known wording; else `otherwise`."""
    said = words.lower()
    return next((row.error for row in table if any(word in said for word in row.words)), otherwise)


@dataclass(frozen=True, slots=True)
class Reading:
    """How to read what goes wrong during one command: about what, by which table, and else as what."""

    seen: str = ""
    table: tuple[Meaning, ...] = ANYTIME
    refused: type[MailError] = ProtocolError

    def kind(self, error: BaseException) -> type[MailError]:
        """The one table for what imaplib, IMAPClient and the parsers raise."""
        words = str(error)
        if isinstance(error, Refused):
            return meaning(words, self.table, self.refused)
        if isinstance(error, imaplib.IMAP4.readonly):
            return FolderReadOnly
        if isinstance(error, imaplib.IMAP4.abort):
            return self._ended(words)
        if isinstance(error, imaplib.IMAP4.error) and "command error: BAD" in words:
            return meaning(words, self.table, ProtocolError)
        return ProtocolError

    def _ended(self, words: str) -> type[MailError]:
        """imaplib aborts on a lost connection, on what is no IMAP, and with the words of a BYE."""
        if "unexpected response" in words or "unexpected tagged" in words or "unterminated" in words:
            return ProtocolError
        return meaning(words, ANYTIME, ConnectionLost)

    def translate(self, error: BaseException) -> MailError:
        """`error` as one of ours; to be chained by the caller, and scrubbed of secrets before."""
        if isinstance(error, MailError):
            return error
        if isinstance(error, imaplib.IMAP4.abort) and isinstance(error.__context__, OSError):
            error = error.__context__
        if isinstance(error, OSError):
            return network.translate(error, self.seen)
        return self.kind(error)(self.seen, server_words=str(error))
