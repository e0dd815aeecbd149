"""A proxy in front of a real IMAP server that does what networks and servers do on bad days.

    with Proxy(GOOD, dovecot.port) as proxy:
        proxy.lose_reply("UID EXPUNGE")           # once: the server does it, nobody hears of it
        proxy.edit(rb" UIDPLUS", b"")             # always: the server cannot do this any more
        ...
        proxy.behave()                            # from now on it only passes on

It reads both sides by lines (RFC 9051, 2.2), literals included, so that a fault can be aimed at the reply to one
command. Commands are counted by kind over the life of the proxy: a fault that is aimed at the nth happens once.
"""

from __future__ import annotations

import contextlib
import re
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import BinaryIO, Self

from tests.servers import GOOD

LITERAL = re.compile(rb"\{(\d+)\+?\}\r\n\Z")


class Cut(Exception):
    """The connection ends here, on both sides; `last` is still passed on."""

    def __init__(self, last: bytes = b"") -> None:
        super().__init__("the connection is cut")
        self.last = last


@dataclass(frozen=True)
class Line:
    """What one side says at once: a line, and the literals within. `command` is what is being answered."""

    raw: bytes
    command: str
    nth: int
    ends: bool = False
    """The tagged line that ends the reply to a command."""


Fault = Callable[[Line], bytes | None]
"""What is passed on instead of this line; None if the line is no business of this fault. May raise Cut."""


class Connection:
    """One client and its connection to the server."""

    def __init__(self, proxy: Proxy, client: socket.socket) -> None:
        self.proxy, self.client = proxy, client
        self.server = socket.create_connection(proxy.upstream, 10)
        self.server.settimeout(None)
        self.command, self.nth, self.tag = "", 0, b""
        self.said = self.heard = 0

    def run(self) -> None:
        threading.Thread(target=self._guarded, args=(self._listen,), daemon=True).start()
        self._guarded(self._speak)

    def _guarded(self, pump: Callable[[], None]) -> None:
        with contextlib.suppress(OSError, ValueError, Cut):
            pump()
        self.close()

    def close(self) -> None:
        for sock in (self.client, self.server):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def _speak(self) -> None:
        """From the server to the client."""
        with self.server.makefile("rb") as stream:
            for raw in replies(stream):
                ends = bool(self.tag) and raw.startswith(self.tag + b" ")
                self._say(
                    self.proxy.altered(self.proxy.says, Line(raw, self.command, self.nth, ends), self._say)
                )

    def _say(self, data: bytes) -> None:
        allowed = self.proxy.say_at_most
        self.proxy.transcript.append(data)
        if allowed is not None and self.said + len(data) >= allowed:
            self.client.sendall(data[: allowed - self.said])
            raise Cut
        self.said += len(data)
        self.client.sendall(data)

    def _listen(self) -> None:
        """From the client to the server."""
        with self.client.makefile("rb") as stream:
            for raw, is_command in commands(stream):
                if is_command:
                    self._note(raw)
                self._hear(
                    self.proxy.altered(self.proxy.hears, Line(raw, self.command, self.nth), self._hear)
                )

    def _note(self, raw: bytes) -> None:
        tag, *words = raw.split()
        if words:
            self.tag = tag
            self.command = b" ".join(words[: 2 if words[0].upper() == b"UID" else 1]).decode().upper()
            self.nth = self.proxy.count(self.command)

    def _hear(self, data: bytes) -> None:
        allowed = self.proxy.hear_at_most
        self.proxy.commands.append(data)
        if allowed is not None and self.heard + len(data) >= allowed:
            self.server.sendall(data[: allowed - self.heard])
            raise Cut
        self.heard += len(data)
        self.server.sendall(data)


def replies(stream: BinaryIO) -> Iterator[bytes]:
    """Whole lines of a server, each with the literals within."""
    while line := stream.readline():
        while announced := LITERAL.search(line):
            line += stream.read(int(announced[1])) + stream.readline()
        yield line


def commands(stream: BinaryIO) -> Iterator[tuple[bytes, bool]]:
    """Lines of a client; a literal comes apart, because the client waits to be asked for it."""
    is_command = True
    while line := stream.readline():
        yield line, is_command
        announced = LITERAL.search(line)
        is_command = announced is None
        if announced:
            yield stream.read(int(announced[1])), False


class Proxy:
    """Listens on loopback; every connection goes on to `upstream`, as far as the faults let it."""

    def __init__(self, host: str, port: int) -> None:
        self.upstream = (host, port)
        self.says: list[Fault] = []
        self.hears: list[Fault] = []
        self.say_at_most: int | None = None
        self.hear_at_most: int | None = None
        self.transcript: list[bytes] = []
        """What was said to clients, piece by piece."""
        self.commands: list[bytes] = []
        self.struck = 0
        """How often a fault did something."""
        self._counts: Counter[str] = Counter()
        self._connections: list[Connection] = []
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        self._listener = socket.create_server((GOOD, 0), backlog=64)
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._serve, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut_all()

    def behave(self) -> None:
        """From now on only pass on."""
        self.says.clear()
        self.hears.clear()
        self.say_at_most = self.hear_at_most = None
        self._counts.clear()

    def cut_all(self) -> None:
        """Every connection ends now."""
        with self._lock:
            connections = list(self._connections)
        for connection in connections:
            connection.close()

    # faults that happen once

    def lose_reply(self, command: str, nth: int = 1) -> None:
        """The server carries the command out; its reply is swallowed, and the connection ends."""

        def swallow(line: Line) -> bytes | None:
            if (line.command, line.nth) != (command, nth):
                return None
            if line.ends:
                raise Cut
            return b""

        self.says.append(swallow)

    def lose_command(self, command: str, nth: int = 1) -> None:
        """The connection ends before the server hears the command."""

        def swallow(line: Line) -> bytes | None:
            if (line.command, line.nth) != (command, nth):
                return None
            raise Cut

        self.hears.append(swallow)

    def cut_within(self, command: str, share: float = 0.5, nth: int = 1) -> None:
        """The connection ends within the first line of the reply: in its literal, if it has one."""

        def cut(line: Line) -> bytes | None:
            if (line.command, line.nth) != (command, nth):
                return None
            raise Cut(line.raw[: int(len(line.raw) * share)])

        self.says.append(cut)

    def stall(self, command: str, seconds: float, nth: int = 1) -> None:
        """Silence before the reply."""

        def wait(line: Line) -> bytes | None:
            if (line.command, line.nth) != (command, nth):
                return None
            time.sleep(seconds)
            return line.raw

        self.says.append(wait)

    # faults that go on

    def drip(self, command: str, every: float = 0.05) -> None:
        """The reply comes octet by octet."""

        def pace(line: Line) -> bytes | None:
            if line.command != command:
                return None
            raise Drip(line.raw, every)

        self.says.append(pace)

    def edit(self, pattern: bytes, replacement: bytes | Callable[[re.Match[bytes]], bytes]) -> None:
        """What the server says reads differently."""
        compiled = re.compile(pattern)

        def rewrite(line: Line) -> bytes | None:
            edited, changes = compiled.subn(replacement, line.raw)
            return edited if changes else None

        self.says.append(rewrite)

    # how it is done

    def count(self, command: str) -> int:
        with self._lock:
            self._counts[command] += 1
            return self._counts[command]

    def altered(self, faults: list[Fault], line: Line, send: Callable[[bytes], None]) -> bytes:
        """What to pass on of this line: the faults act one after another."""
        for fault in list(faults):
            try:
                instead = fault(line)
            except Drip as drip:
                self.struck += 1
                drip.out(send)
                return b""
            except Cut as cut:
                self.struck += 1
                send(cut.last)
                raise
            if instead is not None:
                self.struck += 1
                line = Line(instead, line.command, line.nth, line.ends)
        return line.raw

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _peer = self._listener.accept()
                threading.Thread(target=self._one, args=(client,), daemon=True).start()

    def _one(self, client: socket.socket) -> None:
        with client, contextlib.suppress(OSError):
            connection = Connection(self, client)
            with self._lock:
                self._connections.append(connection)
            with connection.server:
                connection.run()


class Drip(Exception):
    """Send this slowly."""

    def __init__(self, raw: bytes, every: float) -> None:
        super().__init__("drip")
        self.raw, self.every = raw, every

    def out(self, send: Callable[[bytes], None]) -> None:
        for octet in self.raw:
            send(bytes([octet]))
            time.sleep(self.every)
