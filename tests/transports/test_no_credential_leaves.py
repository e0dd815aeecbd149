"""Hostile servers that want to hear a password: whatever they try before TLS is certain, they hear none.

Each of them keeps every octet that arrives, as it came and, where it has the keys, as it was inside TLS.
"""

from __future__ import annotations

import base64
import ssl
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from socket import socket

import pytest

from emailprofiles.errors import (
    CapabilityMissing,
    CertificateExpired,
    CertificateUntrusted,
    CertificateWrongName,
    ConnectionLost,
    MailError,
    NameNotResolved,
    NotThisProtocol,
    NotTls,
    SettingsIncomplete,
    StartTlsRefused,
)
from emailprofiles.transports.imap import Imap
from emailprofiles.transports.pop3 import Pop3
from emailprofiles.transports.seam import Transport
from emailprofiles.transports.smtp import Smtp
from emailprofiles.wire import Anonymous, Password, Security
from tests.servers import Certificates, Scripted

USER, SECRET = "amara.okafor@contoso.example", "Tr0ub4dor-&-3"
TYPED = Password(USER, SECRET)
ENCODED = [base64.b64encode(text.encode()) for text in (USER, SECRET, f"\0{USER}\0{SECRET}")]
TELLING = [USER.encode(), SECRET.encode(), *(text.rstrip(b"=")[:-1] for text in ENCODED)]


def overheard(octets: bytes) -> list[bytes]:
    return [text for text in TELLING if text in octets]


# --- what the three protocols have in common ---


@dataclass(frozen=True)
class Dialect:
    """`says` answers commands by their names; {tag} in an answer is the command's. {can} is what is offered."""

    transport: type[Transport]
    greeting: bytes
    upgrade: bytes
    offers: dict[str, bytes]
    says: dict[bytes, bytes]
    otherwise: bytes
    tagged: bool = False

    def answer(self, line: bytes, offer: str) -> bytes:
        words = [*line.split(), b"", b""]
        tag, name = words[:2] if self.tagged else (b"", words[0])
        said = self.says.get(name.upper(), self.otherwise).replace(b"{can}", self.offers[offer])
        return said.replace(b"{tag}", tag)


IMAP = Dialect(
    Imap,
    b"* OK hello\r\n",
    b"STARTTLS",
    {
        "all": b"IMAP4rev1 STARTTLS AUTH=PLAIN SASL-IR",
        "without": b"IMAP4rev1 AUTH=PLAIN SASL-IR",
        "stripped": b"IMAP4rev1 XXXXXXXX AUTH=PLAIN SASL-IR",
        "no sign-in": b"IMAP4rev1 LOGINDISABLED",
    },
    {b"CAPABILITY": b"* CAPABILITY {can}\r\n{tag} OK done\r\n", b"STARTTLS": b"{tag} OK go ahead\r\n"},
    b"{tag} OK done\r\n",
    tagged=True,
)
POP3 = Dialect(
    Pop3,
    b"+OK hello\r\n",
    b"STLS",
    {
        "all": b"STLS\r\nUSER\r\nSASL PLAIN",
        "without": b"USER\r\nSASL PLAIN",
        "stripped": b"XXXX\r\nUSER\r\nSASL PLAIN",
        "no sign-in": b"UIDL",
    },
    {b"CAPA": b"+OK\r\n{can}\r\n.\r\n", b"STLS": b"+OK go ahead\r\n", b"AUTH": b"+ \r\n"},
    b"+OK\r\n",
)
SMTP = Dialect(
    Smtp,
    b"220 mail.contoso.example ESMTP\r\n",
    b"STARTTLS",
    {
        "all": b"250-STARTTLS\r\n250 AUTH PLAIN LOGIN",
        "without": b"250-8BITMIME\r\n250 AUTH PLAIN LOGIN",
        "stripped": b"250-XXXXXXXA\r\n250 AUTH PLAIN LOGIN",
        "no sign-in": b"250 8BITMIME",
    },
    {
        b"EHLO": b"250-mail.contoso.example\r\n{can}\r\n",
        b"STARTTLS": b"220 go ahead\r\n",
        b"AUTH": b"235 welcome\r\n",
    },
    b"250 done\r\n",
)
DIALECTS = {"imap": IMAP, "pop3": POP3, "smtp": SMTP}


# --- the server that listens ---


class Wire:
    """One connection; all that arrives is kept in `raw`, and what was inside TLS in `inside`."""

    def __init__(self, connection: socket, raw: bytearray, inside: bytearray) -> None:
        self.connection, self.raw, self.inside = connection, raw, inside
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls: ssl.SSLObject | None = None

    def arrived(self) -> bytes:
        octets = self.connection.recv(65_536)
        self.raw += octets
        return octets

    def encrypt(self, context: ssl.SSLContext) -> None:
        tls = context.wrap_bio(self._in, self._out, server_side=True)
        while True:
            try:
                tls.do_handshake()
            except ssl.SSLWantReadError:
                self._feed()
                continue
            self._tls = tls
            self._flush()
            return

    def say(self, words: bytes) -> None:
        if self._tls is None:
            self.connection.sendall(words)
        else:
            self._tls.write(words)
            self._flush()

    def lines(self) -> Iterator[bytes]:
        """What the client says, line by line, however it came; the last one may have no end."""
        said = b""
        while octets := self._heard():
            *lines, said = (said + octets).split(b"\r\n")
            yield from lines
        yield said

    def _heard(self) -> bytes:
        while self._tls is not None:
            try:
                octets = self._tls.read(65_536)
            except ssl.SSLWantReadError:
                self._feed()
                continue
            self.inside += octets
            return octets
        return self.arrived()

    def _feed(self) -> None:
        self._flush()
        octets = self.arrived()
        self._in.write(octets) if octets else self._in.write_eof()

    def _flush(self) -> None:
        if self._out.pending:
            self.connection.sendall(self._out.read())


@dataclass
class Hostile:
    """A server that plays one trick and hears all; `connections` counts how often somebody came."""

    dialect: Dialect
    trick: Trick
    context: ssl.SSLContext
    security: Security
    raw: bytearray = field(default_factory=bytearray)
    inside: bytearray = field(default_factory=bytearray)
    connections: int = 0
    done: threading.Event = field(default_factory=threading.Event)

    def play(self, connection: socket) -> None:
        self.connections += 1
        wire = Wire(connection, self.raw, self.inside)
        with suppress(OSError):
            self._converse(wire)
        with suppress(OSError):  # whatever else somebody lets slip
            while self.trick.then != "cut" and wire.arrived():
                pass
        self.done.set()

    def _converse(self, wire: Wire) -> None:
        if self.security is Security.TLS:
            wire.encrypt(self.context)
        wire.say(self.trick.greeting or self.dialect.greeting)
        offer = self.trick.offer
        for line in wire.lines():
            if self.dialect.upgrade not in line.split()[:2]:
                wire.say(self.dialect.answer(line, offer))
                continue
            wire.say(self._to_the_upgrade(line))
            if self.trick.then in ("cut", "plain"):
                wire.arrived()
                wire.say(self.dialect.greeting if self.trick.then == "plain" else b"")
                return
            if self.trick.then == "tls":
                wire.encrypt(self.context)
                offer = self.trick.offer_inside

    def _to_the_upgrade(self, line: bytes) -> bytes:
        tag = line.split()[0]
        if self.trick.refusal:
            return self.trick.refusal.replace(b"{tag}", tag)
        return self.trick.before + self.dialect.answer(line, "all") + self.trick.injected


@dataclass(frozen=True)
class Trick:
    """What the server does instead of an honest STARTTLS."""

    error: type[MailError] | None
    offer: str = "all"
    offer_inside: str = "all"
    greeting: bytes = b""
    refusal: bytes = b""
    before: bytes = b""
    injected: bytes = b""
    then: str = "tls"


@contextmanager
def listening(hostile: Hostile) -> Iterator[Scripted]:
    with Scripted(hostile.play) as server:
        yield server
        assert hostile.done.wait(3)


def failure(
    certificates: Certificates, hostile: Hostile, who: Password = TYPED
) -> tuple[MailError | None, str]:
    """What became of the sign-in, and all that a log might get to see of it."""
    with listening(hostile) as server:
        place = server.endpoint(hostile.security, ca_file=certificates.ca_file)
        with hostile.dialect.transport(replace(place, host="localhost"), who) as transport:
            try:
                transport.connect()
            except MailError as error:
                return error, "".join(traceback.format_exception(error)) + repr(vars(error))
    return None, ""


ECHO = SECRET.encode()  # it knows the password from elsewhere, and would have it in our logs

REFUSED = StartTlsRefused, "all"
TRICKS: dict[str, dict[str, Trick]] = {
    "not offered": dict.fromkeys(DIALECTS, Trick(StartTlsRefused, "without")),
    "stripped": dict.fromkeys(DIALECTS, Trick(StartTlsRefused, "stripped")),
    "refused": {
        "imap": Trick(*REFUSED, refusal=b"{tag} NO not today, " + ECHO + b"\r\n", then=""),
        "pop3": Trick(*REFUSED, refusal=b"-ERR not today, " + ECHO + b"\r\n", then=""),
        "smtp": Trick(*REFUSED, refusal=b"454 4.7.0 not today, " + ECHO + b"\r\n", then=""),
    },
    "refused as unknown": {
        "imap": Trick(*REFUSED, refusal=b"{tag} BAD what is that, " + ECHO + b"\r\n", then=""),
        "pop3": Trick(*REFUSED, refusal=b"-ERR [UNKNOWN] what is that, " + ECHO + b"\r\n", then=""),
        "smtp": Trick(*REFUSED, refusal=b"502 5.5.1 what is that, " + ECHO + b"\r\n", then=""),
    },
    "no TLS follows": dict.fromkeys(DIALECTS, Trick(NotTls, then="plain")),
    "cut at the handshake": dict.fromkeys(DIALECTS, Trick(ConnectionLost, then="cut")),
    "injected": {
        name: Trick(
            CapabilityMissing,
            offer_inside="no sign-in",
            injected=dialect.answer(b"A1 " + ask if dialect.tagged else ask, "all"),
        )
        for (name, dialect), ask in zip(DIALECTS.items(), (b"CAPABILITY", b"CAPA", b"EHLO"), strict=True)
    },
    "injected before": {
        "imap": Trick(
            CapabilityMissing,
            offer_inside="no sign-in",
            before=b"* CAPABILITY IMAP4rev1 AUTH=PLAIN SASL-IR\r\n",
        ),
        "smtp": Trick(
            CapabilityMissing, offer_inside="no sign-in", before=b"220-go\r\n220-AUTH PLAIN LOGIN\r\n"
        ),
    },
    "signed in already": {
        "imap": Trick(NotThisProtocol, greeting=b"* PREAUTH welcome, " + ECHO + b"\r\n"),
        "pop3": Trick(NotThisProtocol, greeting=b"+ welcome, " + ECHO + b"\r\n"),
        "smtp": Trick(NotThisProtocol, greeting=b"235 welcome, " + ECHO + b"\r\n"),
    },
}
CASES = [(name, trick, dialect) for name, tricks in TRICKS.items() for dialect, trick in tricks.items()]


@pytest.mark.parametrize(("name", "trick", "dialect"), CASES, ids=[f"{case[2]}-{case[0]}" for case in CASES])
def test_no_trick_around_starttls_gets_a_credential(
    certificates: Certificates, name: str, trick: Trick, dialect: str
) -> None:
    hostile = Hostile(DIALECTS[dialect], trick, certificates.server_context(), Security.STARTTLS)
    error, shown = failure(certificates, hostile)
    # What was slipped in is either forgotten with the buffer it came in, or it breaks the handshake.
    assert type(error) in ((trick.error, NotTls) if name == "injected" else (trick.error,))
    assert overheard(bytes(hostile.raw + hostile.inside)) == []
    assert SECRET not in shown
    assert hostile.connections == 1


CERTIFICATES = {
    "expired": CertificateExpired,
    "not-yet-valid": CertificateExpired,
    "wrong-name": CertificateWrongName,
    "untrusted": CertificateUntrusted,
    "self-signed": CertificateUntrusted,
}


@pytest.mark.parametrize(("certificate", "error"), CERTIFICATES.items(), ids=CERTIFICATES)
@pytest.mark.parametrize("security", [Security.TLS, Security.STARTTLS])
@pytest.mark.parametrize("dialect", DIALECTS)
def test_no_wrong_certificate_gets_a_credential(
    certificates: Certificates, dialect: str, security: Security, certificate: str, error: type[MailError]
) -> None:
    context = certificates.server_context(certificate)
    hostile = Hostile(DIALECTS[dialect], Trick(error), context, security)
    raised, shown = failure(certificates, hostile)
    assert type(raised) is error
    assert "localhost" in str(raised)
    assert overheard(bytes(hostile.raw + hostile.inside)) == []
    assert SECRET not in shown
    assert hostile.connections == 1


@pytest.mark.parametrize("security", [Security.TLS, Security.STARTTLS])
@pytest.mark.parametrize("dialect", DIALECTS)
def test_an_honest_server_hears_it_inside_tls_alone(
    certificates: Certificates, dialect: str, security: Security
) -> None:
    """And so the ears of these servers are good."""
    hostile = Hostile(DIALECTS[dialect], Trick(None), certificates.server_context(), security)
    failure(certificates, hostile)
    assert overheard(bytes(hostile.raw)) == []
    assert overheard(bytes(hostile.inside))


# --- what was typed never becomes a command ---

POISONS = {"CRLF": "\r\nZ9 LOGOUT", "LF": "\nZ9 LOGOUT", "CR": "\rZ9 LOGOUT", "NUL": "\0Z9 LOGOUT"}
POISONED_FIELDS = [
    *((dialect, name) for dialect in DIALECTS for name in ("username", "password")),
    ("imap", "authorize_as"),
    ("smtp", "authorize_as"),
]


@pytest.mark.parametrize("poison", POISONS.values(), ids=POISONS)
@pytest.mark.parametrize("offer", ["all", "plainest"])
@pytest.mark.parametrize(("dialect", "name"), POISONED_FIELDS)
def test_a_credential_never_becomes_a_command(dialect: str, name: str, offer: str, poison: str) -> None:
    plainest = {"imap": b"IMAP4rev1", "pop3": b"USER", "smtp": b"250 AUTH LOGIN"}[dialect]
    spoken = replace(DIALECTS[dialect], offers=DIALECTS[dialect].offers | {"plainest": plainest})
    who = replace(TYPED, **{name: f"boris{poison}"})
    hostile = Hostile(spoken, Trick(None, offer), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), Security.NONE)
    with (
        listening(hostile) as server,
        spoken.transport(server.endpoint(), who) as transport,
        pytest.raises(MailError) as raised,
    ):
        transport.connect()
    mechanism_missing = name == "authorize_as" and offer == "plainest" and dialect == "imap"
    assert type(raised.value) is (CapabilityMissing if mechanism_missing else SettingsIncomplete)
    assert_nothing_slipped_through(hostile)


@pytest.mark.parametrize("poison", POISONS.values(), ids=POISONS)
@pytest.mark.parametrize("which", ["sender", "recipient"])
def test_an_address_never_becomes_a_command(which: str, poison: str) -> None:
    hostile = Hostile(SMTP, Trick(None), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), Security.NONE)
    addresses = {"sender": "amara@contoso.example", "recipient": "noah@contoso.example"}
    for place in ("boris{}@contoso.example", "boris@contoso.example{}", "{}boris@contoso.example"):
        with listening(hostile) as server, Smtp(server.endpoint(), Anonymous()) as smtp:
            smtp.connect()
            with pytest.raises(SettingsIncomplete):
                list(smtp.envelope_steps(**addresses | {which: place.format(poison)}))
    assert_nothing_slipped_through(hostile)


@pytest.mark.parametrize("poison", POISONS.values(), ids=POISONS)
def test_a_folder_name_never_becomes_a_command(poison: str) -> None:
    hostile = Hostile(IMAP, Trick(None), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), Security.NONE)
    with listening(hostile) as server, Imap(server.endpoint(), TYPED, f"boris{poison}") as imap:
        imap.connect()
        with pytest.raises(SettingsIncomplete):
            imap.open()
    assert_nothing_slipped_through(hostile)


@pytest.mark.parametrize("poison", POISONS.values(), ids=POISONS)
@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_host_name_never_becomes_a_command(dialect: str, poison: str) -> None:
    hostile = Hostile(DIALECTS[dialect], Trick(None), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), Security.NONE)
    with Scripted(hostile.play) as server:
        place = replace(server.endpoint(), host=f"127.0.0.1{poison}")
        with DIALECTS[dialect].transport(place, TYPED) as transport, pytest.raises(MailError) as raised:
            transport.connect()
    assert type(raised.value) is NameNotResolved
    assert hostile.connections == 0


def assert_nothing_slipped_through(hostile: Hostile) -> None:
    assert hostile.raw  # it was spoken to
    assert b"Z9 LOGOUT" not in hostile.raw
    assert b"boris" not in hostile.raw
    assert base64.b64encode(b"boris")[:-2] not in hostile.raw
    assert all(line == line.strip() for line in bytes(hostile.raw).split(b"\r\n"))
