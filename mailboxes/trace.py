"""The way a message came, as its trace fields tell it, and down to where they are our own servers' word. Pure.

Each server puts its fields on top of what it received, a Received line among them (RFC 5321, section 4.4). So
the topmost line is our own. A line of ours that says *from another server of ours* vouches for the line below
it; the first one that says *from elsewhere* is the **boundary**: what stands above it was written by our
servers, what stands below it came from elsewhere, and anyone may have written it.

Which server is ours is known by what cannot be claimed: the network address that a line notes, or the name
that was looked up for it. The name by which the other side introduced itself (HELO) counts only where the line
notes no address, or where the protocol is LMTP, which strangers don't speak (RFC 2033).
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass

from mailboxes.parsing import Header

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address

LONGEST_LINE = 4000
WIDEST = {4: 8, 6: 16}
"""The shortest prefix of a network that may be called ours."""


@dataclass(frozen=True, slots=True)
class Servers:
    """Our own mail servers: names in lower case, and networks. Empty: nothing is known about them.

    A name with a dot stands for itself and for all names below it, one without a dot for itself alone.
    """

    names: frozenset[str] = frozenset()
    networks: tuple[Network, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.names or self.networks)

    @classmethod
    def listed(cls, text: str) -> Servers:
        """One on each line, as the settings have it; a line that is neither a name nor a network is passed over."""
        lines = [line for line in map(normal, text.splitlines()) if line and not fault(line)]
        networks = tuple(network for network in map(_network, lines) if network is not None)
        return cls(frozenset(line for line in lines if _network(line) is None), networks)

    def has_name(self, name: str) -> bool:
        labels = name.lower().rstrip(".").split(".")
        below = (".".join(labels[start:]) for start in range(1, len(labels) - 1))
        return ".".join(labels) in self.names or any(parent in self.names for parent in below)

    def has_address(self, address: Address) -> bool:
        return any(address in network for network in self.networks)

    def has(self, name: str) -> bool:
        """Whether this is one of ours, be it written as name or as address; this machine always is."""
        address = _address(name)
        if address is not None:
            return _is_here(address) or self.has_address(address)
        return name.lower() in _HERE or self.has_name(name)


NOBODY = Servers()
_HERE = {"localhost", "localhost.localdomain"}
_NAME = re.compile(r"[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?(?:\.[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?)*")


def normal(line: str) -> str:
    """A line of the list as it is stored."""
    line = line.strip().lower().rstrip(".")
    network = _network(line)
    if network is None:
        return line
    return str(network.network_address) if network.prefixlen == network.max_prefixlen else str(network)


def fault(line: str) -> str:
    """What is wrong with a line of the list, and what would be right; "" for a good one."""
    network = _network(line)
    if network is not None:
        least = WIDEST[network.version]
        too_wide = f"this network is too wide: /{least} is the widest that can be called our own."
        return too_wide if network.prefixlen < least else ""
    if line.startswith(("*.", ".")):
        return f"write {line.lstrip('*.')}; all names below it are meant, too."
    if len(line) > 253 or not _NAME.fullmatch(line) or re.fullmatch(r"[\d.]+", line):
        return (
            "write the name of a server or of a domain, such as mx.contoso.com or contoso.com, or a network, "
            "such as 192.0.2.0/24."
        )
    return ""


def _network(text: str) -> Network | None:
    try:
        return ipaddress.ip_network(text.strip("[]"), strict=False)
    except ValueError:
        return None


def _address(text: str) -> Address | None:
    try:
        return ipaddress.ip_address(text.strip("[]").removeprefix("IPv6:").partition("%")[0])
    except ValueError:
        return None


def _is_here(address: Address) -> bool:
    """This machine, or the same segment, where no stranger comes from."""
    return address.is_loopback or address.is_link_local


@dataclass(frozen=True, slots=True)
class Hop:
    """One Received line. `index` is its place among the headers of the message.

    `greeting` is the name by which the other side introduced itself, `name` the one that was looked up for
    its address, `address` the address itself, `by` who wrote the line. "" stands for what it does not say.
    """

    index: int
    greeting: str = ""
    name: str = ""
    address: str = ""
    by: str = ""
    protocol: str = ""
    says_from: bool = False

    @property
    def sender(self) -> str:
        """Whom the message came from, as surely as the line tells it."""
        known = [self.name or self.greeting, self.address]
        said = [word for word in dict.fromkeys(known) if word]
        return " ".join(said[:1] + [f"[{word}]" for word in said[1:]]) or "a server without a name"

    def was_written_by(self, servers: Servers) -> bool:
        """A line that names nobody, as qmail writes them, claims nothing."""
        return servers.has(self.by) if self.by else not self.says_from

    def came_from(self, servers: Servers) -> bool:
        """Whether one of these passed the message on, or it did not come through a network at all."""
        if not self.says_from or self.protocol.upper().startswith("LMTP"):
            return True
        if self.name and servers.has_name(self.name):
            return True
        return servers.has(self.address or self.greeting)

    def is_inside(self, servers: Servers) -> bool:
        """From one of our servers to another, or to itself."""
        return self.was_written_by(servers) and self.came_from(servers)


@dataclass(frozen=True, slots=True)
class Trace:
    """The Received lines of a message, the newest first, and the boundary among them.

    `boundary` is the first line that did not pass between our own servers: None when there is none, and when
    nothing is known about our servers (`is_judged` is False).
    """

    hops: tuple[Hop, ...]
    boundary: Hop | None
    is_judged: bool

    def is_below(self, index: int) -> bool | None:
        """Whether the header of this place came from outside; None when that is not known."""
        if not self.is_judged:
            return None
        return self.boundary is not None and index > self.boundary.index


NOT_JUDGED = Trace((), None, is_judged=False)
"""Where nothing is known about our servers, no line needs to be read."""


def read(headers: Sequence[Header], servers: Servers) -> Trace:
    """The way of a message with these headers, the topmost first."""
    hops = tuple(
        hop(index, header.written)
        for index, header in enumerate(headers)
        if header.name.lower() == "received"
    )
    outside = (one for one in hops if not one.is_inside(servers))
    return Trace(hops, next(outside, None) if servers else None, bool(servers))


# A comment, with one level of comments within, or a word.
_PIECE = re.compile(r"\((?:[^()]|\([^()]*\))*\)|[^\s()]+")
_CLAUSES = {"from", "by", "via", "with", "id", "for"}
_GREETING = re.compile(r"\b(?:helo|ehlo)[=\s]\s*\S*", re.IGNORECASE)
_BRACKETED = re.compile(r"(\S*)\s*\[((?:IPv6:)?[0-9a-fA-F:.%]+)\]")


def hop(index: int, written: str) -> Hop:
    """One Received line, as Postfix, Exim, Sendmail, Exchange, Dovecot, Gmail, qmail and others write it."""
    clauses = _clauses(written[:LONGEST_LINE].partition(";")[0])
    words, notes = clauses.get("from", ([], []))
    greeting = words[0] if words else ""
    name, address = _looked_up(notes)
    if not address and _address(greeting) is not None:  # Exim, about a client without a name
        address = greeting.strip("[]")
    if not name and address and any("(Exim" in note for _, found in clauses.values() for note in found):
        name = "" if greeting.startswith("[") else greeting
    return Hop(
        index=index,
        greeting=greeting,
        name=name,
        address=address,
        by=_first(clauses, "by"),
        protocol=_first(clauses, "with"),
        says_from="from" in clauses,
    )


Clauses = dict[str, tuple[list[str], list[str]]]


def _clauses(line: str) -> Clauses:
    """Clause → its words and its comments."""
    clauses: Clauses = {}
    current: tuple[list[str], list[str]] = ([], [])
    for piece in _PIECE.findall(line):
        if piece.startswith("("):
            current[1].append(piece)
        elif piece.lower() in _CLAUSES and piece.lower() not in clauses:
            current = clauses.setdefault(piece.lower(), ([], []))
        else:
            current[0].append(piece)
    return clauses


def _first(clauses: Clauses, clause: str) -> str:
    words = clauses.get(clause, ([], []))[0]
    return words[0].strip("[]") if words else ""


def _looked_up(notes: Sequence[str]) -> tuple[str, str]:
    """The name and the address in the comments behind *from*; what the other side says of itself is left out."""
    for note in notes:
        said = _GREETING.sub("", note[1:-1]).strip()
        found = _BRACKETED.search(said)
        if found and (address := _address(found[2])):
            name = found[1].rpartition("@")[2].rstrip(".")
            is_sure = name.lower() != "unknown" and "forged" not in said.lower()
            return (name if is_sure else ""), str(address)
        if address := _address(said.rpartition("@")[2]):
            return "", str(address)
    return "", ""


# ── Who vouches for the sender ──────────────────────────────────────────────────────────────

_COMMENT = re.compile(r"\((?:[^()]|\([^()]*\))*\)")
_RESULT = re.compile(r"\s*([a-z-]+)\s*(?:/\s*\d+\s*)?=\s*([a-z]+)", re.IGNORECASE)
_PROPERTY = re.compile(r"([a-z]+\.[a-z0-9_-]+)\s*=\s*(\"[^\"]*\"|[^\s;]+)", re.IGNORECASE)


def vouched_by(headers: Sequence[Header], trace: Trace, servers: Servers, domain: str) -> str:
    """How our servers confirmed that a message is of this domain: "dmarc", "dkim", "spf"; "" if they did not.

    Read from Authentication-Results (RFC 8601) above the boundary, in the name of one of our servers, or in
    nobody's name, as Microsoft 365 writes it. *dkim* and *spf* count for the domain itself and below it.
    """
    for index, header in enumerate(headers):
        if header.name.lower() != "authentication-results" or trace.is_below(index) is not False:
            continue
        if method := _confirmation(header.written[:LONGEST_LINE], servers, domain.lower()):
            return method
    return ""


def _confirmation(written: str, servers: Servers, domain: str) -> str:
    first, *results = _COMMENT.sub(" ", written).split(";")
    if "=" in first:
        results.insert(0, first)
    elif not servers.has("".join(first.split()[:1])):
        return ""
    return next((method for one in results if (method := _passed(one, domain))), "")


def _passed(result: str, domain: str) -> str:
    """The method of one result, when it passed for this domain."""
    found = _RESULT.match(result)
    if found is None or found[2].lower() != "pass":
        return ""
    method = found[1].lower()
    said = {name.lower(): value.strip('"').lower() for name, value in _PROPERTY.findall(result)}
    passed_for = _domain(said.get(_PASSED_FOR.get(method, ""), "") or said.get(_OR_FOR.get(method, ""), ""))
    is_below = method != "dmarc" and passed_for.endswith(f".{domain}")
    return method if domain and (passed_for == domain or is_below) else ""


_PASSED_FOR = {"dmarc": "header.from", "dkim": "header.d", "spf": "smtp.mailfrom"}
_OR_FOR = {"dkim": "header.i", "spf": "smtp.mail"}


def _domain(address: str) -> str:
    return address.rpartition("@")[2].rstrip(".")
