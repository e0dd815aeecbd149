"""Users and queues: those whose mail it is."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.db.models import Model

from emailprofiles.forms import (
    Choice,
    Exact,
    Lines,
    Password,
    PeopleField,
    PersonField,
    RecordForm,
    YesNo,
)

from .. import roles
from ..models import (
    AdditionalAddress,
    EmailConfigurationSettings,
    Mailbox,
    Queue,
    Regarding,
    User,
)
from .preferences import PLAIN_TEXT, LanguageField, SignatureText, TimeZoneField

FILTER_LABEL = {"incoming_filter": "Convert incoming email to activities"}
FILTER_HINT = {
    "incoming_filter": "With Replies only, a message is delivered here only if it answers one that was sent from this "
    "mailbox, or is a delivery report on one. Everything else is noted under Messages as discarded, with the reason."
}


class AdditionalAddresses(RecordForm):
    """The further addresses of a user or queue, on the form of that user or queue."""

    additional_addresses = Lines(
        label="Additional addresses",
        required=False,
        widget=forms.Textarea(attrs={"rows": 3, "spellcheck": "false", "autocapitalize": "none"}),
        help_text="One on each line. Copies that a forward mailbox collects for these addresses are delivered here, "
        "too. For receiving only, and without approval.",
    )

    def clean_additional_addresses(self) -> list[str]:
        lines = (line.strip().lower() for line in self.cleaned_data["additional_addresses"].splitlines())
        return sorted({line for line in lines if line})

    def beside(self, record: Any) -> dict[str, Any]:
        rows = AdditionalAddress.objects.filter(**{f"mailbox__{record.kind}": record})
        return {"additional_addresses": list(rows.values_list("address", flat=True))}

    def save(self, commit: bool = True) -> Any:
        record = super().save(commit)
        if "additional_addresses" in self.changes:
            mailbox = Mailbox.objects.get(**{record.kind: record})
            mailbox.put_additional_addresses(self.cleaned_data["additional_addresses"])
        return record


class UserForm(AdditionalAddresses):
    """A person: who they are, what they may do, and how they sign in here."""

    role = forms.ChoiceField(
        label="Role",
        choices=roles.Role.choices,
        initial=roles.Role.USER,
        help_text="Administrators do everything, approvers approve addresses, staff look only, users see their "
        "own mail.",
    )
    language = LanguageField(required=False)
    time_zone = TimeZoneField(help_text="In which times are shown to this person.")
    new_password = Password(label="Sign-in password")

    class Meta:
        model = User
        fields = (
            "username",
            "email",
            "first_name",
            "last_name",
            "time_zone",
            "language",
            "incoming_filter",
            "signature",
        )
        labels = FILTER_LABEL | {
            "username": "User Name",
            "first_name": "First name",
            "last_name": "Last name",
        }
        widgets = {"username": Exact, "incoming_filter": Choice, "signature": SignatureText}
        help_texts = FILTER_HINT | {
            "username": "For the sign-in here; mail servers have user names of their own.",
            "signature": f"Stands below what this person writes from the own mailbox. {PLAIN_TEXT}",
        }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        password = self.fields["new_password"]
        password.help_text = "For the sign-in here. At least 8 characters, no common word."
        if self.instance.pk is None:
            password.required = True
        else:
            self.fields[
                "email"
            ].help_text = "A change here also changes the mailbox, and needs a new approval."
            password.widget.attrs["placeholder"] = "stored — leave empty to keep"

    @property
    def write_only(self) -> dict[str, str]:
        return {"new_password": "password"}

    def beside(self, record: User) -> dict[str, Any]:
        return super().beside(record) | {"role": roles.role_of(record)}

    def lock(self) -> Model:
        _lock_mailbox(self.instance)
        return super().lock()

    def columns(self) -> list[str]:
        return [*super().columns(), *(["is_superuser"] if "role" in self.changes else [])]

    def clean(self) -> dict[str, Any]:
        super().clean()
        if self.cleaned_data.get("new_password"):
            self.instance.set_password(self.cleaned_data["new_password"])
        if self.cleaned_data.get("role") != roles.Role.ADMINISTRATOR:
            self.instance.is_superuser = False
        return self.cleaned_data

    def _post_clean(self) -> None:
        super()._post_clean()
        if typed := self.cleaned_data.get("new_password"):
            try:
                validate_password(typed, self.instance)
            except ValidationError as error:
                self.add_error("new_password", error)

    def save(self, commit: bool = True) -> User:
        """Saves the user with their role; raises ValidationError when nobody would be left to administer."""
        EmailConfigurationSettings.lock()  # two administrators who demote each other come one after the other
        role = roles.Role(self.cleaned_data["role"])
        moves = "role" in self.changes
        if self.exists and moves:
            roles.set_role(self.instance, role)
        user: User = super().save(commit)
        if moves:
            roles.set_role(user, role)
        return user


def _lock_mailbox(regarding: Regarding) -> None:
    """The mailbox of a user or queue comes first, as in their `save()`."""
    Mailbox.objects.select_for_update().filter(**{regarding.kind: regarding}).first()


class QueueForm(AdditionalAddresses):
    """A shared address, with the people who work on what arrives there."""

    owner = PersonField(
        label="Owner", help_text="Also owns the mailbox of this queue, and receives its alerts."
    )
    is_private = YesNo(
        label="Private",
        initial=True,
        help_text="With Yes, only the owner and the members below know of it here. With No, everyone who signs in "
        "finds it under My queues and may join. Either way, the owner and its members see all of its messages, "
        "and nobody else but administrators does.",
    )
    members = PeopleField(
        label="Members",
        required=False,
        help_text="Members see the messages of this queue.",
    )

    class Meta:
        model = Queue
        fields = (
            "name",
            "email_address",
            "owner",
            "description",
            "is_private",
            "incoming_filter",
            "signature",
        )
        labels = FILTER_LABEL
        widgets = {"description": forms.TextInput, "incoming_filter": Choice, "signature": SignatureText}
        help_texts = FILTER_HINT | {
            "signature": f"Stands below what its owner and its members write from this queue. {PLAIN_TEXT}",
        }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.instance.pk is not None:
            hint = "A change here also changes the mailbox, and needs a new approval."
            self.fields["email_address"].help_text = hint
            members: Any = self.fields["members"]
            members.keep(
                *self.instance.members.all()
            )  # who is a member already stays one, deactivated or not

    def beside(self, record: Queue) -> dict[str, Any]:
        return super().beside(record) | {
            "members": list(record.members.order_by("first_name", "last_name", "username"))
        }

    def lock(self) -> Model:
        _lock_mailbox(self.instance)
        return super().lock()

    def save(self, commit: bool = True) -> Queue:
        queue: Queue = super().save(commit)
        if "members" in self.changes:
            queue.members.set(self.cleaned_data["members"])
        return queue
