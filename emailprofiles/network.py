"""The network guard: every connection of every protocol is made here.

    resolve   a name becomes addresses, within a time limit; all of them are checked
    connect   to the checked addresses in turn, never to the name again
    start_tls the certificate is verified for the name the person entered

Addresses that are link-local, multicast, unspecified, reserved or a cloud's metadata service are never
connected to, in whatever IPv6 disguise (mapped, 6to4, Teredo, NAT64); loopback and private ones only with
`Endpoint.allow_internal`. Sockets carry a deadline for the whole command, so that a server that drips one
octet at a time runs out of time like a silent one, and a number of octets that it may say.
"""

from __future__ import annotations

import errno
import os
import queue
import select
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network
from time import monotonic
from typing import Any, TypeVar

from emailprofiles.errors import (
    AddressRefused,
    CertificateExpired,
    CertificateUntrusted,
    CertificateWrongName,
    ConnectionLost,
    MailError,
    NameNotResolved,
    NotTls,
    PortClosed,
    ProtocolError,
    SettingsIncomplete,
    TimedOut,
    TlsFailed,
    printable,
)
from emailprofiles.wire import Endpoint

IP = IPv4Address | IPv6Address
T = TypeVar("T")

OCTETS_PER_COMMAND = 256 * 1024 * 1024
"""What one answer may hold: far above the largest mail a server takes, far below our memory."""

OCTETS_PER_EXTRA_SECOND = 65_536
"""Octets that really arrive earn time: a large message on a slow line is no drip."""

METADATA = frozenset(
    map(
        ip_address,
        ("169.254.169.254", "fd00:ec2::254", "168.63.129.16", "100.100.100.200", "192.0.0.192"),
    )
)
THIS_NETWORK = ip_network("0.0.0.0/8")
LAST_32_BITS = (IPv6Network("::/96"), IPv6Network("64:ff9b::/96"))
"""Where an IPv6 address ends in the IPv4 address that it stands for: IPv4-compatible, and NAT64's own prefix."""

LOCAL_NAT64 = IPv6Network("64:ff9b:1::/48")
INTERNAL_TOO = (IPv6Network("fec0::/10"), IPv6Network("3fff::/20"))
"""Site-local, and the second range for documentation: this version of Python takes them for public."""


@dataclass(frozen=True, slots=True)
class Address:
    """A checked address and port; only `resolve` makes one."""

    family: socket.AddressFamily
    sockaddr: tuple[Any, ...]

    @property
    def host(self) -> str:
        return str(self.sockaddr[0])

    @property
    def port(self) -> int:
        return int(self.sockaddr[1])

    def __str__(self) -> str:
        return f"{self.host} port {self.port}"


# --- names and addresses ---------------------------------------------------------------------------------


def resolve(endpoint: Endpoint) -> tuple[Address, ...]:
    """All addresses of the endpoint, each of them checked.

    Raises `NameNotResolved`, `TimedOut`, `SettingsIncomplete` (no name or no port), and `AddressRefused`
    even if only one of several addresses is forbidden: a name that mixes them is an attack or a mistake.
    """
    host = host_name(endpoint)
    addresses = tuple(dict.fromkeys(_looked_up(host, endpoint)))
    for address in addresses:
        reason = refusal(ip_address(address.host.partition("%")[0]), allow_internal=endpoint.allow_internal)
        if reason:
            raise AddressRefused(f"{address.host} ({reason})")
    if not addresses:
        raise NameNotResolved(host)
    return addresses


def host_name(endpoint: Endpoint) -> str:
    """The host as certificates name it: without brackets, blanks or the final dot. Never empty."""
    host = endpoint.host.strip().removesuffix(".")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    if not host:  # an empty name would resolve, to this machine
        raise SettingsIncomplete("server location")
    if not 0 < endpoint.port < 65536:
        raise SettingsIncomplete(f"port {endpoint.port}")
    return host


def _looked_up(host: str, endpoint: Endpoint) -> Iterator[Address]:
    if not host.isprintable():  # getaddrinfo would look up what stands before a NUL
        raise NameNotResolved(printable(host))
    answer = _in_time(
        lambda: socket.getaddrinfo(host, endpoint.port, type=socket.SOCK_STREAM), endpoint.timeout
    )
    if answer is None:
        raise TimedOut(f"looking up {host}")
    if isinstance(answer, Exception):
        raise NameNotResolved(host, server_words=str(answer)) from answer
    for family, _type, _protocol, _name, sockaddr in answer:
        if family in (socket.AF_INET, socket.AF_INET6):
            yield Address(family, sockaddr)


def _in_time(work: Callable[[], T], seconds: float) -> T | OSError | ValueError | None:
    """The result of `work` or its error; None if it is not done by then (getaddrinfo knows no time limit)."""
    results: queue.SimpleQueue[T | OSError | ValueError] = queue.SimpleQueue()

    def run() -> None:
        try:
            results.put(work())
        except (OSError, ValueError) as error:  # ValueError: a name that IDNA cannot encode, or a NUL in it
            results.put(error)

    threading.Thread(target=run, name="name lookup", daemon=True).start()
    try:
        return results.get(timeout=seconds)
    except queue.Empty:
        return None


def refusal(ip: IP, *, allow_internal: bool) -> str:
    """Why this address may not be connected to, or an empty text."""
    inner = _embedded(ip)
    for one in inner:
        if reason := refusal(one, allow_internal=allow_internal):
            return f"stands for {one}: {reason}"
    if inner:
        return ""
    for forbidden, reason in _NEVER:
        if forbidden(ip):
            return reason
    return "" if allow_internal or _is_public(ip) else "an internal address"


def _is_public(ip: IP) -> bool:
    return ip.is_global and not any(ip in network for network in INTERNAL_TOO)


def _embedded(ip: IP) -> tuple[IPv4Address, ...]:
    """The IPv4 addresses that this IPv6 address may lead to, if it is only a disguise."""
    if isinstance(ip, IPv4Address) or ip.is_loopback or ip.is_unspecified:
        return ()
    if ip.teredo:
        return (ip.teredo[1],)
    if ip in LOCAL_NAT64:
        return _translated_to(int(ip))
    if any(ip in network for network in LAST_32_BITS):
        return (IPv4Address(int(ip) & 0xFFFFFFFF),)
    inner = ip.ipv4_mapped or ip.sixtofour
    return (inner,) if inner else ()


def _translated_to(bits: int) -> tuple[IPv4Address, ...]:
    """What a translator may read from an address of LOCAL_NAT64, whose prefix has 96, 64, 56 or 48 bits.

    A reading that is no address of any server only shows that the prefix is another (RFC 6052, section 2.2).
    """
    others = (
        bits >> 24 & 0xFFFFFFFF,
        (bits >> 64 & 0xFF) << 24 | bits >> 32 & 0xFFFFFF,
        (bits >> 64 & 0xFFFF) << 16 | bits >> 40 & 0xFFFF,
    )
    likely = (one for one in map(IPv4Address, others) if one not in THIS_NETWORK and not one.is_reserved)
    return (IPv4Address(bits & 0xFFFFFFFF), *likely)


_NEVER: tuple[tuple[Callable[[IP], bool], str], ...] = (
    (lambda ip: ip in METADATA, "a cloud's metadata service"),
    (lambda ip: ip.is_unspecified or ip in THIS_NETWORK, "no address of a server"),
    (lambda ip: ip.is_link_local, "link-local"),
    (lambda ip: ip.is_multicast, "multicast"),
    (lambda ip: ip.is_reserved and not ip.is_loopback, "reserved"),
)


# --- sockets with a deadline -----------------------------------------------------------------------------


class TooMuchSaid(OSError):
    """The server said more than one answer may hold."""


class BoundedSocket(socket.socket):
    """A socket whose deadline counts for a whole command, not for each read.

    `allow` starts a command: so many seconds in all (and one more for each 64 KB that really arrived) and
    so many octets. Past either, reading and writing raise TimeoutError or TooMuchSaid.
    """

    deadline: float = float("inf")
    octets_left: int = OCTETS_PER_COMMAND
    is_patient: bool = True

    def readable(self, seconds: float) -> bool:
        """Whether there is something to read, or an end, within so many seconds."""
        waiting = select.poll()
        waiting.register(self, select.POLLIN)
        return bool(waiting.poll(max(seconds, 0) * 1000))

    @contextmanager
    def impatient(self) -> Iterator[None]:
        """Reading inside takes what is there, and nothing if nothing is."""
        self.is_patient = False
        try:
            yield
        finally:
            self.is_patient = True

    def allow(self, seconds: float, octets: int = OCTETS_PER_COMMAND) -> None:
        self.deadline = monotonic() + seconds
        self.octets_left = octets

    def hurry(self) -> None:
        """Set the timeout of the next call to what is left."""
        left = self.deadline - monotonic()
        if left <= 0:
            raise TimeoutError("the deadline of this command has passed")
        self.settimeout(min(left, 3600))

    def count(self, octets: int) -> None:
        self.octets_left -= octets
        self.deadline += octets / OCTETS_PER_EXTRA_SECOND
        if self.octets_left < 0:
            raise TooMuchSaid("the answer is larger than any answer may be")

    def recv(self, buflen: int = 1024, flags: int = 0) -> bytes:
        self.hurry()
        data = super().recv(buflen, flags)
        self.count(len(data))
        return data

    def recv_into(self, buffer: Any, nbytes: int | None = 0, flags: int = 0) -> int:
        if not self.is_patient and not self.readable(0):
            raise BlockingIOError(errno.EAGAIN, "nothing to read now")
        self.hurry()
        received = super().recv_into(buffer, nbytes or 0, flags)
        self.count(received)
        return received

    def send(self, data: Any, flags: int = 0) -> int:
        self.hurry()
        return super().send(data, flags)

    def sendall(self, data: Any, flags: int = 0) -> None:
        self.hurry()
        super().sendall(data, flags)


class BoundedTlsSocket(BoundedSocket, ssl.SSLSocket):
    """The same inside TLS; made by `start_tls`."""

    def readable(self, seconds: float) -> bool:
        return self.pending() > 0 or super().readable(seconds)


def connect(endpoint: Endpoint, addresses: tuple[Address, ...]) -> BoundedSocket:
    """A connection to the first of these addresses that answers, all within the endpoint's timeout.

    Raises `PortClosed` or `TimedOut`, naming the last address tried.
    """
    end = monotonic() + endpoint.timeout
    failure: MailError = PortClosed(endpoint.host)
    for number, address in enumerate(addresses):
        share = max((end - monotonic()) / (len(addresses) - number), 0.1)
        try:
            return _reached(address, share, endpoint.timeout)
        except OSError as error:
            failure = translate(error, str(address))
            failure.__cause__ = error
    raise failure


def _reached(address: Address, seconds: float, first_command: float) -> BoundedSocket:
    sock = BoundedSocket(address.family, socket.SOCK_STREAM)
    try:
        sock.settimeout(seconds)
        sock.connect(address.sockaddr)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    except OSError:
        sock.close()
        raise
    sock.allow(first_command)
    return sock


def peer(sock: socket.socket) -> str:
    """Who is at the other end: "192.0.2.7 port 993"."""
    host, port = sock.getpeername()[:2]
    return f"{host} port {port}"


# --- TLS -------------------------------------------------------------------------------------------------


def start_tls(sock: BoundedSocket, endpoint: Endpoint) -> tuple[BoundedTlsSocket, str]:
    """Encrypt; the certificate must be for the endpoint's host, be it a name or an IP address.

    Gives the socket and what was agreed: "TLS 1.3, certificate from Contoso CA, expires 3 Mar 2027".
    Raises the `EncryptionError`s, `TimedOut`, `ConnectionLost`; `sock` is spent in any case.
    """
    context = _context(endpoint.ca_file)
    with translated(host_name(endpoint)):
        wrapped = context.wrap_socket(
            sock, server_hostname=host_name(endpoint), do_handshake_on_connect=False
        )
        assert isinstance(wrapped, BoundedTlsSocket)
        try:
            wrapped.allow(endpoint.timeout)
            wrapped.hurry()
            wrapped.do_handshake()
        except OSError:
            wrapped.close()
            raise
    return wrapped, _agreed(wrapped)


def _context(ca_file: str) -> ssl.SSLContext:
    try:
        return _context_of(ca_file, os.stat(ca_file).st_mtime_ns if ca_file else 0)
    except OSError as error:  # a missing file, or (SSLError) one without certificates
        raise SettingsIncomplete(f"TLS_CA_FILE {ca_file}") from error


@lru_cache(maxsize=8)
def _context_of(ca_file: str, _changed: int) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if ca_file:
        context.load_verify_locations(ca_file)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname = True
    context.verify_mode = ssl.CERT_REQUIRED
    context.sslsocket_class = BoundedTlsSocket
    return context


def _agreed(sock: ssl.SSLSocket) -> str:
    certificate: Any = sock.getpeercert() or {}
    issuer = {name: value for part in certificate.get("issuer", ()) for name, value in part}
    authority = issuer.get("organizationName") or issuer.get("commonName") or "an unnamed authority"
    seen = [(sock.version() or "TLS").replace("TLSv", "TLS "), f"certificate from {authority}"]
    if "notAfter" in certificate:
        expires = datetime.fromtimestamp(ssl.cert_time_to_seconds(certificate["notAfter"]), UTC)
        seen.append(f"{_EXPIRES}{day(expires)}")
    return ", ".join(seen)


_EXPIRES = "expires "


def certificate_expires(agreed: str) -> date | None:
    """The last day of a certificate, read from what `start_tls` gave; None where nothing of it stands there."""
    _before, found, written = agreed.rpartition(_EXPIRES)
    try:
        return datetime.strptime(written, "%d %b %Y").date() if found else None
    except ValueError:
        return None


def day(moment: datetime) -> str:
    """ "3 Feb 2019" """
    return f"{moment.day} {moment:%b %Y}"


# --- what the operating system and OpenSSL say, in our words ---------------------------------------------

_PLAIN_TEXT_INSTEAD_OF_TLS = frozenset(
    {
        "WRONG_VERSION_NUMBER",
        "RECORD_LAYER_FAILURE",
        "PACKET_LENGTH_TOO_LONG",
        "UNKNOWN_PROTOCOL",
        "HTTP_REQUEST",
        "UNEXPECTED_MESSAGE",
    }
)
_CERTIFICATE_ERRORS: dict[int, type[MailError]] = {
    9: CertificateExpired,  # X509_V_ERR_CERT_NOT_YET_VALID
    10: CertificateExpired,  # X509_V_ERR_CERT_HAS_EXPIRED
    62: CertificateWrongName,  # X509_V_ERR_HOSTNAME_MISMATCH
    64: CertificateWrongName,  # X509_V_ERR_IP_ADDRESS_MISMATCH
}
_OS_ERRORS: tuple[tuple[type[OSError], type[MailError]], ...] = (
    (TimeoutError, TimedOut),
    (TooMuchSaid, ProtocolError),
    (ssl.SSLEOFError, ConnectionLost),
    (ssl.SSLZeroReturnError, ConnectionLost),
    (ssl.SSLError, TlsFailed),
    (ConnectionRefusedError, PortClosed),
    (ConnectionError, ConnectionLost),
    (OSError, PortClosed),  # no route, network or host unreachable
)


def translate(error: OSError, seen: str = "") -> MailError:
    """The one table for what sockets and OpenSSL raise. The cause is to be chained by the caller."""
    words = getattr(error, "verify_message", "") or error.strerror or str(error)
    return _kind(error)(seen, server_words=words)


def _kind(error: OSError) -> type[MailError]:
    if isinstance(error, ssl.SSLCertVerificationError):
        return _CERTIFICATE_ERRORS.get(error.verify_code, CertificateUntrusted)
    if isinstance(error, ssl.SSLError) and getattr(error, "reason", "") in _PLAIN_TEXT_INSTEAD_OF_TLS:
        return NotTls
    return next(ours for theirs, ours in _OS_ERRORS if isinstance(error, theirs))


@contextmanager
def translated(seen: str) -> Iterator[None]:
    """Turn every OSError inside into a MailError about `seen`, the cause chained."""
    try:
        yield
    except OSError as error:
        raise translate(error, seen) from error
