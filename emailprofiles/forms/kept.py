"""Passwords that were typed on a page which asks once more before it saves.

They are never rendered, and nobody should have to type them twice: until the answer comes they lie in the
person's session, sealed as stored passwords are, for ten minutes. The seal names the session, the profile and
the place the password was typed for: with another host, port, security, user name or sign-in it does not open,
and the password has to be typed again.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any

from django.contrib.sessions.backends.base import SessionBase

from ..models import LOCATION_FIELDS, SIGN_IN_FIELDS
from ..secrets import SecretUnreadable, open_sealed, seal

NAME = "typed_passwords"
SECONDS = 600


def keep(session: SessionBase, profile: int, typed: Mapping[str, str], place: Mapping[str, Any]) -> None:
    """Put the passwords away, field → clear text, that were typed together with `place`; none: forget all."""
    forget(session)
    if not typed:
        return
    if session.session_key is None:
        session.save()
    session[NAME] = {
        "until": time.time() + SECONDS,
        "sealed": {
            name: str.__str__(seal(clear, _additional(session, profile, name, place)))
            for name, clear in typed.items()
        },
    }


def kept(session: SessionBase, profile: int, place: Mapping[str, Any]) -> dict[str, str]:
    """Field → clear text of what lies there for this profile and place, as long as it lasts."""
    lying = session.get(NAME) or {}
    if lying.get("until", 0) < time.time():
        return {}
    opened = {}
    for name, sealed in lying["sealed"].items():
        try:
            opened[name] = open_sealed(sealed, _additional(session, profile, name, place))
        except SecretUnreadable:  # for another place, another profile, or from another session
            continue
    return opened


def forget(session: SessionBase) -> None:
    session.pop(NAME, None)


def _additional(session: SessionBase, profile: int, name: str, place: Mapping[str, Any]) -> str:
    where = [
        str(place.get(field, "")).strip() for field in ("server_type", *LOCATION_FIELDS, *SIGN_IN_FIELDS)
    ]
    return json.dumps([NAME, session.session_key, profile, name, where])
