"""A parser child that an ordinary message cannot harm and a marked one does: what the line makes of poison."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from mailboxes.parsing import parse
from mailboxes.reading import dumps


def read(raw: bytes) -> bytes:
    """As the real one, except for messages with `X-Poison: …`."""
    kind = raw.partition(b"X-Poison: ")[2].partition(b"\r\n")[0]
    if kind == b"crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if kind == b"killed":  # as the kernel does when memory is short
        os.kill(os.getpid(), signal.SIGKILL)
    if kind == b"exit":
        os._exit(7)
    if kind == b"fault":
        raise RuntimeError("the parser has a fault")
    if kind.startswith(b"in flight "):
        Path(os.fsdecode(kind.removeprefix(b"in flight "))).write_text(str(os.getpid()))
        time.sleep(3600)
    if kind == b"hang":
        time.sleep(3600)
    if kind == b"memory":
        return b"x" * (4 << 30)
    return dumps(parse(raw))
