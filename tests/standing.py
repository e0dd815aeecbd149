"""What stands for many tests: made once, each test works in a savepoint on top, and it is then taken back."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar

import pytest
from django.db import transaction

Made = TypeVar("Made")


@contextlib.contextmanager
def standing(blocker: Any) -> Iterator[None]:
    """What is made inside is there until the end, and never committed: no transactional test may run inside."""
    around = transaction.atomic()
    around._from_testcase = True  # type: ignore[attr-defined]  # as Django marks those around a test
    with blocker.unblock(), around:
        yield
        transaction.set_rollback(True)


class Standing(Generic[Made]):
    """Stands while one test after the other asks for `fixture`, and not while a test wants another database."""

    def __init__(self, fixture: str, make: Callable[[], Made]) -> None:
        self.fixture, self._make = fixture, make
        self._around = contextlib.ExitStack()
        self._blocker: Any = None
        self._is_wanted = False
        self.made: Made | None = None

    def prepare(self, item: pytest.Item) -> None:
        """Before the fixtures of a test: the database as it needs it."""
        self._is_wanted = self.fixture in names(item) and not is_transactional(item)
        if self._is_wanted and self._blocker is not None:
            self.stand()
        elif uses_database(item):
            self.fall()

    def first(self, blocker: Any) -> None:
        """There is a database from now on."""
        self._blocker = blocker
        if self._is_wanted:
            self.stand()

    def stand(self) -> None:
        if self.made is None:
            self._around.enter_context(standing(self._blocker))
            self.made = self._make()

    def fall(self) -> None:
        self.made = None
        self._around.close()


def names(item: pytest.Item) -> list[str]:
    return getattr(item, "fixturenames", [])


def is_transactional(item: pytest.Item) -> bool:
    marker = item.get_closest_marker("django_db")
    asked = marker is not None and marker.kwargs.get("transaction", False)
    return asked or not {"transactional_db", "live_server"}.isdisjoint(names(item))


def uses_database(item: pytest.Item) -> bool:
    return is_transactional(item) or "db" in names(item) or item.get_closest_marker("django_db") is not None
