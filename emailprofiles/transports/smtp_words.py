"""The words of SMTP: what replies mean (RFC 5321, section 4.2; RFC 4954, section 6), and what we may say."""

from __future__ import annotations

import re
import smtplib

from emailprofiles import network
from emailprofiles.errors import (
    CapabilityMissing,
    ClientRefused,
    ConnectionLost,
    EncryptionRequired,
    MailError,
    MessageRefused,
    MessageTooLarge,
    ProtocolError,
    RecipientRefused,
    SenderRefused,
    ServerBusy,
    SettingsIncomplete,
    SignInRefused,
    TryLater,
)
from emailprofiles.transports.reach import in_lines
from emailprofiles.wire import ENDS_A_COMMAND

Replies = dict[int, type[MailError]]

ANY_TIME: Replies = {
    421: ServerBusy,
    454: ServerBusy,
    500: CapabilityMissing,
    502: CapabilityMissing,
    504: CapabilityMissing,
    523: EncryptionRequired,
    538: EncryptionRequired,
}
AT_GREETING: Replies = {**ANY_TIME, 4: ServerBusy, 5: ClientRefused}
AT_SIGN_IN: Replies = {
    **ANY_TIME,
    432: SignInRefused,  # a password transition is needed
    501: SignInRefused,
    530: EncryptionRequired,
    4: ServerBusy,
    5: SignInRefused,
}
NOT_SIGNED_IN: Replies = {
    421: ServerBusy,
    523: EncryptionRequired,
    530: SignInRefused,
    538: EncryptionRequired,
}
AT_SENDER: Replies = {**NOT_SIGNED_IN, 552: MessageTooLarge, 4: TryLater, 5: SenderRefused}
# 552 was once the word for too many recipients, which is 452 today (RFC 5321, 4.5.3.1.10).
AT_RECIPIENT: Replies = {**NOT_SIGNED_IN, 552: TryLater, 4: TryLater, 5: RecipientRefused}
AT_DATA: Replies = {**NOT_SIGNED_IN, 552: MessageTooLarge, 4: TryLater, 5: MessageRefused}


def kind_of(code: int, words: str, table: Replies) -> type[MailError]:
    """What a refusal means: by its code, else by the first digit of it; of a message, whatever words it quotes."""
    if table is AT_DATA:
        return table.get(code) or table.get(code // 100) or ProtocolError
    if "STARTTLS" in words.upper() and code >= 500:
        return EncryptionRequired
    if "too many" in words.lower() and "connection" in words.lower():
        return ServerBusy
    return table.get(code) or table.get(code // 100) or ProtocolError


def translate(error: OSError, seen: str) -> MailError:
    """The one table for what smtplib raises; its exceptions are OSErrors, too."""
    cause = error.__context__
    if isinstance(error, smtplib.SMTPServerDisconnected):
        return network.translate(cause, seen) if isinstance(cause, OSError) else ConnectionLost(seen)
    if isinstance(error, smtplib.SMTPException):
        return ProtocolError(seen, server_words=str(error))
    return network.translate(error, seen)


def spoken(address: str) -> str:
    """An address as a command carries it: the domain in ASCII (IDNA), nothing that ends the command.

    Raises SettingsIncomplete for what is none.
    """
    local, at, domain = address.rpartition("@")
    if not (local and at and domain) or any(letter in address for letter in f"{ENDS_A_COMMAND}<> "):
        raise SettingsIncomplete(f"{address!r} is no email address")
    try:
        return f"{local}@{domain.encode('idna').decode('ascii')}"
    except UnicodeError as error:
        raise SettingsIncomplete(f"{address!r} is no email address") from error


def beyond_ascii(*addresses: str) -> bool:
    """Whether some local part takes SMTPUTF8 (RFC 6531)."""
    return not all(address.rpartition("@")[0].isascii() for address in addresses)


def xtext(text: str) -> str:
    """RFC 3461, section 4."""
    return "".join(
        letter if "!" <= letter <= "~" and letter not in "+=" else f"+{ord(letter):02X}" for letter in text
    )


_DOT = re.compile(rb"^\.", re.MULTILINE)


def transparent(raw: bytes) -> bytes:
    """A message as DATA carries it, without the line that ends it: CRLF behind each line, a dot before each dot
    that begins one (RFC 5321, section 4.5.2)."""
    return _DOT.sub(b"..", in_lines(raw))
