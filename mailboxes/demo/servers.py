"""Real mail servers for the demo office: IMAP by pymap, SMTP by aiosmtpd, on 127.0.0.1 only.

They run in one child process of their own, so that neither the engine nor the web server waits for
them, and its store is memory: each start is an empty office with a new UIDVALIDITY. Three ports:

* IMAP with UIDPLUS, MOVE and IDLE; every account signs in by user name or by address.
* Submission (RFC 6409): sign-in required. Mail for the office is delivered, mail for anyone else goes to
  `outside`, since nothing may leave this machine.
* Inbound (RFC 5321): no sign-in; accepts mail for the office's accounts only, also under a plus-address.

Both are the final delivery: they write Return-Path, Delivered-To and Received (section 4.4), and hand a copy to
the forward mailbox for whoever has a forwarding rule.

The child ignores Ctrl-C, which the terminal sends to the whole group, and ends when the pipe from its
parent ends: also when the parent was killed.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import signal
import warnings
from argparse import Namespace
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime
from multiprocessing import get_context
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Any

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session
from proxyprotocol.sock import SocketInfoLocal
from pymap.backend.dict import Config, Login
from pymap.backend.dict.filter import FilterSet
from pymap.backend.dict.mailbox import MailboxSet
from pymap.concurrent import Subsystem
from pymap.imap import IMAPServer
from pymap.parsing.message import AppendMessage
from pymap.user import UserMetadata
from pysasl.hashing import Cleartext

from .office import Account
from .outside import Outside, Returned

HOST = "127.0.0.1"
DOMAIN = "contoso.com"
NAME = f"mail.{DOMAIN}"
MAXIMUM_SIZE = 64 * 1024 * 1024
START_SECONDS = 30.0
STOP_SECONDS = 2.0
ANSWER_SECONDS = 3.0
"""After which whoever got a mail outside has read it."""


@dataclass(frozen=True, slots=True)
class Ports:
    """Where to listen; 0 lets the system choose. What comes back has no zeros."""

    imap: int = 0
    smtp: int = 0
    inbound: int = 0


class DemoServersError(Exception):
    """The servers could not be started; the text says why."""


class DemoServers:
    """The servers as a context: entered, all three listen; left, the child is gone within seconds."""

    def __init__(self, people: Iterable[Account], ports: Ports | None = None) -> None:
        self._people = list(people)
        self._ports = ports or Ports()
        processes = get_context("spawn")
        self._pipe, self._child_pipe = processes.Pipe()
        self._process = processes.Process(
            target=run,
            args=(self._people, self._ports, self._child_pipe),
            name="demo mail servers",
            daemon=True,
        )

    @property
    def imap_port(self) -> int:
        return self._ports.imap

    @property
    def smtp_port(self) -> int:
        """Submission, with sign-in."""
        return self._ports.smtp

    @property
    def inbound_port(self) -> int:
        """Delivery from outside, without sign-in."""
        return self._ports.inbound

    def is_alive(self) -> bool:
        return self._process.is_alive()

    def start(self) -> None:
        """Return once all three ports listen, else raise DemoServersError."""
        self._process.start()
        self._child_pipe.close()
        try:
            self._ports = self._receive_ports()
        except DemoServersError:
            self.stop()
            raise

    def _receive_ports(self) -> Ports:
        try:
            answer = self._pipe.recv() if self._pipe.poll(START_SECONDS) else "they did not answer"
        except EOFError:
            answer = "their process ended"
        if isinstance(answer, Ports):
            return answer
        raise DemoServersError(f"The demo's mail servers did not start: {answer}.")

    def stop(self) -> None:
        """Close the pipe, which ends the child; kill it if it does not listen."""
        self._pipe.close()
        self._process.join(STOP_SECONDS)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()

    def __enter__(self) -> DemoServers:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def run(people: Sequence[Account], ports: Ports, pipe: Connection) -> None:
    """The child's whole life. It answers with its Ports, or with a text if it could not listen."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Sign-in without TLS is what this server is for: it is reached over loopback only.
    warnings.filterwarnings("ignore", message="Requiring AUTH while not requiring TLS")
    logging.getLogger("mail.log").setLevel(logging.ERROR)
    asyncio.run(_serve(people, ports, pipe))


async def _serve(people: Sequence[Account], ports: Ports, pipe: Connection) -> None:
    store = Store(people)
    try:
        servers = await _listen(store, ports)
    except OSError as error:
        pipe.send(error.strerror or str(error))
        return
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_reader(pipe.fileno(), stopped.set)
    pipe.send(Ports(*(_port(server) for server in servers)))
    await stopped.wait()
    # Not wait_closed(): since Python 3.12 it waits for the clients. asyncio.run cancels what is open.
    for server in servers:
        server.close()


async def _listen(store: Store, ports: Ports) -> list[asyncio.Server]:
    loop = asyncio.get_running_loop()
    outside = Outside()
    return [
        await asyncio.start_server(store.serve_imap, HOST, ports.imap),
        await loop.create_server(lambda: _submission(store, outside), HOST, ports.smtp),
        await loop.create_server(lambda: _inbound(store), HOST, ports.inbound),
    ]


def _port(server: asyncio.Server) -> int:
    port: int = server.sockets[0].getsockname()[1]
    return port


# The store and IMAP


class _Passwords(Cleartext):
    """Passwords of one run, in memory only. (The base class can't compare anything but ASCII.)"""

    def verify(self, secret: str, hash: str) -> bool:
        return secrets.compare_digest(secret.encode(), hash.encode())


class _Config(Config):
    """pymap's memory backend without its single demo user, its DNS look-ups and its TLS."""

    def __init__(self) -> None:
        super().__init__(
            Namespace(proxy_protocol=None),
            host=HOST,
            port=0,
            demo_data=False,
            demo_user="",
            demo_password="",
            tls_enabled=False,
            reject_dnsbl=False,
            hash_context=_Passwords(),
            cpu_subsystem=Subsystem.for_asyncio(),
        )

    @property
    def greeting(self) -> bytes:
        return b"Demo office ready at " + NAME.encode()


def _account(address: str) -> str:
    """Whose mail it is: without what a plus-address says of its own."""
    local_part, _, domain = address.casefold().rpartition("@")
    return f"{local_part.partition('+')[0]}@{domain}"


@dataclass(frozen=True, slots=True)
class Arriving:
    """A message at the last server: envelope sender, octets, who handed it in, and its queue id."""

    mail_from: str
    content: bytes = field(repr=False)
    peer: str
    queue_id: str = field(default_factory=lambda: secrets.token_hex(5).upper())

    def trace(self, address: str) -> bytes:
        """What the last server writes above a message (RFC 5321, 4.4; Delivered-To as Postfix does)."""
        lines = (
            f"Return-Path: <{self.mail_from}>",
            f"Delivered-To: {address}",
            f"Received: from {self.peer}",
            f"\tby {NAME} with ESMTP id {self.queue_id}",
            f"\tfor <{address}>; {format_datetime(datetime.now(UTC))}",
        )
        return "".join(line + "\r\n" for line in lines).encode("utf-8", "replace")


class Store:
    """Everybody's mail, in memory. It lives in the event loop that made it."""

    def __init__(self, people: Iterable[Account]) -> None:
        self._config = _Config()
        self._config.apply_context()
        self._login = Login(self._config)
        self._imap = IMAPServer(self._login, self._config)
        self._mailboxes: dict[str, MailboxSet] = {}
        self._passwords: dict[str, str] = {}
        self._copies: dict[str, str] = {}
        for account in people:
            self._open(account)

    def _open(self, account: Account) -> None:
        mailboxes = MailboxSet()
        self._mailboxes[account.address.casefold()] = mailboxes
        self._copies[account.address.casefold()] = account.copy_to
        for name in {account.username, account.address}:
            self._passwords[name] = account.password
            self._login.users_dict[name] = UserMetadata(self._config, name, password=account.password)
            self._config.set_cache[name] = (mailboxes, FilterSet())

    def knows(self, address: str) -> bool:
        return _account(address) in self._mailboxes

    def admits(self, name: str, password: str) -> bool:
        expected = self._passwords.get(name)
        return expected is not None and secrets.compare_digest(expected.encode(), password.encode())

    async def deliver(self, arriving: Arriving, address: str) -> None:
        """Put a message into the INBOX of a known address, and a copy where its forwarding rule says."""
        raw = arriving.trace(address) + arriving.content
        await self._append(_account(address), raw)
        if copy_to := self._copies[_account(address)]:
            copy = Arriving(arriving.mail_from, raw, f"{NAME} ([{HOST}])", arriving.queue_id)
            await self._append(copy_to, copy.trace(copy_to) + raw)

    async def _append(self, account: str, raw: bytes) -> None:
        """Who is idling there is told."""
        inbox = await self._mailboxes[account].get_mailbox("INBOX")
        await inbox.append(AppendMessage(raw, datetime.now(UTC)), recent=True)

    async def serve_imap(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):  # clients go away in the middle of an answer
            await self._imap(reader, writer, SocketInfoLocal(writer))


# SMTP

UNKNOWN = "550 5.1.1 <{address}>: Recipient address rejected: User unknown"


class _Inbound:
    """Final delivery: mail from outside, for the office's accounts only."""

    def __init__(self, store: Store) -> None:
        self.store = store

    async def handle_RCPT(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if not self.store.knows(address):
            return UNKNOWN.format(address=address)
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 Ok"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        arriving = Arriving(envelope.mail_from or "", _octets(envelope.content), _peer(session))
        for address in filter(self.store.knows, envelope.rcpt_tos):
            await self.store.deliver(arriving, address)
        return f"250 2.0.0 Ok: queued as {arriving.queue_id}"


class _Submission(_Inbound):
    """Mail from the office's own people, who have signed in, to each other and to anyone outside."""

    def __init__(self, store: Store, outside: Outside) -> None:
        super().__init__(store)
        self.outside = outside

    async def handle_RCPT(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if not self.store.knows(address):
            if refused := self.outside.refuses(address):
                return refused
            if _account(address).endswith(f"@{DOMAIN}"):
                return UNKNOWN.format(address=address)
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 Ok"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        elsewhere = [address for address in envelope.rcpt_tos if not self.store.knows(address)]
        if any(map(self.outside.hangs_up, elsewhere)):
            assert isinstance(server.transport, asyncio.Transport)
            server.transport.abort()
            return ""
        said = await super().handle_DATA(server, session, envelope)
        sender = envelope.mail_from or ""
        if self.store.knows(sender):
            for address in elsewhere:
                returned = self.outside.returns(sender, address, _octets(envelope.content))
                if returned is not None:
                    self._hand_in_later(returned, address, sender)
        return said

    def _hand_in_later(self, returned: Returned, address: str, sender: str) -> None:
        peer = f"mail.{address.rpartition('@')[2]} ([192.0.2.25])"
        arriving = Arriving(returned.envelope_from, returned.raw, peer)
        loop = asyncio.get_running_loop()
        loop.call_later(
            ANSWER_SECONDS, lambda: loop.create_task(self.store.deliver(arriving, sender), name="answer")
        )


def _inbound(store: Store) -> SMTP:
    return SMTP(
        _Inbound(store),
        hostname=NAME,
        ident="ESMTP",
        data_size_limit=MAXIMUM_SIZE,
        loop=asyncio.get_running_loop(),
    )


def _submission(store: Store, outside: Outside) -> SMTP:
    def authenticate(server: SMTP, session: Session, envelope: Envelope, how: str, data: Any) -> AuthResult:
        admitted = isinstance(data, LoginPassword) and store.admits(_text(data.login), _text(data.password))
        return AuthResult(success=admitted, handled=False, auth_data=_text(data.login) if admitted else None)

    return SMTP(
        _Submission(store, outside),
        hostname=NAME,
        ident="ESMTP submission",
        data_size_limit=MAXIMUM_SIZE,
        authenticator=authenticate,
        auth_required=True,
        auth_require_tls=False,
        loop=asyncio.get_running_loop(),
    )


def _peer(session: Session) -> str:
    address = session.peer[0] if isinstance(session.peer, tuple) else "unknown"
    return f"{session.host_name} ([{address}])"


def _octets(content: bytes | str | None) -> bytes:
    return content.encode() if isinstance(content, str) else content or b""


def _text(value: bytes) -> str:
    return value.decode("utf-8", "replace")
