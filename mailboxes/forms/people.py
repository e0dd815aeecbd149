"""Users and queues: those whose mail it is."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError

from emailprofiles.forms import Exact, Password, PersonField, RecordForm, YesNo, person_named, written_as

from .. import roles
from ..models import EmailConfigurationSettings, Queue, User
from .preferences import TimeZoneField


class UserForm(RecordForm):
    """A person: who they are, what they may do, and how they sign in here."""

    role = forms.ChoiceField(
        label="Role",
        choices=roles.Role.choices,
        initial=roles.Role.USER,
        help_text="Administrators do everything, approvers approve addresses, staff look only, users see their "
        "own mail.",
    )
    is_active = YesNo(label="Active", initial=True, help_text="With No, this person cannot sign in here.")
    time_zone = TimeZoneField(help_text="In which times are shown to this person.")
    new_password = Password(label="Sign-in password")

    class Meta:
        model = User
        fields = ("username", "email", "first_name", "last_name", "is_active", "time_zone")
        labels = {"username": "User Name", "first_name": "First name", "last_name": "Last name"}
        widgets = {"username": Exact}
        help_texts = {"username": "For the sign-in here; mail servers have user names of their own."}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        password = self.fields["new_password"]
        password.help_text = "For the sign-in here. At least 8 characters, no common word."
        if self.instance.pk is None:
            password.required = True
        else:
            self.fields["role"].initial = roles.role_of(self.instance)
            self.fields[
                "email"
            ].help_text = "A change here also changes the mailbox, and needs a new approval."
            password.widget.attrs["placeholder"] = "stored — leave empty to keep"

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
        if self.instance.pk is not None:
            roles.set_role(self.instance, role)
        user: User = super().save(commit)
        roles.set_role(user, role)
        return user


class QueueForm(RecordForm):
    """A shared address, with the people who work on what arrives there."""

    owner = PersonField(
        label="Owner", help_text="Also owns the mailbox of this queue, and receives its alerts."
    )
    is_private = YesNo(label="Private", initial=False, help_text="With Yes, it is for its members alone.")
    is_active = YesNo(label="Active", initial=True, help_text="With No, its mailbox is deactivated, too.")
    members = forms.CharField(
        label="Members",
        required=False,
        widget=forms.Textarea(attrs={"rows": 5, "spellcheck": "false", "autocapitalize": "none"}),
        help_text="One on each line: an email address, a user name or a full name. Members see the messages of "
        "this queue.",
    )

    class Meta:
        model = Queue
        fields = ("name", "email_address", "owner", "description", "is_private", "is_active")
        widgets = {"description": forms.TextInput}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.instance.pk is not None:
            members = self.instance.members.order_by("first_name", "last_name", "username")
            self.fields["members"].initial = "\n".join(written_as(member) for member in members)
            hint = "A change here also changes the mailbox, and needs a new approval."
            self.fields["email_address"].help_text = hint

    def clean_members(self) -> list[User]:
        """The people named, each once; one sentence for each line that names nobody."""
        found: dict[int, User] = {}
        errors = []
        stored = {written_as(user): user for user in self._stored_members()}
        for line in filter(None, map(str.strip, self.cleaned_data["members"].splitlines())):
            try:
                member = stored.get(line) or person_named(line)
                found[member.pk] = member
            except ValidationError as error:
                errors += error.messages
        if errors:
            raise ValidationError(errors)
        return list(found.values())

    def _stored_members(self) -> list[User]:
        """Who is a member already stays one, deactivated or not."""
        return list(self.instance.members.all()) if self.instance.pk is not None else []

    def save(self, commit: bool = True) -> Queue:
        queue: Queue = super().save(commit)
        queue.members.set(self.cleaned_data["members"])
        return queue
