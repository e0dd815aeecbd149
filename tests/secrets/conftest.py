from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from emailprofiles.keyfile import new_field_key
from emailprofiles.secrets import keyring


@pytest.fixture
def keys(settings: Any) -> Iterator[Callable[..., None]]:
    """Sets the keys of this process, the one that seals first."""

    def use(*lines: str) -> None:
        settings.FIELD_KEYS = list(lines)
        keyring.cache_clear()

    use(new_field_key())
    yield use
    keyring.cache_clear()


@pytest.fixture(autouse=True)
def _forget_keys_afterwards() -> Iterator[None]:
    yield
    keyring.cache_clear()
