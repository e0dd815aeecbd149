"""The email server profile: how to speak to one mail server; many mailboxes share one."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Iterable
from ipaddress import ip_address
from typing import Any

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models, transaction
from django.db.models import Q
from django.db.models.functions import Lower
from django.db.models.lookups import Exact

from . import history
from .fields import EncryptedField
from .rules import FieldRule, Ruled, one_of
from .secrets import Secret
from .servertypes import (
    PROTOCOLS,
    TYPES_THAT_KEEP,
    TYPES_THAT_TELL,
    USUAL_PORTS,
    sign_in_is_available,
    type_is_available,
)
from .servertypes import AuthenticateUsing as AuthenticateUsing
from .servertypes import SecurityChoice as SecurityChoice
from .servertypes import ServerType as ServerType
from .wire import ENDS_A_COMMAND, Security

# Columns that nothing obeys yet: shown with the reason, and refused when somebody sets one.
NOT_OBEYED: dict[str, str] = {
    "caldav_url": "Not available in this version: there is no transport for calendars yet.",
    "carddav_url": "Not available in this version: there is no transport for address books yet.",
}

# A new value in one of these sends mail, and stored credentials, to another place.
LOCATION_FIELDS = (
    "incoming_host",
    "incoming_port",
    "incoming_security",
    "outgoing_host",
    "outgoing_port",
    "outgoing_security",
)
# A new value here can send a stored password that lay unused to a place it was not typed for.
SIGN_IN_FIELDS = ("authenticate_using", "username", "same_sign_in_for_outgoing", "outgoing_username")
# What mailboxes obey from their next cycle on, without a new test.
CYCLE_FIELDS = (
    "process_email_from",
    "min_polling_interval_minutes",
    "messages_per_cycle",
    "use_push",
    "sent_folder",
    "max_concurrent_connections",
    "timeout_seconds",
)
# What is said to servers or about them.
SPOKEN_FIELDS = (
    "incoming_host",
    "outgoing_host",
    "username",
    "password",
    "outgoing_username",
    "outgoing_password",
    "incoming_folder",
    "sent_folder",
)
# What a test vouches for.
CONNECTION_FIELDS = (
    *LOCATION_FIELDS,
    "server_type",
    "authenticate_using",
    "username",
    "password",
    "same_sign_in_for_outgoing",
    "outgoing_username",
    "outgoing_password",
    "incoming_folder",
    "caldav_url",
    "carddav_url",
)


def _port(default: int) -> models.PositiveIntegerField[int, int]:
    return models.PositiveIntegerField(
        default=default, validators=[MinValueValidator(1), MaxValueValidator(65535)]
    )


def _between(low: int, high: int, default: int) -> models.PositiveIntegerField[int, int]:
    return models.PositiveIntegerField(
        default=default, validators=[MinValueValidator(low), MaxValueValidator(high)]
    )


def _range_rule(field: str, low: int, high: int) -> FieldRule:
    return FieldRule(
        field=field,
        name=f"profile_{field}_in_range",
        condition=Q(**{f"{field}__gte": low, f"{field}__lte": high}),
        message=f"Choose a number from {low} to {high}.",
    )


class EmailServerProfile(Ruled):
    """`connection_version` grows with any change a connection depends on, `location_version` with any
    change of host, port or security; tests and stored credentials name the versions they belong to."""

    name = models.CharField("Name", max_length=200)
    description = models.TextField("Description", blank=True)
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.PROTECT, verbose_name="Owner", related_name="owned_profiles"
    )
    server_type = models.CharField(
        "Server Type", max_length=20, choices=ServerType.choices, default=ServerType.IMAP_SMTP
    )
    is_active = models.BooleanField("Active", default=True)
    is_default = models.BooleanField("Default for new mailboxes", default=False)

    incoming_host = models.CharField("Incoming server location", max_length=253, blank=True)
    incoming_security = models.CharField(
        "Incoming security", max_length=10, choices=SecurityChoice.choices, default=SecurityChoice.TLS
    )
    incoming_port = _port(993)
    outgoing_host = models.CharField("Outgoing server location", max_length=253, blank=True)
    outgoing_security = models.CharField(
        "Outgoing security", max_length=10, choices=SecurityChoice.choices, default=SecurityChoice.TLS
    )
    outgoing_port = _port(465)
    unencrypted_confirmed = models.BooleanField(
        "Mail and passwords may cross the network readable", default=False
    )

    authenticate_using = models.CharField(
        "Authenticate Using",
        max_length=20,
        choices=AuthenticateUsing.choices,
        default=AuthenticateUsing.MAILBOX,
    )
    username = models.CharField("User Name", max_length=254, blank=True)
    password = EncryptedField("Password")
    same_sign_in_for_outgoing = models.BooleanField("Same sign-in for outgoing", default=True)
    outgoing_username = models.CharField("Outgoing User Name", max_length=254, blank=True)
    outgoing_password = EncryptedField("Outgoing Password")

    incoming_folder = models.CharField("Folder to read", max_length=250, default="INBOX")
    caldav_url = models.URLField("Calendar location (CalDAV)", blank=True)
    carddav_url = models.URLField("Address book location (CardDAV)", blank=True)
    process_email_from = models.DateTimeField("Process Email From", null=True, blank=True)
    min_polling_interval_minutes = _between(0, 1440, 5)
    messages_per_cycle = _between(1, 100_000, 500)
    use_push = models.BooleanField("Collect as soon as mail arrives (IMAP IDLE)", default=False)
    move_undelivered = models.BooleanField(
        "Move undelivered emails to the undeliverable folder", default=False
    )
    sent_folder = models.CharField("Keep a copy of sent mail in", max_length=250, blank=True)
    max_concurrent_connections = _between(1, 65536, 10)
    timeout_seconds = _between(1, 100, 30)
    send_alert_email = models.BooleanField("Send an alert mail to the owner", default=False)

    connection_version = models.PositiveIntegerField(default=1, editable=False)
    location_version = models.PositiveIntegerField(default=1, editable=False)
    secret_id = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)
    changed_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering = ("name",)
        verbose_name = "email server profile"
        constraints = [
            models.UniqueConstraint(
                Lower("name"),
                name="profile_name_is_unique",
                violation_error_message="Another profile has this name. Choose a different one.",
            ),
            models.UniqueConstraint(
                fields=["is_default"],
                condition=Q(is_default=True),
                name="profile_one_default",
                violation_error_message="Another profile is the default already.",
            ),
            FieldRule(
                field="is_default",
                name="profile_default_is_active",
                condition=Q(is_default=False) | Q(is_active=True),
                message="An inactive profile cannot be the default for new mailboxes.",
            ),
            one_of("server_type", ServerType, "profile"),
            one_of("incoming_security", SecurityChoice, "profile"),
            one_of("outgoing_security", SecurityChoice, "profile"),
            one_of("authenticate_using", AuthenticateUsing, "profile"),
            _range_rule("incoming_port", 1, 65535),
            _range_rule("outgoing_port", 1, 65535),
            _range_rule("min_polling_interval_minutes", 0, 1440),
            _range_rule("messages_per_cycle", 1, 100_000),
            _range_rule("max_concurrent_connections", 1, 65536),
            _range_rule("timeout_seconds", 1, 100),
            FieldRule(
                field="incoming_host",
                name="profile_has_a_server",
                condition=~Q(incoming_host="") | ~Q(outgoing_host=""),
                message="Give the incoming or the outgoing server location, or both.",
            ),
            FieldRule(
                field="authenticate_using",
                name="profile_anonymous_only_sends",
                condition=~Q(authenticate_using=AuthenticateUsing.ANONYMOUS) | Q(incoming_host=""),
                message="Without credentials mail can only be sent: leave the incoming server location "
                "empty, or choose another sign-in.",
            ),
            FieldRule(
                field="username",
                name="profile_username_present",
                condition=~Q(authenticate_using=AuthenticateUsing.PROFILE) | ~Q(username=""),
                message="Type the user name of the account that opens the mailboxes of this profile.",
            ),
            FieldRule(
                field="password",
                name="profile_password_present",
                condition=~Q(authenticate_using=AuthenticateUsing.PROFILE) | ~Q(password=""),
                message="Type the password of the account that opens the mailboxes of this profile.",
            ),
            FieldRule(
                field="outgoing_username",
                name="profile_outgoing_username_present",
                condition=~Q(authenticate_using=AuthenticateUsing.PROFILE)
                | Q(same_sign_in_for_outgoing=True)
                | ~Q(outgoing_username=""),
                message="Type the user name for sending, or use the same sign-in for outgoing.",
            ),
            FieldRule(
                field="outgoing_password",
                name="profile_outgoing_password_present",
                condition=~Q(authenticate_using=AuthenticateUsing.PROFILE)
                | Q(same_sign_in_for_outgoing=True)
                | ~Q(outgoing_password=""),
                message="Type the password for sending, or use the same sign-in for outgoing.",
            ),
            FieldRule(
                field="authenticate_using",
                name="profile_pop3_opens_own_mailbox",
                condition=~Q(server_type=ServerType.POP3_SMTP)
                | ~Q(authenticate_using=AuthenticateUsing.PROFILE)
                | Q(incoming_host=""),
                message="POP3 cannot open another account's mailbox: choose Credentials Specified by a "
                "User or Queue.",
            ),
            FieldRule(
                field="max_concurrent_connections",
                name="profile_push_leaves_a_connection",
                condition=Q(use_push=False)
                | ~Q(server_type=ServerType.IMAP_SMTP)
                | Q(max_concurrent_connections__gte=2),
                message="Waiting for mail takes a connection of its own: allow at least 2, or choose not to collect as "
                "soon as mail arrives.",
            ),
            FieldRule(
                field="incoming_folder",
                name="profile_folder_present",
                condition=~Q(incoming_folder=""),
                message="Name the folder to read; it is INBOX on most servers.",
            ),
            FieldRule(
                field="sent_folder",
                name="profile_copies_are_not_read",
                condition=~Q(Exact(Lower("sent_folder"), Lower("incoming_folder"))),
                message="This folder is read: what is sent would be collected as if it had been received. Name another "
                "one.",
            ),
        ]

    def __str__(self) -> str:
        return self.name

    @classmethod
    def default(cls) -> EmailServerProfile | None:
        """The active profile that new mailboxes get."""
        return cls._default_manager.filter(is_default=True, is_active=True).first()

    @property
    def can_receive(self) -> bool:
        return bool(self.incoming_host)

    @property
    def can_send(self) -> bool:
        return bool(self.outgoing_host)

    @property
    def can_synchronize_act(self) -> bool:
        """Whether a transport for appointments, contacts, and tasks exists for this server: none yet."""
        return False

    @property
    def asks_for_push(self) -> bool:
        """Whether mail is to be collected as soon as it arrives, and such a server can tell."""
        return self.use_push and self.server_type in TYPES_THAT_TELL

    @property
    def keeps_copies(self) -> bool:
        """Whether a copy of sent mail is to be kept, and there is a server for it; without a sign-in there is none."""
        return bool(self.sent_folder) and self.server_type in TYPES_THAT_KEEP and self.can_receive

    @property
    def is_unencrypted(self) -> bool:
        """Whether any server location of this profile is used without TLS."""
        return any(
            host and security == SecurityChoice.NONE
            for host, security in (
                (self.incoming_host, self.incoming_security),
                (self.outgoing_host, self.outgoing_security),
            )
        )

    def clean(self) -> None:
        """Rules across rows, and those that SQL cannot see; raises ValidationError by field."""
        errors: dict[str, str] = {}
        for rule in CROSS_ROW_RULES:
            errors.update(rule(self))
        if errors:
            raise ValidationError(errors)

    def stored(self) -> EmailServerProfile | None:
        """The row as it stands in the database."""
        return type(self)._default_manager.filter(pk=self.pk).first() if self.pk else None

    def save(self, *args: Any, update_fields: Iterable[str] | None = None, **kwargs: Any) -> None:
        """Raises ValidationError when a rule across rows is broken by now, IntegrityError for a row's own."""
        names = None if update_fields is None else set(update_fields)
        with transaction.atomic():
            stored = self._lock()
            if stored is not None:
                self.clean()
                names = self._count_changes(stored, names)
            super().save(*args, update_fields=names, **kwargs)

    def _lock(self) -> EmailServerProfile | None:
        """This row as stored, all rows locked in one order: rules compare the places that profiles read.

        A mailbox locks the row of its profile, so what it reads is compared one save after the other, too.
        """
        if self.pk is None:
            return None
        all_rows = type(self)._default_manager.select_for_update()
        list(all_rows.order_by("pk").values_list("pk"))
        return all_rows.filter(pk=self.pk).first()

    def _count_changes(self, stored: EmailServerProfile, names: set[str] | None) -> set[str] | None:
        """Let the versions grow with what this save writes; returns all columns to write."""
        connection, location = written(CONNECTION_FIELDS, names), written(LOCATION_FIELDS, names)
        self.connection_version = stored.connection_version + changed(self, stored, connection)
        self.location_version = stored.location_version + changed(self, stored, location)
        return None if names is None else names | {"connection_version", "location_version", "changed_at"}


def changed(new: models.Model, stored: models.Model, fields: Iterable[str]) -> bool:
    """Whether any of these fields differs from the stored row.

    A secret differs when it was typed anew; what was not loaded (`defer`, `only`) does not differ.
    """
    return any(new.__dict__[name] != stored.__dict__.get(name) for name in fields if name in new.__dict__)


def written(fields: Iterable[str], names: set[str] | None) -> list[str]:
    """Those of `fields` that a save with these `update_fields` writes."""
    return [
        field for field in fields if names is None or field in names or field.removesuffix("_id") in names
    ]


def unspeakable(new: models.Model, fields: Iterable[str]) -> dict[str, str]:
    """A sentence for each of these fields that was typed now and can stand in no command to a server.

    What is stored so by an earlier version is no obstacle to other changes; no transport sends it.
    """
    broken = [name for name in fields if any(letter in _typed(new, name) for letter in ENDS_A_COMMAND)]
    if not broken:
        return {}
    stored = type(new)._default_manager.filter(pk=new.pk).first() if new.pk else None
    return {
        name: "This contains a line break or a NUL. Type it on one line."
        for name in broken
        if stored is None or changed(new, stored, (name,))
    }


def _typed(record: models.Model, name: str) -> str:
    """The text that stands in a field, or the secret that was typed; a sealed one stays sealed."""
    value = record.__dict__.get(name, "")
    return value.reveal() if isinstance(value, Secret) else str(value)


def _speakable(profile: EmailServerProfile) -> dict[str, str]:
    return unspeakable(profile, SPOKEN_FIELDS)


def _available(profile: EmailServerProfile) -> dict[str, str]:
    errors = {}
    if profile.server_type in PROTOCOLS and not type_is_available(profile.server_type):
        label = ServerType(profile.server_type).label
        errors["server_type"] = f"{label} is not available in this version: there is no transport for it yet."
    if not sign_in_is_available(profile.authenticate_using):
        errors["authenticate_using"] = (
            "OAuth 2.0 is not available in this version: no transport can use it yet."
        )
    return errors


def _obeyed(profile: EmailServerProfile) -> dict[str, str]:
    """No setting is taken that nothing obeys; one that an earlier version took is no obstacle."""
    stored = profile.stored()
    return {
        name: reason
        for name, reason in NOT_OBEYED.items()
        if getattr(profile, name) and (stored is None or changed(profile, stored, (name,)))
    }


def _location_needs_password(profile: EmailServerProfile) -> dict[str, str]:
    """A password is never sent to another place without the person who knows it."""
    stored = profile.stored()
    if stored is None or profile.authenticate_using != AuthenticateUsing.PROFILE:
        return {}
    if not changed(profile, stored, (*LOCATION_FIELDS, *SIGN_IN_FIELDS)):
        return {}
    used = ("password",) if profile.same_sign_in_for_outgoing else ("password", "outgoing_password")
    sentence = "The server location or the way to sign in changed: type the password again."
    return {
        name: sentence
        for name in used
        if getattr(stored, name) and not changed(profile, stored, (name,)) and getattr(profile, name)
    }


def _unencrypted_is_confirmed(profile: EmailServerProfile) -> dict[str, str]:
    if profile.unencrypted_confirmed:
        return {}
    return {
        f"{side}_security": "Without encryption everyone on the way can read mail and passwords. Choose "
        "SSL/TLS or STARTTLS, or confirm below that this is intended."
        for side in ("incoming", "outgoing")
        if getattr(profile, f"{side}_security") == SecurityChoice.NONE
        and getattr(profile, f"{side}_host")
        and not _is_loopback(getattr(profile, f"{side}_host"))
    }


def _is_loopback(host: str) -> bool:
    if host.lower() == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _mailboxes_keep_their_server(profile: EmailServerProfile) -> dict[str, str]:
    """What mailboxes use cannot be taken away from under them; their number is named."""
    stored = profile.stored()
    if stored is None:
        return {}
    lost = [side for side in ("incoming", "outgoing") if _loses_server(profile, stored, side)]
    counts = {side: _mailboxes(profile).filter(**{f"{side}_method": "server_side"}).count() for side in lost}
    return {
        f"{side}_host": f"{count} mailbox{'es use' if count > 1 else ' uses'} this profile for {side} email: "
        "choose another method or profile there first."
        for side, count in counts.items()
        if count
    }


def _loses_server(profile: EmailServerProfile, stored: EmailServerProfile, side: str) -> bool:
    return bool(getattr(stored, f"{side}_host")) and not getattr(profile, f"{side}_host")


def _mailboxes(profile: EmailServerProfile) -> models.QuerySet[Any]:
    """The mailboxes that chose this profile; what they are, this package does not know."""
    mailboxes: models.QuerySet[Any] = profile.mailboxes.all()
    return mailboxes


def _places_stay_apart(profile: EmailServerProfile) -> dict[str, str]:
    """An edit never makes two active mailboxes read the same folder of the same account."""
    stored = profile.stored()
    if stored is None or not changed(profile, stored, (*PLACE_FIELDS, "authenticate_using")):
        return {}
    others = EmailServerProfile.objects.filter(same_place(profile)).exclude(pk=profile.pk)
    read = Counter(account for one in (profile, *others) for account in _accounts_read(one))
    moved = next((account for account in _accounts_read(profile) if read[account] > 1), "")
    if not moved:
        return {}
    return {
        "incoming_host": f"With this change {read[moved]} mailboxes would read {profile.incoming_folder} of "
        f"{moved} on {profile.incoming_host}. Two mailboxes cannot collect from the same place."
    }


PLACE_FIELDS = ("incoming_host", "incoming_port", "incoming_folder", "server_type")
# Four doors of one server.
DOORS = tuple(
    USUAL_PORTS[kind, security] for kind in ("imap", "pop3") for security in (Security.TLS, Security.NONE)
)


def same_place(profile: EmailServerProfile, prefix: str = "") -> Q:
    """The profiles that read the same folder name on the same server; what POP3 reads is the INBOX."""
    ports = DOORS if profile.incoming_port in DOORS else (profile.incoming_port,)
    host = {f"{prefix}incoming_host__iexact": profile.incoming_host, f"{prefix}incoming_port__in": ports}
    pop3 = Q(**{f"{prefix}server_type": ServerType.POP3_SMTP})
    folder = "INBOX" if profile.server_type == ServerType.POP3_SMTP else profile.incoming_folder
    if folder.upper() == "INBOX":
        return Q(**host) & (pop3 | Q(**{f"{prefix}incoming_folder__iexact": folder}))
    return Q(**host) & ~pop3 & Q(**{f"{prefix}incoming_folder": folder})


def _accounts_read(profile: EmailServerProfile) -> list[str]:
    """The accounts that active mailboxes of this profile read, in lower case."""
    readers = _mailboxes(profile).filter(is_active=True, incoming_method="server_side")
    if profile.authenticate_using == AuthenticateUsing.PROFILE:
        accounts = readers.values_list("email_address", flat=True)
    else:
        accounts = readers.filter(allow_credentials=True).values_list("username", flat=True)
    return [account.lower() for account in accounts]


history.watch(
    EmailServerProfile,
    noise=("connection_version", "location_version", "secret_id", "created_at", "changed_at"),
    secrets=("password", "outgoing_password"),
    labels={
        "incoming_host": "Incoming Server Location",
        "incoming_security": "Incoming Security",
        "incoming_port": "Incoming Port",
        "outgoing_host": "Outgoing Server Location",
        "outgoing_security": "Outgoing Security",
        "outgoing_port": "Outgoing Port",
        "incoming_folder": "Folder to Read",
        "min_polling_interval_minutes": "Minimum Polling Interval in Minutes",
        "messages_per_cycle": "Messages per Cycle",
        "max_concurrent_connections": "Maximum Concurrent Connections",
        "timeout_seconds": "Timeout in Seconds",
        "credentials_confirmed": "Stored credentials",
    },
)


CROSS_ROW_RULES = (
    _speakable,
    _available,
    _obeyed,
    _location_needs_password,
    _unencrypted_is_confirmed,
    _mailboxes_keep_their_server,
    _places_stay_apart,
)


class KeyCanary(models.Model):
    """One sealed word that every process opens at its start: no wrong key passes for an empty password."""

    word = EncryptedField()
    secret_id = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)

    def __str__(self) -> str:
        return "key canary"
