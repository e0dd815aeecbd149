"""At the start of a process: `migrate` makes the key file of a new database, and no other key opens it."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from emailprofiles.keyfile import create_keyfile, read_keyfile

PROJECT = Path(__file__).resolve().parents[2]


class Installation:
    """A database and a key file of their own; every command is a process of its own."""

    def __init__(self, folder: Path) -> None:
        self.database = folder / "db.sqlite3"
        self.keys = folder / "keys"
        self.env = {
            name: value for name, value in os.environ.items() if name not in ("SECRET_KEY", "FIELD_KEYS")
        } | {"DATABASE_URL": f"sqlite:///{self.database}", "FIELD_KEYS_FILE": str(self.keys)}

    def manage(self, *command: str, **env: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "manage.py", *command],
            cwd=PROJECT,
            env=self.env | env,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def migrate(self, **env: str) -> subprocess.CompletedProcess[str]:
        return self.manage("migrate", "-v0", "--skip-checks", **env)


@pytest.fixture(scope="module")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    installation = Installation(tmp_path_factory.mktemp("installation"))
    done = installation.migrate()
    assert done.returncode == 0, done.stderr
    return installation


@pytest.fixture
def installation(migrated: Installation, tmp_path: Path) -> Installation:
    """A copy of the migrated one, so that a test can harm it."""
    own = Installation(tmp_path)
    with sqlite3.connect(migrated.database) as source, sqlite3.connect(own.database) as target:
        source.backup(target)
    own.keys.write_bytes(migrated.keys.read_bytes())
    return own


def test_migrate_makes_a_key_file_and_a_canary(migrated: Installation) -> None:
    assert migrated.keys.stat().st_mode & 0o777 == 0o600
    assert len(read_keyfile(migrated.keys).field_keys) == 1
    with sqlite3.connect(migrated.database) as database:
        [(canary,)] = database.execute("SELECT word FROM emailprofiles_keycanary").fetchall()
    assert canary.startswith("1.")


def test_the_second_migrate_changes_nothing(installation: Installation) -> None:
    before = installation.keys.read_bytes()
    assert installation.migrate().returncode == 0
    assert installation.keys.read_bytes() == before


def test_the_secret_key_of_the_file_is_the_one_in_use(installation: Installation) -> None:
    secret_key = read_keyfile(installation.keys).secret_key
    code = f"from django.conf import settings; print(settings.SECRET_KEY == {secret_key!r}, settings.SECRET_KEY_IS_FLEETING)"
    assert installation.manage("shell", "-v0", "-c", code).stdout.split() == ["True", "False"]
    assert installation.manage("shell", "-v0", "-c", code, SECRET_KEY="own").stdout.split() == [
        "False",
        "False",
    ]


def test_no_file_is_made_when_keys_are_set(tmp_path: Path) -> None:
    installation = Installation(tmp_path)
    [key] = create_keyfile(tmp_path / "elsewhere").field_keys
    assert installation.migrate(FIELD_KEYS=key).returncode == 0
    assert not installation.keys.exists()


@pytest.mark.parametrize("harm", ["missing", "another"])
def test_every_command_refuses_to_start_without_the_right_key(installation: Installation, harm: str) -> None:
    installation.keys.unlink()
    if harm == "another":
        create_keyfile(installation.keys)
    for command in (["check"], ["provision", "office.toml"], ["synchronize", "--once"], ["migrate"]):
        refused = installation.manage(*command)
        assert refused.returncode != 0, command
        assert "The key for stored credentials does not fit this database." in refused.stderr
    assert installation.keys.exists() == (harm == "another"), (
        "no new key file for a database that has a canary"
    )


def test_migrate_refuses_by_itself_too(installation: Installation) -> None:
    installation.keys.unlink()
    refused = installation.migrate()
    assert refused.returncode == 1
    assert refused.stderr.startswith(
        "CommandError: The key for stored credentials does not fit this database."
    )
    assert not installation.keys.exists()


def test_a_key_file_without_a_field_key_is_not_overwritten(tmp_path: Path) -> None:
    installation = Installation(tmp_path)
    installation.keys.write_text("SECRET_KEY=own\n")
    refused = installation.migrate()
    assert refused.returncode == 1
    assert "holds no FIELD_KEY" in refused.stderr
    assert installation.keys.read_text() == "SECRET_KEY=own\n"


def test_processes_that_migrate_at_the_same_moment_share_one_key_file(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    code = (
        "import config.settings; print('read', flush=True); input();"
        "import django; django.setup(); from emailprofiles import keycanary, secrets; secrets.keyring();"
        "print('looked', flush=True); input(); keycanary._make_keyfile();"
        "print(next(iter(secrets.keyring())), config.settings.FIELD_KEYS_FILE)"
    )
    starting = [
        subprocess.Popen(
            [sys.executable, "-c", code],
            cwd=PROJECT,
            env=Installation(tmp_path).env | {"DJANGO_SETTINGS_MODULE": "config.settings"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    for word in ("read", "looked"):  # each has seen that there is no file
        for process in starting:
            assert process.stdout is not None
            assert process.stdin is not None
            assert process.stdout.readline() == f"{word}\n"
        assert not keys.exists()
        for process in starting:
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()
    said = {process.communicate(timeout=60)[0] for process in starting}
    assert len(said) == 1
    [key] = read_keyfile(keys).field_keys
    assert said == {f"{key.split(':')[0]} {keys}\n"}
    assert keys.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.glob("keys*")) == [keys]


def test_an_app_can_be_migrated_alone(tmp_path: Path) -> None:
    alone = Installation(tmp_path).manage("migrate", "contenttypes", "-v0", "--skip-checks")
    assert alone.returncode == 0, alone.stderr
