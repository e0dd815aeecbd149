"""The parser child: bytes of strangers are opened in a process of their own, one message at a time.

The child is a fresh interpreter without Django, without our secrets in its environment, with limited memory
and processor time. It is handed a few messages at once, runs one function on each and answers each by itself; it
has read them all before it answers, so neither side ever waits for a full pipe. It ignores signals that are meant
for the engine and ends when the pipe does.

If it dies, hangs or runs out of memory, that is charged to the message in flight and to no other: the child
is killed, and a new one reads on. What it answers is data: see `mailboxes.reading`.
"""

from __future__ import annotations

import contextlib
import os
import pkgutil
import resource
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from mailboxes import reading
from mailboxes.parsing import Parsed
from mailboxes.reading import Words

DESCRIBE = "mailboxes.reading:describe"
ATTACHED = "mailboxes.reading:attached"
WORDS = "mailboxes.reading:words"
DEADLINE = 30.0
MEMORY = 1 << 30
START_ATTEMPTS = 3
TOGETHER = 64
TOGETHER_OCTETS = 1 << 20
KEPT_ENVIRONMENT = ("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "PYTHONHOME", "PYTHONDONTWRITEBYTECODE")


@dataclass(frozen=True, slots=True)
class Poison:
    """What became of a message that the child could not finish: one plain sentence."""

    reason: str


MEANINGLESS = Poison("Reading the message ended in an answer that means nothing.")
Read = TypeVar("Read")


class ParserFailed(RuntimeError):
    """The child does not even start: no message is to blame."""


class Parser:
    """Reads messages in a child process. For one thread at a time; the child starts with the first message.

    `deadline` is seconds per message, `memory` octets beyond what the bare child needs, `target` the function
    that the child runs, bytes to bytes, as "module:function".
    """

    def __init__(self, deadline: float = DEADLINE, memory: int = MEMORY, target: str = DESCRIBE) -> None:
        self._deadline = deadline
        self._memory = memory
        self._target = target
        self._child: _Child | None = None

    def parse_many(self, raws: Sequence[bytes]) -> Iterator[Parsed | Poison]:
        """One description per message, in order. Raises ParserFailed when no child can be started."""
        return self.ask_many(raws, reading.loads)

    def ask_many(self, requests: Sequence[bytes], read: Callable[[bytes], Read]) -> Iterator[Read | Poison]:
        """One answer per request, in order, as `read` understands it. Raises ParserFailed."""
        for some in _together(requests):
            for answer in self._ask(some):
                yield _understood(answer, read)

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

    def _ask(self, requests: Sequence[bytes]) -> list[bytes | Poison]:
        """One answer each. After one that the child did not survive, a new child goes on with the rest."""
        answers: list[bytes | Poison] = []
        while rest := requests[len(answers) :]:
            child = self._ready_child()
            try:
                answers += child.ask(rest, self._deadline)
            except BaseException:  # whatever ends the wait: its answer would be taken for the next message's
                self.close()
                raise
            if isinstance(answers[-1], Poison):
                self.close()
        return answers

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
    return _once(ATTACHED, reading.ask_for_files(raw, numbers, forwarded), reading.load_files)


def words_of(raw: bytes, forwarded: bool) -> Words | Poison:
    """What the message says, or with `forwarded` the one attached to it; in a child of its own."""
    return _once(WORDS, reading.ask_for_words(raw, forwarded), reading.load_words)


def _once(target: str, request: bytes, read: Callable[[bytes], Read]) -> Read | Poison:
    with Parser(target=target) as parser:
        return next(parser.ask_many([request], read))


def _understood(answer: bytes | Poison, read: Callable[[bytes], Read]) -> Read | Poison:
    try:
        return answer if isinstance(answer, Poison) else read(answer)
    except ValueError:
        return MEANINGLESS


def _together(requests: Sequence[bytes]) -> Iterator[list[bytes]]:
    """At most TOGETHER, and TOGETHER_OCTETS; a larger one stands alone."""
    some: list[bytes] = []
    octets = 0
    for request in requests:
        if some and (len(some) >= TOGETHER or octets + len(request) > TOGETHER_OCTETS):
            yield some
            some, octets = [], 0
        some.append(request)
        octets += len(request)
    if some:
        yield some


_LENGTH = struct.Struct("!Q")
_ANSWER = struct.Struct("!?Q")


class _Child:
    """The parent's end of one child."""

    def __init__(self, deadline: float, memory: int, target: str) -> None:
        self._pipe, theirs = socket.socketpair()
        with theirs:
            _limit_waiting(self._pipe, deadline)
            arguments = [str(theirs.fileno()), target, str(deadline), str(memory)]
            self._process = subprocess.Popen(  # noqa: S603 - our own interpreter, our own arguments
                [sys.executable, "-S", "-P", "-c", f"from {__name__} import work; work()", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                process_group=0,
                env=_environment(),
            )

    def is_alive(self) -> bool:
        return self._process.poll() is None

    def is_ready(self, patience: float) -> bool:
        """Whether it reports for work within `patience` seconds."""
        _limit_waiting(self._pipe, patience)
        try:
            return self._answer() == b""
        except (OSError, EOFError):
            return False

    def ask(self, requests: Sequence[bytes], deadline: float) -> list[bytes | Poison]:
        """What the child's function made of each, up to the first Poison: there the child is of no more use."""
        answers: list[bytes | Poison] = []
        _limit_waiting(self._pipe, deadline)
        try:
            lengths = struct.pack(f"!{len(requests) + 1}Q", len(requests), *map(len, requests))
            self._pipe.sendall(lengths)
            for request in requests:
                self._pipe.sendall(request)
            for _ in requests:
                answers.append(self._answer())
        except BlockingIOError:  # as `_limit_waiting` has it
            answers.append(Poison(f"Reading the message took more than {deadline:g} seconds."))
        except (OSError, EOFError):
            answers.append(Poison(f"Reading the message ended the parser ({self._ending()})."))
        except MemoryError:
            answers.append(OUT_OF_MEMORY)
        return answers

    def _answer(self) -> bytes:
        is_whole, length = _ANSWER.unpack(_received(self._pipe, _ANSWER.size))
        if not is_whole:
            raise MemoryError
        return _received(self._pipe, length)

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


OUT_OF_MEMORY = Poison("Reading the message took more memory than is allowed.")


def _received(pipe: socket.socket, octets: int) -> bytes:
    """Exactly so many octets. Raises EOFError, or BlockingIOError when nothing more came in time."""
    if not octets:
        return b""
    data = pipe.recv(octets, socket.MSG_WAITALL)
    if len(data) == octets:
        return data
    pieces = [data]
    while (missing := octets - sum(map(len, pieces))) > 0:
        if not pieces[-1]:
            raise EOFError
        pieces.append(pipe.recv(missing, socket.MSG_WAITALL))
    return b"".join(pieces)


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
    with socket.socket(fileno=int(descriptor)) as pipe, contextlib.suppress(EOFError, OSError):
        pipe.sendall(_ANSWER.pack(True, 0))
        while True:
            for request in _requests(pipe):
                # An engine that was killed cannot end a child that hangs; this does.
                _limit(resource.RLIMIT_CPU, int(time.process_time() + float(deadline)) + 2)
                _answer(pipe, function, request)


def _requests(pipe: socket.socket) -> Iterable[bytes]:
    (number,) = _LENGTH.unpack(_received(pipe, _LENGTH.size))
    lengths = struct.unpack(f"!{number}Q", _received(pipe, _LENGTH.size * number))
    if number == 1:  # never copied, since it may be large
        return [_received(pipe, lengths[0])]
    everything = memoryview(_received(pipe, sum(lengths)))
    ends = list(accumulate(lengths, initial=0))
    return [bytes(everything[start:end]) for start, end in pairwise(ends)]


def _answer(pipe: socket.socket, function: Callable[[bytes], bytes], request: bytes) -> None:
    try:
        answer = function(request)
    except MemoryError:
        pipe.sendall(_ANSWER.pack(False, 0))
    else:
        pipe.sendall(_ANSWER.pack(True, len(answer)) + answer)


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
