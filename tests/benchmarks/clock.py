"""What a piece of work takes in the process that does it; ours and others' alike, so nothing but the standard library.

The last line that such a process prints is the answer; `machine.measured` reads it.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable


def tell(work: Callable[[], object]) -> None:
    """Do it, and print seconds on the wall and of the processor, those of children that have ended included."""
    wall, processor = time.perf_counter(), cpu()
    result = work()
    took = {"wall": time.perf_counter() - wall, "cpu": cpu() - processor, "result": result}
    sys.stdout.flush()
    print("\n" + json.dumps(took, default=str))


def cpu() -> float:
    own, children = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime
