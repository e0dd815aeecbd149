"""One command for many mailboxes: asked for by a person, carried out by the engine, item by item."""

from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.utils import timezone

from emailprofiles.models import EmailServerProfile
from emailprofiles.rules import one_of

from .choices import ActMethod, Command, IncomingMethod, ItemState, OutgoingMethod
from .mailbox import Mailbox
from .people import User
from .state import ConfigurationTest


class BulkCommand(models.Model):
    """A command and the selection it is for, fixed when it was asked; its page shows how far it is.

    Claimed by one worker at a time with a lease, as tests are; what a dead worker left waiting goes on.
    *Test & Enable* needs no lease of its own: each of its tests has one.
    """

    command = models.CharField(max_length=12, choices=Command.choices)
    requested_by = models.ForeignKey(User, models.SET_NULL, null=True, blank=True, related_name="+")
    requested_at = models.DateTimeField(default=timezone.now)
    started_at = models.DateTimeField(null=True, blank=True)
    stopped_by = models.ForeignKey(User, models.SET_NULL, null=True, blank=True, related_name="+")
    finished_at = models.DateTimeField(null=True, blank=True)
    lease_holder = models.CharField(max_length=200, blank=True)
    lease_until = models.DateTimeField(null=True, blank=True)
    fence = models.PositiveIntegerField(default=0)

    class Meta:
        ordering = ("-requested_at", "-pk")
        constraints = [one_of("command", Command, "bulkcommand")]
        indexes = [
            models.Index(
                fields=["requested_at"], condition=Q(finished_at__isnull=True), name="bulkcommand_open"
            )
        ]

    def __str__(self) -> str:
        return f"{self.get_command_display()} for a selection, {self.pk}"


class AppliedDefaults(models.Model):
    """What *Apply Default Email Settings* was shown to do when a person confirmed it: nothing else is applied.

    `sends_credentials` is that person's confirmation that stored credentials may go to `server_profile`, where
    it stood at `location_version`; without it they stay, and wait to be confirmed on the profile's page.
    `credentials` is the number of mailboxes that was named.
    """

    bulk_command = models.OneToOneField(BulkCommand, models.CASCADE, related_name="defaults")
    server_profile = models.ForeignKey(
        EmailServerProfile, models.SET_NULL, null=True, blank=True, related_name="+"
    )
    location_version = models.PositiveIntegerField(null=True, blank=True)
    incoming_method = models.CharField(max_length=20, choices=IncomingMethod.choices)
    outgoing_method = models.CharField(max_length=20, choices=OutgoingMethod.choices)
    act_method = models.CharField(max_length=20, choices=ActMethod.choices)
    credentials = models.PositiveIntegerField(default=0)
    sends_credentials = models.BooleanField(default=False)

    class Meta:
        verbose_name_plural = "applied defaults"

    def __str__(self) -> str:
        return f"{self.server_profile}: {self.incoming_method}, {self.outgoing_method}, {self.act_method}"


class BulkCommandItem(models.Model):
    """One mailbox of a bulk command, and what came of it."""

    bulk_command = models.ForeignKey(BulkCommand, models.CASCADE, related_name="items")
    mailbox = models.ForeignKey(Mailbox, models.CASCADE, related_name="+")
    state = models.CharField(max_length=10, choices=ItemState.choices, default=ItemState.WAITING)
    said = models.TextField(blank=True)
    test = models.ForeignKey(ConfigurationTest, models.SET_NULL, null=True, blank=True, related_name="+")
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ("pk",)
        constraints = [
            models.UniqueConstraint(fields=["bulk_command", "mailbox"], name="bulkitem_once_per_mailbox"),
            one_of("state", ItemState, "bulkitem"),
        ]
        indexes = [models.Index(fields=["bulk_command", "state"], name="bulkitem_by_state")]

    def __str__(self) -> str:
        return f"{self.mailbox}: {self.state}"
