"""A run of the engine that SIGKILL stops at one place: `python -m tests.sync.stopped PLACE NTH`.

PLACE is "before MODULE:NAME" or "after MODULE:NAME"; NAME may be "Class.method". The process kills itself
there, at the NTH call, as the kernel would: no handler runs, nothing is flushed.
"""

from __future__ import annotations

import functools
import os
import signal
import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any

import django


def arm(place: str, nth: int) -> None:
    when, _, where = place.partition(" ")
    module_name, _, path = where.partition(":")
    owner: Any = import_module(module_name)
    *classes, name = path.split(".")
    for part in classes:
        owner = getattr(owner, part)
    setattr(owner, name, stopping(getattr(owner, name), when, nth))


def stopping(function: Callable[..., Any], when: str, nth: int) -> Callable[..., Any]:
    calls = 0

    @functools.wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == nth and when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        result = function(*args, **kwargs)
        if calls == nth and when == "after":
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    return wrapped


if __name__ == "__main__":
    django.setup()
    from mailboxes.sync.worker import Engine

    arm(sys.argv[1], int(sys.argv[2]))
    engine = Engine(1)
    engine.run_once()
    engine.shut_down()
