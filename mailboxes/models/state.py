"""What the engine knows: one SyncState per mailbox and direction, tests and their steps, who is at work."""

from __future__ import annotations

from datetime import timedelta

from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Coalesce
from django.utils import timezone

from emailprofiles.models import AuthenticateUsing, EmailServerProfile
from emailprofiles.rules import one_of
from emailprofiles.wire import Folder

from .choices import Direction, StepState, TestStatus
from .mailbox import Mailbox
from .people import User

METHOD_FIELDS = {
    Direction.INCOMING: "incoming_method",
    Direction.OUTGOING: "outgoing_method",
    Direction.ACT: "act_method",
}


def vouched() -> Q:
    """SQL twin of `SyncState.vouches_for`: the last test saw the settings as they are now."""
    return Q(
        tested_mailbox_version=F("mailbox__connection_version"),
        tested_profile_version=Coalesce(F("mailbox__server_profile__connection_version"), 0),
    )


class SyncStates(models.QuerySet["SyncState"]):
    def set_up(self, *directions: Direction, approved: Q) -> SyncStates:
        """Of these directions, those that lack nothing but perhaps a passed test: SQL twin of the preconditions
        before it.

        `approved` is `EmailConfigurationSettings.approved()`, read once for each claim or page.
        """
        ours = Q()
        for direction in directions:
            ours |= Q(**{"direction": direction, f"mailbox__{METHOD_FIELDS[direction]}": "server_side"})
        return self.filter(
            ours,
            approved,
            Q(mailbox__server_profile__authenticate_using=AuthenticateUsing.PROFILE)
            | Q(mailbox__server_profile__authenticate_using=AuthenticateUsing.ANONYMOUS)
            | Q(
                mailbox__allow_credentials=True,
                mailbox__credentials_location_version=F("mailbox__server_profile__location_version"),
            ),
            mailbox__is_active=True,
            mailbox__server_profile__is_active=True,
        )

    def running(self, *directions: Direction, approved: Q) -> SyncStates:
        """Of these directions, those that run: SQL twin of `standing.preconditions`, less back-off and circuit."""
        tested = self.filter(vouched(), enabled=True, test_status=TestStatus.SUCCESS)
        return tested.set_up(*directions, approved=approved)

    def stopped(self, *directions: Direction, approved: Q) -> SyncStates:
        """The directions whose last test failed, or that stopped, with the settings as they are: a person must act."""
        failed = Q(test_status=TestStatus.FAILURE) | Q(test_status=TestStatus.SUCCESS, enabled=False)
        return self.filter(failed, vouched()).set_up(*directions, approved=approved)


class SyncState(models.Model):
    """The engine's row for one direction of one mailbox; a form never writes it.

    `fence` grows with each claim of the lease; every write of a pass is conditional on it. The cursor
    (`cursor_folder`, `cursor_generation`, `cursor_position`) says: everything up to here is stored.

    `fetch_window` is how many messages are asked for at once after an answer broke off (0: as usual); `suspect`
    is the one message that was asked for alone, `suspect_attempts` how often. `renumbered` counts how often the
    folder's generation changed within a day from `renumbered_since`. `told_at` is when the server last told that
    mail arrived: what came after the pass had begun makes another one due.
    """

    mailbox = models.ForeignKey(Mailbox, models.CASCADE, related_name="states")
    direction = models.CharField(max_length=10, choices=Direction.choices)

    enabled = models.BooleanField(default=False)
    test_status = models.CharField(max_length=10, choices=TestStatus.choices, default=TestStatus.NOT_RUN)
    tested_mailbox_version = models.PositiveIntegerField(default=0)
    tested_profile_version = models.PositiveIntegerField(default=0)

    next_run_at = models.DateTimeField(null=True, blank=True)
    lease_holder = models.CharField(max_length=200, blank=True)
    lease_until = models.DateTimeField(null=True, blank=True)
    fence = models.PositiveBigIntegerField(default=0)

    failures = models.PositiveIntegerField(default=0)
    failing_since = models.DateTimeField(null=True, blank=True)
    last_run_at = models.DateTimeField(null=True, blank=True)
    last_success_at = models.DateTimeField(null=True, blank=True)
    last_error = models.TextField(blank=True)
    skipped = models.PositiveBigIntegerField(default=0)

    cursor_folder = models.CharField(max_length=250, blank=True)
    cursor_generation = models.CharField(max_length=40, blank=True)
    cursor_position = models.CharField(max_length=250, blank=True)

    fetch_window = models.PositiveSmallIntegerField(default=0)
    suspect = models.CharField(max_length=250, blank=True)
    suspect_attempts = models.PositiveSmallIntegerField(default=0)
    renumbered = models.PositiveIntegerField(default=0)
    renumbered_since = models.DateTimeField(null=True, blank=True)
    reconcile_asked_at = models.DateTimeField(null=True, blank=True)
    told_at = models.DateTimeField(null=True, blank=True)

    objects = SyncStates.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["mailbox", "direction"], name="state_one_per_direction"),
            one_of("direction", Direction, "state"),
            one_of("test_status", TestStatus, "state"),
        ]
        indexes = [
            models.Index(fields=["direction", "enabled", "next_run_at"], name="state_due"),
            # The list of mailboxes: who is in trouble, and who is not tested, without a look at the rows.
            models.Index(fields=["test_status", "enabled", "mailbox"], name="state_in_trouble"),
            models.Index(
                fields=[
                    "mailbox",
                    "direction",
                    "test_status",
                    "tested_mailbox_version",
                    "tested_profile_version",
                ],
                name="state_tested",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.mailbox} {self.direction}"

    def position_in(self, folder: Folder) -> str | None:
        """Up to where an open folder is stored; a new generation (UIDVALIDITY) starts from the beginning, and so
        does each pass over a folder without a lasting order."""
        if not folder.lasting_order:
            return None
        same = (self.cursor_folder, self.cursor_generation) == (folder.name, folder.generation)
        return self.cursor_position or None if same else None

    def vouches_for(self, mailbox: Mailbox) -> bool:
        """Whether the last test saw exactly the settings that this mailbox and its profile have now."""
        return (
            self.tested_mailbox_version == mailbox.connection_version
            and self.tested_profile_version == mailbox.profile_version
        )


class Watch(models.Model):
    """A connection that waits for mail of one mailbox, leased to an engine like any work.

    After a failure, which `last_error` tells, none is opened before `again_at`.
    """

    mailbox = models.OneToOneField(Mailbox, models.CASCADE, related_name="watch")
    lease_holder = models.CharField(max_length=200, blank=True)
    lease_until = models.DateTimeField(null=True, blank=True)
    failures = models.PositiveIntegerField(default=0)
    last_error = models.TextField(blank=True)
    again_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        verbose_name_plural = "watches"
        indexes = [models.Index(fields=["lease_until"], name="watch_held")]

    def __str__(self) -> str:
        return f"watch of {self.mailbox}"


class ServerCircuit(models.Model):
    """A server that fails for everyone is asked by one probing mailbox, not by all of them.

    A profile names two servers: one may be down while the other works.
    """

    profile = models.ForeignKey(EmailServerProfile, models.CASCADE, related_name="circuits", db_index=False)
    direction = models.CharField(max_length=10, choices=Direction.choices, default=Direction.INCOMING)
    open_until = models.DateTimeField()
    failures = models.PositiveIntegerField(default=1)
    since = models.DateTimeField(default=timezone.now)
    reason = models.TextField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["profile", "direction"], name="circuit_one_per_server"),
            one_of("direction", Direction, "circuit"),
        ]

    def __str__(self) -> str:
        return f"{self.profile} {self.direction}: {self.reason}"


class ConfigurationTest(models.Model):
    """One run of Test & Enable: requested by a person, claimed by a worker, told step by step."""

    mailbox = models.ForeignKey(Mailbox, models.CASCADE, related_name="tests")
    requested_by = models.ForeignKey(User, models.SET_NULL, null=True, blank=True, related_name="+")
    requested_at = models.DateTimeField(default=timezone.now)
    enables = models.BooleanField("Enables what passes", default=True)
    started_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)
    lease_holder = models.CharField(max_length=200, blank=True)
    lease_until = models.DateTimeField(null=True, blank=True)
    fence = models.PositiveIntegerField(default=0)

    class Meta:
        ordering = ("-requested_at", "-pk")
        constraints = [
            models.UniqueConstraint(
                fields=["mailbox"], condition=Q(finished_at__isnull=True), name="test_one_open_per_mailbox"
            ),
        ]

    def __str__(self) -> str:
        return f"test of {self.mailbox} requested at {self.requested_at:%Y-%m-%d %H:%M}"

    def results(self) -> dict[str, bool]:
        """Whether each direction that was tested has passed; uses prefetched `steps`."""
        states: dict[str, list[str]] = {}
        for step in self.steps.all():
            states.setdefault(step.direction, []).append(step.state)
        passed = {name: all(state == StepState.PASSED for state in states[name]) for name in states}
        return {direction: passed[direction] for direction in Direction.values if direction in passed}

    @classmethod
    def request(
        cls, mailbox: Mailbox, requested_by: User | None, *, enables: bool = True
    ) -> ConfigurationTest:
        """Ask for a test; an open one of this mailbox is returned instead of a second.

        With `enables` False it only looks. Who asks for more while it is open gets more, never less.
        """
        test, _ = cls.objects.get_or_create(
            mailbox=mailbox, finished_at=None, defaults={"requested_by": requested_by, "enables": enables}
        )
        if enables and not test.enables:
            cls.objects.filter(pk=test.pk).update(enables=True)
            test.enables = True
        return test


class TestStep(models.Model):
    """One step of the ladder of one direction, written when it ended."""

    __test__ = False  # not a test class

    test = models.ForeignKey(ConfigurationTest, models.CASCADE, related_name="steps")
    direction = models.CharField(max_length=10, choices=Direction.choices)
    number = models.PositiveSmallIntegerField()
    name = models.CharField(max_length=60)
    state = models.CharField(max_length=12, choices=StepState.choices)
    duration_ms = models.PositiveIntegerField(null=True, blank=True)
    seen = models.TextField(blank=True)
    cause = models.TextField(blank=True)
    advice = models.TextField(blank=True)
    what_we_do = models.TextField(blank=True)
    server_words = models.TextField(blank=True)

    class Meta:
        ordering = ("test", "direction", "number")
        constraints = [
            models.UniqueConstraint(fields=["test", "direction", "number"], name="step_one_per_number"),
        ]

    def __str__(self) -> str:
        return f"{self.direction}: {self.name} {self.state}"


class Survey(models.Model):
    """What a test found in the folder before anything is collected from it, and where it would go.

    `messages` stand there, `dealt_with` of them by earlier passes; `wanted` of the others are not older than
    *Process Email From*; of the newest `sample` of these `looked_at` were read and routed as the engine does,
    with nothing kept or marked. When counting took too long (`is_counted` is False) there are more.
    """

    test = models.OneToOneField(ConfigurationTest, models.CASCADE, related_name="survey")
    folder = models.CharField(max_length=250)
    messages = models.PositiveBigIntegerField()
    is_counted = models.BooleanField(default=True)
    dealt_with = models.PositiveBigIntegerField(default=0)
    oldest_at = models.DateTimeField(null=True, blank=True)
    wanted_from = models.DateTimeField(null=True, blank=True)
    wanted = models.PositiveBigIntegerField()
    sample = models.PositiveIntegerField(default=0)
    looked_at = models.PositiveIntegerField(default=0)
    taken_at = models.DateTimeField(default=timezone.now)

    def __str__(self) -> str:
        return f"{self.messages} messages in {self.folder}"


class SurveyShare(models.Model):
    """How many of the messages looked at would go to one mailbox, or to nobody for one reason."""

    survey = models.ForeignKey(Survey, models.CASCADE, related_name="shares")
    mailbox = models.ForeignKey(Mailbox, models.CASCADE, null=True, blank=True, related_name="+")
    reason = models.CharField(max_length=40, blank=True)
    messages = models.PositiveIntegerField()

    class Meta:
        ordering = ("-messages", "pk")

    def __str__(self) -> str:
        return f"{self.messages} to {self.mailbox or self.reason}"


class EngineProcess(models.Model):
    """A process whose threads do the work; it says that it lives every few seconds."""

    SILENCE = timedelta(seconds=20)

    holder = models.CharField(max_length=200, unique=True)
    threads = models.PositiveIntegerField()
    started_at = models.DateTimeField(default=timezone.now)
    seen_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ("-seen_at",)

    def __str__(self) -> str:
        return self.holder
