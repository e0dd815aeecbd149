"""Real servers on loopback for the tests: Dovecot and an SMTP server, each a context manager on free ports.

    with Certificates.made() as certificates, Dovecot(certificates) as dovecot:
        dovecot.add_user("amara", "secret")
        dovecot.append("amara", b"Subject: hello\\r\\n\\r\\n...")
        transport = Imap(dovecot.endpoint(Security.TLS), Password("amara", "secret"))

Nothing outside a temporary directory is touched, nothing listens on anything but loopback.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import pwd
import re
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest
import trustme
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from imapclient import IMAPClient

from emailprofiles.wire import Endpoint, Security

GOOD, EXPIRED, WRONG_NAME, UNTRUSTED, NO_PLAINTEXT = (f"127.0.0.{last}" for last in range(1, 6))
"""The addresses Dovecot answers at: each with its own certificate, the last without sign-in in the clear."""

PACKAGES = {
    "dovecot": ("dovecot", "dovecot-imapd"),
    "chromium": ("chromium", "chromium"),
    "pop3": ("/usr/lib/dovecot/pop3", "dovecot-pop3d"),
    "sieve": ("sievec", "dovecot-sieve dovecot-lmtpd"),
    "postfix": ("postfix", "postfix"),
}


def needs(server: str) -> None:
    """Skip the test where this server is not installed; under CI that is a failure."""
    program, package = PACKAGES[server]
    if shutil.which(program):
        return
    words = f"{server} is not installed (Debian: apt-get install {package})"
    if os.environ.get("CI", "").lower() in ("true", "1"):
        pytest.fail(words)
    pytest.skip(words)


def free_port(host: str = "127.0.0.1") -> int:
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


# --- certificates ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Certificates:
    """A private authority and what it issued, as PEM files; `untrusted` comes from another authority."""

    directory: Path
    authority: trustme.CA = field(default_factory=lambda: trustme.CA(organization_name="Contoso CA"))

    @classmethod
    @contextlib.contextmanager
    def made(cls) -> Iterator[Certificates]:
        with tempfile.TemporaryDirectory(prefix="certificates-") as directory:
            made = cls(Path(directory))
            made._write()
            yield made

    def _write(self) -> None:
        long_ago = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
        self.authority.cert_pem.write_to_path(self.ca_file)
        self._issue("good", self.authority, "localhost", GOOD, "::1", NO_PLAINTEXT)
        self._issue("expired", self.authority, "localhost", EXPIRED, not_after=long_ago)
        self._issue("wrong-name", self.authority, "mail.elsewhere.example")
        self._issue("untrusted", trustme.CA(), "localhost", UNTRUSTED)
        self._issue(
            "not-yet-valid", self.authority, "localhost", not_before=dt.datetime(2900, 1, 1, tzinfo=dt.UTC)
        )
        self._sign_itself("localhost")

    def _issue(self, name: str, authority: trustme.CA, *names: str, **validity: dt.datetime) -> None:
        issued = authority.issue_cert(*names, **validity)  # type: ignore[arg-type]  # not_before, not_after
        issued.private_key_and_cert_chain_pem.write_to_path(self.pem(name))

    def _sign_itself(self, host: str) -> None:
        """A certificate for the right name, with nobody behind it."""
        key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([])
        certificate = (
            x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
            .not_valid_before(dt.datetime(2020, 1, 1, tzinfo=dt.UTC))
            .not_valid_after(dt.datetime(2900, 1, 1, tzinfo=dt.UTC))
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=True)
            .sign(key, hashes.SHA256())
        )
        pem = serialization.Encoding.PEM
        clear = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        Path(self.pem("self-signed")).write_bytes(
            key.private_bytes(pem, *clear) + certificate.public_bytes(pem)
        )

    @property
    def ca_file(self) -> str:
        return str(self.directory / "ca.pem")

    def pem(self, name: str) -> str:
        """Key and chain in one file: good, expired, not-yet-valid, wrong-name, untrusted, self-signed."""
        return str(self.directory / f"{name}.pem")

    def server_context(self, name: str = "good") -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.pem(name))
        return context


# --- Dovecot ---------------------------------------------------------------------------------------------

DOVECOT_CONFIGURATION = """
base_dir = {base}/run
state_dir = {base}/state
log_path = {base}/log
default_internal_user = {internal}
default_internal_group = {internal_group}
default_login_user = {login}
protocols = {protocols}
listen = {addresses}
mail_uid = {uid}
mail_gid = {gid}
first_valid_uid = 1
first_valid_gid = 1
mail_location = maildir:~/Maildir
mail_fsync = never
mail_max_userip_connections = 100
mail_plugins = acl
ssl = yes
ssl_cert = <{good}
ssl_key = <{good}
disable_plaintext_auth = no
auth_mechanisms = plain login
auth_failure_delay = 0
auth_master_user_separator = *
passdb {{
  driver = passwd-file
  args = scheme=PLAIN username_format=%u {base}/masters/%u
  master = yes
  pass = yes
}}
passdb {{
  driver = passwd-file
  args = scheme=PLAIN username_format=%u {base}/users/%u
}}
userdb {{
  driver = static
  args = uid={uid} gid={gid} home={base}/mail/%u
}}
namespace inbox {{
  inbox = yes
  separator = /
  mailbox Trash {{
    special_use = \\Trash
    auto = create
  }}
}}
plugin {{
  acl = vfile:cache_secs=0
  acl_user = %u
}}
protocol imap {{
  mail_plugins = acl imap_acl
}}
service imap-login {{
  chroot =
  service_count = 0
  process_min_avail = 1
  inet_listener imap {{
    port = {imap}
  }}
  inet_listener imaps {{
    port = {imaps}
    ssl = yes
  }}
}}
service imap {{
  service_count = 100
}}
{pop3_services}service anvil {{
  chroot =
  unix_listener anvil-auth-penalty {{
    mode = 0
  }}
}}
service stats {{
  chroot =
}}
local {expired_address} {{
  ssl_cert = <{expired}
  ssl_key = <{expired}
}}
local {wrong_name_address} {{
  ssl_cert = <{wrong_name}
  ssl_key = <{wrong_name}
}}
local {untrusted_address} {{
  ssl_cert = <{untrusted}
  ssl_key = <{untrusted}
}}
local {no_plaintext_address} {{
  disable_plaintext_auth = yes
}}
{extra}
"""


POP3_SERVICES = """service pop3-login {
  chroot =
  service_count = 0
  process_min_avail = 1
  inet_listener pop3 {
    port = %d
  }
  inet_listener pop3s {
    port = %d
    ssl = yes
  }
}
service pop3 {
  service_count = 100
}
"""


@dataclass(frozen=True)
class Kept:
    """A message as it stands on the server."""

    uid: int
    flags: frozenset[str]
    raw: bytes
    received_at: dt.datetime


class Dovecot:
    """An IMAP server (UIDPLUS, MOVE, ACL, SPECIAL-USE) with Maildirs; one port with STARTTLS, one with TLS.

    `endpoint()` gives what a transport connects to. `extra` is further configuration. A master user
    (`add_master`) may open anyone's mailbox by SASL PLAIN with an authorization identity.
    """

    def __init__(self, certificates: Certificates, extra: str = "") -> None:
        self.certificates = certificates
        self.extra = extra
        self.port, self.tls_port = free_port(), free_port()
        self.pop3_port, self.pop3_tls_port = free_port(), free_port()
        self.passwords: dict[str, str] = {}
        self._process: subprocess.Popen[bytes] | None = None
        self._counter = 0

    # life

    def __enter__(self) -> Self:
        self.base = Path(tempfile.mkdtemp(prefix="dovecot-", dir="/tmp"))  # short: sockets lie in it
        self.base.chmod(0o755)
        for name in ("mail", "users", "masters"):
            (self.base / name).mkdir()
        self._own(self.base / "mail")
        self.configuration.write_text(self._configured())
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.crash()  # nobody will miss the mail
        shutil.rmtree(self.base, ignore_errors=True)

    def start(self) -> None:
        program = shutil.which("dovecot")
        assert program, "dovecot is not installed"
        self._process = subprocess.Popen(
            [program, "-F", "-c", str(self.configuration)],
            stderr=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )
        self._wait_until_it_greets()

    def stop(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._process = None

    def crash(self) -> None:
        """Without a farewell, and every connection breaks off."""
        if self._process is not None:
            children = (
                Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()
            )
            for pid in (self._process.pid, *map(int, children)):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self._process.wait()
        self._process = None

    @property
    def configuration(self) -> Path:
        return self.base / "dovecot.conf"

    @property
    def log(self) -> str:
        path = self.base / "log"
        return path.read_text(errors="replace") if path.exists() else ""

    def _wait_until_it_greets(self) -> None:
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            assert self._process is not None
            if self._process.poll() is not None:
                break
            with contextlib.suppress(OSError), socket.create_connection((GOOD, self.port), 2) as probe:
                if probe.recv(4) == b"* OK":
                    return
            time.sleep(0.02)
        raise RuntimeError(f"Dovecot did not start:\n{self.log}")

    def _configured(self) -> str:
        me = pwd.getpwuid(os.geteuid())
        root = me.pw_uid == 0
        pop3 = Path(PACKAGES["pop3"][0]).exists()
        return DOVECOT_CONFIGURATION.format(
            base=self.base,
            internal="dovecot" if root else me.pw_name,
            internal_group="dovecot" if root else "",
            login="dovenull" if root else me.pw_name,
            addresses=", ".join((GOOD, EXPIRED, WRONG_NAME, UNTRUSTED, NO_PLAINTEXT)),
            uid=self._uid,
            gid=self._gid,
            imap=self.port,
            imaps=self.tls_port,
            protocols="imap pop3" if pop3 else "imap",
            pop3_services=POP3_SERVICES % (self.pop3_port, self.pop3_tls_port) if pop3 else "",
            good=self.certificates.pem("good"),
            expired=self.certificates.pem("expired"),
            wrong_name=self.certificates.pem("wrong-name"),
            untrusted=self.certificates.pem("untrusted"),
            expired_address=EXPIRED,
            wrong_name_address=WRONG_NAME,
            untrusted_address=UNTRUSTED,
            no_plaintext_address=NO_PLAINTEXT,
            extra=self.extra,
        )

    @property
    def _uid(self) -> int:
        """Dovecot keeps no mail as root: then nobody does."""
        return os.geteuid() or pwd.getpwnam("nobody").pw_uid

    @property
    def _gid(self) -> int:
        return os.getegid() or pwd.getpwnam("nobody").pw_gid

    def _own(self, path: Path) -> None:
        if os.geteuid() == 0:
            os.chown(path, self._uid, self._gid)

    # people

    def add_user(self, user: str, password: str) -> None:
        """May sign in at once. (A changed password counts a second later: Dovecot looks once a second.)"""
        self.passwords[user] = password
        self._write_person("users", user, password)

    def add_master(self, user: str, password: str) -> None:
        """Someone who may open everybody's mailbox."""
        self._write_person("masters", user, password)

    def _write_person(self, kind: str, user: str, password: str) -> None:
        new = self.base / f"{kind}.new"
        new.write_text(f"{user}:{{PLAIN}}{password}\n")
        new.rename(self.base / kind / user)

    # what a transport needs

    def endpoint(
        self,
        security: Security = Security.NONE,
        host: str = GOOD,
        timeout: float = 10,
        ca_file: str | None = None,
    ) -> Endpoint:
        return self._endpoint((self.port, self.tls_port), security, host, timeout, ca_file)

    def pop3_endpoint(
        self,
        security: Security = Security.NONE,
        host: str = GOOD,
        timeout: float = 10,
        ca_file: str | None = None,
    ) -> Endpoint:
        return self._endpoint((self.pop3_port, self.pop3_tls_port), security, host, timeout, ca_file)

    def _endpoint(
        self, ports: tuple[int, int], security: Security, host: str, timeout: float, ca_file: str | None
    ) -> Endpoint:
        port = ports[security is Security.TLS]
        return Endpoint(
            host, port, security, timeout, self.certificates.ca_file if ca_file is None else ca_file
        )

    # mail

    @contextlib.contextmanager
    def client(self, user: str, folder: str | None = None, readonly: bool = False) -> Iterator[Any]:
        """Another mail program of this person: an IMAPClient, signed in, with the folder selected."""
        client = IMAPClient(GOOD, self.port, ssl=False, timeout=20)
        try:
            client.normalise_times = False
            client.login(user, self.passwords[user])
            if folder:
                client.select_folder(folder, readonly=readonly)
            yield client
        finally:
            with contextlib.suppress(Exception):
                client.logout()

    def append(
        self,
        user: str,
        raw: bytes,
        folder: str = "INBOX",
        flags: Sequence[str] = (),
        internaldate: dt.datetime | None = None,
    ) -> int:
        """Put one message into a folder by IMAP; its UID."""
        with self.client(user) as client:
            client.append(folder, raw, flags, internaldate)
            client.select_folder(folder, readonly=True)
            return int(client.search("UID *")[-1])

    def append_many(self, user: str, messages: Iterable[bytes], folder: str = "INBOX") -> int:
        """Write many messages straight into a folder's Maildir; how many. Their UIDs ascend in this order."""
        cur = self._maildir(user, folder) / "cur"
        before = self._counter
        for raw in messages:
            self._counter += 1
            path = cur / f"{1_700_000_000 + self._counter}.M{self._counter}P{os.getpid()}.loopback:2,"
            path.write_bytes(raw)
            self._own(path)
        return self._counter - before

    def _maildir(self, user: str, folder: str) -> Path:
        home = self.base / "mail" / user
        maildir = home / "Maildir" if folder == "INBOX" else home / "Maildir" / f".{folder.replace('/', '.')}"
        for path in (home, home / "Maildir", maildir, *(maildir / part for part in ("cur", "new", "tmp"))):
            if not path.exists():
                path.mkdir()
                self._own(path)
        return maildir

    def messages(self, user: str, folder: str = "INBOX") -> list[Kept]:
        """What the folder holds now, by UID."""
        with self.client(user, folder, readonly=True) as client:
            uids = client.search("ALL")
            found = client.fetch(uids, ["FLAGS", "INTERNALDATE", "BODY.PEEK[]"]) if uids else {}
        return [
            Kept(
                uid,
                frozenset(flag.decode() for flag in items[b"FLAGS"]),
                items[b"BODY[]"],
                items[b"INTERNALDATE"],
            )
            for uid, items in sorted(found.items())
        ]

    def make_folder(self, user: str, folder: str, rights: str = "") -> None:
        """Create a folder; with `rights` ("lr"), its owner has no more than these."""
        with self.client(user) as client:
            client.create_folder(folder)
        if rights:
            self.set_rights(user, folder, rights)

    def set_rights(self, user: str, folder: str, rights: str) -> None:
        """The owner has no more than these rights (RFC 4314) in this folder from now on."""
        acl = self._maildir(user, folder) / "dovecot-acl"
        acl.write_text(f"owner {rights}\n")
        self._own(acl)

    def renew_generation(self, user: str, folder: str = "INBOX") -> None:
        """Have the folder's UIDs start anew, as after a restore: another UIDVALIDITY.

        Dovecot would take the second for it, so within the same second the old one again: it is given the next.
        """
        maildir = self._maildir(user, folder)
        uids = maildir / "dovecot-uidlist"
        former = re.search(r" V(\d+)", uids.read_text()) if uids.exists() else None
        for path in maildir.glob("dovecot*"):
            if path.name != "dovecot-acl":
                path.unlink()
        if former:
            uids.write_text(f"3 V{int(former[1]) + 1} N1\n")
            self._own(uids)


# --- SMTP ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Received:
    """A message that the SMTP server took."""

    sender: str
    recipients: tuple[str, ...]
    raw: bytes


class SmtpSink:
    """An SMTP server that takes mail and keeps it in `received`; `commands` is what was said to it, by verb.

    `refuse` maps a verb (EHLO, AUTH, MAIL, RCPT, DATA) to the answer it gets instead: "550 5.1.1 No such
    person". A refused RCPT may be given for one address: ("RCPT", "boris@contoso.com").
    """

    def __init__(
        self,
        security: Security = Security.NONE,
        context: ssl.SSLContext | None = None,
        people: dict[str, str] | None = None,
        host: str = GOOD,
        smtputf8: bool = True,
    ) -> None:
        self.security, self.context, self.host = security, context, host
        self.people = people or {}
        self.smtputf8 = smtputf8
        self.refuse: dict[str | tuple[str, str], str] = {}
        self.received: list[Received] = []
        self.commands: list[str] = []
        self.port = free_port(host)

    def __enter__(self) -> Self:
        starttls = self.security is Security.STARTTLS
        self._controller = Controller(
            self,
            hostname=self.host,
            port=self.port,
            ssl_context=self.context if self.security is Security.TLS else None,
            tls_context=self.context if starttls else None,
            require_starttls=starttls,
            auth_require_tls=starttls,
            auth_required=bool(self.people),
            authenticator=self._authenticate,
            enable_SMTPUTF8=self.smtputf8,
            server_hostname="sink.example",
        )
        self._controller.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._controller.stop()

    def endpoint(self, timeout: float = 10, ca_file: str = "") -> Endpoint:
        return Endpoint(self.host, self.port, self.security, timeout, ca_file)

    def holds(self, count: int) -> None:
        """Wait until so many messages were taken."""
        deadline = time.monotonic() + 20
        while len(self.received) < count:
            assert time.monotonic() < deadline, f"{len(self.received)} messages, not {count}"
            time.sleep(0.05)

    def _authenticate(
        self, server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: object
    ) -> AuthResult:
        self.commands.append(f"AUTH {mechanism}")
        if "AUTH" in self.refuse:
            return AuthResult(success=False, handled=False, message=self.refuse["AUTH"])
        if not isinstance(data, LoginPassword):
            return AuthResult(success=False, handled=False)
        known = self.people.get(data.login.decode())
        return AuthResult(success=known is not None and known.encode() == data.password, handled=False)

    async def handle_EHLO(
        self, server: SMTP, session: Session, envelope: Envelope, hostname: str, responses: list[str]
    ) -> list[str]:
        self.commands.append(f"EHLO {hostname}")
        session.host_name = hostname
        return [self.refuse["EHLO"]] if "EHLO" in self.refuse else responses

    async def handle_MAIL(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        self.commands.append(" ".join((f"MAIL {address}", *options)))
        if "MAIL" in self.refuse:
            return self.refuse["MAIL"]
        envelope.mail_from = address
        return "250 OK"

    async def handle_RCPT(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        self.commands.append(f"RCPT {address}")
        refusal = self.refuse.get("RCPT") or self.refuse.get(("RCPT", address))
        if refusal:
            return refusal
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_RSET(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        self.commands.append("RSET")
        return "250 OK"

    async def handle_QUIT(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        self.commands.append("QUIT")
        return "221 Bye"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        self.commands.append("DATA")
        if "DATA" in self.refuse:
            return self.refuse["DATA"]
        content = envelope.content
        raw = content.encode() if isinstance(content, str) else content or b""
        self.received.append(Received(envelope.mail_from or "", tuple(envelope.rcpt_tos), raw))
        return "250 OK"


# --- servers that misbehave ------------------------------------------------------------------------------


class Scripted:
    """A server that is one function: `play(connection)` is called with each connection, in a thread.

    For what no well-made server does: silence, drips, garbage, injected answers.
    """

    def __init__(self, play: Any, host: str = GOOD) -> None:
        self._play = play
        self.host = host
        self._connections: list[socket.socket] = []

    def __enter__(self) -> Self:
        self._listener = socket.create_server((self.host, 0))
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._serve, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for sock in (self._listener, *self._connections):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()

    def endpoint(self, security: Security = Security.NONE, timeout: float = 2, ca_file: str = "") -> Endpoint:
        return Endpoint(self.host, self.port, security, timeout, ca_file)

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _peer = self._listener.accept()
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._connections.append(connection)
                threading.Thread(target=self._one, args=(connection,), daemon=True).start()

    def _one(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError, ValueError, IndexError), connection:
            self._play(connection)
