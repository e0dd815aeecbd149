"""An SMTP server that takes whatever comes, as fast as it comes, throws it away and counts.

    with Sink() as sink:
        ...                                   # send to sink.port
        assert sink.taken() == number

It runs in a process of its own, so that it takes no turns with whatever is measured.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Self, cast

HOST = "127.0.0.1"
END_OF_MESSAGE = b"\r\n.\r\n"
GREETING = b"220 sink.example ESMTP\r\n"
OFFERS = b"250-sink.example\r\n250-PIPELINING\r\n250-SIZE 52428800\r\n250 8BITMIME\r\n"
OK, GO_AHEAD, FAREWELL = b"250 2.0.0 OK\r\n", b"354 go ahead\r\n", b"221 2.0.0 Bye\r\n"
NOT_KNOWN = b"500 5.5.1 Not here\r\n"
REPLIES = {b"EHLO": OFFERS, b"HELO": OK, b"DATA": GO_AHEAD, b"QUIT": FAREWELL} | dict.fromkeys(
    (b"MAIL", b"RCPT", b"RSET", b"NOOP"), OK
)


class Sink:
    """The server as a context manager; `port` is where to connect to."""

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=Path(__file__).parents[2],
        )
        self.port = self._number()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.communicate()  # it ends with its input

    def taken(self) -> int:
        """How many messages it has confirmed so far."""
        assert self._process.stdin is not None
        self._process.stdin.write(b"\n")
        self._process.stdin.flush()
        return self._number()

    def _number(self) -> int:
        assert self._process.stdout is not None
        return int(self._process.stdout.readline())


# --- in the other process ---


class Session(asyncio.Protocol):
    """One client; `taken` counts for all of them."""

    taken = 0

    def __init__(self) -> None:
        self._heard = bytearray()
        self._in_message = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.write(GREETING)

    def data_received(self, data: bytes) -> None:
        self._heard += data
        replies = b""
        while reply := self._next_reply():
            replies += reply
        if replies:
            self._transport.write(replies)
        if replies.endswith(FAREWELL):
            self._transport.close()

    def _next_reply(self) -> bytes:
        """The answer to what was heard first; nothing while that is not complete."""
        ending = END_OF_MESSAGE if self._in_message else b"\r\n"
        end = self._heard.find(ending)
        if end < 0:
            return b""
        reply = OK if self._in_message else REPLIES.get(bytes(self._heard[:4]).upper(), NOT_KNOWN)
        Session.taken += self._in_message
        self._in_message = reply is GO_AHEAD
        del self._heard[: end + len(ending)]
        return reply


async def serve() -> None:
    loop, asked = asyncio.get_running_loop(), asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(asked), sys.stdin)
    async with await loop.create_server(Session, HOST, 0) as server:
        print(server.sockets[0].getsockname()[1], flush=True)
        while await asked.readline():
            print(Session.taken, flush=True)


if __name__ == "__main__":
    asyncio.run(serve())
