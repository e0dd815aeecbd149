"""Who works in the demo office, read from its provisioning file."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

OFFICE = Path(__file__).with_name("office.toml")

Office = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Account:
    """An account at the demo's mail servers; both its user name and its address sign in.

    `copy_to` is where its forwarding rule hands a copy of everything, if it has one.
    """

    username: str
    address: str
    password: str = field(repr=False)
    copy_to: str = ""


@dataclass(frozen=True, slots=True)
class Occupant:
    """A user or a queue; `incoming` is its method in the words of the provisioning file."""

    name: str
    address: str
    username: str
    incoming: str
    approved: bool


def read(path: Path = OFFICE) -> Office:
    """The provisioning file as it stands; its ports are placeholders until servers run."""
    return tomllib.loads(path.read_text(encoding="utf-8"))


def occupants(office: Office) -> list[Occupant]:
    """All users, then all queues, in the order of the file."""
    return [_occupant(entry) for entry in (*office["user"], *office["queue"])]


def collection_address(office: Office) -> str:
    """The address of the first forward mailbox, where the copies go."""
    address: str = office["forward_mailbox"][0]["email_address"]
    return address


def people(office: Office, mail_password: str) -> list[Account]:
    """One account for every user, queue and forward mailbox; all share one password. Whose mail comes in through
    the forward mailbox has the forwarding rule for it."""
    collection = collection_address(office)
    forwarding = {one.address for one in occupants(office) if one.incoming == "forward"}
    return [
        Account(username, address, mail_password, collection if address in forwarding else "")
        for username, address in _sign_ins(office)
    ]


def _occupant(entry: Office) -> Occupant:
    mailbox = entry.get("mailbox", {})
    return Occupant(
        name=entry.get("full_name") or entry["name"],
        address=entry["email_address"],
        username=_username(entry),
        incoming=mailbox.get("incoming", "forward"),
        approved=bool(entry.get("approved", False)),
    )


def _sign_ins(office: Office) -> Iterator[tuple[str, str]]:
    for kind in ("user", "queue", "forward_mailbox"):
        for entry in office[kind]:
            yield _username(entry), entry["email_address"]


def _username(entry: Office) -> str:
    """The user name of its mailbox credentials, else its sign-in name, else what stands before the @."""
    credentials = entry.get("credentials") or entry.get("mailbox", {}).get("credentials", {})
    local_part: str = entry["email_address"].partition("@")[0]
    username: str = credentials.get("username") or entry.get("username") or local_part
    return username
