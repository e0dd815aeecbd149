"""Signing in (SASL, RFC 4422): what a client answers to a server, one mechanism after the other.

A mechanism is a generator: it yields what to say, None for nothing yet, and is sent what the server said.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator

from scramp import ScramClient, ScramException

from emailprofiles.errors import SignInRefused
from emailprofiles.wire import Bearer, Password

Exchange = Generator[bytes | None, bytes, None]

SCRAM = ("SCRAM-SHA-256", "SCRAM-SHA-1")


def chosen(offered: list[str], who: Password | Bearer, *, is_encrypted: bool) -> tuple[str, Exchange] | None:
    """The first mechanism that both sides know, by name; None when there is none.

    Over an encrypted connection PLAIN comes first, since it works however the server keeps passwords; in the clear
    a mechanism that does not tell the password (SCRAM) does.
    """
    known = dict(_token(who) if isinstance(who, Bearer) else _passwords(who, is_encrypted))
    return next(((name, known[name]()) for name in known if name in offered), None)


def _token(who: Bearer) -> Iterator[tuple[str, Callable[[], Exchange]]]:
    yield "XOAUTH2", lambda: xoauth2(who)


def _passwords(who: Password, is_encrypted: bool) -> Iterator[tuple[str, Callable[[], Exchange]]]:
    if is_encrypted or who.authorize_as:
        yield "PLAIN", lambda: plain(who)
    if not who.authorize_as:
        for name in SCRAM:
            yield name, lambda name=name: scram(who, name)  # type: ignore[misc]  # the default binds the name
        yield "PLAIN", lambda: plain(who)
        yield "LOGIN", lambda: login(who)


def plain(who: Password) -> Exchange:
    """RFC 4616."""
    yield "\0".join((who.authorize_as, who.username, who.password)).encode()


def login(who: Password) -> Exchange:
    """As old servers know it (draft-murchison-sasl-login)."""
    yield None
    yield who.username.encode()
    yield who.password.encode()


def scram(who: Password, name: str) -> Exchange:
    """RFC 5802, RFC 7677: both sides prove that they know the password, and neither says it.

    Raises SignInRefused when the server does not know it.
    """
    client = ScramClient([name], who.username, who.password)
    try:
        client.set_server_first((yield client.get_client_first().encode()).decode())
        client.set_server_final((yield client.get_client_final().encode()).decode())
    except (ScramException, UnicodeError) as error:
        raise SignInRefused(
            who.username, server_words="The server did not prove that it knows the password"
        ) from error
    yield b""


def xoauth2(who: Bearer) -> Exchange:
    """https://developers.google.com/workspace/gmail/imap/xoauth2-protocol; a refusal is told in a challenge."""
    yield f"user={who.username}\x01auth=Bearer {who.token}\x01\x01".encode()
    yield b""
