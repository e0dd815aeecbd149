"""Each numbered system check fires for its reason, and is silent otherwise."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.db import connection

from emailprofiles import checks
from emailprofiles.keyfile import new_field_key
from tests.conftest import OPTIONS

Keys = Callable[..., None]


def ids(messages: list[Any]) -> list[str]:
    return [message.id for message in messages]


def test_all_are_silent_when_all_is_well(db: None) -> None:
    assert checks.keys_fit() == []
    assert checks.authority_is_readable() == []
    assert checks.numbers_make_sense() == []


def test_e001_a_malformed_key(keys: Keys) -> None:
    keys("not a key")
    assert ids(checks.keys_fit()) == ["sortingoffice.E001"]


def test_e002_keys_that_do_not_open_this_database(db: None, keys: Keys) -> None:
    keys(new_field_key())
    [error] = checks.keys_fit()
    assert error.id == "sortingoffice.E002"
    assert "does not fit this database" in error.msg


def test_e003_an_authority_that_is_no_file(settings: Any, tmp_path: Path) -> None:
    settings.TLS_CA_FILE = str(tmp_path / "missing.pem")
    assert ids(checks.authority_is_readable()) == ["sortingoffice.E003"]
    (tmp_path / "missing.pem").write_text("")
    assert checks.authority_is_readable() == []


@pytest.mark.skipif(connection.vendor != "sqlite", reason="asks SQLite")
@pytest.mark.django_db(transaction=True)
def test_e004_commits_that_a_power_cut_would_lose(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(connection.settings_dict, "OPTIONS", OPTIONS)
    connection.close()
    try:
        assert checks.commits_are_durable() == []
        with connection.cursor() as cursor:
            cursor.execute("PRAGMA synchronous=NORMAL")
        assert ids(checks.commits_are_durable()) == ["sortingoffice.E004"]
    finally:
        connection.close()


@pytest.mark.parametrize(("threads", "found"), [(0, 1), (1, 0), (256, 0), (257, 1)])
def test_e005_a_number_of_threads_out_of_range(settings: Any, threads: int, found: int) -> None:
    settings.SYNC_THREADS = threads
    assert ids(checks.numbers_make_sense()) == ["sortingoffice.E005"] * found


@pytest.mark.parametrize(("watches", "found"), [(-1, 1), (0, 0), (1000, 0), (1001, 1)])
def test_e005_a_number_of_watches_out_of_range(settings: Any, watches: int, found: int) -> None:
    settings.SYNC_WATCHES = watches
    assert ids(checks.numbers_make_sense()) == ["sortingoffice.E005"] * found
