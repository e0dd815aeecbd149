"""A small POP3 server whose names, abilities and answers a test decides."""

from __future__ import annotations

import socket
from collections.abc import Iterable
from dataclasses import dataclass, field

from tests.servers import Scripted


@dataclass
class Maildrop:
    """A POP3 server with these messages (UIDL, raw); commands in `without` are unknown to it.

    With `by_number` a UIDL is but the message's number at this moment, in that form ("%d", "msg%04d").
    `says` answers a command in its own way; `heard` is all that clients said.
    """

    messages: list[tuple[str, bytes]]
    without: tuple[str, ...] = ()
    by_number: str = ""
    says: dict[str, bytes] = field(default_factory=dict)
    greeting: bytes = b"+OK ready\r\n"
    heard: list[bytes] = field(default_factory=list)

    def serve(self) -> Scripted:
        return Scripted(self.play)

    def play(self, connection: socket.socket) -> None:
        connection.sendall(self.greeting)
        deleted: set[int] = set()
        here = list(self.messages)
        with connection.makefile("rb") as lines:
            for line in lines:
                self.heard.append(line)
                name, *words = line.decode().split()
                if name == "QUIT":
                    self.messages = self._left(here, deleted)
                reply = self.says[name] if name in self.says else self.reply(name, words, here, deleted)
                connection.sendall(reply)
                if name == "QUIT":
                    return

    def _left(self, here: list[tuple[str, bytes]], deleted: set[int]) -> list[tuple[str, bytes]]:
        gone = [id(here[number - 1]) for number in deleted]
        return [one for one in self.messages if id(one) not in gone]

    def uidl(self, number: int, name: str) -> str:
        return self.by_number % number if self.by_number else name

    def reply(self, name: str, words: list[str], here: list[tuple[str, bytes]], deleted: set[int]) -> bytes:
        number = int(words[0]) if words and words[0].isdigit() else 0
        if name in self.without:
            return b"-ERR what is that\r\n"
        if name == "DELE":
            deleted.add(number)
        if name == "LIST":
            return many(b"%d %d" % (n, len(raw)) for n, (_, raw) in enumerate(here, 1))
        if name == "UIDL":
            return many(b"%d %s" % (n, self.uidl(n, name).encode()) for n, (name, _) in enumerate(here, 1))
        if name == "CAPA":
            told = {"UIDL", "TOP", "USER", "PIPELINING"} - set(self.without)
            return many(one.encode() for one in sorted(told))
        if name in ("RETR", "TOP"):
            raw = here[number - 1][1]
            said = raw.partition(b"\r\n\r\n")[0] + b"\r\n\r\n" if name == "TOP" else raw
            return b"+OK" + (b"\r\n" + said).replace(b"\r\n.", b"\r\n..") + b".\r\n"
        return b"+OK\r\n"


def many(lines: Iterable[bytes]) -> bytes:
    return b"+OK\r\n" + b"".join(line + b"\r\n" for line in lines) + b".\r\n"
