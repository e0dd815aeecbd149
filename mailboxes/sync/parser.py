"""The parser child: bytes of strangers are opened in a process of their own, one message at a time.

The child is a fresh interpreter without Django, without our secrets in its environment, with limited memory
and processor time. It reads a frame, runs one function on it and answers with one frame; so neither side ever
waits for a full pipe. It ignores signals that are meant for the engine and ends when the pipe does.

If it dies, hangs or runs out of memory, that is charged to the message in flight and to no other: the child
is killed, and a new one reads on.
"""

from __future__ import annotations

import contextlib
import json
import os
import pkgutil
import resource
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from mailboxes.parsing import Parsed

PARSE = "mailboxes.parsing:describe"
ATTACHED = "mailboxes.parsing:attached"
DEADLINE = 30.0
MEMORY = 1 << 30
START_ATTEMPTS = 3
KEPT_ENVIRONMENT = ("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "PYTHONHOME", "PYTHONDONTWRITEBYTECODE")


@dataclass(frozen=True, slots=True)
class Poison:
    """What became of a message that the child could not finish: one plain sentence."""

    reason: str


class ParserFailed(RuntimeError):
    """The child does not even start: no message is to blame."""


class Parser:
    """Reads messages in a child process. For one thread at a time; the child starts with the first message.

    `deadline` is seconds per message, `memory` octets beyond what the bare child needs, `target` the function
    that the child runs, as "module:function".
    """

    def __init__(self, deadline: float = DEADLINE, memory: int = MEMORY, target: str = PARSE) -> None:
        self._deadline = deadline
        self._memory = memory
        self._target = target
        self._child: _Child | None = None

    def parse_many(self, raws: Sequence[bytes]) -> Iterator[Parsed | Poison]:
        """One result per message, in order. Raises ParserFailed when no child can be started."""
        for raw in raws:
            yield self._ask(raw)

    def take_out(self, request: bytes) -> dict[int, bytes] | Poison:
        """One request for attachments; only for a child that runs ATTACHED."""
        answer: dict[int, bytes] | Poison = self._ask(request)
        return answer

    def interrupt(self) -> None:
        """End the child from another thread. Its pipe is left to the thread that reads it: a number that is closed
        under a reader may be another file's by the time it reads on."""
        child = self._child
        if child is not None:
            child.end()

    def close(self) -> None:
        """End the child; the parser can be used again, with a new one."""
        if self._child is not None:
            self._child.kill()
            self._child = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _ask(self, raw: bytes) -> Any:
        child = self._ready_child()
        try:
            answer = child.ask(raw, self._deadline)
        except BaseException:  # whatever ends the wait: its answer would be taken for the next message's
            self.close()
            raise
        if isinstance(answer, Poison):
            self.close()
        return answer

    def _ready_child(self) -> _Child:
        """The child, a new one if it died while it had nothing to do: that is no message's fault."""
        if self._child is not None and not self._child.is_alive():
            self.close()
        if self._child is None:
            self._child = self._start()
        return self._child

    def _start(self) -> _Child:
        for _ in range(START_ATTEMPTS):
            child = _Child(self._deadline, self._memory, self._target)
            if child.is_ready(DEADLINE):
                return child
            child.kill()
        raise ParserFailed(f"the parser child does not start ({self._target})")


def take_out(raw: bytes, numbers: Sequence[int], forwarded: bool) -> dict[int, bytes] | Poison:
    """The bytes of these attachments, decoded in a child of its own with the limits of reading a message."""
    with Parser(target=ATTACHED) as parser:
        return parser.take_out(request_for(raw, numbers, forwarded))


def request_for(raw: bytes, numbers: Sequence[int], forwarded: bool) -> bytes:
    """What a child that runs ATTACHED understands."""
    return json.dumps({"numbers": list(numbers), "forwarded": forwarded}).encode() + b"\n" + raw


class _Child:
    """The parent's end of one child."""

    def __init__(self, deadline: float, memory: int, target: str) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            _limit_waiting(ours, deadline)
            arguments = [str(theirs.fileno()), target, str(deadline), str(memory)]
            self._process = subprocess.Popen(  # noqa: S603 - our own interpreter, our own arguments
                [sys.executable, "-S", "-P", "-c", f"from {__name__} import work; work()", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                process_group=0,
                env=_environment(),
            )
        self._pipe = Connection(ours.detach())

    def is_alive(self) -> bool:
        return self._process.poll() is None

    def is_ready(self, patience: float) -> bool:
        """Whether it reports for work within `patience` seconds."""
        try:
            return self._pipe.poll(patience) and self._pipe.recv() is None
        except (OSError, EOFError):
            return False

    def ask(self, raw: bytes, deadline: float) -> Any:
        """What the child's function made of `raw`, or Poison."""
        try:
            self._pipe.send_bytes(raw)
            return self._pipe.recv()
        except BlockingIOError:  # as `_limit_waiting` has it
            return Poison(f"Reading the message took more than {deadline:g} seconds.")
        except (OSError, EOFError):
            return Poison(f"Reading the message ended the parser ({self._ending()}).")

    def _ending(self) -> str:
        try:
            code = self._process.wait(timeout=1)
        except subprocess.TimeoutExpired:
            return "it no longer answers"
        return f"signal {-code}" if code < 0 else f"exit code {code}"

    def end(self) -> None:
        self._process.kill()

    def kill(self) -> None:
        self.end()
        self._process.wait()
        self._pipe.close()


def _environment() -> dict[str, str]:
    """What an interpreter needs to start, and none of our secrets."""
    kept = {name: os.environ[name] for name in KEPT_ENVIRONMENT if name in os.environ}
    return {**kept, "PYTHONPATH": str(Path(__file__).parents[2])}


def _limit_waiting(sock: socket.socket, seconds: float) -> None:
    """A child that stops in the middle of a frame, read or written, is waited for no longer than this."""
    interval = struct.pack("ll", int(seconds), int(seconds % 1 * 1_000_000))
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, interval)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, interval)


# --- in the child ---


def work() -> None:
    """The child's whole life: report for work, answer each message, end with the pipe."""
    descriptor, target, deadline, memory = sys.argv[1:]
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    function = pkgutil.resolve_name(target)
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_AS, _memory_in_use() + int(memory))
    with Connection(int(descriptor)) as pipe, contextlib.suppress(EOFError, OSError):
        pipe.send(None)
        while True:
            raw = pipe.recv_bytes()
            # An engine that was killed cannot end a child that hangs; this does.
            _limit(resource.RLIMIT_CPU, int(time.process_time() + float(deadline)) + 2)
            _answer(pipe, function, raw)


def _answer(pipe: Connection, function: Callable[[bytes], Any], raw: bytes) -> None:
    try:
        pipe.send(function(raw))
    except MemoryError:
        pipe.send(Poison("Reading the message took more memory than is allowed."))


def _limit(kind: int, amount: int) -> None:
    """Set a soft limit, as far as the system allows it."""
    _, hard = resource.getrlimit(kind)
    soft = amount if hard == resource.RLIM_INFINITY else min(amount, hard)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(kind, (soft, hard))


def _memory_in_use() -> int:
    """The address space of this process, in octets; 0 where the system does not tell."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
    except OSError:
        return 0
    return pages * resource.getpagesize()
