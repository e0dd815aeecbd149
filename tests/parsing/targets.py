"""What a parser child may be made to do, by the bytes it gets."""

import os
import signal
import sys
import time

from mailboxes.parsing import Parsed, parse
from mailboxes.reading import dumps


def misbehave(raw: bytes) -> bytes:
    if raw == b"exit":
        os._exit(7)
    if raw == b"crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if raw == b"raise":
        raise RuntimeError("a parser with a bug")
    if raw == b"hang":
        time.sleep(3600)
    if raw == b"spin":
        while True:
            pass
    if raw == b"grow":
        return b"x" * (4 << 30)
    if raw == b"nonsense":
        return b"[1, 2"
    if raw == b"another shape":
        return b'{"subject": "Hello"}'
    if raw == b"about":
        return dumps(Parsed(subject=str(os.getpid()), text="\n".join(sorted(os.environ))))
    return dumps(parse(raw))


def loaded_modules(raw: bytes) -> bytes:
    return dumps(Parsed(text=" ".join(sys.modules)))
