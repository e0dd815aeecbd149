"""What a test finds, written down as it goes: together where it is quick, at once where somebody would wait for it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.db import transaction

from .models import ConfigurationTest, TestStep
from .sync import leases

SOON = 0.25  # seconds that a step may be over and not yet be seen


class Diary:
    """The steps of one test. They are kept here until they are written with what is written next of this test.

    Whoever runs a test calls `write_if_late` a few times a second from another thread: then a step that takes
    long leaves none of those before it unseen.
    """

    def __init__(self, test: ConfigurationTest) -> None:
        self.test = test
        self._steps: list[dict[str, Any]] = []
        self._since = 0.0
        self._lock = threading.Lock()

    def add(self, **step: Any) -> None:
        """A step that has ended, as the columns of TestStep."""
        with self._lock:
            self._since = self._since if self._steps else time.monotonic()
            self._steps.append(step)

    @contextmanager
    def writing(self) -> Iterator[None]:
        """A transaction in which this test is ours, with all steps so far. Raises LeaseLost."""
        with self._lock:
            with transaction.atomic():
                leases.hold(self.test)
                TestStep.objects.bulk_create(TestStep(test=self.test, **step) for step in self._steps)
                yield
            self._steps.clear()

    def write_if_late(self) -> None:
        """Write the steps down if the first of them has waited long enough. Raises LeaseLost."""
        if self._steps and time.monotonic() - self._since >= SOON:
            with self.writing():
                pass
