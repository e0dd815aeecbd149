"""What there is to choose in a profile, and what follows from it: protocols, usual ports, fields in use."""

from __future__ import annotations

from django.db import models

from .transports import TRANSPORTS
from .wire import Security

SIDES = ("incoming", "outgoing")


class ServerType(models.TextChoices):
    IMAP_SMTP = "imap_smtp", "IMAP/SMTP"
    POP3_SMTP = "pop3_smtp", "POP3/SMTP"
    EXCHANGE_SERVER = "exchange_server", "Exchange Server"
    EXCHANGE_ONLINE = "exchange_online", "Exchange Online"
    GMAIL = "gmail", "Gmail"


class SecurityChoice(models.TextChoices):
    TLS = Security.TLS.value, "SSL/TLS"
    STARTTLS = Security.STARTTLS.value, "STARTTLS"
    NONE = Security.NONE.value, "None"


class AuthenticateUsing(models.TextChoices):
    MAILBOX = "mailbox", "Credentials Specified by a User or Queue"
    PROFILE = "profile", "Credentials Specified in Email Server Profile"
    OAUTH = "oauth", "OAuth 2.0 (server to server)"
    ANONYMOUS = "anonymous", "Without Credentials (Anonymous)"


# Which protocol a server type speaks in each direction; a type is offered once the registry of
# transports has both.
PROTOCOLS: dict[str, tuple[str, str]] = {
    ServerType.IMAP_SMTP: ("imap", "smtp"),
    ServerType.POP3_SMTP: ("pop3", "smtp"),
    ServerType.EXCHANGE_SERVER: ("ews", "ews"),
    ServerType.EXCHANGE_ONLINE: ("graph", "graph"),
    ServerType.GMAIL: ("gmail", "gmail"),
}

# The ports that servers listen on by custom (RFC 8314 for implicit TLS).
USUAL_PORTS: dict[tuple[str, str], int] = {
    ("imap", Security.TLS): 993,
    ("imap", Security.STARTTLS): 143,
    ("imap", Security.NONE): 143,
    ("pop3", Security.TLS): 995,
    ("pop3", Security.STARTTLS): 110,
    ("pop3", Security.NONE): 110,
    ("smtp", Security.TLS): 465,
    ("smtp", Security.STARTTLS): 587,
    ("smtp", Security.NONE): 25,
}


def type_is_available(server_type: str) -> bool:
    """Whether the registry has a transport for both directions of this server type."""
    incoming, outgoing = PROTOCOLS[server_type]
    return incoming in TRANSPORTS["incoming"] and outgoing in TRANSPORTS["outgoing"]


def sign_in_is_available(authenticate_using: str) -> bool:
    """Whether any transport can sign in like this."""
    return authenticate_using != AuthenticateUsing.OAUTH


def usual_port(server_type: str, side: str, security: str) -> int | None:
    """The port such a server listens on by custom; None where there is no custom."""
    protocols = dict(zip(SIDES, PROTOCOLS.get(server_type, ("", "")), strict=True))
    return USUAL_PORTS.get((protocols[side], security))


# What a server type asks for, beyond what all of them share. What it does not ask for is neither shown
# nor taken over nor judged; what is stored there stays.
_SERVER = {side: tuple(f"{side}_{part}" for part in ("host", "security", "port")) for side in SIDES}
_SIGN_IN = ("username", "password")
_OUTGOING_SIGN_IN = ("same_sign_in_for_outgoing", "outgoing_username", "outgoing_password")
_FOLDERS = ("incoming_folder", "move_undelivered")
_CALENDARS = ("caldav_url", "carddav_url")
_BOTH_SERVERS = (*_SERVER["incoming"], *_SERVER["outgoing"], "unencrypted_confirmed")
FIELDS_OF_TYPES: dict[str, frozenset[str]] = {
    ServerType.IMAP_SMTP: frozenset(
        (*_BOTH_SERVERS, *_SIGN_IN, *_OUTGOING_SIGN_IN, *_FOLDERS, "sent_folder", "use_push", *_CALENDARS),
    ),
    ServerType.POP3_SMTP: frozenset((*_BOTH_SERVERS, *_SIGN_IN, *_OUTGOING_SIGN_IN, *_CALENDARS)),
    ServerType.EXCHANGE_SERVER: frozenset((*_SERVER["incoming"], *_SIGN_IN, *_FOLDERS)),
    ServerType.EXCHANGE_ONLINE: frozenset(_FOLDERS),
    ServerType.GMAIL: frozenset((*_FOLDERS, *_CALENDARS)),
}
TYPES_THAT_TELL = tuple(
    server_type for server_type, fields in FIELDS_OF_TYPES.items() if "use_push" in fields
)
TYPES_THAT_KEEP = tuple(
    server_type for server_type, fields in FIELDS_OF_TYPES.items() if "sent_folder" in fields
)
FIELDS_OF_SOME_TYPES: frozenset[str] = frozenset().union(*FIELDS_OF_TYPES.values())


def unused_fields(server_type: str, authenticate_using: str, *, same_sign_in: bool) -> frozenset[str]:
    """The fields of a profile that these choices leave without a meaning."""
    unused = set(FIELDS_OF_SOME_TYPES - FIELDS_OF_TYPES.get(server_type, FIELDS_OF_SOME_TYPES))
    if authenticate_using != AuthenticateUsing.PROFILE:
        unused.update((*_SIGN_IN, *_OUTGOING_SIGN_IN))
    elif same_sign_in:
        unused.update(_OUTGOING_SIGN_IN[1:])
    return frozenset(unused)
