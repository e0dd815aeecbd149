"""POP3 (RFC 1939) over a socket of the network guard: commands, one-line answers, and bodies octet by octet.

poplib is not used: it cuts lines at 2,048 octets, and takes a bare LF and a stray CR for line ends, so that
a body would not be what the server sent.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence

from emailprofiles import network
from emailprofiles.transports.reach import speakable
from emailprofiles.wire import Endpoint, Password

LONGEST_STATUS = 16_384
LONGEST_CAPABILITIES = 131_072
READ_AHEAD = 65_536
PIPELINED = 50
"""Commands that may be under way at once (RFC 2449, 6.6): few enough to fit into any buffer on the way."""


class Refused(Exception):
    """The server's -ERR to a command, its words untouched."""

    def __init__(self, words: str) -> None:
        super().__init__(words)
        self.words = words


class Confused(ValueError):
    """What the server said is no answer to what was asked."""


class Session:
    """One connection. Raises Refused and Confused, and OSError for the socket's troubles."""

    def __init__(self, sock: network.BoundedSocket, endpoint: Endpoint) -> None:
        self.connection = sock
        self.endpoint = endpoint
        self.patience = endpoint.timeout
        self.capabilities: dict[str, str] = {}
        self._said = bytearray()
        self._line_end = b"\r\n"

    # --- what can be asked ---

    def greeting(self) -> str:
        """The words of the greeting."""
        return self._status()

    def ask(self, command: str) -> str:
        """A command with an answer of one line; its words."""
        self._send(command)
        return self._status()

    def ask_long(self, command: str, octets: int = network.OCTETS_PER_COMMAND) -> bytes:
        """A command with an answer of many lines: these, as they were before they were sent (RFC 1939, 3)."""
        self._send(command, octets)
        self._status()
        return self._body()

    def ask_many(self, commands: Sequence[str], *, long: bool) -> list[bytes | Refused]:
        """Several commands, at once where the server allows it; each has its answer or its refusal."""
        at_once = PIPELINED if "PIPELINING" in self.capabilities else 1
        answers: list[bytes | Refused] = []
        for start in range(0, len(commands), at_once):
            some = commands[start : start + at_once]
            self._send("\r\n".join(some))
            answers += [self._answer(long) for _command in some]
        return answers

    def learn(self) -> None:
        """What the server can (RFC 2449); nothing where it does not know the question."""
        try:
            told = self.ask_long("CAPA", LONGEST_CAPABILITIES).decode("ascii", "replace")
        except Refused:
            told = ""
        lines = (line.strip().upper().partition(" ") for line in told.splitlines())
        self.capabilities = {name: arguments for name, _, arguments in lines if name}

    def start_tls(self) -> str:
        """Encrypt, and forget all that was said in the clear: anybody may have said it (RFC 2595, section 4)."""
        self.ask("STLS")
        self._said.clear()
        self.capabilities = {}
        self.connection, seen = network.start_tls(self.connection, self.endpoint)
        return seen

    def sign_in(self, who: Password) -> None:
        """AUTH PLAIN (RFC 5034) in UTF-8 where it is offered, else USER and PASS. Never APOP: its MD5 is broken."""
        user = speakable("The user name", who.username)
        password = speakable("The password", who.password)
        if "PLAIN" in self.capabilities.get("SASL", "").split():
            self._send("AUTH PLAIN")
            self._continued()
            self.ask(base64.b64encode(f"\0{user}\0{password}".encode()).decode())
        else:
            self.ask(f"USER {user}")
            self.ask(f"PASS {password}")

    # --- how it is said and heard ---

    def _send(self, commands: str, octets: int = network.OCTETS_PER_COMMAND) -> None:
        if self._said:
            raise Confused("the server said more than it was asked for")
        self.connection.allow(self.patience, octets)
        self.connection.sendall(commands.encode() + b"\r\n")

    def _answer(self, long: bool) -> bytes | Refused:
        self.connection.allow(self.patience)
        try:
            words = self._status()
        except Refused as refusal:
            return refusal
        return self._body() if long else words.encode()

    def _status(self) -> str:
        line = self._line()
        said = line.decode("utf-8", "replace").strip()
        kind, _, words = said.partition(" ")
        if kind.upper() == "-ERR":
            raise Refused(words)
        if kind.upper() != "+OK":
            raise Confused(said)
        self._line_end = b"\r\n" if line.endswith(b"\r\n") else b"\n"
        return words

    def _continued(self) -> None:
        """The server's "+", upon which it wants to hear more."""
        line = self._line().decode("utf-8", "replace").strip()
        if line.upper().startswith("-ERR"):
            raise Refused(line[4:].strip())
        if not line.startswith("+"):
            raise Confused(line)

    def _line(self) -> bytes:
        while (end := self._said.find(b"\n")) < 0:
            if len(self._said) > LONGEST_STATUS:
                raise network.TooMuchSaid("the server sent a line without end")
            self._hear()
        return self._taken(end + 1)

    def _body(self) -> bytes:
        """All lines up to the one that is a dot alone. A line ends as the server ended its +OK, and no other way.

        So a bare LF in a message, and a dot after it, end nothing.
        """
        last, dots = b"." + self._line_end, self._line_end + b"." + self._line_end
        searched = 0
        while not self._said.startswith(last):
            end = self._said.find(dots, searched)
            if end >= 0:
                lines = self._taken(end + len(self._line_end))
                del self._said[: len(last)]
                return _unstuffed(lines, self._line_end)
            searched = max(0, len(self._said) - len(dots) + 1)
            self._hear()
        del self._said[: len(last)]
        return b""

    def _taken(self, octets: int) -> bytes:
        taken = bytes(self._said[:octets])
        del self._said[:octets]
        return taken

    def _hear(self) -> None:
        heard = self.connection.recv(READ_AHEAD)
        if not heard:
            raise ConnectionResetError("the server closed the connection")
        self._said += heard


def _unstuffed(lines: bytes, line_end: bytes) -> bytes:
    """Without the dot that was put before each line that begins with one."""
    return (line_end + lines).replace(line_end + b"..", line_end + b".")[len(line_end) :]
