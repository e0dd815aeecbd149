"""SMTP (RFC 5321): the ladder of Test & Enable, up to a recipient accepted, then RSET.

smtplib speaks the protocol over a socket of the network guard. STARTTLS (RFC 3207) is required or not used;
what was said before it is forgotten.
"""

from __future__ import annotations

import base64
import smtplib
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from emailprofiles import network
from emailprofiles.errors import (
    CapabilityMissing,
    ClientRefused,
    ConnectionLost,
    EncryptionRequired,
    MailError,
    NoGreeting,
    NotThisProtocol,
    ProtocolError,
    RecipientRefused,
    SenderRefused,
    ServerBusy,
    SettingsIncomplete,
    SignInRefused,
    StartTlsRefused,
    TimedOut,
    TryLater,
    at_step,
    redacted,
    scrub,
)
from emailprofiles.transports.reach import OverSocket, speakable
from emailprofiles.transports.seam import OutgoingTransport
from emailprofiles.wire import ENDS_A_COMMAND, Endpoint, Password, Security, Step, StepName

SECONDS_TO_LEAVE = 3.0
OCTETS_PER_REPLY = 1024 * 1024

Reply = tuple[int, bytes]


class Client(smtplib.SMTP):
    """smtplib on a socket of the network guard."""

    def __init__(self, sock: network.BoundedSocket, endpoint: Endpoint) -> None:
        self.connection = sock
        self.endpoint = endpoint
        super().__init__(local_hostname=own_name(sock), timeout=endpoint.timeout)
        self.command_encoding = "utf-8"

    def _get_socket(self, host: str, port: int, timeout: float) -> network.BoundedSocket:
        return self.connection

    def start_tls(self) -> str:
        """Encrypt, and forget all that was said in the clear: anybody may have said it (RFC 3207, 4.2)."""
        assert self.file is not None
        self.file.close()
        self.connection, seen = network.start_tls(self.connection, self.endpoint)
        self.sock, self.file = self.connection, None
        self.helo_resp = self.ehlo_resp = None
        self.esmtp_features, self.does_esmtp = {}, False
        return seen


def own_name(sock: socket.socket) -> str:
    """How we introduce ourselves: this machine's full name, else its address (RFC 5321, section 4.1.4)."""
    name = socket.gethostname()
    if "." in name.strip("."):
        return name
    host = str(sock.getsockname()[0]).partition("%")[0]
    return f"[IPv6:{host}]" if ":" in host else f"[{host}]"


# --- what the server's replies mean (RFC 5321, section 4.2; RFC 4954, section 6) --------------------------

ANY_TIME: dict[int, type[MailError]] = {
    421: ServerBusy,
    454: ServerBusy,
    500: CapabilityMissing,
    502: CapabilityMissing,
    504: CapabilityMissing,
    523: EncryptionRequired,
    538: EncryptionRequired,
}
AT_GREETING: dict[int, type[MailError]] = {**ANY_TIME, 4: ServerBusy, 5: ClientRefused}
AT_SIGN_IN: dict[int, type[MailError]] = {
    **ANY_TIME,
    432: SignInRefused,  # a password transition is needed
    501: SignInRefused,
    530: EncryptionRequired,
    4: ServerBusy,
    5: SignInRefused,
}
AT_SENDER: dict[int, type[MailError]] = {**ANY_TIME, 530: SignInRefused, 4: TryLater, 5: SenderRefused}
AT_RECIPIENT: dict[int, type[MailError]] = {**ANY_TIME, 530: SignInRefused, 4: TryLater, 5: RecipientRefused}


def kind_of(code: int, words: str, table: dict[int, type[MailError]]) -> type[MailError]:
    """What a refusal means: by its code, else by the first digit of it."""
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


# --- the transport ---------------------------------------------------------------------------------------


class Smtp(OverSocket, OutgoingTransport):
    """One connection to one SMTP server."""

    _client: Client | None = None

    def connect_steps(self) -> Iterator[Step]:
        yield from self.reached_steps()
        yield from self._greeting_steps(self._reached)
        if isinstance(self.credentials, Password):
            with at_step(StepName.SIGNED_IN):
                self._sign_in(self.credentials)
            yield Step(StepName.SIGNED_IN, self.credentials.username)

    def _greeting_steps(self, sock: network.BoundedSocket) -> Iterator[Step]:
        with at_step(self._greeting_step):
            banner = self._greet(sock)
        if self.endpoint.security is Security.STARTTLS:
            with at_step(StepName.TLS):
                seen = self._start_tls()
            yield Step(StepName.TLS, seen)
        with at_step(StepName.GREETING):
            offered = self._introduce()
        yield Step(StepName.GREETING, f"{banner}; {' '.join(offered)}"[:300])

    def _greet(self, sock: network.BoundedSocket) -> str:
        self._client = Client(sock, self.endpoint)
        sock.allow(self.endpoint.timeout, OCTETS_PER_REPLY)
        try:
            code, words = self._client.connect(self.endpoint.host, self.endpoint.port)
        except OSError as error:
            self._spent = True
            raise self._no_greeting(error, sock) from error
        self._expect((code, words), AT_GREETING, otherwise=NotThisProtocol)
        return self._text(words)

    def _no_greeting(self, error: OSError, sock: network.BoundedSocket) -> MailError:
        problem = translate(error, self._where)
        silent = sock.octets_left == OCTETS_PER_REPLY
        if (
            silent
            and self.endpoint.security is not Security.TLS
            and isinstance(problem, TimedOut | ConnectionLost)
        ):
            return NoGreeting(self._where)
        if isinstance(problem, ProtocolError):
            return NotThisProtocol(self._where, server_words=str(error))
        return problem

    def _start_tls(self) -> str:
        if "starttls" not in self._introduce():
            raise StartTlsRefused
        with self._command() as client:
            code, words = client.docmd("STARTTLS")
            if code != 220:
                raise StartTlsRefused(server_words=self._text(words))
            seen = client.start_tls()
            self._sock = client.connection
        return seen

    def _introduce(self) -> list[str]:
        """EHLO; what the server offers, in lower case."""
        with self._command() as client:
            self._expect(client.ehlo(), AT_GREETING)
            return list(client.esmtp_features)

    # signing in

    def _sign_in(self, who: Password) -> None:
        if not who.username:
            raise SettingsIncomplete("the user name is empty")
        for text in _identities(who):
            speakable("A credential", text)
        with self._command() as client:
            offered = client.esmtp_features.get("auth", "").upper().split()
            if "PLAIN" in offered:
                reply = client.docmd("AUTH", f"PLAIN {_base64(chr(0).join(_identities(who)))}")
            elif "LOGIN" in offered and not who.authorize_as:
                reply = self._login(client, who)
            else:
                raise self._no_mechanism(client)
            self._expect(reply, AT_SIGN_IN, seen=who.username, good=(235, 503))

    def _login(self, client: Client, who: Password) -> Reply:
        reply = client.docmd("AUTH", "LOGIN")
        for answer in (who.username, who.password):
            if reply[0] != 334:
                break
            reply = client.docmd(_base64(answer))
        return reply

    def _no_mechanism(self, client: Client) -> MailError:
        if self.endpoint.security is Security.NONE and client.has_extn("starttls"):
            return EncryptionRequired()
        return CapabilityMissing("AUTH PLAIN or LOGIN")

    # the envelope

    def envelope_steps(self, sender: str, recipient: str) -> Iterator[Step]:
        try:
            with at_step(StepName.SENDER):
                self._say_sender(sender, recipient)
            yield Step(StepName.SENDER, sender)
            with at_step(StepName.RECIPIENT), self._command() as client:
                reply = client.docmd("RCPT", f"TO:<{spoken(recipient)}>")
                self._expect(reply, AT_RECIPIENT, seen=recipient)
            yield Step(StepName.RECIPIENT, recipient)
        finally:
            self._reset()

    def _say_sender(self, sender: str, recipient: str) -> None:
        beyond_ascii = not all(address.rpartition("@")[0].isascii() for address in (sender, recipient))
        with self._command() as client:
            if beyond_ascii and not client.has_extn("smtputf8"):
                raise CapabilityMissing("SMTPUTF8, for an address with other than ASCII letters")
            option = " SMTPUTF8" if beyond_ascii else ""
            reply = client.docmd("MAIL", f"FROM:<{spoken(sender)}>{option}")
            self._expect(reply, AT_SENDER, seen=sender)

    def _reset(self) -> None:
        with suppress(MailError), self._command() as client:  # the error to be told is what went wrong before
            client.docmd("RSET")

    # one command

    @contextmanager
    def _command(self) -> Iterator[Client]:
        """One exchange with the server: its own deadline, every error one of ours, no secret in any of it."""
        if self._client is None or self._spent:
            raise ConnectionLost(self._where)
        self._client.connection.allow(self.endpoint.timeout, OCTETS_PER_REPLY)
        try:
            yield self._client
        except MailError as error:
            scrub(error, self._secrets)
            raise
        except OSError as error:
            self._spent = True
            scrub(error, self._secrets)
            raise translate(error, self._where) from error

    def _expect(
        self,
        reply: Reply,
        table: dict[int, type[MailError]],
        *,
        seen: str = "",
        good: tuple[int, ...] = (220, 250, 251, 252),
        otherwise: type[MailError] = ProtocolError,
    ) -> None:
        code, words = reply
        if code in good:
            return
        said = self._text(words)
        kind = kind_of(code, said, table)
        raise (otherwise if kind is ProtocolError else kind)(seen, server_words=f"{code} {said}")

    def _text(self, words: bytes) -> str:
        return redacted(words.decode("utf-8", "replace"), self._secrets)

    @property
    def _secrets(self) -> tuple[str, ...]:
        return (self.credentials.password,) if isinstance(self.credentials, Password) else ()

    def close(self) -> None:
        with suppress(Exception):  # leaving is a courtesy: nothing depends on how the server takes it
            if self._client is not None and not self._spent:
                self._client.connection.allow(SECONDS_TO_LEAVE, OCTETS_PER_REPLY)
                self._client.quit()
        with suppress(OSError):
            if self._client is not None:
                self._client.close()  # its reader, while open, would keep the connection open
        with suppress(OSError):
            if self._sock is not None:
                self._sock.close()
        self._client = self._sock = None


def spoken(address: str) -> str:
    """An address as a command carries it: the domain in ASCII (IDNA), nothing that ends the command."""
    local, at, domain = address.rpartition("@")
    if not (local and at and domain) or any(letter in address for letter in f"{ENDS_A_COMMAND}<> "):
        raise SettingsIncomplete(f"{address!r} is no email address")
    try:
        return f"{local}@{domain.encode('idna').decode('ascii')}"
    except UnicodeError as error:
        raise SettingsIncomplete(f"{address!r} is no email address") from error


def _identities(who: Password) -> tuple[str, str, str]:
    return who.authorize_as, who.username, who.password


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode("ascii")
