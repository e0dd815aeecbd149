"""IMAPClient and imaplib over a socket of the network guard: bounded in time and octets, silent in logs.

imaplib reads through the four methods overridden here (and, since Python 3.14, through nothing else).
"""

from __future__ import annotations

import base64
import imaplib
from collections.abc import Callable, Sequence
from io import BufferedReader
from time import monotonic
from typing import Any

from imapclient import IMAPClient

from emailprofiles import network
from emailprofiles.errors import StartTlsRefused
from emailprofiles.transports.reach import speakable
from emailprofiles.wire import Endpoint, Password

LONGEST_LINE = 16 * 1024 * 1024
READ_AHEAD = 65_536
STOPS_WITHIN = 0.5  # seconds


class Refused(imaplib.IMAP4.error):
    """The server's NO or BAD to a command, its words untouched."""

    def __init__(self, words: str) -> None:
        super().__init__(words)
        self.words = words


class Session(imaplib.IMAP4):
    """imaplib on one bounded socket. Raises what imaplib raises, and OSError for the socket's troubles."""

    def __init__(self, sock: network.BoundedSocket, endpoint: Endpoint) -> None:
        self.connection = sock
        self.endpoint = endpoint
        super().__init__(endpoint.host, endpoint.port)

    def open(self, host: str = "", port: int = 0, timeout: float | None = None) -> None:
        self.host, self.port = host, port
        self._read_from(self.connection)

    def _read_from(self, sock: network.BoundedSocket) -> None:
        self.connection = self.sock = sock
        stream = sock.makefile("rb", READ_AHEAD)
        assert isinstance(stream, BufferedReader)
        self._stream = stream

    def read(self, size: int) -> bytes:
        if size > self.connection.octets_left:
            raise network.TooMuchSaid(f"the server announced {size} octets")
        data: bytes = self._stream.read(size)
        if len(data) < size:
            raise self.abort("socket error: EOF")
        return data

    def readline(self) -> bytes:
        line: bytes = self._stream.readline(LONGEST_LINE + 1)
        if len(line) > LONGEST_LINE:
            raise network.TooMuchSaid("the server sent a line without end")
        return line

    def send(self, data: Any) -> None:
        self.connection.sendall(data)

    def shutdown(self) -> None:
        self._stream.close()
        self.connection.close()

    def start_tls(self) -> str:
        """Encrypt, and forget all that was said in the clear: anybody may have said it (RFC 9051, 11.1)."""
        try:
            kind, words = self._simple_command("STARTTLS")
        except self.abort:
            raise
        except self.error as error:  # BAD
            raise StartTlsRefused(server_words=str(error)) from error
        if kind != "OK":
            raise StartTlsRefused(server_words=text_of(words))
        self._stream.close()
        self.untagged_responses.clear()
        sock, seen = network.start_tls(self.connection, self.endpoint)
        self._read_from(sock)
        self._get_capabilities()
        return seen

    def _get_capabilities(self) -> None:
        """Those that the greeting names, if it does (RFC 9051, 7.1); what was said before TLS is forgotten by then."""
        told: Any = self.untagged_responses.pop("CAPABILITY", [None])[-1]
        if told:
            self.capabilities = tuple(told.decode("ascii", "replace").upper().split())
        else:
            super()._get_capabilities()  # type: ignore[misc]  # typeshed does not know of it

    def sign_in(self, who: Password) -> None:
        """AUTHENTICATE PLAIN (RFC 4616) in UTF-8 where it is offered, else LOGIN."""
        if "AUTH=PLAIN" in self.capabilities:
            self._authenticate_plain(who)
        else:
            self._login(who)
        self.state = "AUTH"

    def _authenticate_plain(self, who: Password) -> None:
        identities = (who.authorize_as, who.username, who.password)
        message = "\0".join(speakable("A credential", text) for text in identities).encode()
        if "SASL-IR" in self.capabilities:
            self._accepted(*self._simple_command("AUTHENTICATE", "PLAIN", base64.b64encode(message)))
            return
        try:
            self.authenticate("PLAIN", lambda _challenge: message)
        except self.abort:
            raise
        except self.error as error:
            raise Refused(str(error)) from error

    def _login(self, who: Password) -> None:
        user = quoted(speakable("The user name", who.username))
        password = speakable("The password", who.password)
        if password.isascii():
            self._accepted(*self._simple_command("LOGIN", user, quoted(password)))
        else:
            self.literal = password.encode()  # type: ignore[assignment]  # it is bytes, whatever typeshed says
            self._accepted(*self._simple_command("LOGIN", user))

    def rights(self, folder: bytes) -> str:
        """Our rights in a folder, "lrswte" (RFC 4314)."""
        kind, data = self._simple_command("MYRIGHTS", folder)
        self._accepted(kind, data)
        return text_of(self._untagged_response(kind, data, "MYRIGHTS")[1]).rpartition(" ")[2]

    def begin_uid_fetch(self, uids: str, items: str) -> bytes:
        """Ask with UID FETCH, and go on; returns the tag by which the answer is waited for."""
        tag: bytes = self._command("UID", "FETCH", uids, items)
        return tag

    def end_uid_fetch(self, tag: bytes) -> tuple[list[Any], str]:
        """What came until this command ended, as imaplib collects it, and the words of a NO if it ended in one.

        Should the server mix its answers, some of those to the commands behind it are among them.
        """
        kind, data = self._command_complete("UID", tag)
        came = self.untagged_responses.pop("FETCH", [])
        return came, "" if kind == "OK" else text_of(data)

    def keep(self, folder: bytes, message: bytes, *, at_once: bool) -> None:
        """APPEND, as read; `at_once` with a literal that waits for no go-ahead (RFC 7888)."""
        if at_once:
            tag = self._command("APPEND", folder, r"(\Seen)", f"{{{len(message)}+}}")
            self.send(message + b"\r\n")
            self._accepted(*self._command_complete("APPEND", tag))
        else:
            self.literal = message  # type: ignore[assignment]  # it is bytes, whatever typeshed says
            self._accepted(*self._simple_command("APPEND", folder, r"(\Seen)"))

    def idle_for(self, seconds: float, answer_within: float, stopping: Callable[[], bool]) -> bool:
        """IDLE (RFC 2177) until the folder grew, time is up or it is `stopping`; whether it grew, now or since it
        was last asked."""
        if self.untagged_responses.pop("EXISTS", None):
            return True
        tag = self._command("IDLE")
        while self._get_response() is not None:  # None: the server waits, as "+" says
            if self.tagged_commands.get(tag):
                self._accepted(*self._command_complete("IDLE", tag))
                raise Refused("IDLE ended before it began")
        self._listen(monotonic() + seconds, stopping)
        self.connection.allow(answer_within)
        self.send(b"DONE\r\n")
        self._accepted(*self._command_complete("IDLE", tag))
        return self.untagged_responses.pop("EXISTS", None) is not None

    def _listen(self, end: float, stopping: Callable[[], bool]) -> None:
        """Read what is said until it is that the folder grew, or until `end`."""
        while "EXISTS" not in self.untagged_responses and monotonic() < end and not stopping():
            if self._is_spoken_to(min(end - monotonic(), STOPS_WITHIN)):
                self._get_response()

    def _is_spoken_to(self, seconds: float) -> bool:
        """What was read ahead counts: no socket tells of that."""
        with self.connection.impatient():
            ahead = self._stream.peek(1)
        return bool(ahead) or self.connection.readable(seconds)

    def _accepted(self, kind: str, data: Any) -> None:
        if kind != "OK":
            raise Refused(text_of(data))

    def _log(self, line: str) -> None:
        """imaplib remembers the last ten commands, a password among them: not here."""


class Client(IMAPClient):  # type: ignore[misc]  # IMAPClient is not typed
    """IMAPClient on a Session, with the server's refusals as it words them."""

    def __init__(self, sock: network.BoundedSocket, endpoint: Endpoint) -> None:
        self._new_session = Session(sock, endpoint)
        super().__init__(endpoint.host, endpoint.port, ssl=False)
        self._imap.debug = 0  # IMAPClient would have every line formatted for its log, passwords included
        self.normalise_times = False

    @property
    def session(self) -> Session:
        return self._new_session

    def _create_IMAP4(self) -> Session:
        return self._new_session

    def _set_read_timeout(self) -> None:
        """The socket keeps its own deadline."""

    def _check_resp(self, expected: str, command: str, typ: str, data: Any) -> None:
        if typ != expected:
            raise Refused(text_of(data))


def text_of(data: Sequence[Any] | bytes | str | None) -> str:
    """What the server said, readable; it may come as bytes, text, or a list that ends in either."""
    last = data[-1] if isinstance(data, list | tuple) and data else data
    return last.decode("utf-8", "replace") if isinstance(last, bytes) else str(last or "")


def quoted(text: str) -> bytes:
    """A quoted string (RFC 9051, section 4.3) of `speakable` text."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'.encode()
