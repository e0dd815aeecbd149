"""A small SMTP server that answers each verb as a test decides, and keeps what was handed over to it."""

from __future__ import annotations

import socket
from dataclasses import dataclass, field

from tests.servers import Scripted


@dataclass
class Postbox:
    """An SMTP server; `says` answers a verb ("MAIL", "RCPT boris@contoso.com", "." for the end of the data) in its own
    way: b"" hangs up without a word. `heard` are all lines that clients said, `taken` what they handed over.

    With `takes_before_hanging_up` a message is kept before the dot is answered, or not.
    """

    offers: tuple[str, ...] = ("PIPELINING", "SIZE 1000000", "8BITMIME", "SMTPUTF8", "DSN")
    says: dict[str, bytes] = field(default_factory=dict)
    heard: list[str] = field(default_factory=list)
    taken: list[bytes] = field(default_factory=list)
    takes_before_hanging_up: bool = False
    sessions: int = 0

    def serve(self) -> Scripted:
        return Scripted(self.play)

    def play(self, connection: socket.socket) -> None:
        self.sessions += 1
        connection.sendall(b"220 postbox.example ESMTP\r\n")
        with connection.makefile("rb") as lines:
            for line in lines:
                said = line.decode().rstrip("\r\n")
                self.heard.append(said)
                reply = self.reply(said)
                connection.sendall(reply)
                if not reply or reply.startswith((b"221", b"421")):
                    return
                if reply.startswith(b"354") and not self.data(connection, lines):
                    return

    def data(self, connection: socket.socket, lines: object) -> bool:
        content = []
        for line in lines:  # type: ignore[attr-defined]
            if line == b".\r\n":
                break
            content.append(line[1:] if line.startswith(b".") else line)
        else:
            return False
        reply = self.says.get(".", b"250 2.0.0 Ok: queued as 4711\r\n")
        if reply.startswith(b"250") or self.takes_before_hanging_up:
            self.taken.append(b"".join(content))
        connection.sendall(reply)
        return bool(reply) and not reply.startswith(b"421")

    def reply(self, said: str) -> bytes:
        verb, _, rest = said.partition(" ")
        verb = verb if verb in self.says else verb.upper()
        whom = rest.partition("<")[2].partition(">")[0]
        for asked in (f"{verb} {whom}", verb):
            if asked in self.says:
                return self.says[asked]
        if verb == "EHLO":
            return b"\r\n".join(
                [b"250-postbox.example", *(f"250-{one}".encode() for one in self.offers), b"250 HELP\r\n"]
            )
        return {"DATA": b"354 go ahead\r\n", "QUIT": b"221 bye\r\n"}.get(verb, b"250 ok\r\n")
