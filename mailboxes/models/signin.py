"""How people come in: sessions, one-time links, and what others did to somebody's sign-in."""

from __future__ import annotations

import hashlib
import secrets
import uuid
from collections.abc import Iterable
from datetime import timedelta
from typing import Any, cast

from django.conf import settings
from django.contrib.sessions.backends.base import SessionBase
from django.contrib.sessions.base_session import AbstractBaseSession
from django.db import models, transaction
from django.db.models import F
from django.utils import timezone
from django.utils.module_loading import import_string

from emailprofiles.history import acting
from emailprofiles.rules import one_of

from ..browsers import browser_name
from .choices import SignInEventKind
from .people import User


class Session(AbstractBaseSession):
    """One browser in which somebody has signed in; `reference` names it on pages, which never show its key."""

    reference = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    user = models.ForeignKey(User, models.CASCADE, null=True, related_name="sessions")
    created_at = models.DateTimeField(default=timezone.now)
    seen_at = models.DateTimeField(default=timezone.now)
    address = models.GenericIPAddressField(null=True)
    user_agent = models.CharField(max_length=300, blank=True)

    class Meta:
        ordering = ("-seen_at",)

    def __str__(self) -> str:
        return f"session of {self.user} since {self.created_at:%Y-%m-%d %H:%M}"

    @classmethod
    def get_session_store_class(cls) -> type[SessionBase]:
        return cast(type[SessionBase], import_string(f"{settings.SESSION_ENGINE}.SessionStore"))

    @property
    def browser(self) -> str:
        return browser_name(self.user_agent)

    def save(self, *args: Any, update_fields: Iterable[str] | None = None, **kwargs: Any) -> None:
        """Storing what the pages keep leaves alone when it began and where it was last seen."""
        if kwargs.get("force_update") and update_fields is None:
            update_fields = ["session_data", "expire_date", "user"]
        super().save(*args, update_fields=update_fields, **kwargs)


class SignInLink(models.Model):
    """The one-time link with which one person chooses a new password; only its hash is stored.

    The newest of a person is the only one. It ends with use, with time, with a new password or address,
    and when the person is deactivated.
    """

    BETWEEN_MAILS = timedelta(minutes=5)

    user = models.OneToOneField(User, models.CASCADE, related_name="sign_in_link")
    token_hash = models.CharField(max_length=64, unique=True)
    address = models.EmailField(max_length=254)
    made_by = models.ForeignKey(User, models.SET_NULL, null=True, blank=True, related_name="+")
    made_at = models.DateTimeField(default=timezone.now)
    expires_at = models.DateTimeField()

    def __str__(self) -> str:
        return f"sign-in link of {self.user} until {self.expires_at:%H:%M}"

    @classmethod
    def issue(cls, user: User, by: User | None = None) -> str:
        """A fresh token for this person; an earlier one ends. `by` is None when it was asked for by mail."""
        token, now = secrets.token_urlsafe(32), timezone.now()
        cls.objects.update_or_create(
            user=user,
            defaults={
                "token_hash": token_hash(token),
                "address": user.email,
                "made_by": by,
                "made_at": now,
                "expires_at": now + timedelta(seconds=settings.PASSWORD_RESET_TIMEOUT),
            },
        )
        return token

    @staticmethod
    def minutes() -> int:
        """How long a link works."""
        return int(settings.PASSWORD_RESET_TIMEOUT // 60)

    @classmethod
    def fresh(cls, user: User) -> bool:
        """Whether a link was mailed to this person moments ago, and still works."""
        recent = timezone.now() - cls.BETWEEN_MAILS
        links = cls.objects.filter(user=user, made_by=None, made_at__gt=recent, expires_at__gt=timezone.now())
        return links.exists()

    @classmethod
    def redeemable(cls, token: str) -> SignInLink | None:
        """The link of this token while it lasts."""
        return (
            cls.objects.filter(
                token_hash=token_hash(token),
                expires_at__gt=timezone.now(),
                user__is_active=True,
                user__email=F("address"),
            )
            .select_related("user")
            .first()
        )

    def redeem(self, password: str) -> bool:
        """Give the person this password and end the link; False when it was used meanwhile."""
        with transaction.atomic(), acting(self.user, way="a sign-in link"):
            # The link is taken by deleting it: of two who try at once, one deletes a row.
            if not SignInLink.objects.filter(pk=self.pk, token_hash=self.token_hash).delete()[0]:
                return False
            self.user.set_password(password)
            self.user.save(update_fields=["password"])
            SignInEvent.record(self.user, SignInEventKind.LINK_USED, self.made_by)
        return True


class SignInEvent(models.Model):
    """What happened to somebody's sign-in; what others did is told at the next one, and can be read for a year."""

    KEPT = timedelta(days=365)

    user = models.ForeignKey(User, models.CASCADE, related_name="sign_in_events")
    by = models.ForeignKey(User, models.SET_NULL, null=True, blank=True, related_name="+")
    kind = models.CharField(max_length=20, choices=SignInEventKind.choices)
    at = models.DateTimeField(default=timezone.now)
    told_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ("-at", "-pk")
        constraints = [one_of("kind", SignInEventKind, "signinevent")]

    def __str__(self) -> str:
        return self.sentence

    @property
    def sentence(self) -> str:
        return str(self.get_kind_display()).format(by=self.by or "An administrator")

    @classmethod
    def record(cls, user: User, kind: SignInEventKind, by: User | None) -> SignInEvent:
        """Write it down; what is older than a year goes."""
        user.sign_in_events.filter(at__lt=timezone.now() - cls.KEPT).delete()
        own = by is None or by.pk == user.pk
        told_at = timezone.now() if own and kind != SignInEventKind.LINK_USED else None
        return cls.objects.create(user=user, kind=kind, by=by, told_at=told_at)

    @classmethod
    def untold(cls, user: User) -> list[SignInEvent]:
        """What this person has not been told yet; told with this call."""
        found = list(user.sign_in_events.filter(told_at=None).select_related("by").order_by("at", "pk"))
        if found:
            cls.objects.filter(pk__in=[event.pk for event in found]).update(told_at=timezone.now())
        return found


class ResetRequest(models.Model):
    """Somebody asked for a link by mail, from this address; counted whether or not anybody was found."""

    PER_HOUR = 10

    address = models.GenericIPAddressField(null=True)
    at = models.DateTimeField(default=timezone.now, db_index=True)

    def __str__(self) -> str:
        return f"request from {self.address}"

    @classmethod
    def allow(cls, address: str | None) -> bool:
        """Count a request; False, and nothing counted, when there were too many within an hour."""
        cls.objects.filter(at__lt=timezone.now() - timedelta(hours=1)).delete()
        if cls.objects.filter(address=address).count() >= cls.PER_HOUR:
            return False
        cls.objects.create(address=address)
        return True


def token_hash(token: str) -> str:
    """What is stored of a one-time token; a random one of 256 bits needs no slow hash."""
    return hashlib.sha256(token.encode()).hexdigest()
