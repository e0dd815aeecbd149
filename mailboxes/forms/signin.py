"""Sign-in, and the first administrator."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib.auth.forms import AuthenticationForm
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.db import transaction

from emailprofiles.forms import Password, RecordForm
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
        self._take_password(typed.get("password", ""), typed.get("password_again", ""))
        return typed

    def _take_password(self, password: str, again: str) -> None:
        if not password or not again:
            return
        self.instance.set_password(password)
        if password != again:
            self.add_error("password_again", "The two passwords differ. Type the same one twice.")
            return
        try:
            validate_password(password, self.instance)
        except ValidationError as error:
            self.add_error("password", error)

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
