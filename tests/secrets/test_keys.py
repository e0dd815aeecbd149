"""Keys: the first one seals, all of them open, a wrong or missing one is said and never guessed around."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured

from emailprofiles.keyfile import create_keyfile, new_field_key, read_keyfile
from emailprofiles.secrets import Secret, SecretUnreadable, key_id_of, keyring, open_sealed, seal

Keys = Callable[..., None]
ROW = "mailboxes.mailbox.password.1"


def test_a_sealed_secret_opens_with_its_key_and_row_only(keys: Keys) -> None:
    sealed = seal("Gänseblümchen 7", ROW)
    assert open_sealed(sealed, ROW) == "Gänseblümchen 7"
    with pytest.raises(SecretUnreadable):
        open_sealed(sealed, "mailboxes.mailbox.password.2")


def test_the_first_key_seals_and_all_open(keys: Keys) -> None:
    old, new = new_field_key(), new_field_key()
    keys(old)
    before = seal("x", ROW)
    keys(new, old)
    after = seal("x", ROW)
    assert (open_sealed(before, ROW), open_sealed(after, ROW)) == ("x", "x")
    assert (key_id_of(before), key_id_of(after)) == (old.split(":")[0], new.split(":")[0])
    keys(new)
    with pytest.raises(SecretUnreadable, match=f"sealed under key {key_id_of(before)}, which FIELD_KEYS"):
        open_sealed(before, ROW)


def test_another_key_under_the_same_id_is_told_from_a_damaged_text(keys: Keys) -> None:
    right, wrong = (new_field_key().split(":")[1] for _ in range(2))
    keys(f"a:{right}")
    sealed = seal("x", ROW)
    keys(f"a:{wrong}")
    with pytest.raises(SecretUnreadable, match="does not open with key a"):
        open_sealed(sealed, ROW)


def test_without_a_key_nothing_is_sealed(keys: Keys, settings: pytest.FixtureRequest, tmp_path: Path) -> None:
    settings.FIELD_KEYS_FILE = tmp_path / "none"
    keys()
    with pytest.raises(ImproperlyConfigured, match="There is no key"):
        seal("x", ROW)


@pytest.mark.parametrize(
    "line", ["", "a", "a:", "a:AAAA", ":" + "A" * 43 + "=", "a.b:" + "A" * 43 + "=", "a:ä", "a:?"]
)
def test_a_malformed_key_is_refused_without_being_shown(keys: Keys, line: str) -> None:
    keys(line)
    with pytest.raises(ImproperlyConfigured, match="not of the form ID:BASE64") as error:
        keyring()
    assert "AAAA" not in str(error.value)


def test_two_keys_do_not_share_an_id(keys: Keys) -> None:
    key = new_field_key().split(":")[1]
    keys(f"a:{key}", f"a:{key}")
    with pytest.raises(ImproperlyConfigured, match="same id"):
        keyring()


def test_keys_come_from_the_file_when_none_are_set(
    keys: Keys, settings: pytest.FixtureRequest, tmp_path: Path
) -> None:
    settings.FIELD_KEYS_FILE = tmp_path / "keys"
    [line] = create_keyfile(tmp_path / "keys").field_keys
    keys()
    assert list(keyring()) == [line.split(":")[0]]


def test_a_key_file_is_for_its_owner_only_and_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "below" / "keys"
    made = create_keyfile(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert read_keyfile(path) == made
    with pytest.raises(FileExistsError):
        create_keyfile(path)
    assert read_keyfile(path) == made
    assert made.secret_key not in repr(made)


def test_there_may_be_no_key_file(tmp_path: Path) -> None:
    assert read_keyfile(tmp_path / "keys").field_keys == ()


def test_a_typed_secret_has_no_row_yet() -> None:
    assert Secret("x").sealed is None
    assert Secret("x").additional == ""
