"""What leaves: messages that are written here, whom each is for, and what became of it."""

from __future__ import annotations

import secrets
import uuid
from datetime import timedelta

from django.db import models
from django.db.models import Q
from django.utils import timezone

from emailprofiles.rules import FieldRule, one_of

from .. import roles
from .choices import OutgoingState, RecipientKind
from .mail import Message
from .mailbox import Mailbox
from .people import User

WAITING = (OutgoingState.QUEUED, OutgoingState.DEFERRED)
"""What a pass may take up."""
UNFINISHED = (*WAITING, OutgoingState.SENDING)

UNDELIVERED = (OutgoingState.FAILED, OutgoingState.BOUNCED)
"""What did not reach somebody, as far as is known."""

_LETTERS = "abcdefghijklmnopqrstuvwxyz234567"


def new_token() -> str:
    """Twenty letters that nobody guesses (100 bits), the same whether a server keeps upper case or not."""
    return "".join(secrets.choice(_LETTERS) for _ in range(20))


def failed_lately() -> Q:
    """What did not arrive, for a week: people are told of it as long."""
    moment = timezone.now()
    # The first condition is for the index: nothing is tried for longer than a week.
    return Q(state__in=UNDELIVERED, created_at__gt=moment - timedelta(days=21)) & Q(
        finished_at__gt=moment - timedelta(days=7)
    )


class OutgoingMessages(models.QuerySet["OutgoingMessage"]):
    def visible_to(self, user: User) -> OutgoingMessages:
        """Administrators see what is not a draft any more, everyone else what leaves from the own mailbox or one of
        their queues; a draft is seen by who writes it."""
        drafts = Q(state=OutgoingState.DRAFT)
        own = drafts & Q(written_by=user)
        if user.has_perm(roles.ADMINISTER):
            return self.filter(~drafts | own)
        mailboxes = Mailbox.objects.own(user).order_by().values("pk")
        return self.filter(own | ~drafts, mailbox__in=mailboxes)


class OutgoingMessage(models.Model):
    """One mail from one mailbox, from the first word to what came of it.

    `state` follows from its recipients (`follow`). Once it is queued its bytes lie in `OutgoingOriginal` and never
    change: the Message-ID is fixed before the first attempt. `text`, `html` and the files are what it was made from.

    `queued_at` is its place in the order; `next_attempt_at` is not before when it is tried again; `attempts` counts
    what a server said of it, not how often there was no server. `sending_since` is set while nobody knows.
    `copy_wanted` until a copy is kept in a folder of the server, or given up; `next_attempt_at` counts for that, too.
    """

    mailbox = models.ForeignKey(Mailbox, models.PROTECT, related_name="outgoing", db_index=False)
    written_by = models.ForeignKey(
        User, models.SET_NULL, null=True, blank=True, related_name="+", db_index=False
    )
    state = models.CharField(max_length=10, choices=OutgoingState.choices, default=OutgoingState.DRAFT)
    subject = models.TextField("Subject", blank=True)
    text = models.TextField("Text", blank=True)
    html = models.TextField(blank=True)

    answers = models.ForeignKey(
        Message, models.SET_NULL, null=True, blank=True, related_name="answered_by", db_index=False
    )
    references = models.TextField(blank=True)
    conversation = models.UUIDField(default=uuid.uuid4, editable=False)
    token = models.CharField(max_length=20, default=new_token, unique=True, editable=False)
    message_id = models.CharField("Message-ID", max_length=320, blank=True)
    is_automatic = models.BooleanField(default=False)
    asks_report = models.BooleanField("Ask for a delivery report", default=False)

    created_at = models.DateTimeField(default=timezone.now)
    queued_at = models.DateTimeField(null=True, blank=True)
    size = models.PositiveBigIntegerField(default=0)
    attempts = models.PositiveIntegerField(default=0)
    next_attempt_at = models.DateTimeField(null=True, blank=True)
    sending_since = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)
    why = models.TextField(blank=True)
    advice = models.TextField(blank=True)
    server_words = models.TextField(blank=True)
    copy_wanted = models.BooleanField(default=False)
    copied_at = models.DateTimeField(null=True, blank=True)

    objects = OutgoingMessages.as_manager()

    class Meta:
        ordering = ("-created_at", "-pk")
        constraints = [
            one_of("state", OutgoingState, "outgoing"),
            models.UniqueConstraint(
                fields=["message_id"], condition=~Q(message_id=""), name="outgoing_one_per_message_id"
            ),
            FieldRule(
                field="message_id",
                name="outgoing_has_its_id_before_it_leaves",
                condition=Q(state=OutgoingState.DRAFT) | ~Q(message_id=""),
                message="A message needs its Message-ID before it is queued.",
            ),
            FieldRule(
                field="queued_at",
                name="outgoing_waits_in_an_order",
                condition=~Q(state__in=UNFINISHED) | Q(queued_at__isnull=False),
                message="A message that waits has a place in the order.",
            ),
        ]
        indexes = [
            models.Index(fields=["-created_at", "-id"], name="outgoing_newest"),
            models.Index(fields=["state", "-created_at"], name="outgoing_by_state"),
            models.Index(fields=["mailbox", "-created_at"], name="outgoing_of_mailbox"),
            # What a pass takes up, and what is due at all: as small as what waits, however much was sent.
            models.Index(
                fields=["mailbox", "next_attempt_at"],
                condition=Q(state__in=UNFINISHED),
                name="outgoing_waiting",
            ),
            models.Index(fields=["mailbox"], condition=Q(copy_wanted=True), name="outgoing_to_copy"),
            models.Index(fields=["conversation"], name="outgoing_conversation"),
            models.Index(fields=["answers"], condition=Q(answers__isnull=False), name="outgoing_answers"),
            models.Index(
                fields=["written_by"], condition=Q(written_by__isnull=False), name="outgoing_written_by"
            ),
        ]

    def __str__(self) -> str:
        return self.subject or "(no subject)"

    @property
    def raw(self) -> bytes:
        """The bytes as they are sent, without Bcc; read anew each time, since they may be large."""
        return bytes(OutgoingOriginal.objects.values_list("raw", flat=True).get(pk=self.pk))

    @property
    def is_draft(self) -> bool:
        return self.state == OutgoingState.DRAFT


class OutgoingOriginal(models.Model):
    """The bytes of a queued message, written once. `is_ascii` when all of them are (RFC 6152)."""

    message = models.OneToOneField(OutgoingMessage, models.CASCADE, primary_key=True, related_name="original")
    raw = models.BinaryField()
    is_ascii = models.BooleanField(default=True)

    def __str__(self) -> str:
        return f"original of {self.message_id}"


class OutgoingRecipient(models.Model):
    """One address a message is for, and what the server said of it.

    `confirmed_at` is when a delivery report said that it arrived (RFC 3464).
    """

    message = models.ForeignKey(OutgoingMessage, models.CASCADE, related_name="recipients", db_index=False)
    kind = models.CharField(max_length=3, choices=RecipientKind.choices, default=RecipientKind.TO)
    position = models.PositiveSmallIntegerField(default=0)
    address = models.CharField(max_length=320)
    name = models.CharField(max_length=200, blank=True)
    state = models.CharField(max_length=10, choices=OutgoingState.choices, default=OutgoingState.DRAFT)
    said = models.TextField(blank=True)
    changed_at = models.DateTimeField(null=True, blank=True)
    confirmed_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ("message", "position")
        constraints = [
            one_of("state", OutgoingState, "recipient"),
            one_of("kind", RecipientKind, "recipient"),
            models.UniqueConstraint(fields=["message", "address"], name="recipient_once"),
        ]
        indexes = [
            # Who waits for an earlier message: as small as what waits.
            models.Index(fields=["address"], condition=Q(state__in=UNFINISHED), name="recipient_waiting"),
        ]

    def __str__(self) -> str:
        return f"{self.name} <{self.address}>" if self.name else self.address


class OutgoingFile(models.Model):
    """A file that a message carries."""

    message = models.ForeignKey(OutgoingMessage, models.CASCADE, related_name="files")
    name = models.CharField(max_length=255)
    content_type = models.CharField(max_length=255)
    size = models.PositiveBigIntegerField()
    data = models.BinaryField()

    class Meta:
        ordering = ("pk",)

    def __str__(self) -> str:
        return self.name


class Answer(models.Model):
    """A collected message that answers one of ours, or reports on it; `known_by` says how we know."""

    message = models.OneToOneField(Message, models.CASCADE, primary_key=True, related_name="answer")
    outgoing = models.ForeignKey(OutgoingMessage, models.CASCADE, related_name="came_back")
    known_by = models.CharField(max_length=40)
    is_report = models.BooleanField(default=False)

    def __str__(self) -> str:
        return f"{self.message_id} answers {self.outgoing_id}"
