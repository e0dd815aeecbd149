"""The mailbox record: what a person saved about the mail of one address. The engine never writes it."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from typing import Any

from django.core.exceptions import ValidationError
from django.db import models, transaction
from django.db.models import Q, Value
from django.db.models.functions import Lower
from django.db.models.lookups import Exact
from django.utils import timezone

from emailprofiles import history
from emailprofiles.fields import EncryptedField
from emailprofiles.models import (
    AuthenticateUsing,
    EmailServerProfile,
    changed,
    same_place,
    unspeakable,
    written,
)
from emailprofiles.prefixes import index
from emailprofiles.rules import FieldRule, Ruled, one_of

from .choices import ActMethod, Approval, Direction, IncomingMethod, Kind, OutgoingMethod, TestStatus
from .people import Queue, Regarding, User

FORWARD = Q(is_forward_mailbox=True)
QUEUE = Q(queue__isnull=False)
USER = Q(user__isnull=False)

# An active user or queue keeps its address while its mailbox rests.
HOLDS_ITS_ADDRESS = Q(is_active=True) | Q(user__is_active=True) | Q(queue__is_active=True)

# What a test vouches for. Deleting belongs to it: the step "may delete" was tried for it.
CONNECTION_FIELDS = (
    "email_address",
    "delete_emails_after_processing",
    "allow_credentials",
    "username",
    "password",
    "server_profile_id",
    "incoming_method",
    "outgoing_method",
    "act_method",
)

# No rule across rows looks at these: a save of nothing else need not ask for the others.
FREE_OF_OTHERS = {
    "name",
    "approval",
    "approval_by",
    "approval_at",
    "credentials_location_version",
    "changed_by",
    "changed_at",
}


def _rule(field: str, name: str, condition: Q, message: str) -> FieldRule:
    return FieldRule(field=field, name=f"mailbox_{name}", condition=condition, message=message)


ROW_RULES = [
    one_of("incoming_method", IncomingMethod, "mailbox"),
    one_of("outgoing_method", OutgoingMethod, "mailbox"),
    one_of("act_method", ActMethod, "mailbox"),
    one_of("approval", Approval, "mailbox"),
    _rule(
        "user",
        "regards_one",
        ~(USER & QUEUE),
        "A mailbox regards a user or a queue, not both.",
    ),
    _rule(
        "is_forward_mailbox",
        "forward_has_empty_regarding",
        (FORWARD & ~USER & ~QUEUE) | (~FORWARD & (USER | QUEUE)),
        "Regarding stays empty for a forward mailbox, and is required for any other.",
    ),
    _rule(
        "delete_emails_after_processing",
        "delete_not_for_users",
        Q(delete_emails_after_processing=False) | ~USER,
        "Only a forward mailbox or a queue's mailbox can delete emails after processing. Choose No.",
    ),
    _rule(
        "incoming_method",
        "forward_receives_server_side",
        ~FORWARD | Q(incoming_method__in=[IncomingMethod.NONE, IncomingMethod.SERVER_SIDE]),
        "A forward mailbox is read by server-side synchronization or not at all.",
    ),
    _rule(
        "outgoing_method",
        "forward_sends_nothing",
        ~FORWARD | Q(outgoing_method=OutgoingMethod.NONE),
        "For a forward mailbox only None is allowed: answers leave through the mailbox of the user or queue.",
    ),
    _rule(
        "incoming_method",
        "queue_receives_without_outlook",
        ~(QUEUE & Q(incoming_method=IncomingMethod.OUTLOOK)),
        "A queue has no Outlook of its own: choose Forward Mailbox, server-side synchronization or None.",
    ),
    _rule(
        "outgoing_method",
        "queue_sends_without_outlook",
        ~(QUEUE & Q(outgoing_method=OutgoingMethod.OUTLOOK)),
        "A queue has no Outlook of its own: choose server-side synchronization or None.",
    ),
    _rule(
        "act_method",
        "act_only_for_users",
        USER | Q(act_method=ActMethod.NONE),
        "Only a user has appointments, contacts, and tasks. Choose None.",
    ),
    _rule(
        "server_profile",
        "server_side_has_a_profile",
        Q(server_profile__isnull=False)
        | (
            ~Q(incoming_method=IncomingMethod.SERVER_SIDE)
            & ~Q(outgoing_method=OutgoingMethod.SERVER_SIDE)
            & ~Q(act_method=ActMethod.SERVER_SIDE)
        ),
        "Server-side synchronization needs to know the server: choose a profile.",
    ),
    _rule(
        "username",
        "username_present",
        Q(allow_credentials=False) | ~Q(username=""),
        "Type the user name that the mail server expects at sign-in.",
    ),
    _rule(
        "password",
        "password_present",
        Q(allow_credentials=False) | ~Q(password=""),
        "Type the password that belongs to this user name.",
    ),
    _rule(
        "approval",
        "approval_fits_kind",
        (FORWARD & Q(approval=Approval.EMPTY)) | (~FORWARD & ~Q(approval=Approval.EMPTY)),
        "A forward mailbox needs no approval; the address of a user or queue is pending, approved or "
        "rejected.",
    ),
    _rule("name", "name_present", ~Q(name=""), "Type a name."),
    _rule("email_address", "address_present", ~Q(email_address=""), "Type an email address."),
]


class Mailboxes(models.QuerySet["Mailbox"]):
    def own(self, user: User) -> Mailboxes:
        """The user's own mailbox, and those of queues that the user owns or is a member of."""
        queues = Queue.objects.filter(Q(owner=user) | Q(pk__in=user.queues.order_by().values("pk")))
        return self.filter(Q(user=user) | Q(queue__in=queues.order_by().values("pk")))


class Mailbox(Ruled):
    """How the mail of one address is synchronized. Three kinds: user, queue, forward."""

    name = models.CharField("Name", max_length=200)
    owner = models.ForeignKey(User, models.PROTECT, verbose_name="Owner", related_name="owned_mailboxes")
    email_address = models.EmailField("Email address", max_length=254)
    delete_emails_after_processing = models.BooleanField("Delete Emails After Processing", default=False)
    user = models.OneToOneField(
        User, models.PROTECT, null=True, blank=True, editable=False, related_name="mailbox"
    )
    queue = models.OneToOneField(
        Queue, models.PROTECT, null=True, blank=True, editable=False, related_name="mailbox"
    )
    is_forward_mailbox = models.BooleanField("Is Forward Mailbox", default=False, editable=False)

    allow_credentials = models.BooleanField("Allow to Use Credentials for Email Processing", default=False)
    username = models.CharField("User Name", max_length=254, blank=True)
    password = EncryptedField("Password")
    credentials_location_version = models.PositiveIntegerField(null=True, editable=False)

    server_profile = models.ForeignKey(
        EmailServerProfile,
        models.PROTECT,
        null=True,
        blank=True,
        verbose_name="Server Profile",
        related_name="mailboxes",
    )
    incoming_method = models.CharField(
        "Incoming Email", max_length=20, choices=IncomingMethod.choices, default=IncomingMethod.NONE
    )
    outgoing_method = models.CharField(
        "Outgoing Email", max_length=20, choices=OutgoingMethod.choices, default=OutgoingMethod.NONE
    )
    act_method = models.CharField(
        "Appointments, Contacts, and Tasks", max_length=20, choices=ActMethod.choices, default=ActMethod.NONE
    )

    approval = models.CharField(
        "Email approval", max_length=10, choices=Approval.choices, default=Approval.EMPTY, editable=False
    )
    approval_by = models.ForeignKey(
        User, models.SET_NULL, null=True, blank=True, editable=False, related_name="+"
    )
    # Since when the approval stands as it does.
    approval_at = models.DateTimeField(null=True, blank=True, editable=False)
    is_active = models.BooleanField("Active", default=True, editable=False)

    connection_version = models.PositiveIntegerField(default=1, editable=False)
    secret_id = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)
    changed_at = models.DateTimeField(auto_now=True)
    changed_by = models.ForeignKey(
        User, models.SET_NULL, null=True, blank=True, editable=False, related_name="+"
    )

    objects = Mailboxes.as_manager()

    # Set before a save that changes the profile and lets the stored password stay: nobody typed it for the
    # new server, so it waits for an administrator's confirmation before it goes there.
    credentials_may_wait = False

    class Meta:
        ordering = ("name",)
        verbose_name_plural = "mailboxes"
        permissions = [
            ("administer_email", "May administer email"),
            ("approve_email_address", "May approve and reject email addresses"),
        ]
        constraints = [
            *ROW_RULES,
            models.UniqueConstraint(
                Lower("email_address"),
                condition=Q(is_active=True),
                name="mailbox_address_is_unique",
                violation_error_message="Another active mailbox has this address.",
            ),
        ]
        indexes = [
            index("name", "mailbox_name_begins"),
            index("email_address", "mailbox_address_begins"),
            # The list of mailboxes: its views are counted, and its pages found, in the index alone.
            models.Index(
                fields=[
                    "is_active",
                    "is_forward_mailbox",
                    "approval",
                    "server_profile",
                    "incoming_method",
                    "outgoing_method",
                    "act_method",
                    "connection_version",
                ],
                name="mailbox_views",
            ),
            models.Index(Lower("email_address"), name="mailbox_by_address"),
            models.Index(Lower("username"), name="mailbox_by_username"),
            models.Index(Lower("name"), "id", condition=Q(is_active=True), name="mailbox_active_by_name"),
            models.Index(
                fields=["approval_at", "id"],
                condition=Q(is_active=True, approval="pending"),
                name="mailbox_waiting_longest",
            ),
            models.Index(
                fields=["is_forward_mailbox"], condition=Q(is_forward_mailbox=True), name="mailbox_forward"
            ),
        ]

    def __str__(self) -> str:
        return self.name

    @classmethod
    def new_forward(cls, **values: Any) -> Mailbox:
        """An unsaved forward mailbox; user and queue mailboxes are made with their user or queue."""
        return cls(is_forward_mailbox=True, approval=Approval.EMPTY, **values)

    @classmethod
    def new_for(cls, regarding: Regarding) -> Mailbox:
        """The unsaved mailbox of a new user or queue, filled from Email Configuration Settings."""
        from .office import EmailConfigurationSettings

        profile = EmailServerProfile.default()
        methods = EmailConfigurationSettings.load().methods_for(regarding.kind, profile)
        return cls(
            **{regarding.kind: regarding},
            **methods,
            name=regarding.label[:200],
            owner=regarding.mailbox_owner(),
            email_address=regarding.address,
            server_profile=profile,
            approval=Approval.PENDING,
            approval_at=timezone.now(),
            is_active=regarding.active,
        )

    @property
    def regarding(self) -> User | Queue | None:
        return self.user or self.queue

    @property
    def kind(self) -> Kind:
        return Kind.of(is_forward_mailbox=self.is_forward_mailbox, user_id=self.user_id)

    def method(self, direction: str) -> str:
        """The method of one direction, such as "server_side"."""
        methods: dict[str, str] = {
            Direction.INCOMING: self.incoming_method,
            Direction.OUTGOING: self.outgoing_method,
            Direction.ACT: self.act_method,
        }
        return methods[direction]

    @property
    def profile_version(self) -> int:
        """The version of the chosen profile; 0 when none is chosen."""
        return self.server_profile.connection_version if self.server_profile else 0

    def state(self, direction: str) -> Any:
        """The SyncState of a direction; uses a prefetched `states`."""
        return next(state for state in self.states.all() if state.direction == direction)

    @property
    def incoming_email_status(self) -> str:
        return self.test_status(Direction.INCOMING)

    @property
    def outgoing_email_status(self) -> str:
        return self.test_status(Direction.OUTGOING)

    @property
    def act_status(self) -> str:
        return self.test_status(Direction.ACT)

    def test_status(self, direction: str) -> str:
        """The result of the last test, or not_run when the settings changed since."""
        state = self.state(direction)
        status: str = state.test_status
        return status if state.vouches_for(self) else TestStatus.NOT_RUN

    @property
    def mailbox_test_completed_on(self) -> Any:
        test = self.tests.filter(finished_at__isnull=False, enables=True).order_by("-finished_at").first()
        return test.finished_at if test else None

    def clean(self) -> None:
        """The rules across rows; raises ValidationError by field."""
        super().clean()
        errors: dict[str, str] = {}
        for rule in CROSS_ROW_RULES:
            for field, sentence in rule(self).items():
                errors.setdefault(field, sentence)
        if errors:
            raise ValidationError(errors)

    def save(self, *args: Any, update_fields: Iterable[str] | None = None, **kwargs: Any) -> None:
        """Saves under the locks that the rules across rows need; see `clean()`.

        Raises ValidationError when one of them is broken by now, IntegrityError for a row's own rule.
        """
        names = None if update_fields is None else set(update_fields)
        with transaction.atomic():
            stored = self._lock()
            if names is None or not names <= FREE_OF_OTHERS:
                self.clean()
            names = self._follow_changes(stored, names)
            adding = self._state.adding
            super().save(*args, update_fields=names, **kwargs)
            if adding:
                self._make_states()
            elif stored and self.regarding and changed(self, stored, written(["email_address"], names)):
                self.regarding.keep_address(self.email_address)

    def check_rules_of(self, field: str) -> None:
        """Raises ValidationError where a rule of this row that belongs to the field is broken."""
        for rule in ROW_RULES:
            if rule.field == field:
                rule.validate(type(self), self)

    def _lock(self) -> Mailbox | None:
        """Lock what the rules across rows look at; returns this row as stored."""
        from .office import EmailConfigurationSettings

        stored = type(self)._default_manager.select_for_update().filter(pk=self.pk).first()
        EmailConfigurationSettings.lock()
        if self.server_profile_id:
            self.server_profile = EmailServerProfile.objects.select_for_update().get(
                pk=self.server_profile_id
            )
        return stored

    def _follow_changes(self, stored: Mailbox | None, names: set[str] | None) -> set[str] | None:
        """Set what follows from the columns that this save writes; returns all columns to write.

        What follows: the version, the approval, and where the credentials may go.
        """
        follows = set()
        if stored is None or changed(self, stored, written(["password", "server_profile_id"], names)):
            typed = stored is None or changed(self, stored, written(["password"], names))
            self.credentials_location_version = (
                self.server_profile.location_version
                if self.server_profile and (typed or not self.password)
                else None
            )
            follows.add("credentials_location_version")
        if stored is not None:
            relevant = written(CONNECTION_FIELDS, names)
            self.connection_version = stored.connection_version + changed(self, stored, relevant)
            follows.add("connection_version")
            renamed = stored.email_address.lower() != self.email_address.lower()
            if renamed and "email_address" in relevant and not self.is_forward_mailbox:
                self.approval, self.approval_by = Approval.PENDING, None
                self.approval_at = timezone.now()
                follows.update({"approval", "approval_by", "approval_at"})
        return None if names is None else names | follows | {"changed_at"}

    def _make_states(self) -> None:
        from .state import SyncState

        SyncState.objects.bulk_create(
            SyncState(mailbox=self, direction=direction) for direction in Direction.values
        )

    def put_additional_addresses(self, addresses: Iterable[str]) -> bool:
        """Let this user or queue be known by these further addresses, and no others; whether that is a change.

        Raises ValidationError with a sentence for each address that is not right.
        """
        from .office import EmailConfigurationSettings

        wanted = sorted({address.strip().lower() for address in addresses})
        with transaction.atomic():
            Mailbox.objects.select_for_update().get(pk=self.pk)
            EmailConfigurationSettings.lock()
            before = list(self.additional_addresses.values_list("address", flat=True))
            if before == wanted:
                return False
            self.additional_addresses.exclude(address__in=wanted).delete()
            self._add_addresses([address for address in wanted if address not in before])
            texts = (", ".join(before), ", ".join(wanted))
            history.note(self.regarding or self, additional_addresses=texts)
        return True

    def _add_addresses(self, addresses: Iterable[str]) -> None:
        sentences: list[str] = []
        for address in addresses:
            row = AdditionalAddress(mailbox=self, address=address)
            try:
                row.full_clean(validate_unique=False)  # `clean()` says who has it
                row.save()
            except ValidationError as error:
                sentences += [f"“{address}”: {sentence}" for sentence in error.messages]
        if sentences:
            raise ValidationError({"additional_addresses": sentences})

    def follow(self, regarding: Regarding) -> None:
        """Take over address, owner and deactivation from the user or queue; this row is locked already."""
        wanted = {"email_address": regarding.address, "owner_id": regarding.mailbox_owner().pk}
        if not regarding.active:
            wanted["is_active"] = False
        differing = {name: value for name, value in wanted.items() if getattr(self, name) != value}
        if not differing:
            return
        if "owner_id" in differing:
            self.owner = regarding.mailbox_owner()
        for name, value in differing.items():
            setattr(self, name, value)
        setattr(self, regarding.kind, regarding)
        self.save(update_fields=[name.removesuffix("_id") for name in differing])


history.watch(
    Mailbox,
    noise=(
        "user",
        "queue",
        "credentials_location_version",
        "connection_version",
        "secret_id",
        "approval_by",
        "approval_at",
        "created_at",
        "changed_at",
        "changed_by",
    ),
    secrets=("password",),
    labels={"credentials_confirmed": "Stored credentials"},
)


def reads_alike(field: str, text: str) -> Q:
    """SQL: the same but for upper and lower case, found in the index of that field however many there are."""
    return Q(Exact(Lower(field), Lower(Value(text))))


def address_holder(
    address: str, *, mailbox: Mailbox | None = None, regarding: Regarding | None = None
) -> str:
    """Who else holds an address, as "the queue mailbox Support"; "" when nobody does."""
    others = Mailbox.objects.filter(HOLDS_ITS_ADDRESS, reads_alike("email_address", address))
    if mailbox is not None and mailbox.pk:
        others = others.exclude(pk=mailbox.pk)
    if regarding is not None and regarding.pk:
        others = others.exclude(**{regarding.kind: regarding})
    holder = others.first() or _additional_holder(address, mailbox, regarding)
    return f"the {holder.kind.label.lower()} mailbox {holder.name}" if holder else ""


def _additional_holder(address: str, mailbox: Mailbox | None, regarding: Regarding | None) -> Mailbox | None:
    """The other mailbox that holds this as an additional address."""
    rows = AdditionalAddress.objects.filter(address=address.lower())
    if mailbox is not None and mailbox.pk:
        rows = rows.exclude(mailbox=mailbox)
    if regarding is not None and regarding.pk:
        rows = rows.exclude(**{f"mailbox__{regarding.kind}": regarding})
    return Mailbox.objects.filter(HOLDS_ITS_ADDRESS, pk__in=rows.order_by().values("mailbox")).first()


def _address_is_free(mailbox: Mailbox) -> dict[str, str]:
    regarding = mailbox.regarding
    if not mailbox.is_active and not (regarding and regarding.active):
        return {}
    holder = address_holder(mailbox.email_address, mailbox=mailbox)
    if not holder:
        return {}
    need = (
        "A forward mailbox needs an address of its own."
        if mailbox.is_forward_mailbox
        else "Choose another address."
    )
    return {"email_address": f"{mailbox.email_address} already belongs to {holder}. {need}"}


def _regarding_is_active(mailbox: Mailbox) -> dict[str, str]:
    regarding = mailbox.regarding
    if mailbox.is_active and regarding is not None and not regarding.active:
        return {
            "is_active": f"{regarding.label} is not active: activate the {mailbox.kind.label.lower()} first."
        }
    return {}


def _regarding_is_fixed(mailbox: Mailbox) -> dict[str, str]:
    stored = Mailbox.objects.filter(pk=mailbox.pk).first() if mailbox.pk else None
    if stored is None or not changed(mailbox, stored, ("user_id", "queue_id", "is_forward_mailbox")):
        return {}
    return {"is_forward_mailbox": "Regarding and Is Forward Mailbox are fixed when a mailbox is created."}


def _owner_follows_regarding(mailbox: Mailbox) -> dict[str, str]:
    regarding = mailbox.regarding
    stored = Mailbox.objects.filter(pk=mailbox.pk).first() if mailbox.pk else None
    if regarding is None or stored is None or not changed(mailbox, stored, ("owner_id",)):
        return {}
    if mailbox.owner_id == regarding.mailbox_owner().pk:
        return {}
    return {"owner": f"The owner follows from {regarding.label}: it cannot be changed here."}


def _profile_serves(mailbox: Mailbox) -> dict[str, str]:
    """The profile must be able to do what the methods ask of it."""
    profile = mailbox.server_profile
    if profile is None:
        return {}
    asked = (
        ("incoming_method", profile.can_receive, "has no incoming server"),
        ("outgoing_method", profile.can_send, "has no outgoing server"),
        ("act_method", profile.can_synchronize_act, "cannot synchronize appointments, contacts, and tasks"),
    )
    errors = {
        field: f"The profile {profile.name} {lacks}. Choose another profile or method."
        for field, able, lacks in asked
        if getattr(mailbox, field) == IncomingMethod.SERVER_SIDE and not able
    }
    if not profile.is_active and _profile_is_chosen_now(mailbox):
        errors["server_profile"] = f"The profile {profile.name} is not active. Choose an active one."
    return errors


def _profile_is_chosen_now(mailbox: Mailbox) -> bool:
    stored = Mailbox.objects.filter(pk=mailbox.pk).first() if mailbox.pk else None
    return stored is None or stored.server_profile_id != mailbox.server_profile_id


def _credentials_typed_again(mailbox: Mailbox) -> dict[str, str]:
    """Who does not know a stored password cannot send it under another name or to another server."""
    stored = Mailbox.objects.filter(pk=mailbox.pk).first() if mailbox.pk else None
    if stored is None or not stored.password or not mailbox.password:
        return {}
    binding = ("username",) if mailbox.credentials_may_wait else ("username", "server_profile_id")
    if changed(mailbox, stored, ("password",)) or not changed(mailbox, stored, binding):
        return {}
    return {"password": "The user name or the server profile changed: type the password again."}


def _server_mailbox_is_free(mailbox: Mailbox) -> dict[str, str]:
    """Two active mailboxes never open the same folder of the same account."""
    holder, profile = account_reader(mailbox), mailbox.server_profile
    if holder is None or profile is None:
        return {}
    field = "username" if profile.authenticate_using == AuthenticateUsing.MAILBOX else "email_address"
    return {
        field: f"The mailbox {holder.name} already reads {profile.incoming_folder} of "
        f"{effective_account(mailbox)} on {profile.incoming_host}. Two mailboxes cannot collect from the same "
        "place."
    }


def account_reader(mailbox: Mailbox) -> Mailbox | None:
    """The other active mailbox that already reads the folder and account which this one would read."""
    profile = mailbox.server_profile
    if not mailbox.is_active or profile is None or mailbox.incoming_method != IncomingMethod.SERVER_SIDE:
        return None
    account = effective_account(mailbox)
    others = Mailbox.objects.filter(
        Q(
            reads_alike("username", account),
            server_profile__authenticate_using=AuthenticateUsing.MAILBOX,
            allow_credentials=True,
        )
        | Q(
            reads_alike("email_address", account),
            server_profile__authenticate_using=AuthenticateUsing.PROFILE,
        ),
        same_place(profile, "server_profile__"),
        is_active=True,
        incoming_method=IncomingMethod.SERVER_SIDE,
    ).exclude(pk=mailbox.pk)
    return others.first() if account else None


def effective_account(mailbox: Mailbox) -> str:
    """The account whose folders are opened on the server; "" when it is not known yet."""
    profile = mailbox.server_profile
    if profile is not None and profile.authenticate_using == AuthenticateUsing.PROFILE:
        return mailbox.email_address
    return mailbox.username if mailbox.allow_credentials else ""


def _additional_addresses_are_free(mailbox: Mailbox) -> dict[str, str]:
    """Whoever was deactivated comes back to further addresses that nobody took meanwhile."""
    if not mailbox.pk or not mailbox.is_active:
        return {}
    for address in mailbox.additional_addresses.values_list("address", flat=True):
        if holder := address_holder(address, mailbox=mailbox):
            return {
                "is_active": f"The additional address {address} belongs to {holder} by now: take it away first."
            }
    return {}


def _credentials_are_speakable(mailbox: Mailbox) -> dict[str, str]:
    return unspeakable(mailbox, ("username", "password"))


CROSS_ROW_RULES = (
    _credentials_are_speakable,
    _address_is_free,
    _additional_addresses_are_free,
    _regarding_is_active,
    _regarding_is_fixed,
    _owner_follows_regarding,
    _profile_serves,
    _credentials_typed_again,
    _server_mailbox_is_free,
)


class AdditionalAddress(models.Model):
    """A further address by which a user or queue is known to routing; stored in lower case.

    Nobody else has it, be it as address or as a further one. Set by `Mailbox.put_additional_addresses()`.
    """

    mailbox = models.ForeignKey(Mailbox, models.CASCADE, related_name="additional_addresses")
    address = models.EmailField(unique=True)

    class Meta:
        ordering = ("address",)
        verbose_name_plural = "additional addresses"
        constraints = [
            FieldRule(
                field="address",
                name="additional_address_in_lower_case",
                condition=Q(address=Lower("address")),
                message="Addresses are compared in lower case, and stored like that.",
            ),
        ]

    def __str__(self) -> str:
        return self.address

    def clean(self) -> None:
        """The rules across rows; raises ValidationError at the address."""
        super().clean()
        if sentence := self._why_not():
            raise ValidationError({"address": sentence})

    def _why_not(self) -> str:
        if self.mailbox.is_forward_mailbox:
            return (
                "A forward mailbox serves nobody’s own mail: additional addresses belong to users and queues."
            )
        if self.address.lower() == self.mailbox.email_address.lower():
            return f"This is the address of {self.mailbox.name} already."
        if holder := address_holder(self.address, mailbox=self.mailbox):
            return f"This address already belongs to {holder}."
        resting = AdditionalAddress.objects.filter(address=self.address.lower()).exclude(pk=self.pk).first()
        return (
            f"{resting.mailbox.name}, who is deactivated, keeps it: take it away there first."
            if resting
            else ""
        )
