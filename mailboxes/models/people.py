"""Users and queues: those whose mail it is. Each has exactly one mailbox, made together with it."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from functools import cache
from typing import Any, cast
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from django.conf import settings
from django.contrib.auth.models import AbstractUser
from django.core.exceptions import ValidationError
from django.db import models, transaction
from django.db.models import Q
from django.db.models.functions import Length, Lower
from django.db.models.lookups import LessThanOrEqual
from django.utils import timezone

from emailprofiles import history
from emailprofiles.models import changed, written
from emailprofiles.prefixes import index
from emailprofiles.rules import FieldRule

from ..roles import LAST_ADMINISTRATOR, is_last_administrator
from .choices import IncomingFilter, Kind, Theme


@cache
def time_zones() -> tuple[str, ...]:
    """The names of all time zones, in order."""
    return tuple(sorted(available_timezones()))


# Field and sentence of each rule; the sentence is "" where the rule is kept.
Rules = Iterable[tuple[str, str]]


def _raise_what_is_broken(rules: Rules) -> None:
    if broken := {field: sentence for field, sentence in rules if sentence}:
        raise ValidationError(broken)


SIGNATURE_LETTERS, SIGNATURE_LINES = 2000, 20


def _signature_length(model: str) -> FieldRule:
    return FieldRule(
        field="signature",
        name=f"{model}_signature_length",
        condition=Q(LessThanOrEqual(Length("signature"), SIGNATURE_LETTERS)),
        message=f"Write at most {SIGNATURE_LETTERS} characters.",
    )


def _unfit(signature: str) -> str:
    """Why this cannot stand below a mail; "" when it can. How long it may be, the database says."""
    if lines := [number for number, line in enumerate(signature.split("\n"), 1) if _has_control(line)]:
        return f"Line {lines[0]} contains a control character. Type plain text."
    count = signature.count("\n") + 1
    return f"{count} lines are too many: write at most {SIGNATURE_LINES}." if count > SIGNATURE_LINES else ""


def _has_control(line: str) -> bool:
    return any(unicodedata.category(letter) == "Cc" for letter in line if letter != "\t")


class Regarding(models.Model):
    """What users and queues have in common: an address that is also their mailbox's.

    One fact with two homes is kept equal by one pair of functions: `save()` here and
    `Mailbox.save()`. Both lock the mailbox first, then the user or queue.
    """

    address_field: str
    kind: Kind
    incoming_filter: str
    signature: str

    class Meta:
        abstract = True

    @property
    def address(self) -> str:
        return cast(str, getattr(self, self.address_field))

    @property
    def label(self) -> str:
        """The name people know it by."""
        raise NotImplementedError

    @property
    def active(self) -> bool:
        raise NotImplementedError

    def mailbox_owner(self) -> User:
        """Who owns its mailbox."""
        raise NotImplementedError

    def clean(self) -> None:
        """The rules across rows; raises ValidationError by field. A signature ends its lines with line feeds alone."""
        super().clean()
        written = self.signature.replace("\r\n", "\n").replace("\r", "\n")
        self.signature = "\n".join(line.rstrip(" \t") for line in written.strip().split("\n"))
        unfit = ("signature", _unfit(self.signature))
        _raise_what_is_broken([*self._rules_across_rows(), *self._rules_of_choices(), unfit])

    def _rules_across_rows(self) -> Rules:
        """Decided once more under the locks of a save."""
        yield self.address_field, self._address_in_use()
        yield "is_active", self.is_needed()

    def _rules_of_choices(self) -> Rules:
        return ()

    def is_needed(self) -> str:
        """Why it cannot be inactive, as it is now; "" when it can, or is active."""
        return ""

    def _address_in_use(self) -> str:
        from .mailbox import address_holder

        if not self.active:
            return ""
        holder = address_holder(self.address, regarding=self)
        return f"{self.address} already belongs to {holder}. Choose another address." if holder else ""

    def save(self, *args: Any, update_fields: Iterable[str] | None = None, **kwargs: Any) -> None:
        """Saves the row and keeps its mailbox in step; raises ValidationError when the address is taken."""
        from .mailbox import Mailbox

        names = None if update_fields is None else set(update_fields)
        if not written([self.address_field, "is_active", "owner_id"], names):
            super().save(*args, update_fields=names, **kwargs)
            return
        with transaction.atomic():
            mailbox = (
                Mailbox.objects.select_for_update().filter(**{self.kind: self}).first() if self.pk else None
            )
            self._check_again(names)
            super().save(*args, update_fields=names, **kwargs)
            if mailbox is None:
                Mailbox.new_for(self).save()
            else:
                mailbox.follow(self if names is None else type(self)._default_manager.get(pk=self.pk))

    def _check_again(self, names: set[str] | None) -> None:
        """The rules across rows, under the locks that make them final."""
        from .office import EmailConfigurationSettings

        stored = type(self)._default_manager.select_for_update().filter(pk=self.pk).first()
        if stored is None or changed(self, stored, written([self.address_field, "is_active"], names)):
            EmailConfigurationSettings.lock()
            _raise_what_is_broken(self._rules_across_rows())

    def keep_address(self, address: str) -> None:
        """Take over an address that was changed at the mailbox, whose row the caller has locked."""
        locked = type(self)._default_manager.select_for_update().get(pk=self.pk)
        setattr(self, self.address_field, address)
        if locked.address != address:
            setattr(locked, self.address_field, address)
            models.Model.save(locked, update_fields=[self.address_field])


class User(Regarding, AbstractUser):
    """A person who signs in here and whose mail is synchronized."""

    email = models.EmailField("Email address", max_length=254)
    theme = models.CharField(max_length=10, choices=Theme.choices, default=Theme.AUTO)
    time_zone = models.CharField("Time zone", max_length=60, default="UTC")
    language = models.CharField(max_length=10, default="en")
    signature = models.TextField("Signature", blank=True)
    incoming_filter = models.CharField(
        max_length=20, choices=IncomingFilter.choices, default=IncomingFilter.ALL
    )

    REQUIRED_FIELDS = ["email"]
    address_field = "email"
    kind = Kind.USER

    class Meta(AbstractUser.Meta):
        abstract = False
        ordering = ("username",)
        indexes = [
            index(column, f"user_{column}_begins")
            for column in ("first_name", "last_name", "username", "email")
        ]
        constraints = [
            models.UniqueConstraint(
                Lower("email"),
                condition=Q(is_active=True),
                name="user_email_is_unique",
                violation_error_message="Another active user has this address.",
            ),
            _signature_length("user"),
        ]

    def __str__(self) -> str:
        return self.label

    @property
    def label(self) -> str:
        return self.get_full_name() or self.get_username()

    @property
    def initials(self) -> str:
        words = self.label.split()
        return "".join(word[0] for word in (words[:1] + words[1:][-1:])).upper()

    @property
    def active(self) -> bool:
        return self.is_active

    @property
    def zone(self) -> ZoneInfo | None:
        """In which times are shown and told to this person; None where the chosen one exists no more."""
        try:
            return ZoneInfo(self.time_zone)
        except ZoneInfoNotFoundError:
            return None

    def mailbox_owner(self) -> User:
        return self

    def check_password(self, raw_password: str | None) -> bool:
        """As Django does; that it then may store the same password under a stronger hash is no change."""
        with history.silent():
            return super().check_password(raw_password)

    @property
    def open_sessions(self) -> int:
        """In how many browsers this person is signed in."""
        return self.sessions.filter(expire_date__gt=timezone.now()).count()

    @property
    def recent_sign_in_events(self) -> list[Any]:
        return list(self.sign_in_events.select_related("by")[:5])

    def save(self, *args: Any, **kwargs: Any) -> None:
        """A new password, and a deactivation, end all sessions and the one-time link in the same transaction."""
        from .signin import SignInLink

        # Django keeps what was typed until the save; a hash that is only made stronger leaves nothing there.
        ends = getattr(self, "_password", None) is not None or not self.is_active
        with transaction.atomic():
            super().save(*args, **kwargs)
            if ends:
                self.sessions.all().delete()
                SignInLink.objects.filter(user=self).delete()

    def clean(self) -> None:
        AbstractUser.clean(self)
        Regarding.clean(self)

    def _rules_of_choices(self) -> Rules:
        known = self.time_zone in time_zones()
        yield "time_zone", "" if known else "Type the name of a time zone, such as Europe/Berlin."
        spoken = dict(settings.LANGUAGES)
        languages = ", ".join(f"{name} ({code})" for code, name in spoken.items())
        yield "language", "" if self.language in spoken else f"Choose one of: {languages}."

    def is_needed(self) -> str:
        if self.is_active or not self.pk:
            return ""
        if owned := self.owned():
            return f"{self.label} owns {', '.join(owned)}: hand them over to someone else first."
        return f"{self.label} {LAST_ADMINISTRATOR}" if is_last_administrator(self) else ""

    def belongings(self) -> dict[str, models.QuerySet[Any]]:
        """Queues, forward mailboxes and profiles of this user, by what they are called in a sentence."""
        return {
            "queue": self.owned_queues.all(),
            "forward mailbox": self.owned_mailboxes.filter(is_forward_mailbox=True).defer("password"),
            "profile": self.owned_profiles.all(),
        }

    def owned(self) -> list[str]:
        """The first belongings of each kind, such as "the queue Support", and how many more there are."""
        return [name for kind, rows in self.belongings().items() for name in _first(kind, rows)]


NAMED = 5


def _first(kind: str, rows: models.QuerySet[Any]) -> list[str]:
    """As many as a sentence bears."""
    names = [f"the {kind} {row.name}" for row in rows.order_by("name", "pk")[: NAMED + 1]]
    if len(names) <= NAMED:
        return names
    more = rows.count() - NAMED
    return [*names[:NAMED], f"{more} more {kind if more == 1 else _plural(kind)}"]


def _plural(kind: str) -> str:
    return f"{kind}es" if kind.endswith("x") else f"{kind}s"


class Queue(Regarding):
    """A shared address, such as Support; private to its owner and members, or open to who wants to join."""

    name = models.CharField("Name", max_length=200)
    email_address = models.EmailField("Email address", max_length=254)
    owner = models.ForeignKey(User, models.PROTECT, verbose_name="Owner", related_name="owned_queues")
    description = models.TextField("Description", blank=True)
    is_private = models.BooleanField("Private", default=True)
    members = models.ManyToManyField(User, verbose_name="Members", blank=True, related_name="queues")
    incoming_filter = models.CharField(
        max_length=20, choices=IncomingFilter.choices, default=IncomingFilter.ALL
    )
    signature = models.TextField("Signature", blank=True)
    is_active = models.BooleanField("Active", default=True)
    created_at = models.DateTimeField(auto_now_add=True)

    address_field = "email_address"
    kind = Kind.QUEUE

    class Meta:
        ordering = ("name",)
        constraints = [
            models.UniqueConstraint(
                Lower("email_address"),
                condition=Q(is_active=True),
                name="queue_email_address_is_unique",
                violation_error_message="Another active queue has this address.",
            ),
            _signature_length("queue"),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def label(self) -> str:
        return self.name

    @property
    def active(self) -> bool:
        return self.is_active

    def mailbox_owner(self) -> User:
        return self.owner


history.watch(
    User,
    noise=("last_login", "date_joined", "is_staff", "theme", "language"),
    secrets=("password",),
    labels={
        "username": "User Name",
        "password": "Sign-in password",
        "first_name": "First name",
        "last_name": "Last name",
        "is_superuser": "Superuser",
        "incoming_filter": "Convert incoming email to activities",
        "role": "Role",
        "additional_addresses": "Additional addresses",
    },
)
history.watch(
    Queue,
    noise=("created_at",),
    members=("members",),
    labels={
        "incoming_filter": "Convert incoming email to activities",
        "additional_addresses": "Additional addresses",
    },
)
