"""A network that takes its time: a server on loopback, so many seconds of a round trip away.

    with Delay(dovecot.port, 0.05) as far:
        ...                                   # connect to far.port

It runs in a process of its own, so that it takes no turns with whatever is measured; its bandwidth has no limit.
"""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
from collections.abc import Coroutine
from pathlib import Path
from types import TracebackType
from typing import Any, Self

HOST = "127.0.0.1"
PIECE = 1 << 18
UNDER_WAY = 256
"""Pieces that may be on their way at the same time in one direction."""


class Delay:
    """The proxy as a context manager; `port` is where to connect to."""

    def __init__(self, port: int, round_trip: float) -> None:
        self.upstream, self.round_trip = port, round_trip

    def __enter__(self) -> Self:
        command = [sys.executable, "-m", __name__, str(self.upstream), str(self.round_trip / 2)]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, cwd=Path(__file__).parents[1])
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        self._process.wait()


async def serve(upstream: int, one_way: float) -> None:
    async def meet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(HOST, upstream, limit=PIECE)
        await _both(_carry(reader, back, one_way), _carry(there, writer, one_way))

    server = await asyncio.start_server(meet, HOST, 0, limit=PIECE)
    print(server.sockets[0].getsockname()[1], flush=True)  # noqa: T201 - this is how the parent learns it
    await server.serve_forever()


async def _both(*ways: Coroutine[Any, Any, None]) -> None:
    with contextlib.suppress(OSError):
        await asyncio.gather(*ways)


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, one_way: float) -> None:
    """What is read now is written so many seconds later; a farewell, too."""
    clock = asyncio.get_running_loop()
    under_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(UNDER_WAY)
    arriving = asyncio.create_task(_arrive(under_way, writer, clock))
    try:
        while piece := await reader.read(PIECE):
            await under_way.put((clock.time() + one_way, piece))
    finally:
        await under_way.put((clock.time() + one_way, b""))
        await arriving


async def _arrive(
    under_way: asyncio.Queue[tuple[float, bytes]],
    writer: asyncio.StreamWriter,
    clock: asyncio.AbstractEventLoop,
) -> None:
    with contextlib.suppress(OSError):
        while True:
            due, piece = await under_way.get()
            await asyncio.sleep(due - clock.time())
            if not piece:
                writer.close()
                return
            writer.write(piece)
            await writer.drain()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), float(sys.argv[2])))
