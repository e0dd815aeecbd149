"""One command for many mailboxes: asked for by a person, carried out by the engine, item by item."""

from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.utils import timezone

from emailprofiles.rules import one_of

from .choices import Command, ItemState
from .mailbox import Mailbox
from .people import User
from .state import ConfigurationTest


class BulkCommand(models.Model):
    """A command and the selection it is for, fixed when it was asked; its page shows how far it is.

    Claimed by one worker at a time with a lease, as tests are; what a dead worker left waiting goes on.
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
        return f"{self.get_command_display()} of {self.requested_at:%Y-%m-%d %H:%M}"


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
