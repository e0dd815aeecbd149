"""An office from a file: settings, profiles, users, queues and forward mailboxes are created or updated.

The order resolves the references: settings → users → profiles → the users' mailboxes → queues with their
mailboxes → forward mailboxes. Each table of the file is one entry of the report: new, changed, equal or
wrong. Everything happens in one transaction, which is rolled back when one entry is wrong, so that one
run names all faults and leaves no half of an office. What the file does not mention stays as it is.

There is no rule in here but those of a file (known keys, no record twice): the rules are the models',
and so are their sentences.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date, datetime, time
from difflib import get_close_matches
from enum import StrEnum
from pathlib import Path
from typing import Any

from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import NON_FIELD_ERRORS, ValidationError
from django.db import models, transaction
from django.db.models import Q
from django.utils import timezone

from emailprofiles.models import (
    LOCATION_FIELDS,
    SIGN_IN_FIELDS,
    EmailServerProfile,
    changed,
)
from emailprofiles.secrets import Secret, SecretUnreadable
from emailprofiles.servertypes import SIDES, usual_port

from .models import Approval, EmailConfigurationSettings, Mailbox, Queue, RoutingHeader, User
from .models.office import HEADER_LISTS
from .roles import GROUPS, Role, role_of, set_role

Table = dict[str, Any]


class Outcome(StrEnum):
    NEW = "new"
    CHANGED = "changed"
    EQUAL = "equal"
    WRONG = "wrong"


@dataclass(frozen=True, slots=True)
class Line:
    """What became of one entry; `why` names what changed, or says what is wrong, never a secret."""

    record: str
    outcome: Outcome
    why: str = ""

    def __str__(self) -> str:
        return f"{self.outcome:<8} {self.record}" + (f": {self.why}" if self.why else "")


@dataclass(frozen=True, slots=True)
class Report:
    """All entries in the order settings, profiles, users, queues, forward mailboxes."""

    lines: tuple[Line, ...]
    is_written: bool

    def count(self, outcome: Outcome) -> int:
        return sum(line.outcome == outcome for line in self.lines)

    @property
    def wrong(self) -> int:
        return self.count(Outcome.WRONG)


def apply(
    data: Mapping[str, Any],
    *,
    dry_run: bool = False,
    env: Mapping[str, str] = os.environ,
    folder: Path = Path(),
) -> Report:
    """Create and update what `data` (a parsed provisioning file) describes; writes all of it or nothing.

    `env` answers `password_env`; a relative `password_file` starts at `folder`.
    """
    with transaction.atomic():
        provisioning = _Provisioning(data, _Secrets(env, folder))
        provisioning.run()
        lines = tuple(entry.line() for entry in provisioning.entries())
        is_written = not dry_run and all(line.outcome != Outcome.WRONG for line in lines)
        transaction.set_rollback(not is_written)
    return Report(lines, is_written)


# What may stand in the file: VALUE (text, number, yes or no, date), LIST (of texts), or a table of such.
VALUE, LIST, LINES = "one value", "a list of texts", "a text, or a list of texts"
Schema = Mapping[str, Any]


def _values(*names: str) -> Table:
    return dict.fromkeys(names, VALUE)


def _secret(name: str) -> Table:
    return _values(name, f"{name}_env", f"{name}_file")


def _plain_fields(model: type[models.Model], *left_out: str) -> list[str]:
    """The names of the model's editable columns that are neither keys nor in `left_out`."""
    return [
        column.name
        for column in model._meta.concrete_fields
        if column.editable and not (column.primary_key or column.is_relation) and column.name not in left_out
    ]


SETTINGS_FIELDS = _plain_fields(EmailConfigurationSettings)
PROFILE_FIELDS = _plain_fields(EmailServerProfile, *LOCATION_FIELDS)
USER_FIELDS = ["username", "is_active", "theme", "time_zone", "language", "incoming_filter", "signature"]
QUEUE_FIELDS = _plain_fields(Queue)
FORWARD_FIELDS = ["name", "email_address", "is_active"]

SERVER = _values("host", "port", "security")
MAILBOX = _values("incoming", "outgoing", "act", "delete_emails_after_processing", "profile") | {
    "credentials": _values("username") | _secret("password")
}
SCHEMAS: dict[str, Schema] = {
    "settings": _values(*SETTINGS_FIELDS, "default_server_profile")
    | {
        "routing_headers": LIST,
        "untrusted_routing_headers": LIST,
        "trusted_servers": LINES,
        "blocked_attachment_extensions": LINES,
    },
    "profile": _values(*PROFILE_FIELDS, "owner")
    | _secret("password")
    | _secret("outgoing_password")
    | {"incoming": SERVER, "outgoing": SERVER},
    "user": _values(*USER_FIELDS, "full_name", "email_address", "role", "approved")
    | _secret("password")
    | {"additional_addresses": LIST, "mailbox": MAILBOX},
    "queue": _values(*QUEUE_FIELDS, "owner", "approved")
    | {"additional_addresses": LIST, "members": LIST, "mailbox": MAILBOX},
    "forward_mailbox": _values(*FORWARD_FIELDS, "owner", "approved") | MAILBOX,
}

# Columns that the file calls by another name.
FILE_NAMES = {
    "email": "email_address",
    "first_name": "full_name",
    "last_name": "full_name",
    "server_profile": "profile",
    "incoming_method": "incoming",
    "outgoing_method": "outgoing",
    "act_method": "act",
    "approval": "approved",
    "approval_at": "approved",
    "approval_by": "approved",
} | {name: name.replace("_", ".", 1) for name in LOCATION_FIELDS}
CREDENTIAL_NAMES = {
    "allow_credentials": "credentials",
    "username": "credentials.username",
    "password": "credentials.password",
}


class Fault(Exception):
    """Something in the file is wrong; the message is "key: sentence"."""


@dataclass
class Entry:
    """One table of the file on its way into the database."""

    label: str
    table: Table = field(repr=False)
    record: Any = None
    is_new: bool = False
    changes: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    def line(self) -> Line:
        if self.faults:
            return Line(self.label, Outcome.WRONG, " ".join(dict.fromkeys(self.faults)))
        if self.is_new:
            return Line(self.label, Outcome.NEW)
        outcome = Outcome.CHANGED if self.changes else Outcome.EQUAL
        return Line(self.label, outcome, ", ".join(dict.fromkeys(self.changes)))


class _Secrets:
    """Finds what `password`, `password_env` and `password_file` name."""

    def __init__(self, env: Mapping[str, str], folder: Path) -> None:
        self._env = env
        self._folder = folder

    def find(self, table: Table, name: str, prefix: str = "") -> str | None:
        """The clear text; None when the table has none. Raises Fault."""
        given = [key for key in _secret(name) if key in table]
        if not given:
            return None
        if len(given) > 1:
            raise Fault(f"{prefix}{name}: give only one of {', '.join(given)}.")
        key, value = given[0], table[given[0]]
        if not isinstance(value, str):
            raise Fault(f"{prefix}{key}: expected a text.")
        clear = self._read(key, value, prefix)
        if not clear:
            raise Fault(f"{prefix}{key}: is empty.")
        return clear

    def _read(self, key: str, value: str, prefix: str) -> str:
        if key.endswith("_env"):
            if value not in self._env:
                raise Fault(f"{prefix}{key}: the environment variable {value} is not set.")
            return self._env[value]
        if key.endswith("_file"):
            return self._read_file(value, f"{prefix}{key}")
        return value

    def _read_file(self, name: str, key: str) -> str:
        try:
            return (self._folder / name).read_text(encoding="utf-8").removesuffix("\n").removesuffix("\r")
        except OSError as error:
            raise Fault(f"{key}: {name} cannot be read ({error.strerror}).") from error
        except UnicodeDecodeError as error:
            raise Fault(f"{key}: {name} is not UTF-8 text.") from error


class _Provisioning:
    """One run over one file."""

    def __init__(self, data: Mapping[str, Any], secrets: _Secrets) -> None:
        self._secrets = secrets
        self._file = Entry("file", {})
        self._sections = {section: list(self._section(data, section)) for section in SCHEMAS}
        self._file.faults += [
            f"{section}: there is no such section{_nearest(section, SCHEMAS)}"
            for section in data
            if section not in SCHEMAS
        ]
        self._seen: set[tuple[type[models.Model], int]] = set()

    def entries(self) -> Iterator[Entry]:
        if self._file.faults:
            yield self._file
        for section in self._sections.values():
            yield from section

    def run(self) -> None:
        self._each(self._sections["settings"], self._settings)
        # Addresses may change hands in either direction: all are given up before the first one is taken.
        self._each(self._sections["user"], self._give_up_user_addresses)
        self._each(self._sections["queue"], self._give_up_queue_addresses)
        self._each(self._sections["user"], self._user)
        # A new administrator comes before the last one goes, the old default goes before the new one comes.
        self._each(_those_with_last("role", Role.ADMINISTRATOR, self._sections["user"])[::-1], self._role)
        self._each(_those_with_last("is_default", True, self._sections["profile"]), self._profile)
        self._each(self._sections["settings"], self._default_profile)
        self._each(self._sections["user"], self._regarding_mailbox)
        self._each(self._sections["queue"], self._queue)
        self._each(self._sections["queue"], self._regarding_mailbox)
        self._each(self._sections["forward_mailbox"], self._forward_mailbox)
        self._each([*self._sections["user"], *self._sections["queue"]], self._additional_addresses)

    def _section(self, data: Mapping[str, Any], section: str) -> Iterator[Entry]:
        tables = data.get(section, [])
        if section == "settings" and isinstance(tables, dict):
            tables = [tables]
        if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
            brackets = "[settings]" if section == "settings" else f"[[{section}]]"
            self._file.faults.append(f"{section}: write it as {brackets}.")
            return
        for number, table in enumerate(tables, 1):
            entry = Entry(_label(section, table, number), {})
            entry.table = _known(table, SCHEMAS[section], entry.faults)
            yield entry

    def _each(self, entries: list[Entry], step: Callable[[Entry], None]) -> None:
        for entry in entries:
            try:
                step(entry)
            except Fault as fault:
                entry.faults.append(str(fault))
            except ValidationError as error:
                entry.faults += _sentences(error, entry.record, "")

    # The steps, in the order of run(); each raises Fault or adds to the faults of its entry.

    def _settings(self, entry: Entry) -> None:
        entry.record = EmailConfigurationSettings.load()
        _set(entry.record, _with_lines(entry.table), SETTINGS_FIELDS)
        self._store(entry, entry.record)
        stored = {key: RoutingHeader.names(is_trusted=key == "routing_headers") for key in HEADER_LISTS}
        wanted = {key: tuple(entry.table.get(key, stored[key])) for key in HEADER_LISTS}
        if wanted != stored:
            _judge_headers(wanted)
            RoutingHeader.replace(*wanted.values())
            entry.changes += [key for key in HEADER_LISTS if wanted[key] != stored[key]]

    def _give_up_user_addresses(self, entry: Entry) -> None:
        self._give_up(entry, _find_user(entry.table))

    def _give_up_queue_addresses(self, entry: Entry) -> None:
        with suppress(Fault):  # told when the queue's turn comes
            self._give_up(entry, _find_queue(entry.table))

    def _give_up(self, entry: Entry, regarding: User | Queue | None) -> None:
        """Take away the additional addresses that the file does not give to whoever has them."""
        wanted = entry.table.get("additional_addresses")
        if regarding is None or wanted is None:
            return
        mailbox = _mailbox_of(regarding)
        stay = {address.strip().lower() for address in wanted}
        has = mailbox.additional_addresses.values_list("address", flat=True)
        if mailbox.put_additional_addresses([address for address in has if address in stay]):
            entry.changes.append("additional_addresses")

    def _user(self, entry: Entry) -> None:
        user = _find_user(entry.table) or User()
        self._take(entry, user)
        _set(user, entry.table, USER_FIELDS)
        if "email_address" in entry.table:
            user.email = entry.table["email_address"]
        if "full_name" in entry.table and str(entry.table["full_name"]) != user.get_full_name():
            user.first_name, _, user.last_name = str(entry.table["full_name"]).strip().partition(" ")
        self._sign_in_password(entry, user)
        if self._store(entry, user):
            entry.record = user

    def _sign_in_password(self, entry: Entry, user: User) -> None:
        clear = self._secrets.find(entry.table, "password")
        if clear is None:
            if not user.password:
                user.set_unusable_password()
        elif not user.password or not user.check_password(clear):
            entry.faults += _weaknesses(clear, user, entry.table)
            user.set_password(clear)

    def _role(self, entry: Entry) -> None:
        user: User | None = entry.record
        if user is None or "role" not in entry.table:
            return
        if entry.table["role"] not in Role.values:
            raise Fault(f"role: choose one of {', '.join(Role.values)}.")
        role = Role(entry.table["role"])
        if role == role_of(user):
            return
        if user.is_superuser:
            raise Fault("role: a superuser is always an administrator.")
        set_role(user, role)
        entry.changes.append("role")

    def _profile(self, entry: Entry) -> None:
        table, name = entry.table, str(entry.table.get("name", ""))
        profile = EmailServerProfile.objects.filter(name__iexact=name).first() or EmailServerProfile()
        self._take(entry, profile)
        former_ports = _usual_ports(profile)
        _set(profile, table, PROFILE_FIELDS)
        _set_servers(profile, table, former_ports)
        self._owner(entry, profile)
        self._profile_secrets(entry, profile)
        if self._store(entry, profile):
            entry.record = profile

    def _profile_secrets(self, entry: Entry, profile: EmailServerProfile) -> None:
        stored = profile.stored()
        moved = stored is not None and changed(profile, stored, (*LOCATION_FIELDS, *SIGN_IN_FIELDS))
        for name in ("password", "outgoing_password"):
            _type(profile, name, self._secrets.find(entry.table, name), again=moved)

    def _default_profile(self, entry: Entry) -> None:
        name = entry.table.get("default_server_profile")
        if name is None:
            return
        profile = self._find_profile(name, "default_server_profile")
        for other in self._sections["profile"]:
            if other.record and other.table.get("is_default", other.record == profile) != (
                other.record == profile
            ):
                raise Fault(f"default_server_profile: is_default of the {other.label} says something else.")
        if not profile.is_default:
            _hand_over_default(profile)
            entry.changes.append("default_server_profile")

    def _queue(self, entry: Entry) -> None:
        queue = _find_queue(entry.table) or Queue()
        self._take(entry, queue)
        _set(queue, entry.table, QUEUE_FIELDS)
        self._owner(entry, queue)
        if not self._store(entry, queue):
            return
        entry.record = queue
        if "members" in entry.table:
            self._members(entry, queue)

    def _members(self, entry: Entry, queue: Queue) -> None:
        members = {self._find_user(username, "members") for username in entry.table["members"]}
        if members != set(queue.members.all()):
            queue.members.set(members)
            entry.changes.append("members")

    def _regarding_mailbox(self, entry: Entry) -> None:
        """The mailbox that a user or queue already has by now."""
        if entry.record is None:
            return
        mailbox = _mailbox_of(entry.record)
        if entry.is_new:  # made before the profiles of this file
            _fill_from_defaults(mailbox)
        self._set_mailbox(mailbox, entry.table.get("mailbox", {}), "mailbox.")
        _approve(mailbox, entry.table)
        self._store(entry, mailbox, "mailbox.")

    def _additional_addresses(self, entry: Entry) -> None:
        addresses = entry.table.get("additional_addresses")
        if entry.record is None or addresses is None:
            return
        if _mailbox_of(entry.record).put_additional_addresses(addresses):
            entry.changes.append("additional_addresses")

    def _forward_mailbox(self, entry: Entry) -> None:
        known = Mailbox.objects.filter(
            is_forward_mailbox=True, email_address__iexact=str(entry.table.get("email_address", ""))
        )
        mailbox = known.order_by("-is_active").first() or Mailbox.new_forward()
        self._take(entry, mailbox)
        _set(mailbox, entry.table, FORWARD_FIELDS)
        self._owner(entry, mailbox)
        self._set_mailbox(mailbox, entry.table)
        _approve(mailbox, entry.table)
        if self._store(entry, mailbox):
            entry.record = mailbox

    def _set_mailbox(self, mailbox: Mailbox, table: Table, prefix: str = "") -> None:
        for key in ("incoming", "outgoing", "act"):
            if key in table:
                setattr(mailbox, f"{key}_method", table[key])
        _set(mailbox, table, ["delete_emails_after_processing"])
        if "profile" in table:
            mailbox.server_profile = self._find_profile(table["profile"], f"{prefix}profile")
        elif mailbox.server_profile is None and _asks_for_a_server(mailbox):
            mailbox.server_profile = EmailServerProfile.objects.filter(is_default=True).first()
        if "credentials" in table:
            self._credentials(mailbox, table["credentials"], f"{prefix}credentials.")

    def _credentials(self, mailbox: Mailbox, table: Table, prefix: str) -> None:
        mailbox.allow_credentials = True
        _set(mailbox, table, ["username"])
        stored = Mailbox.objects.filter(pk=mailbox.pk).first()
        _type(
            mailbox,
            "password",
            self._secrets.find(table, "password", prefix),
            again=stored is not None and _needs_typing_again(mailbox, stored),
        )

    def _take(self, entry: Entry, record: models.Model) -> None:
        """Note whether it is new; a record that stands twice in a file would change with every run."""
        entry.is_new = record.pk is None
        if (type(record), record.pk) in self._seen:
            raise Fault("This record stands in the file already.")

    def _store(self, entry: Entry, record: models.Model, prefix: str = "") -> bool:
        """Save a record if anything changed; False, and its sentences in the entry, when it breaks a rule."""
        try:
            with transaction.atomic():
                record.clean_fields()  # before full_clean(), whose rules across rows expect clean values
                record.full_clean()
                changes = _changes(record)
                if changes or record.pk is None:
                    record.save()
        except ValidationError as error:
            entry.faults += _sentences(error, record, prefix)
            return False
        entry.changes += [prefix + _file_name(name, record) for name in changes]
        self._seen.add((type(record), record.pk))
        return True

    def _owner(self, entry: Entry, record: Any) -> None:
        if "owner" in entry.table:
            record.owner = self._find_user(entry.table["owner"], "owner")
        elif entry.is_new and (administrator := self._administrator()):
            record.owner = administrator

    def _administrator(self) -> User | None:
        """Who owns what has no owner in the file: its first administrator, else one that was there before."""
        for entry in self._sections["user"]:
            if entry.record and entry.table.get("role") == Role.ADMINISTRATOR:
                user: User = entry.record
                return user
        group, _ = GROUPS[Role.ADMINISTRATOR]
        administrators = User.objects.filter(Q(is_superuser=True) | Q(groups__name=group), is_active=True)
        return administrators.order_by("pk").first()

    def _find_user(self, username: Any, key: str) -> User:
        user = User.objects.filter(username=username).first()
        if user is None:
            known = [*User.objects.values_list("username", flat=True)[:1000]]
            raise Fault(f"{key}: {self._absent('user', 'username', username, known)}")
        return user

    def _find_profile(self, name: Any, key: str) -> EmailServerProfile:
        profile = EmailServerProfile.objects.filter(name__iexact=str(name)).first()
        if profile is None:
            known = [*EmailServerProfile.objects.values_list("name", flat=True)[:1000]]
            raise Fault(f"{key}: {self._absent('profile', 'name', name, known)}")
        return profile

    def _absent(self, section: str, key: str, value: Any, known: list[str]) -> str:
        if any(entry.table.get(key) == value for entry in self._sections[section]):
            return f"the {section} {value} of this file is wrong itself."
        return f"there is no {section} {value}{_nearest(str(value), known)}"


def _label(section: str, table: Table, number: int) -> str:
    kind = section.replace("_", " ")
    if section == "settings":
        return kind
    names = ("username" if section == "user" else "name", "email_address")
    return f"{kind} {next((table[name] for name in names if name in table), f'number {number}')}"


def _with_lines(table: Table) -> Table:
    """The table with lists of texts as the settings keep them, one on each line."""
    return {
        key: "\n".join(value) if isinstance(value, list) and key in SETTINGS_FIELDS else value
        for key, value in table.items()
    }


def _judge_headers(lists: Mapping[str, tuple[str, ...]]) -> None:
    """Raises Fault for a name that is no header, or that stands there twice."""
    seen: set[str] = set()
    for key, names in lists.items():
        for name in names:
            try:
                RoutingHeader(position=0, name=name).full_clean(validate_unique=False)
            except ValidationError as error:
                raise Fault(f"{key}: {name!r}: {' '.join(error.messages)}") from error
            if name.lower() in seen:
                raise Fault(f"{key}: {name!r} stands in the lists of routing headers twice.")
            seen.add(name.lower())


def _those_with_last(key: str, value: object, entries: list[Entry]) -> list[Entry]:
    """The entries in their order, but those whose `key` has this value at the end."""
    return sorted(entries, key=lambda entry: entry.table.get(key) == value)


def _known(table: Table, schema: Schema, faults: list[str], prefix: str = "") -> Table:
    """The part of a table that the schema knows; the rest is told in `faults`."""
    known: Table = {}
    for key, value in table.items():
        wanted = schema.get(key)
        if wanted is None:
            faults.append(f"{prefix}{key}: there is no such key{_nearest(key, schema)}")
        elif isinstance(wanted, dict) and isinstance(value, dict):
            known[key] = _known(value, wanted, faults, f"{prefix}{key}.")
        elif _fits(value, wanted):
            known[key] = value
        else:
            expected = (
                wanted if isinstance(wanted, str) else f"a table such as {{ {next(iter(wanted))} = … }}"
            )
            faults.append(f"{prefix}{key}: expected {expected}.")
    return known


def _fits(value: Any, wanted: Any) -> bool:
    if wanted == LIST:
        return isinstance(value, list) and all(isinstance(item, str) for item in value)
    if wanted == LINES:
        return isinstance(value, str) or _fits(value, LIST)
    return wanted == VALUE and not isinstance(value, list | dict)


def _nearest(name: str, known: Any) -> str:
    close = get_close_matches(name, list(known), n=1)
    return f"; did you mean {close[0]}?" if close else "."


def _set(record: models.Model, table: Table, names: list[str]) -> None:
    for name in names:
        if name in table:
            setattr(record, name, _aware(table[name]))


def _aware(value: Any) -> Any:
    """TOML's local dates and times are meant in the time zone of the settings."""
    if isinstance(value, date) and not isinstance(value, datetime):
        value = datetime.combine(value, time())
    if isinstance(value, datetime) and timezone.is_naive(value):
        return timezone.make_aware(value)
    return value


def _weaknesses(clear: str, user: User, table: Table) -> list[str]:
    """What Django's password validators have against a sign-in password, at the key that gave it."""
    try:
        validate_password(clear, user)
    except ValidationError as error:
        key = next(key for key in _secret("password") if key in table)
        return [f"{key}: {' '.join(error.messages)}"]
    return []


def _usual_ports(profile: EmailServerProfile) -> dict[str, int | None]:
    return {
        side: usual_port(profile.server_type, side, getattr(profile, f"{side}_security")) for side in SIDES
    }


def _set_servers(profile: EmailServerProfile, table: Table, former_ports: dict[str, int | None]) -> None:
    """Where no port is given, a usual port stays the usual one, whatever type and security become."""
    for side in SIDES:
        for key, value in table.get(side, {}).items():
            setattr(profile, f"{side}_{key}", value)
    for side, usual in _usual_ports(profile).items():
        follows = getattr(profile, f"{side}_port") == former_ports[side]
        if usual and follows and "port" not in table.get(side, {}):
            setattr(profile, f"{side}_port", usual)


def _type(record: models.Model, name: str, clear: str | None, *, again: bool) -> None:
    """Set a secret if it differs from the stored one, or has to be typed again."""
    if clear is not None and (again or _differs(getattr(record, name), clear)):
        setattr(record, name, Secret(clear))


def _differs(stored: Secret, clear: str) -> bool:
    try:
        return stored.reveal() != clear
    except SecretUnreadable:
        return True


def _needs_typing_again(mailbox: Mailbox, stored: Mailbox) -> bool:
    """Whether the password goes elsewhere, or under another name, than when it was stored."""
    if changed(mailbox, stored, ("username", "server_profile_id")):
        return True
    profile = mailbox.server_profile
    return profile is not None and stored.credentials_location_version != profile.location_version


def _fill_from_defaults(mailbox: Mailbox) -> None:
    regarding = mailbox.regarding
    assert regarding is not None
    fresh = Mailbox.new_for(regarding)
    for name in ("server_profile", "incoming_method", "outgoing_method", "act_method"):
        setattr(mailbox, name, getattr(fresh, name))


def _asks_for_a_server(mailbox: Mailbox) -> bool:
    return "server_side" in (mailbox.incoming_method, mailbox.outgoing_method, mailbox.act_method)


def _approve(mailbox: Mailbox, table: Table) -> None:
    approved = table.get("approved", False)
    if not isinstance(approved, bool):
        raise Fault("approved: expected true or false.")
    if approved and mailbox.approval != Approval.APPROVED:
        mailbox.approval, mailbox.approval_by, mailbox.approval_at = Approval.APPROVED, None, timezone.now()


def _mailbox_of(regarding: User | Queue) -> Mailbox:
    return Mailbox.objects.get(**{regarding.kind: regarding})


def _find_user(table: Table) -> User | None:
    return User.objects.filter(username=table.get("username", "")).first()


def _find_queue(table: Table) -> Queue | None:
    address, name = str(table.get("email_address", "")), str(table.get("name", ""))
    at_address = Queue.objects.filter(email_address__iexact=address).order_by("-is_active").first()
    if at_address:
        return at_address
    named = list(Queue.objects.filter(name__iexact=name)[:2])
    if len(named) > 1:
        raise Fault(f"name: several queues are called {name}, and none of them has this address.")
    return named[0] if named else None


def _hand_over_default(profile: EmailServerProfile) -> None:
    for former in EmailServerProfile.objects.filter(is_default=True):
        former.is_default = False
        former.save(update_fields=["is_default"])
    profile.is_default = True
    try:
        profile.full_clean()
    except ValidationError as error:
        raise Fault(f"default_server_profile: {' '.join(error.messages)}") from error
    profile.save(update_fields=["is_default"])


def _changes(record: models.Model) -> list[str]:
    """The columns in which a record differs from its stored row; none for a new record."""
    stored = type(record)._default_manager.filter(pk=record.pk).first()
    if stored is None:
        return []
    columns = record._meta.concrete_fields
    return [column.name for column in columns if changed(record, stored, (column.attname,))]


def _sentences(error: ValidationError, record: models.Model, prefix: str) -> list[str]:
    return [
        " ".join(messages)
        if name == NON_FIELD_ERRORS
        else f"{prefix}{_file_name(name, record)}: {' '.join(messages)}"
        for name, messages in error.message_dict.items()
    ]


def _file_name(name: str, record: models.Model) -> str:
    if isinstance(record, Mailbox) and name in CREDENTIAL_NAMES:
        return CREDENTIAL_NAMES[name]
    return FILE_NAMES.get(name, name)
