"""The section Credentials, alone or as a part of the mailbox form: who signs in at the mail server, and how."""

from __future__ import annotations

from typing import Any

from emailprofiles.forms import Password, RecordForm, YesNo
from emailprofiles.history import who_acts
from emailprofiles.models import AuthenticateUsing, EmailServerProfile

from ..models import IncomingMethod, Mailbox, account_reader

_SIGN_IN_SAYS = {
    AuthenticateUsing.MAILBOX: "{} wants each mailbox to sign in for itself",
    AuthenticateUsing.PROFILE: "{} signs in with its own account: credentials here are kept, but not used",
    AuthenticateUsing.ANONYMOUS: "{} sends without a sign-in: credentials here are kept, but not used",
}


class CredentialsForm(RecordForm):
    """Allow to Use Credentials, User Name and Password of one mailbox; fields are named as in the model."""

    secrets = ("password",)

    allow_credentials = YesNo(label="Allow to Use Credentials for Email Processing", required=False)
    password = Password(label="Password")

    class Meta:
        model = Mailbox
        fields = ["allow_credentials", "username"]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.has_stored_password = bool(self.instance.password)
        stored = "Needed again when the user name or the server profile changes."
        again = "Type it again: passwords are not kept while a form has errors."
        says = stored if self.has_stored_password else again if self.is_bound else ""
        self.fields["password"].help_text = f"Stored encrypted; it cannot be shown again. {says}".strip()
        self.fields[
            "username"
        ].help_text = "What the server expects at sign-in. Often the full email address."
        exact = {"autocomplete": "off", "autocapitalize": "none", "spellcheck": "false"}
        self.fields["username"].widget.attrs |= exact
        if self.has_stored_password:
            self.fields["password"].widget.attrs["placeholder"] = "stored — leave empty to keep"

    def save(self, commit: bool = True) -> Mailbox:
        self.instance.changed_by = who_acts().person
        box: Mailbox = super().save(commit)
        return box

    def columns(self) -> list[str]:
        return [*super().columns(), "changed_by"]

    def typed(self, name: str) -> str:
        """What stands in a field of the page now; what has no field here stands in the record."""
        return str(self[name].value() if name in self.fields else getattr(self.instance, name))

    @property
    def profile(self) -> EmailServerProfile | None:
        """The profile that says what becomes of these credentials."""
        mailbox: Mailbox = self.instance
        return mailbox.server_profile

    @property
    def credentials_say(self) -> str:
        """What the profile makes of the credentials."""
        profile = self.profile
        if profile is None:
            return "a server profile says whether they are needed"
        return _SIGN_IN_SAYS[AuthenticateUsing(profile.authenticate_using)].format(profile.name)

    @property
    def credentials_missing(self) -> str:
        """The sentence for credentials that the profile asks for and the page does not give."""
        profile = self.profile
        if profile is None or profile.authenticate_using != AuthenticateUsing.MAILBOX:
            return ""
        methods = map(self.typed, ("incoming_method", "outgoing_method", "act_method"))
        if IncomingMethod.SERVER_SIDE not in methods or self.typed("allow_credentials") == "True":
            return ""
        return (
            f"{profile.name} asks for this mailbox’s own user name and password, and there are none: choose "
            "Yes and type them. Until then nothing is tested or run here."
        )


class OwnCredentialsForm(CredentialsForm):
    """Of the own mailbox: no other column can be posted, and no sentence names another person's mailbox."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["allow_credentials"].help_text = (
            "With Yes, the engine signs in at the mail server with your user name and password, and reads or "
            "sends your mail for you. With No, it does not use them."
        )

    def _hand_over(self, error: Any) -> None:
        if account_reader(self.instance):
            self.add_error(
                "username",
                "Another mailbox already reads the mail of this account. Type the user name of your own account, "
                "or ask an email administrator.",
            )
        super()._hand_over(error)
