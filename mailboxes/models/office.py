"""What holds for the whole office: settings, routing headers, alerts, the first administrator's link."""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from django.core.exceptions import ValidationError
from django.db import models, transaction
from django.db.models import Q
from django.utils import timezone

from emailprofiles import history
from emailprofiles.models import EmailServerProfile
from emailprofiles.rules import FieldRule, Ruled, one_of

from ..routing import ROUTING_HEADERS, HeaderRule
from ..trace import fault, normal
from .choices import (
    ActMethod,
    AlertLevel,
    Approval,
    Direction,
    IncomingMethod,
    Kind,
    OutgoingMethod,
    TokenPlace,
)
from .mailbox import Mailbox
from .people import User
from .signin import token_hash

BLOCKED_EXTENSIONS = (
    "ade adp app asp bas bat chm cmd com cpl crt csh exe fxp hlp hta inf ins isp js jse ksh lnk mda mdb mde mdt "
    "mdw mdz msc msi msp mst ops pcd pif prf prg reg scf scr sct shb shs url vb vbe vbs wsc wsf wsh xsl"
)

# Methods for appointments, contacts, and tasks that no transport can carry out yet.
NO_TRANSPORT: dict[str, str] = {
    ActMethod.SERVER_SIDE: "Not available in this version: there is no transport for calendars yet."
}


class EmailConfigurationSettings(Ruled):
    """One record: the defaults for new mailboxes, the approvals, how forwarded copies are recognised.

    The default server profile is the profile's own flag `is_default`.
    """

    default_incoming_method = models.CharField(
        "Default Incoming Email",
        max_length=20,
        choices=IncomingMethod.choices,
        default=IncomingMethod.FORWARD,
    )
    default_outgoing_method = models.CharField(
        "Default Outgoing Email", max_length=20, choices=OutgoingMethod.choices, default=OutgoingMethod.NONE
    )
    default_act_method = models.CharField(
        "Default Appointments, Contacts, and Tasks",
        max_length=20,
        choices=ActMethod.choices,
        default=ActMethod.NONE,
    )
    require_approval_for_users = models.BooleanField("Process emails only for approved users", default=True)
    require_approval_for_queues = models.BooleanField("Process emails only for approved queues", default=True)
    route_by_to_and_cc = models.BooleanField("Route by To and Cc when nothing else matches", default=True)
    use_plus_addresses = models.BooleanField("Recognise plus-addresses", default=True)
    trusted_servers = models.TextField("Our own mail servers", blank=True)
    max_message_size_mb = models.PositiveSmallIntegerField("Maximum message size (MB)", default=50)
    blocked_attachment_extensions = models.TextField(
        "Blocked attachment extensions", blank=True, default=BLOCKED_EXTENSIONS
    )
    quarantine_alert_at = models.PositiveIntegerField(
        "Alert when so many messages wait in quarantine", default=25
    )
    track_by_token = models.CharField(
        "Token by which answers are known", max_length=10, choices=TokenPlace.choices, default=TokenPlace.NONE
    )
    outbox_alert_minutes = models.PositiveIntegerField(
        "Alert when a message has waited in the outbox for", default=60
    )
    mail_alerts = models.BooleanField("Mail alerts to their owners", default=True)
    alert_mail_grace_minutes = models.PositiveSmallIntegerField(
        "Minutes that something lasts before a mail is sent", default=15
    )

    class Meta:
        verbose_name = verbose_name_plural = "email configuration settings"
        constraints = [
            FieldRule(
                field="__all__",
                name="settings_one_record",
                condition=Q(pk=1),
                message="There is one record of Email Configuration Settings.",
            ),
            FieldRule(
                field="max_message_size_mb",
                name="settings_max_message_size_in_range",
                condition=Q(max_message_size_mb__gte=1, max_message_size_mb__lte=200),
                message="Choose a number of megabytes from 1 to 200.",
            ),
            FieldRule(
                field="outbox_alert_minutes",
                name="settings_outbox_alert_in_range",
                condition=Q(outbox_alert_minutes__lte=10_080),
                message="Choose a number of minutes from 0 (never) to 10080 (a week).",
            ),
            one_of("track_by_token", TokenPlace, "settings"),
            FieldRule(
                field="alert_mail_grace_minutes",
                name="settings_alert_mail_grace_in_range",
                condition=Q(alert_mail_grace_minutes__gte=0, alert_mail_grace_minutes__lte=1440),
                message="Choose a number of minutes from 0 to 1440.",
            ),
            one_of("default_incoming_method", IncomingMethod, "settings"),
            one_of("default_outgoing_method", OutgoingMethod, "settings"),
            one_of("default_act_method", ActMethod, "settings"),
        ]

    def __str__(self) -> str:
        return "Email Configuration Settings"

    def clean(self) -> None:
        """No default that nothing can carry out; servers and extensions one by one, written alike."""
        self.trusted_servers = "\n".join(
            dict.fromkeys(filter(None, map(normal, _lines(self.trusted_servers))))
        )
        self.blocked_attachment_extensions = " ".join(
            dict.fromkeys(map(_extension, _words(self.blocked_attachment_extensions)))
        )
        broken = {
            "default_act_method": [*filter(None, [NO_TRANSPORT.get(self.default_act_method)])],
            "trusted_servers": [
                f"“{line}”: {sentence}" for line in _lines(self.trusted_servers) if (sentence := fault(line))
            ],
            "blocked_attachment_extensions": [
                f"“{word}”: write only what stands behind the last dot of a file name, such as exe."
                for word in _words(self.blocked_attachment_extensions)
                if not EXTENSION.fullmatch(word)
            ],
        }
        if errors := {name: sentences for name, sentences in broken.items() if sentences}:
            raise ValidationError(errors)

    def blocked_extensions(self) -> frozenset[str]:
        """In lower case, without dots."""
        written = self.blocked_attachment_extensions.lower().replace(",", " ").split()
        return frozenset(extension.strip(".*") for extension in written) - {""}

    @classmethod
    def load(cls) -> EmailConfigurationSettings:
        """The record, made with the shipped defaults when there is none yet."""
        record = cls.objects.filter(pk=1).first()
        if record is None:
            with transaction.atomic():
                record, made = cls.objects.get_or_create(pk=1)
                if made:
                    RoutingHeader.put(ROUTING_HEADERS)
        return record

    @classmethod
    def lock(cls) -> EmailConfigurationSettings:
        """The record, locked: rules that compare mailboxes are decided one save after the other."""
        cls.load()
        return cls.objects.select_for_update().get(pk=1)

    @property
    def alert_mail_grace(self) -> timedelta:
        """How long something lasts before a mail is sent."""
        return timedelta(minutes=self.alert_mail_grace_minutes)

    @property
    def max_message_octets(self) -> int:
        """The size above which only the header of a message is collected."""
        return self.max_message_size_mb * 1_000_000

    def requires_approval(self, kind: str) -> bool:
        """Whether an address of this kind must be approved before anything runs for it."""
        return (kind == Kind.USER and self.require_approval_for_users) or (
            kind == Kind.QUEUE and self.require_approval_for_queues
        )

    def approved(self, prefix: str = "mailbox__") -> Q:
        """SQL: the address is approved, or needs no approval."""
        condition = Q(**{f"{prefix}approval": Approval.APPROVED}) | Q(**{f"{prefix}is_forward_mailbox": True})
        if not self.require_approval_for_users:
            condition |= Q(**{f"{prefix}user__isnull": False})
        if not self.require_approval_for_queues:
            condition |= Q(**{f"{prefix}queue__isnull": False})
        return condition

    def defaults_for(self, kind: str, profile: EmailServerProfile | None) -> dict[str, Any]:
        """What *Apply Default Email Settings* gives a mailbox; without a default profile it keeps the one it has."""
        methods: dict[str, Any] = dict(self.methods_for(kind, profile))
        return methods if profile is None else {"server_profile": profile} | methods

    def methods_for(self, kind: str, profile: EmailServerProfile | None) -> dict[str, str]:
        """The default methods, clipped to what this kind and the default profile allow."""
        incoming, outgoing, act = (
            self.default_incoming_method,
            self.default_outgoing_method,
            self.default_act_method,
        )
        able = {
            "incoming_method": profile is not None and profile.can_receive,
            "outgoing_method": profile is not None and profile.can_send,
            "act_method": profile is not None and profile.can_synchronize_act,
        }
        chosen = {
            "incoming_method": incoming,
            "outgoing_method": outgoing,
            "act_method": act if kind == Kind.USER else ActMethod.NONE,
        }
        return {name: _clip(method, kind, able[name]) for name, method in chosen.items()}


EXTENSION = re.compile(r"[a-z0-9_-]{1,20}")


def _lines(text: str) -> list[str]:
    return text.splitlines()


def _words(text: str) -> list[str]:
    return re.split(r"[\s,;]+", text.strip()) if text.strip() else []


def _extension(word: str) -> str:
    """Without the star and the dot that people put before it."""
    return word.lower().removeprefix("*").removeprefix(".")


def _clip(method: str, kind: str, able: bool) -> str:
    if method == IncomingMethod.SERVER_SIDE and not able:
        return IncomingMethod.NONE
    if method == IncomingMethod.OUTLOOK and kind != Kind.USER:
        return IncomingMethod.NONE
    return method


history.watch(
    EmailConfigurationSettings,
    labels={
        "routing_headers": "Routing headers",
        "untrusted_routing_headers": "Routing headers that anyone may write",
    },
)


class RoutingHeader(models.Model):
    """A header in which servers name the mailbox a forwarded copy came from; the first one counts most."""

    position = models.PositiveSmallIntegerField(unique=True)
    name = models.CharField(max_length=100)
    is_trusted = models.BooleanField(default=True)

    class Meta:
        ordering = ("position",)
        constraints = [
            FieldRule(
                field="name",
                name="routingheader_name_is_a_header",
                condition=Q(name__regex=r"^[!-9;-~]+$"),
                message="A header name has no spaces and no colon, such as X-Original-To (RFC 5322, 2.2).",
            ),
        ]

    def __str__(self) -> str:
        return self.name

    @classmethod
    def names(cls, *, is_trusted: bool | None = None) -> tuple[str, ...]:
        """The headers in order; or those alone that are trusted, or not."""
        rows = cls.objects.all() if is_trusted is None else cls.objects.filter(is_trusted=is_trusted)
        return tuple(rows.values_list("name", flat=True))

    @classmethod
    def listed(cls) -> tuple[HeaderRule, ...]:
        """The headers in order, as routing asks for them."""
        return tuple(HeaderRule(row.name, row.is_trusted) for row in cls.objects.all())

    @classmethod
    def replace(cls, names: Sequence[str], untrusted: Sequence[str] = ()) -> None:
        """Put these headers, in this order, in place of all others; the history says it in one sentence."""
        with transaction.atomic():
            before = {label: cls.names(is_trusted=label == "routing_headers") for label in HEADER_LISTS}
            after = dict(zip(HEADER_LISTS, (tuple(names), tuple(untrusted)), strict=True))
            if before == after:
                return
            cls.objects.all().delete()
            cls.put(names, untrusted)
            changed = [label for label in HEADER_LISTS if before[label] != after[label]]
            changes = {label: (", ".join(before[label]), ", ".join(after[label])) for label in changed}
            history.note(EmailConfigurationSettings.load(), **changes)

    @classmethod
    def put(cls, names: Sequence[str], untrusted: Sequence[str] = ()) -> None:
        """Store these headers where there are none: the trusted ones, then the others."""
        rules = [*((name, True) for name in names), *((name, False) for name in untrusted)]
        RoutingHeader.objects.bulk_create(
            RoutingHeader(position=number, name=name, is_trusted=is_trusted)
            for number, (name, is_trusted) in enumerate(rules)
        )


HEADER_LISTS = ("routing_headers", "untrusted_routing_headers")


class Alert(models.Model):
    """One open sentence per cause: what stopped, since when, why, what we do, what you can do.

    `mailed_at` is when its owner was told of it last, `recovery_mailed_at` when that it is over.
    """

    cause = models.CharField(max_length=200)
    level = models.CharField(max_length=12, choices=AlertLevel.choices, default=AlertLevel.ERROR)
    owner = models.ForeignKey(User, models.SET_NULL, null=True, blank=True, related_name="alerts")
    mailbox = models.ForeignKey(Mailbox, models.CASCADE, null=True, blank=True, related_name="alerts")
    direction = models.CharField(max_length=10, choices=Direction.choices, blank=True)
    profile = models.ForeignKey(
        EmailServerProfile, models.CASCADE, null=True, blank=True, related_name="alerts"
    )
    title = models.TextField()
    why = models.TextField()
    what_we_do = models.TextField()
    what_you_can_do = models.TextField()
    server_words = models.TextField(blank=True)
    since = models.DateTimeField(default=timezone.now)
    last_seen_at = models.DateTimeField(default=timezone.now)
    times = models.PositiveIntegerField(default=1)
    resolved_at = models.DateTimeField(null=True, blank=True)
    resolution = models.TextField(blank=True)
    mailed_at = models.DateTimeField(null=True, blank=True)
    recovery_mailed_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ("-since", "-pk")
        constraints = [
            models.UniqueConstraint(
                fields=["cause"], condition=Q(resolved_at__isnull=True), name="alert_one_open_per_cause"
            ),
            one_of("level", AlertLevel, "alert"),
        ]
        indexes = [
            models.Index(fields=["mailed_at"], name="alert_mailed", condition=Q(mailed_at__isnull=False)),
        ]

    def __str__(self) -> str:
        return self.title


class SetupLink(models.Model):
    """The one-time link that makes the first administrator; only its hash is stored."""

    LIFETIME = timedelta(minutes=30)

    token_hash = models.CharField(max_length=64, unique=True)
    expires_at = models.DateTimeField()

    def __str__(self) -> str:
        return f"setup link until {self.expires_at:%H:%M}"

    @classmethod
    def issue(cls) -> str:
        """A fresh token; earlier ones end."""
        token = secrets.token_urlsafe(32)
        cls.objects.all().delete()
        cls.objects.create(token_hash=token_hash(token), expires_at=timezone.now() + cls.LIFETIME)
        return token

    @classmethod
    def redeemable(cls, token: str) -> SetupLink | None:
        """The link of this token while it lasts and there is no user yet."""
        if User.objects.exists():
            return None
        return cls.objects.filter(token_hash=token_hash(token), expires_at__gt=timezone.now()).first()
