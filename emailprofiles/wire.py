"""The frozen values that cross the seam between the engine and a transport."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

ENDS_A_COMMAND = "\r\n\0"
"""What ends a command in every protocol here, so that the rest of a text would be the next one."""


class Security(StrEnum):
    """How a connection is protected. STARTTLS is required or not used: there is no "if offered"."""

    TLS = "tls"
    STARTTLS = "starttls"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One server location, and how patient we are with it.

    `timeout` is the whole time one command may take, in seconds. `ca_file` adds a private
    authority (PEM) to the system's. `allow_internal` lets loopback and private addresses through
    the network guard.
    """

    host: str
    port: int
    security: Security
    timeout: float = 30.0
    ca_file: str = ""
    allow_internal: bool = True


@dataclass(frozen=True, slots=True)
class Password:
    """Sign in as `username`; with `authorize_as`, open that person's mailbox (RFC 4616)."""

    username: str
    password: str = field(repr=False)
    authorize_as: str = ""


@dataclass(frozen=True, slots=True)
class Anonymous:
    """No sign-in at all (SMTP relays that know their clients by address)."""


@dataclass(frozen=True, slots=True)
class Bearer:
    """Sign in as `username` by an access token that somebody else gave out (OAuth 2.0)."""

    username: str
    token: str = field(repr=False)


Credentials = Password | Anonymous | Bearer


class StepName(StrEnum):
    """The steps of Test & Enable, in the words of the ladder."""

    SETTINGS = "settings complete"
    NAME = "name resolved"
    PORT = "port reached"
    TLS = "TLS"
    GREETING = "greeting and capabilities"
    SIGNED_IN = "signed in"
    FOLDER = "folder opened"
    MAY_DELETE = "may delete"
    MESSAGE = "one message read"
    SENDER = "sender accepted"
    RECIPIENT = "recipient accepted"
    ACCEPTED = "test message accepted"
    ARRIVED = "arrived"


@dataclass(frozen=True, slots=True)
class Step:
    """One step that ended well, and what was seen there: "93.184.216.34", "TLS 1.3, expires 3 Mar 2027"."""

    name: StepName
    seen: str = ""


class Disposal(StrEnum):
    """What becomes of the server's copy once its delivery is committed."""

    DELETE = "delete"
    MARK_READ = "mark_read"
    PUT_ASIDE = "put_aside"


UNDELIVERABLE = "Undeliverable"
"""The folder into which PUT_ASIDE moves; it is made when it is missing."""


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder as it stood when it was opened (RFC 9051, 2.3.1.1).

    `generation` is the UIDVALIDITY as text; a remote id means something only together with it. Where
    `lasting_order` is False (POP3), new messages may stand anywhere in the list, and an id may come to mean
    another message once the first is gone.
    """

    name: str
    generation: str
    messages: int
    writable: bool
    may_delete: bool
    may_mark_read: bool
    lasting_order: bool = True


@dataclass(frozen=True, slots=True)
class Listed:
    """A message the server holds: its identity, its size in octets and when the server received it."""

    remote_id: str
    size: int
    received_at: datetime | None


@dataclass(frozen=True, slots=True)
class Fetched:
    """A message as collected: `raw` is exactly what the server sent, `received_at` is aware."""

    remote_id: str
    raw: bytes = field(repr=False)
    received_at: datetime | None

    @property
    def size(self) -> int:
        return len(self.raw)


@dataclass(frozen=True, slots=True)
class Disposed:
    """What dispose() could confirm with the server; an id in neither is asked for again."""

    done: Sequence[str]
    vanished: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Envelope:
    """From whom a message leaves and to whom, whatever stands in it (RFC 5321, 2.3.1).

    A `sender` of "" is the null reverse-path, to which nothing is answered. `size` in octets; `is_ascii` when all of
    it is; `report_id` asks for delivery reports under this name, where the server can (RFC 3461).
    """

    sender: str
    recipients: tuple[str, ...]
    size: int = 0
    is_ascii: bool = True
    report_id: str = ""
