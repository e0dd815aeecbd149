"""The key file: the keys of stored credentials, and a SECRET_KEY when none is set.

Lines of `NAME=value`; `FIELD_KEY=ID:BASE64` may stand several times, the newest first. Imports no
Django, since the settings themselves read it.
"""

from __future__ import annotations

import base64
import os
import secrets
import tempfile
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, repr=False)
class Keyfile:
    """What the file says; `field_keys` are "ID:BASE64", the one that writes first."""

    secret_key: str = ""
    field_keys: tuple[str, ...] = ()


def read_keyfile(path: Path) -> Keyfile:
    """The keys in `path`; an empty Keyfile when there is no such file."""
    try:
        lines = path.read_text(encoding="ascii").splitlines()
    except FileNotFoundError:
        return Keyfile()
    pairs = [line.strip().split("=", 1) for line in lines if "=" in line and not line.startswith("#")]
    secret_key = next((value for name, value in pairs if name == "SECRET_KEY"), "")
    return Keyfile(secret_key, tuple(value for name, value in pairs if name == "FIELD_KEY"))


def create_keyfile(path: Path) -> Keyfile:
    """Write a new file that only its owner can read; raises FileExistsError, and overwrites nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    keyfile = Keyfile(secrets.token_urlsafe(48), (new_field_key(),))
    text = (
        "# Keys of Sorting Office. Without this file stored credentials cannot be read: back it up,\n"
        "# apart from the database.\n"
        f"SECRET_KEY={keyfile.secret_key}\n" + "".join(f"FIELD_KEY={key}\n" for key in keyfile.field_keys)
    )
    with tempfile.NamedTemporaryFile("w", dir=path.parent, prefix=path.name, encoding="ascii") as file:
        file.write(text)  # readable by nobody else: the mode of every temporary file
        file.flush()
        os.fsync(file.fileno())
        os.link(file.name, path)  # whole or not at all: two processes may start at the same moment
    return keyfile


def new_field_key() -> str:
    """A new 256-bit key under a random id, as "ID:BASE64"."""
    return f"{secrets.token_hex(4)}:{base64.b64encode(secrets.token_bytes(32)).decode()}"
