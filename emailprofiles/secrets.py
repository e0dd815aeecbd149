"""Secrets at rest: AES-256-GCM, one key id beside each ciphertext.

A sealed secret is the text `1.KEYID.BASE64(nonce + ciphertext)`. Its additional data are the model,
the field and the row's `secret_id`, so that a ciphertext copied to another row or column does not
open there. `FIELD_KEYS` (or the key file) names the keys: the first one seals, all of them open.
"""

from __future__ import annotations

import base64
import os
from functools import lru_cache

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from .keyfile import read_keyfile

_NONCE_BYTES = 12


class SecretUnreadable(Exception):
    """A stored secret that our keys do not open: a missing or wrong key, or a ciphertext of another row."""


class Sealed(str):
    """A ciphertext as it stands in the database."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "***"


class Secret:
    """A password that prints as `***`; only `reveal()` opens it. False when there is none."""

    __slots__ = ("_additional", "_clear", "_sealed")

    def __init__(self, clear: str = "", *, sealed: Sealed | None = None, additional: str = "") -> None:
        self._clear = clear
        self._sealed = sealed
        self._additional = additional

    def reveal(self) -> str:
        """The clear text; raises SecretUnreadable."""
        if self._sealed:
            return open_sealed(self._sealed, self._additional)
        return self._clear

    @property
    def sealed(self) -> Sealed | None:
        """The ciphertext it was read from; None for one that was typed just now."""
        return self._sealed

    @property
    def additional(self) -> str:
        """The additional data that bind the ciphertext to its row; "" for one that was typed just now."""
        return self._additional

    def __bool__(self) -> bool:
        return bool(self._sealed or self._clear)

    def __eq__(self, other: object) -> bool:
        """Whether both are the same ciphertext of the same row, or were typed alike; nothing is opened."""
        return isinstance(other, Secret) and self._parts == other._parts

    def __hash__(self) -> int:
        return hash(self._parts)

    @property
    def _parts(self) -> tuple[str, str | None, str]:
        return self._clear, self._sealed, self._additional

    def __repr__(self) -> str:
        return "***"

    __str__ = __repr__

    def __reduce__(self) -> str | tuple[object, ...]:
        raise TypeError("A secret is not serialised.")

    def __copy__(self) -> Secret:
        return self  # it never changes

    def __deepcopy__(self, memo: object) -> Secret:
        return self


@lru_cache(maxsize=1)
def keyring() -> dict[str, bytes]:
    """Key id → key, the one that seals first; raises ImproperlyConfigured for a malformed key.

    Read once for each process; a test that changes keys calls `keyring.cache_clear()`.
    """
    lines = settings.FIELD_KEYS or read_keyfile(settings.FIELD_KEYS_FILE).field_keys
    keys = [_read_key(line) for line in lines]
    if len(dict(keys)) < len(keys):
        raise ImproperlyConfigured("Two keys in FIELD_KEYS have the same id.")
    return dict(keys)


def _read_key(line: str) -> tuple[str, bytes]:
    key_id, _, encoded = line.strip().partition(":")
    try:
        key = base64.b64decode(encoded, validate=True)
    except ValueError:  # not base64, or not even ASCII
        key = b""
    if not key_id or "." in key_id or len(key) != 32:
        raise ImproperlyConfigured("A key in FIELD_KEYS is not of the form ID:BASE64 of 32 bytes.")
    return key_id, key


def seal(clear: str, additional: str) -> Sealed:
    """Encrypt under the first key; raises ImproperlyConfigured when there is none."""
    if not keyring():
        raise ImproperlyConfigured(
            "There is no key for stored credentials. Set FIELD_KEYS or FIELD_KEYS_FILE; "
            "`manage.py migrate` makes a key file on a new database."
        )
    key_id, key = next(iter(keyring().items()))
    nonce = os.urandom(_NONCE_BYTES)
    body = nonce + AESGCM(key).encrypt(nonce, clear.encode(), additional.encode())
    return Sealed(f"1.{key_id}.{base64.b64encode(body).decode()}")


def open_sealed(sealed: str, additional: str) -> str:
    """Decrypt; raises SecretUnreadable, never returns anything but what was sealed."""
    try:
        version, key_id, encoded = sealed.split(".", 2)
        body = base64.b64decode(encoded, validate=True)
    except ValueError as error:
        raise SecretUnreadable("A stored credential is damaged. Type it again.") from error
    if version != "1" or len(body) <= _NONCE_BYTES:
        raise SecretUnreadable("A stored credential is damaged. Type it again.")
    key = keyring().get(key_id)
    if key is None:
        raise SecretUnreadable(
            f"A stored credential was sealed under key {key_id}, which FIELD_KEYS does not hold. "
            "Add that key, or type the credential again."
        )
    try:
        return AESGCM(key).decrypt(body[:_NONCE_BYTES], body[_NONCE_BYTES:], additional.encode()).decode()
    except InvalidTag as error:
        raise SecretUnreadable(
            f"A stored credential does not open with key {key_id}: the key is a different one, or the "
            "ciphertext belongs to another record. Restore the key, or type the credential again."
        ) from error


def key_id_of(sealed: str) -> str:
    """Under which key a stored secret was sealed."""
    return sealed.split(".", 2)[1] if sealed.count(".") >= 2 else ""
