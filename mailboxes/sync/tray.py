"""A tray of claimed work, and the threads that empty it."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Executor, Future
from typing import Generic, TypeVar

from django.db import connection

MOVING_SECONDS = 1.0
AHEAD = 2

T = TypeVar("T")

log = logging.getLogger(__name__)


class Tray(Generic[T]):
    """Work that is ours and waits for a thread, and work that is under way.

    A thread takes one piece after the other, and keeps its database connection until the tray is empty. `wake` is
    set when the tray is, or will be soon: then it is time to claim more.
    """

    def __init__(self, pool: Executor, do: Callable[[T], object], wake: threading.Event) -> None:
        self._pool, self._do, self._wake = pool, do, wake
        self._waiting: deque[tuple[float, T]] = deque()
        self._under_way: list[T] = []
        self._at_work = 0
        self._threads: set[Future[None]] = set()
        self._lock = threading.Lock()
        self._moved_at = float("-inf")
        self._is_closed = False

    @property
    def at_work(self) -> int:
        """How many threads are."""
        return self._at_work

    def threads(self) -> set[Future[None]]:
        """To wait for; all that is not done has a thread until the tray is closed."""
        self._threads = {thread for thread in self._threads if not thread.done()}
        return self._threads

    def held(self) -> list[T]:
        """All that is ours: under way, and waiting."""
        with self._lock:
            return [*self._under_way, *(thing for _, thing in self._waiting)]

    def room(self, threads: int) -> int:
        """How much to claim now for so many threads: one piece for each, and AHEAD more while pieces are quick.

        Nothing while there is enough: what is claimed together costs little more than what is claimed alone.
        """
        moving = time.monotonic() - self._moved_at < MOVING_SECONDS
        with self._lock:
            missing = threads * (1 + AHEAD * moving) - len(self._waiting) - len(self._under_way)
        return missing if missing >= threads * moving else 0

    def put(self, things: Iterable[T], threads: int) -> None:
        """Lay down what was claimed; up to `threads` threads are at it."""
        now = time.monotonic()
        with self._lock:
            self._waiting.extend((now, thing) for thing in things)
            more = min(threads - self._at_work, len(self._waiting))
            self._at_work += max(more, 0)
        for _ in range(more):
            thread = self._pool.submit(self._empty)
            self._threads.add(thread)
            thread.add_done_callback(lambda _: self._wake.set())

    def take_back(self, older_than: float = MOVING_SECONDS) -> list[T]:
        """What has waited for so many seconds, out of the tray again: somebody else may have a thread for it."""
        with self._lock:
            limit = time.monotonic() - older_than
            back = [thing for since, thing in self._waiting if since <= limit]
            self._waiting = deque(one for one in self._waiting if one[0] > limit)
        return back

    def close(self) -> list[T]:
        """Nothing is begun any more; returns what waits."""
        self._is_closed = True
        return self.take_back(0.0)

    def _empty(self) -> None:
        try:
            while (taken := self._take()) is not None:
                thing = taken[0]
                try:
                    self._do(thing)
                except Exception:  # whatever it was, the rest of the tray is not to wait for it
                    log.exception("Work ended unexpectedly")
                    connection.close()
                finally:
                    with self._lock:
                        self._under_way.remove(thing)
                        self._moved_at = time.monotonic()
        finally:
            connection.close()

    def _take(self) -> tuple[T] | None:
        """The next piece, in a tuple since a piece may be anything; None when there is none."""
        with self._lock:
            if self._is_closed or not self._waiting:
                self._at_work -= 1
                return None
            _, thing = self._waiting.popleft()
            self._under_way.append(thing)
            is_low = len(self._waiting) < len(self._under_way)
        if is_low:
            self._wake.set()
        return (thing,)
