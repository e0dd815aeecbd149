"""Sign-in, and the first administrator."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib.auth import authenticate
from django.contrib.auth.forms import AuthenticationForm
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.db import transaction
from django.http import HttpRequest

from emailprofiles.forms import Password, RecordForm, Summed
from emailprofiles.history import acting

from ..models import SetupLink, User
from ..roles import Role, set_role


class SignInForm(AuthenticationForm):
    """One sentence for every failure: nobody learns which user names exist."""

    remember = forms.BooleanField(label="Keep me signed in on this computer for 14 days", required=False)

    error_messages = {
        "invalid_login": "User name and password do not belong together, or this person may not sign in. "
        "Both are sensitive to capital letters.",
        "inactive": "User name and password do not belong together, or this person may not sign in.",
    }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["username"].label = "User name"
        self.fields["username"].widget.attrs |= {"class": "input", "spellcheck": "false"}
        self.fields["password"].widget.attrs |= {"class": "input"}


def _judge_password(form: forms.BaseForm, user: User) -> None:
    """The same one twice, and one that the validators let pass."""
    password, again = (form.cleaned_data.get(name, "") for name in ("password", "password_again"))
    if not password or not again:
        return
    if password != again:
        form.add_error("password_again", "The two passwords differ. Type the same one twice.")
        return
    try:
        validate_password(password, user)
    except ValidationError as error:
        form.add_error("password", error)


class NewPasswordForm(Summed, forms.Form):
    """A new password for one person, typed twice."""

    password = Password(
        label="New password", required=True, help_text="At least 8 characters, no common word, not your name."
    )
    password_again = Password(label="New password, once more", required=True)

    def __init__(self, user: User, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.user = user
        for field in self.fields.values():
            field.widget.attrs["class"] = "input"

    def clean(self) -> dict[str, Any]:
        _judge_password(self, self.user)
        return self.cleaned_data


class PasswordChangeForm(NewPasswordForm):
    """The same for who knows the current one; to guess that is throttled like a sign-in."""

    current_password = Password(label="Current password", required=True, autocomplete="current-password")

    field_order = ["current_password", "password", "password_again"]

    def __init__(self, request: HttpRequest, user: User, *args: Any, **kwargs: Any) -> None:
        super().__init__(user, *args, **kwargs)
        self.request = request

    def clean_current_password(self) -> str:
        typed: str = self.cleaned_data["current_password"]
        if authenticate(self.request, username=self.user.get_username(), password=typed) is None:
            closed = getattr(self.request, "axes_locked_out", False)
            raise ValidationError(
                "Too many wrong ones. Try again in some minutes."
                if closed
                else "This is not your current password. Capital letters count."
            )
        return typed


class ForgottenForm(Summed, forms.Form):
    """Where to mail a one-time link."""

    email = forms.EmailField(
        label="Email address",
        max_length=254,
        help_text="The address that your administrator entered for you.",
        widget=forms.EmailInput(attrs={"class": "input", "autocomplete": "email"}),
    )


class FirstAdministratorForm(RecordForm):
    """The person who will look after this office."""

    name = forms.CharField(label="Name", max_length=150)
    password = Password(label="Password", required=True)
    password_again = Password(label="Password, once more", required=True)

    field_order = ["name", "username", "email", "password", "password_again"]

    class Meta:
        model = User
        fields = ["username", "email"]
        labels = {"username": "User name"}
        help_texts = {"username": "For signing in here."}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["username"].widget.attrs |= {"autocomplete": "username", "autocapitalize": "none"}
        self.fields["name"].widget.attrs |= {"autocomplete": "name"}
        self.fields["email"].widget.attrs |= {"autocomplete": "email"}

    def clean(self) -> dict[str, Any]:
        typed = self.cleaned_data
        first, _, last = typed.get("name", "").partition(" ")
        self.instance.first_name, self.instance.last_name = first, last
        if typed.get("password"):
            self.instance.set_password(typed["password"])
        _judge_password(self, self.instance)
        return typed

    def make(self, token: str) -> User | None:
        """Redeem the link and store the administrator; None when somebody else was faster."""
        with transaction.atomic(), acting(way="the setup link"):
            link = SetupLink.redeemable(token)
            # The link is taken by deleting it: of two who try at once, one deletes a row.
            if link is None or not SetupLink.objects.filter(pk=link.pk).delete()[0]:
                return None
            user: User = self.save()
            set_role(user, Role.ADMINISTRATOR)
        return user
