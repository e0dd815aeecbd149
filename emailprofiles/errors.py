"""What can go wrong between us and a mail server: one tree.

    MailError
    ├── SettingsIncomplete          mailbox    needs a person   (or holding what no command can carry)
    ├── network
    │   ├── NameNotResolved         network    transient        (the name may come back)
    │   ├── AddressRefused          network    needs a person   (the network guard)
    │   ├── PortClosed              network    transient
    │   ├── TimedOut                network    transient
    │   │   └── NoGreeting          network    transient        (a port that says nothing, perhaps TLS)
    │   └── ConnectionLost          network    transient
    ├── encryption
    │   ├── NotTls                  profile    needs a person
    │   ├── TlsFailed               profile    needs a person   (no common version or cipher)
    │   ├── StartTlsRefused         profile    needs a person
    │   ├── EncryptionRequired      profile    needs a person   (no password without encryption)
    │   ├── CertificateExpired      profile    needs a person   (or not valid yet)
    │   ├── CertificateWrongName    profile    needs a person
    │   └── CertificateUntrusted    profile    needs a person
    ├── server
    │   ├── NotThisProtocol         profile    needs a person
    │   ├── ClientRefused           profile    needs a person   (this machine is not welcome)
    │   ├── ServerBusy              profile    transient        (too many connections, try later)
    │   ├── ProtocolError           profile    transient        (an answer we cannot read)
    │   └── CapabilityMissing       profile    needs a person
    ├── mailbox
    │   ├── SignInRefused           mailbox    needs a person
    │   │   ├── NotOnBehalf         mailbox    needs a person   (of one account for another's mailbox)
    │   │   └── MayNotOpen          mailbox    needs a person   (signed in, but not for that mailbox)
    │   ├── FolderMissing           mailbox    needs a person
    │   ├── FolderReadOnly          mailbox    needs a person
    │   ├── SenderRefused           mailbox    needs a person
    │   ├── RecipientRefused        mailbox    needs a person
    │   └── TryLater                mailbox    transient        (4xx, NO [INUSE], quota …)
    └── message
        ├── MessageUnavailable      message    transient        (announced, but not handed over)
        ├── MessageRefused          message    permanent        (for what it is, to whomever it goes)
        │   └── MessageTooLarge     message    permanent
        └── OutcomeUnknown          message    needs a person   (sent to the end, and no answer came)

The engine reads `scope` and `nature` only; people read the sentence and `advice`.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import ClassVar

from emailprofiles.wire import StepName

SERVER_WORDS_LIMIT = 500


class Scope(StrEnum):
    """How far an error reaches: what has to wait or stop because of it."""

    MESSAGE = "message"
    MAILBOX = "mailbox"
    PROFILE = "profile"
    NETWORK = "network"


class Nature(StrEnum):
    """Whether trying again helps, never helps, or helps once a person has changed something."""

    TRANSIENT = "transient"
    PERMANENT = "permanent"
    NEEDS_PERSON = "needs_person"


class MailError(Exception):
    """One thing that went wrong, in words that may be shown: never with a secret in them.

    `seen` is what the sentence is about ("imap.exmple.test", "INBOX/Orders"). `server_words` are
    the server's own, cut to 500 characters and without control characters; whoever raises takes
    the secrets out first (`redacted`). `step` is the rung of the ladder that failed, if any.
    """

    scope: ClassVar[Scope] = Scope.PROFILE
    nature: ClassVar[Nature] = Nature.PERMANENT
    sentence: ClassVar[str]
    about: ClassVar[str] = ""
    advice: ClassVar[str]

    def __init__(self, seen: str = "", *, server_words: str = "", step: StepName | None = None) -> None:
        super().__init__(seen)
        self.seen = seen
        self.server_words = printable(server_words)
        self.step = step

    def __str__(self) -> str:
        if not self.seen:
            return self.sentence
        return self.about.format(seen=self.seen) if self.about else f"{self.sentence}: {self.seen}"


class SettingsIncomplete(MailError):
    scope, nature = Scope.MAILBOX, Nature.NEEDS_PERSON
    sentence = "The settings are incomplete or cannot be used"
    advice = "Fill in what is missing, or correct what is named here, and test again."


class NetworkError(MailError):
    """The way to the server: names, addresses, ports, connections."""

    scope, nature = Scope.NETWORK, Nature.TRANSIENT


class NameNotResolved(NetworkError):
    sentence = "The server's name could not be resolved"
    about = "{seen} could not be resolved"
    advice = "Check the spelling of the server location. If it is right, ask who runs the name servers."


class AddressRefused(NetworkError):
    nature = Nature.NEEDS_PERSON
    sentence = "The server's address is not one this system may connect to"
    about = "This system may not connect to {seen}"
    advice = (
        "Enter the public name of the mail server. If the server really stands in an internal network, "
        "ask whoever runs this system to allow internal addresses."
    )


class PortClosed(NetworkError):
    sentence = "Nothing answers at this port"
    about = "Nothing answers at {seen}"
    advice = "Check the port number and whether the mail server runs and a firewall lets this system through."


class TimedOut(NetworkError):
    sentence = "The server did not answer in time"
    about = "The server did not answer in time: {seen}"
    advice = (
        "We try again by ourselves. If it stays so, check whether the server is overloaded, "
        "or raise the timeout in the profile."
    )


class NoGreeting(TimedOut):
    sentence = "The server accepted the connection and said nothing"
    about = "{seen} accepted the connection and said nothing"
    advice = (
        "This port may expect encryption from the first byte: try the security SSL/TLS, or check the port."
    )


class ConnectionLost(NetworkError):
    sentence = "The connection broke off"
    advice = "We try again by ourselves. If it stays so, look into the log of the mail server at this time."


class EncryptionError(MailError):
    """Agreeing on encryption, and on who is at the other end."""

    scope, nature = Scope.PROFILE, Nature.NEEDS_PERSON


class NotTls(EncryptionError):
    sentence = "The server does not speak TLS at this port"
    about = "{seen} does not speak TLS"
    advice = "Choose the security STARTTLS, or the port that the server uses for SSL/TLS."


class TlsFailed(EncryptionError):
    sentence = "The server and this system found no common way to encrypt"
    advice = "The server must offer TLS 1.2 or newer. Ask whoever runs it to update its TLS settings."


class StartTlsRefused(EncryptionError):
    sentence = "The server does not offer STARTTLS, or refuses it"
    advice = "Choose SSL/TLS and its port, or ask whoever runs the server to enable STARTTLS."


class EncryptionRequired(EncryptionError):
    sentence = "The server accepts no sign-in without encryption"
    advice = "Choose the security STARTTLS or SSL/TLS in the profile."


class CertificateExpired(EncryptionError):
    sentence = "The server's certificate has expired or is not valid yet"
    about = "The certificate of {seen} has expired or is not valid yet"
    advice = "Ask whoever runs the server to renew its certificate; also check the clock of this system."


class CertificateWrongName(EncryptionError):
    sentence = "The server's certificate is for another name"
    about = "The certificate is not for {seen}"
    advice = "Enter the server location by the name that stands in the certificate, or have it issued anew."


class CertificateUntrusted(EncryptionError):
    sentence = "The server's certificate comes from an authority this system does not trust"
    about = "The certificate of {seen} comes from an authority this system does not trust"
    advice = (
        "Have the server send its whole chain from a known authority, "
        "or add your own authority to this system (TLS_CA_FILE)."
    )


class ServerError(MailError):
    """What the server is, can and wants, whoever signs in."""

    scope, nature = Scope.PROFILE, Nature.NEEDS_PERSON


class NotThisProtocol(ServerError):
    sentence = "What answers here is not the kind of server the profile says"
    about = "What answers at {seen} is not the kind of server the profile says"
    advice = "Check server type, port and security; a port that expects SSL/TLS answers like this, too."


class ClientRefused(ServerError):
    sentence = "The server refuses to talk to this system"
    advice = "Ask whoever runs the server to let the address of this system in."


class ServerBusy(ServerError):
    nature = Nature.TRANSIENT
    sentence = "The server is busy or temporarily unavailable"
    advice = "We wait and try again by ourselves. If it happens often, lower Maximum Concurrent Connections."


class ProtocolError(ServerError):
    nature = Nature.TRANSIENT
    sentence = "The server gave an answer that could not be understood"
    advice = "We try again by ourselves. If it stays so, show the server's words to whoever runs the server."


class CapabilityMissing(ServerError):
    sentence = "The server lacks something this needs"
    about = "The server lacks something this needs: {seen}"
    advice = "Ask whoever runs the server to enable it, or choose a setting that does without."


class MailboxError(MailError):
    """One person's account, folder or address."""

    scope, nature = Scope.MAILBOX, Nature.NEEDS_PERSON


class SignInRefused(MailboxError):
    sentence = "The server refused the sign-in"
    about = "The server refused the sign-in of {seen}"
    advice = "Check user name and password; some servers ask for an app password or a released account."


class NotOnBehalf(SignInRefused):
    """Of an account that signs in for another's mailbox; many servers do not say which of both was wrong."""

    sentence = "The server refused the sign-in on behalf of this mailbox"
    advice = (
        "Check user name and password in the profile. If they are right, on the server allow the service account "
        "to open this mailbox, or use the mailbox's own credentials."
    )


class MayNotOpen(SignInRefused):
    sentence = "The sign-in is right, but does not entitle to open this mailbox"
    about = "The sign-in of {seen} is right, but does not entitle to open that mailbox"
    advice = (
        "On the server, allow the service account to open this mailbox, or use the mailbox's own credentials."
    )


class FolderMissing(MailboxError):
    sentence = "The folder does not exist, or this account may not open it"
    about = "There is no folder {seen}, or this account may not open it"
    advice = "Check the folder to read in the profile, or create it in the mailbox."


class FolderReadOnly(MailboxError):
    sentence = "The folder can be read, but not changed as the settings ask"
    about = "{seen} can be read, but not changed as the settings ask"
    advice = "Give the account the right to mark and delete messages in this folder."


class SenderRefused(MailboxError):
    sentence = "The server does not accept this sender"
    about = "The server does not accept {seen} as sender"
    advice = "Allow the account to send as this address, or sign in as the one it belongs to."


class RecipientRefused(MailboxError):
    sentence = "The server does not accept this recipient"
    about = "The server does not accept {seen} as recipient"
    advice = "Check the address, and whether the server relays for this account."


class TryLater(MailboxError):
    nature = Nature.TRANSIENT
    sentence = "The server asks to try this mailbox again later"
    advice = (
        "We try again by ourselves. If it stays so, look for a full mailbox or another program that holds it."
    )


class MessageUnavailable(MailError):
    scope, nature = Scope.MESSAGE, Nature.TRANSIENT
    sentence = "The server lists a message and does not hand it over"
    about = "The server lists message {seen} and does not hand it over"
    advice = "We try again by ourselves. If it stays so, open the message in a mail program and move it away."


class MessageRefused(MailError):
    scope, nature = Scope.MESSAGE, Nature.PERMANENT
    sentence = "The server does not accept this message"
    about = "The server does not accept this message: {seen}"
    advice = "Read the server's words; change the message accordingly and send it again."


class MessageTooLarge(MessageRefused):
    sentence = "The message is larger than the server accepts"
    about = "The message is larger than the server accepts: {seen}"
    advice = "Leave out attachments or make them smaller, or ask whoever runs the server to accept larger messages."


class OutcomeUnknown(MailError):
    scope, nature = Scope.MESSAGE, Nature.NEEDS_PERSON
    sentence = "The message was handed over, and no answer came"
    about = "The message was handed over to {seen}, and no answer came"
    advice = (
        "Ask the recipient, or look for its Message-ID in the log of the mail server. "
        "Then say that it arrived, or send it again."
    )


def printable(words: str) -> str:
    """`words` on one line, without control characters and cut to what an error may quote."""
    visible = "".join(letter if letter.isprintable() else " " for letter in words)
    return " ".join(visible.split())[:SERVER_WORDS_LIMIT]


_BASE64_RUN = re.compile(r"[A-Za-z0-9+/]{4,}={0,2}")


def redacted(words: str, secrets: Iterable[str]) -> str:
    """`words` with every secret replaced by ***, however a server may echo it.

    Found are the secret itself in any case, as a quoted string (RFC 9051, section 4.3), stripped of
    what is not ASCII, and any base64 that carries it: alone, in AUTH LOGIN or in a SASL PLAIN blob.
    """
    for secret in sorted(filter(None, secrets), key=len, reverse=True):
        words = _without(words, secret)
    return words


def _without(words: str, secret: str) -> str:
    words = _BASE64_RUN.sub(lambda run: _hide_blob(run[0], secret), words)
    for form in _plain_forms(secret):
        words = re.sub(re.escape(form), "***", words, flags=re.IGNORECASE)
    return words


def _plain_forms(secret: str) -> list[str]:
    quoted = secret.replace("\\", "\\\\").replace('"', '\\"')
    as_python = [repr(form.encode())[2:-1] for form in (quoted, secret)]  # libraries quote answers with %r
    ascii_only = secret.encode("ascii", "ignore").decode()
    forms = dict.fromkeys((*as_python, quoted, secret, ascii_only))
    return sorted(filter(None, forms), key=len, reverse=True)


def _hide_blob(run: str, secret: str) -> str:
    body = run.rstrip("=")
    body = body[:-1] if len(body) % 4 == 1 else body
    try:
        carried = base64.b64decode(body + "=" * (-len(body) % 4))
    except binascii.Error:
        return run
    return "***" if secret.encode() in carried else run


def scrub(error: BaseException | None, secrets: Iterable[str]) -> None:
    """Take the secrets out of an exception and of all it was caused by, before anyone can log it."""
    hidden, seen = tuple(secrets), set[int]()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        error.args = tuple(_scrubbed_value(value, hidden) for value in error.args)
        for name, value in vars(error).items():
            setattr(error, name, _scrubbed_value(value, hidden))
        error = error.__cause__ or error.__context__


def _scrubbed_value(value: object, secrets: tuple[str, ...]) -> object:
    if isinstance(value, StrEnum):
        return value
    if isinstance(value, str):
        return redacted(value, secrets)
    if isinstance(value, bytes):
        return redacted(value.decode("utf-8", "replace"), secrets).encode()
    return value


@contextmanager
def at_step(step: StepName) -> Iterator[None]:
    """Whatever goes wrong inside is the failure of this step of the ladder."""
    try:
        yield
    except MailError as error:
        error.step = error.step or step
        raise
