"""SMTP (RFC 5321): one message after the other on one connection, and the ladder of Test & Enable.

smtplib speaks the protocol over a socket of the network guard. STARTTLS (RFC 3207) is required or not used;
what was said before it is forgotten.
"""

from __future__ import annotations

import base64
import binascii
import smtplib
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from emailprofiles import network
from emailprofiles.errors import (
    CapabilityMissing,
    ConnectionLost,
    EncryptionRequired,
    MailError,
    MessageRefused,
    MessageTooLarge,
    NoGreeting,
    NotThisProtocol,
    OutcomeUnknown,
    ProtocolError,
    RecipientRefused,
    SettingsIncomplete,
    SignInRefused,
    StartTlsRefused,
    TimedOut,
    TryLater,
    at_step,
    redacted,
    scrub,
)
from emailprofiles.transports import sasl
from emailprofiles.transports.reach import OCTETS_PER_SECOND, OverSocket, speakable
from emailprofiles.transports.seam import OutgoingTransport
from emailprofiles.transports.smtp_words import (
    AT_DATA,
    AT_GREETING,
    AT_RECIPIENT,
    AT_SENDER,
    AT_SIGN_IN,
    Replies,
    beyond_ascii,
    kind_of,
    spoken,
    translate,
    transparent,
    xtext,
)
from emailprofiles.wire import Anonymous, Bearer, Endpoint, Envelope, Password, Security, Step, StepName

SECONDS_TO_LEAVE = 3.0
# RFC 5321, section 4.5.3.2.6: whoever gives up earlier does not know whether the message was taken.
SECONDS_TO_ACCEPT = 600.0
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


# --- the transport ---------------------------------------------------------------------------------------


class Smtp(OverSocket, OutgoingTransport):
    """One connection to one SMTP server."""

    _client: Client | None = None

    def connect_steps(self) -> Iterator[Step]:
        yield from self.reached_steps()
        yield from self._greeting_steps(self._reached)
        if not isinstance(self.credentials, Anonymous):
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

    def _sign_in(self, who: Password | Bearer) -> None:
        if not who.username:
            raise SettingsIncomplete("the user name is empty")
        for text in (who.username, *self._secrets, getattr(who, "authorize_as", "")):
            speakable("A credential", text)
        with self._command() as client:
            offered = client.esmtp_features.get("auth", "").upper().split()
            encrypted = self.endpoint.security is not Security.NONE
            mechanism = sasl.chosen(offered, who, is_encrypted=encrypted)
            if mechanism is None:
                raise self._no_mechanism(client, who)
            reply = _exchange(client, *mechanism)
            self._expect(reply, AT_SIGN_IN, seen=who.username, good=(235, 503))

    def _no_mechanism(self, client: Client, who: Password | Bearer) -> MailError:
        if self.endpoint.security is Security.NONE and client.has_extn("starttls"):
            return EncryptionRequired()
        return CapabilityMissing("AUTH XOAUTH2" if isinstance(who, Bearer) else "AUTH PLAIN, LOGIN or SCRAM")

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
        with self._command() as client:
            utf8 = beyond_ascii(sender, recipient)
            if utf8 and not client.has_extn("smtputf8"):
                raise CapabilityMissing("SMTPUTF8, for an address with other than ASCII letters")
            reply = client.docmd("MAIL", f"FROM:<{spoken(sender)}>{' SMTPUTF8' if utf8 else ''}")
            self._expect(reply, AT_SENDER, seen=sender)

    def _reset(self) -> None:
        with suppress(MailError), self._command() as client:  # the error to be told is what went wrong before
            client.docmd("RSET")

    # sending

    def offer(self, envelope: Envelope) -> dict[str, MailError | None]:
        answers: dict[str, MailError | None] = {}
        commands = {one: self._to(envelope, one, answers) for one in envelope.recipients}
        said = [self._from(envelope), *(command for command in commands.values() if command)]
        mail, *replies = self._together(said)
        try:
            self._expect(mail, AT_SENDER, seen=envelope.sender)
            asked = (one for one, command in commands.items() if command)
            for recipient, reply in zip(asked, replies, strict=True):
                answers[recipient] = self._answer(recipient, reply)
        except MailError:
            self._reset()
            raise
        return self._settled(answers)

    def _from(self, envelope: Envelope) -> str:
        """MAIL with what this server is to know before, and what it can do; raises what it cannot."""
        client = self._open_client
        needs = {
            "SMTPUTF8": beyond_ascii(envelope.sender, *envelope.recipients),
            "8BITMIME": not envelope.is_ascii,
        }
        lacking = [name for name, needed in needs.items() if needed and not client.has_extn(name.lower())]
        if lacking:
            raise MessageRefused(f"the server lacks {lacking[0]} (RFC {_NEEDED_BY[lacking[0]]})")
        said = [f"FROM:<{spoken(envelope.sender) if envelope.sender else ''}>"]
        if client.has_extn("size"):
            limit = client.esmtp_features["size"].strip()
            if limit.isdecimal() and 0 < int(limit) < envelope.size:
                raise MessageTooLarge(f"{envelope.size:,} octets, where {int(limit):,} are accepted")
            said.append(f"SIZE={envelope.size}")
        said += ["BODY=8BITMIME"] * needs["8BITMIME"] + ["SMTPUTF8"] * needs["SMTPUTF8"]
        if envelope.report_id and client.has_extn("dsn"):
            said += ["RET=HDRS", f"ENVID={xtext(envelope.report_id)}"]
        return f"MAIL {' '.join(said)}"

    def _to(self, envelope: Envelope, recipient: str, answers: dict[str, MailError | None]) -> str:
        """RCPT; "" for what is no address, which is answered at once."""
        try:
            said = f"RCPT TO:<{spoken(recipient)}>"
        except SettingsIncomplete as error:
            answers[recipient] = MessageRefused(error.seen)
            return ""
        if envelope.report_id and self._open_client.has_extn("dsn"):
            said += f" NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;{xtext(recipient)}"
        return said

    def _together(self, commands: list[str]) -> list[Reply]:
        """The replies to these commands, said at once where the server allows it (RFC 2920)."""
        at_once = self._open_client.has_extn("pipelining")
        replies: list[Reply] = []
        if at_once:
            with self._command() as client:
                client.send("".join(f"{command}\r\n" for command in commands))
        for command in commands:
            replies.append(self._reply() if at_once else self._one(command))
            if replies[-1][0] == 421:
                self._spent = True
                self._expect(replies[-1], AT_SENDER)
        return replies

    def _reply(self) -> Reply:
        with self._command() as client:
            return client.getreply()

    def _one(self, command: str) -> Reply:
        with self._command() as client:
            return client.docmd(command)

    def _answer(self, recipient: str, reply: Reply) -> MailError | None:
        """None, or what is wrong with this recipient; raises what is wrong with all of them."""
        try:
            self._expect(reply, AT_RECIPIENT, seen=recipient)
        except (TryLater, RecipientRefused) as error:
            return error
        return None

    def _settled(self, answers: dict[str, MailError | None]) -> dict[str, MailError | None]:
        """Without those for whom there was no room beside the others; with nobody accepted it is over."""
        accepted = [recipient for recipient, error in answers.items() if error is None]
        if not accepted:
            self._reset()
            return answers
        return {one: error for one, error in answers.items() if not _no_room(error)}

    def hand_over(self, raw: bytes) -> str:
        try:
            self._expect(self._one("DATA"), AT_DATA, good=(354,))
        except MailError:
            self._reset()
            raise
        self._send(transparent(raw))
        reply = self._ended()
        try:
            self._expect(reply, AT_DATA, good=(250,))
        except ProtocolError as error:
            self._spent = True
            raise OutcomeUnknown(self._where, server_words=error.server_words) from error
        return f"{reply[0]} {self._text(reply[1])}"

    def _send(self, content: bytes) -> None:
        with self._command(self.endpoint.timeout + len(content) / OCTETS_PER_SECOND) as client:
            try:
                client.connection.sendall(content)
            except OSError:
                self._expect(self._said_before_it_hung_up(client), AT_DATA, good=(-1,))
                raise

    def _said_before_it_hung_up(self, client: Client) -> Reply:
        """Some servers refuse in the middle of a message that is too large for them."""
        self._spent = True
        client.connection.allow(SECONDS_TO_LEAVE, OCTETS_PER_REPLY)
        with suppress(OSError):
            return client.getreply()
        return -1, b""

    def _ended(self) -> Reply:
        """The dot that ends a message, and the reply that nobody else can give."""
        try:
            with self._command(max(SECONDS_TO_ACCEPT, self.endpoint.timeout)) as client:
                client.send(b".\r\n")
                return client.getreply()
        except MailError as error:
            self._spent = True
            raise OutcomeUnknown(self._where, server_words=error.server_words) from error

    def withdraw(self) -> None:
        self._one("RSET")

    @property
    def _open_client(self) -> Client:
        if self._client is None or self._spent:
            raise ConnectionLost(self._where)
        return self._client

    # one command

    @contextmanager
    def _command(self, seconds: float = 0.0) -> Iterator[Client]:
        """One exchange with the server: its own deadline, every error one of ours, no secret in any of it."""
        client = self._open_client
        client.connection.allow(seconds or self.endpoint.timeout, OCTETS_PER_REPLY)
        try:
            yield client
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
        table: Replies,
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
        who = self.credentials
        return () if isinstance(who, Anonymous) else (who.token if isinstance(who, Bearer) else who.password,)

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


def _base64(said: bytes) -> str:
    return base64.b64encode(said).decode("ascii")


_NEEDED_BY = {"SMTPUTF8": "6531", "8BITMIME": "6152"}


def _no_room(error: MailError | None) -> bool:
    """Too many recipients for one message (or, where that is said alike, a full mailbox: asked alone, we know)."""
    return isinstance(error, TryLater) and error.server_words[:3] in ("452", "552")


def _exchange(client: Client, name: str, exchange: sasl.Exchange) -> Reply:
    """AUTH (RFC 4954, section 4): the last reply."""
    answer = next(exchange)
    reply = client.docmd("AUTH", name if answer is None else f"{name} {_base64(answer) or '='}")
    while reply[0] == 334:
        try:
            answer = exchange.send(_challenge(reply[1]))
        except StopIteration:
            return client.docmd("*")  # it asks for more than there is to say
        reply = client.docmd(_base64(answer or b""))
    if name in sasl.SCRAM and reply[0] == 235 and answer != b"":
        raise SignInRefused(server_words="The server did not prove that it knows the password")
    return reply


def _challenge(said: bytes) -> bytes:
    try:
        return base64.b64decode(said + b"===")
    except binascii.Error:
        return b""
