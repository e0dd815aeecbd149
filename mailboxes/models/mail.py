"""What was collected, and whom it reached."""

from __future__ import annotations

from django.db import models
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import Lookup, Q
from django.db.models.sql.compiler import SQLCompiler
from django.utils import timezone

from emailprofiles.rules import FieldRule, one_of

from .. import filetypes, roles
from ..routing import REASON_LABELS, RULE_LABELS, Reason, Rule
from .choices import MessageState, SkipReason
from .mailbox import Mailbox
from .people import User

QUARANTINED = Q(state=MessageState.QUARANTINED)


class Messages(models.QuerySet["Message"]):
    def visible_to(self, user: User) -> Messages:
        """Administrators see every message, everyone else what reached them or a queue of theirs."""
        if user.has_perm(roles.ADMINISTER):
            return self
        return self.filter(pk__in=Delivery.objects.visible_to(user).values("message"))


class Message(models.Model):
    """One copy on the server, collected once.

    Its identity is where it stood: (mailbox, folder, generation, remote id, occurrence), the UIDVALIDITY and
    UID of IMAP, the UIDL of POP3 and the how-manieth message that bore it. Never the Message-ID: some mail has
    none, and equal ids with different content exist.

    The bytes lie in `Original` and, once somebody looked, what it says in `Body`, apart from this row, which
    changes often. `shows_forwarded`: what is shown and attached is that of the message it was forwarded with.

    A *stub* is a message of which at most the header is here: `raw` is what was collected of it, `size` what
    the server announced, `asked_at` when it was last asked for all of it. Its copy on the server is never disposed
    of before a person discards the stub. `gone_at` is when the server was seen without this copy, though we had
    not disposed of it.
    """

    # Here and below, keys of rows that are written by the thousand have no index that another one covers.
    mailbox = models.ForeignKey(Mailbox, models.PROTECT, related_name="collected", db_index=False)
    folder = models.CharField(max_length=250, default="INBOX")
    generation = models.CharField(max_length=40, blank=True)
    remote_id = models.CharField(max_length=250)
    occurrence = models.PositiveIntegerField(default=1)
    is_stub = models.BooleanField(default=False)
    asked_at = models.DateTimeField(null=True, blank=True)

    state = models.CharField(max_length=12, choices=MessageState.choices, default=MessageState.RECEIVED)
    attempts = models.PositiveSmallIntegerField(default=0)
    reason = models.CharField(max_length=40, blank=True)
    explanation = models.TextField(blank=True)
    considered = models.TextField(blank=True)
    waiting_for = models.ForeignKey(
        Mailbox, models.SET_NULL, null=True, blank=True, related_name="awaited_messages", db_index=False
    )

    message_id = models.TextField("Message-ID", blank=True)
    subject = models.TextField(blank=True)
    sender = models.CharField(max_length=320, blank=True)
    sender_name = models.TextField(blank=True)
    recipients = models.TextField(blank=True)
    sent_at = models.DateTimeField(null=True, blank=True)
    received_at = models.DateTimeField()
    collected_at = models.DateTimeField(default=timezone.now)
    defects = models.TextField(blank=True)
    same_key = models.CharField(max_length=64, blank=True)
    shows_forwarded = models.BooleanField(default=False)

    disposed_at = models.DateTimeField(null=True, blank=True)
    disposal = models.CharField(max_length=10, blank=True)
    gone_at = models.DateTimeField(null=True, blank=True)

    discarded_at = models.DateTimeField(null=True, blank=True)
    discarded_by = models.ForeignKey(
        User, models.SET_NULL, null=True, blank=True, related_name="+", db_index=False
    )
    discard_reason = models.TextField(blank=True)

    size = models.PositiveBigIntegerField()
    announced_size = models.PositiveBigIntegerField(default=0)
    raw_sha256 = models.CharField(max_length=64)

    objects = Messages.as_manager()

    class Meta:
        ordering = ("-received_at", "-pk")
        constraints = [
            models.UniqueConstraint(
                fields=["mailbox", "folder", "generation", "remote_id", "occurrence"],
                name="message_once_per_copy",
            ),
            one_of("state", MessageState, "message"),
            FieldRule(
                field="state",
                name="message_stub_is_not_delivered",
                condition=Q(is_stub=False) | ~Q(state=MessageState.DELIVERED),
                message="A message of which only the header is here cannot be delivered.",
            ),
        ]
        indexes = [
            models.Index(fields=["-received_at", "-id"], name="message_newest"),
            models.Index(fields=["message_id"], name="message_by_message_id"),
            models.Index(fields=["state", "-received_at"], name="message_by_state"),
            # Quarantine by reason and by collecting mailbox: counted and listed without a look at any row.
            # SQLite asks the row for every column that is not in the index, even for the one of the condition.
            models.Index(
                fields=["state", "reason", "-received_at"], condition=QUARANTINED, name="message_by_reason"
            ),
            models.Index(
                fields=["state", "mailbox", "-received_at"],
                condition=QUARANTINED,
                name="message_by_collector",
            ),
            models.Index(fields=["mailbox", "-received_at"], name="message_of_mailbox"),
            models.Index(fields=["mailbox", "collected_at"], name="message_collected"),
            models.Index(
                fields=["mailbox", "folder", "generation"], condition=Q(is_stub=True), name="message_stubs"
            ),
            # What a pass asks of a folder, however much was collected there before.
            models.Index(
                fields=["mailbox", "folder", "generation", "state"],
                condition=Q(disposed_at__isnull=True),
                name="message_to_settle",
            ),
            models.Index(
                fields=["mailbox", "folder", "generation"],
                condition=Q(gone_at__isnull=False),
                name="message_gone",
            ),
            models.Index(
                fields=["waiting_for"], condition=Q(waiting_for__isnull=False), name="message_waiting_for"
            ),
            models.Index(
                fields=["discarded_by"], condition=Q(discarded_by__isnull=False), name="message_discarded_by"
            ),
        ]

    def __str__(self) -> str:
        return self.subject or "(no subject)"

    @property
    def raw(self) -> bytes:
        """The bytes as they were collected."""
        return bytes(self.original.raw)

    @property
    def reason_label(self) -> str:
        """Why it is in quarantine, in the words of the page."""
        return REASON_LABELS[Reason(self.reason)] if self.reason else ""


class Original(models.Model):
    """The bytes of a message as they were collected, written once."""

    message = models.OneToOneField(Message, models.CASCADE, primary_key=True, related_name="original")
    raw = models.BinaryField()

    def __str__(self) -> str:
        return f"original of {self.message_id}"


class Body(models.Model):
    """What a message says, decoded when somebody looked for the first time (`mailboxes.words`)."""

    message = models.OneToOneField(Message, models.CASCADE, primary_key=True, related_name="body")
    text = models.TextField(blank=True)
    html = models.TextField(blank=True)

    class Meta:
        verbose_name_plural = "bodies"

    def __str__(self) -> str:
        return f"body of {self.message_id}"


class MessageWords(models.Model):
    """What search knows of a message on SQLite: an FTS5 table that is filled by triggers; see `mailboxes.search`."""

    message = models.OneToOneField(
        Message,
        models.DO_NOTHING,
        primary_key=True,
        db_column="rowid",
        db_constraint=False,
        related_name="words",
    )
    words = models.TextField(db_column="mailboxes_messagewords")  # the hidden column of an FTS5 table

    class Meta:
        managed = False
        verbose_name_plural = "words of messages"

    def __str__(self) -> str:
        return f"words of {self.message_id}"


@models.TextField.register_lookup
class Match(Lookup):
    """`MATCH` of an FTS5 table (https://www.sqlite.org/fts5.html)."""

    lookup_name = "match"

    def as_sql(
        self, compiler: SQLCompiler, connection: BaseDatabaseWrapper
    ) -> tuple[str, tuple[str | int, ...]]:
        table, _ = self.process_lhs(compiler, connection)
        query, parameters = self.process_rhs(compiler, connection)
        return f"{table} MATCH {query}", tuple(parameters)


class FolderGeneration(models.Model):
    """The ledger of one generation (UIDVALIDITY) of a folder: what was seen there.

    `seen` counts each copy once, when it is stored or skipped; `moved_on` those of them that were found again
    in a later generation, and belong to that one now. So at any time

        seen  =  messages + stubs + skipped + moved on
    """

    mailbox = models.ForeignKey(Mailbox, models.CASCADE, related_name="generations")
    folder = models.CharField(max_length=250)
    generation = models.CharField(max_length=40, blank=True)
    opened_at = models.DateTimeField(default=timezone.now)
    seen = models.PositiveBigIntegerField(default=0)
    moved_on = models.PositiveBigIntegerField(default=0)

    class Meta:
        ordering = ("-opened_at", "-pk")
        constraints = [
            models.UniqueConstraint(fields=["mailbox", "folder", "generation"], name="generation_once"),
        ]

    def __str__(self) -> str:
        return f"{self.folder} {self.generation}".strip()


class Reconciliation(models.Model):
    """One comparison of a folder on the server with what we know of it: the latest of a mailbox.

    `on_server` is the number of copies the server holds, which is the sum of `stored`, `stubs`, `skipped`,
    `waiting` (to be collected by the next pass) and `missing` (passed over without a trace: a difference).
    `vanished` are copies of ours that were not disposed of by us and are gone, newly found this time.
    """

    mailbox = models.OneToOneField(Mailbox, models.CASCADE, related_name="reconciliation")
    folder = models.CharField(max_length=250)
    generation = models.CharField(max_length=40, blank=True)
    done_at = models.DateTimeField(default=timezone.now)
    on_server = models.PositiveBigIntegerField(default=0)
    stored = models.PositiveBigIntegerField(default=0)
    stubs = models.PositiveBigIntegerField(default=0)
    skipped = models.PositiveBigIntegerField(default=0)
    waiting = models.PositiveBigIntegerField(default=0)
    missing = models.PositiveBigIntegerField(default=0)
    vanished = models.PositiveBigIntegerField(default=0)

    def __str__(self) -> str:
        return f"{self.mailbox} at {self.done_at:%Y-%m-%d %H:%M}"

    @property
    def sentence(self) -> str:
        """ "Support: 12 on the server = 11 stored + 0 stubs + 1 skipped + 0 waiting; 2 vanished" """
        missing = f" + {self.missing} missing" if self.missing else ""
        vanished = f"; {self.vanished} vanished since the last time" if self.vanished else ""
        return (
            f"{self.mailbox.name}: {self.on_server} on the server = {self.stored} stored + {self.stubs} stubs + "
            f"{self.skipped} skipped + {self.waiting} waiting{missing}{vanished}"
        )


class SkippedMessage(models.Model):
    """A copy that the server listed and that was not collected, and why."""

    mailbox = models.ForeignKey(Mailbox, models.CASCADE, related_name="skipped")
    folder = models.CharField(max_length=250)
    generation = models.CharField(max_length=40, blank=True)
    remote_id = models.CharField(max_length=250)
    why = models.CharField(max_length=10, choices=SkipReason.choices)
    received_at = models.DateTimeField(null=True, blank=True)
    size = models.PositiveBigIntegerField(default=0)
    noted_at = models.DateTimeField(default=timezone.now)
    gone_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["mailbox", "folder", "generation", "remote_id"], name="skipped_once_per_copy"
            ),
            one_of("why", SkipReason, "skipped"),
        ]
        indexes = [models.Index(fields=["mailbox", "why"], name="skipped_by_why")]

    def __str__(self) -> str:
        return f"{self.remote_id}: {self.get_why_display()}"


class Deliveries(models.QuerySet["Delivery"]):
    def visible_to(self, user: User) -> Deliveries:
        """Administrators see every delivery, everyone else those to them or to a queue of theirs."""
        if user.has_perm(roles.ADMINISTER):
            return self
        return self.filter(mailbox__in=Mailbox.objects.own(user).order_by().values("pk"))


class Attachment(models.Model):
    """A part with a name; downloads only, never shown by us.

    Its bytes are those in the message's `raw`, stored once: `number` says which part it is, `in_forwarded` that
    the numbers are those of the message that was forwarded as attachment. `content_type` is what the part says
    of itself, `detected_type` what its bytes are; `blocked_because` is the sentence for a blocked one.
    """

    message = models.ForeignKey(Message, models.CASCADE, related_name="attachments", db_index=False)
    number = models.PositiveSmallIntegerField()
    name = models.CharField(max_length=255)
    content_type = models.CharField(max_length=255)
    content_id = models.TextField(blank=True)
    size = models.PositiveBigIntegerField()
    in_forwarded = models.BooleanField(default=False)
    detected_type = models.CharField(max_length=100, blank=True)
    is_blocked = models.BooleanField(default=False)
    blocked_because = models.CharField(max_length=200, blank=True)

    class Meta:
        ordering = ("message", "number")
        constraints = [
            models.UniqueConstraint(fields=["message", "number"], name="attachment_one_per_number"),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def disagreement(self) -> str:
        """One sentence when it is not what it says."""
        return filetypes.disagrees(self.name, self.content_type, self.detected_type)

    @property
    def shown_name(self) -> str:
        """The name for a page, long ones cut in the middle: the end says what a double click would do."""
        return self.name if len(self.name) <= 80 else f"{self.name[:45]} … {self.name[-30:]}"


class Delivery(models.Model):
    """A message that reached a user or queue, and why. The same mail reaches the same target once.

    `same_key` (Message-ID and digest, empty without a Message-ID) holds that in the database, too.
    """

    message = models.ForeignKey(Message, models.PROTECT, related_name="deliveries", db_index=False)
    mailbox = models.ForeignKey(Mailbox, models.PROTECT, related_name="deliveries")
    rule = models.CharField(max_length=30)
    evidence = models.TextField()
    header = models.CharField(max_length=100, blank=True)
    address = models.CharField(max_length=320, blank=True)
    same_key = models.CharField(max_length=64, blank=True)
    delivered_at = models.DateTimeField(default=timezone.now)
    delivered_by = models.ForeignKey(
        User, models.SET_NULL, null=True, blank=True, related_name="+", db_index=False
    )

    objects = Deliveries.as_manager()

    class Meta:
        ordering = ("-delivered_at", "-pk")
        verbose_name_plural = "deliveries"
        constraints = [
            models.UniqueConstraint(fields=["message", "mailbox"], name="delivery_once_per_message"),
            models.UniqueConstraint(
                fields=["mailbox", "same_key"], condition=~Q(same_key=""), name="delivery_once_per_mail"
            ),
        ]
        indexes = [
            models.Index(
                fields=["delivered_by"], condition=Q(delivered_by__isnull=False), name="delivery_by_hand"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.message} to {self.mailbox}"

    @property
    def rule_label(self) -> str:
        return RULE_LABELS[Rule(self.rule)]
