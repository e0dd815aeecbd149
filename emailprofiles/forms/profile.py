"""The form of an email server profile."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django import forms
from django.db.models import Model
from django.utils import timezone

from ..defaults import make_default
from ..models import AuthenticateUsing, EmailServerProfile, SecurityChoice
from ..servertypes import PROTOCOLS, SIDES, USUAL_PORTS, sign_in_is_available, type_is_available
from .controls import Choice, Exact, Moment, Number, Options, Password, YesNo
from .people import PersonField
from .record import RecordForm

NOT_YET = "Not available in this version."
AUTHENTICATE_HINTS: dict[str, str] = {
    AuthenticateUsing.MAILBOX: "Each mailbox signs in for itself, with its own user name and password.",
    AuthenticateUsing.PROFILE: "One account opens all mailboxes; the server must allow it to.",
    AuthenticateUsing.OAUTH: "No password is stored.",
    AuthenticateUsing.ANONYMOUS: "For sending only: leave the incoming server location empty.",
}


class ProfileForm(RecordForm):
    """How to speak to one mail server. What nothing obeys yet is not asked."""

    secrets = ("password", "outgoing_password")

    owner = PersonField(label="Owner", help_text="Receives the alerts of this server.")
    is_active = YesNo(label="Active", initial=True)
    is_default = YesNo(
        label="Default for new mailboxes",
        help_text="Yes takes this over from the profile that is the default now.",
    )
    incoming_port = forms.IntegerField(label="Incoming Port", required=False, widget=Number)
    outgoing_port = forms.IntegerField(label="Outgoing Port", required=False, widget=Number)
    unencrypted_confirmed = forms.BooleanField(
        label="Mail and passwords may cross the network readable", required=False
    )
    password = Password(label="Password")
    same_sign_in_for_outgoing = YesNo(label="Same sign-in for outgoing", initial=True)
    outgoing_password = Password(label="Outgoing Password")
    process_email_from = Moment(label="Process Email From", required=False)

    class Meta:
        model = EmailServerProfile
        fields = (
            "name",
            "owner",
            "server_type",
            "description",
            "is_active",
            "incoming_host",
            "incoming_security",
            "incoming_port",
            "outgoing_host",
            "outgoing_security",
            "outgoing_port",
            "unencrypted_confirmed",
            "authenticate_using",
            "username",
            "same_sign_in_for_outgoing",
            "outgoing_username",
            "incoming_folder",
            "process_email_from",
            "min_polling_interval_minutes",
            "messages_per_cycle",
            "max_concurrent_connections",
            "timeout_seconds",
        )
        labels = {
            "incoming_host": "Incoming Server Location",
            "incoming_security": "Security",
            "outgoing_host": "Outgoing Server Location",
            "outgoing_security": "Security",
            "min_polling_interval_minutes": "Minimum Polling Interval in Minutes",
            "messages_per_cycle": "Messages per Cycle",
            "max_concurrent_connections": "Maximum Concurrent Connections",
            "timeout_seconds": "Timeout in Seconds",
            "incoming_folder": "Folder to Read",
        }
        help_texts = {
            "server_type": "Decides which protocols are spoken.",
            "incoming_host": "Such as imap.contoso.com. Empty: this profile only sends.",
            "outgoing_host": "Such as smtp.contoso.com. Empty: this profile only receives.",
            "username": "The account that may open the mailboxes of this profile.",
            "outgoing_username": "The account that may send for the mailboxes of this profile.",
            "incoming_folder": "INBOX on most servers.",
            "min_polling_interval_minutes": "A message waits half of this on average before it arrives here.",
            "messages_per_cycle": "Then another mailbox has its turn; the rest follows in the next cycle.",
            "max_concurrent_connections": "At the same time, by all mailboxes of this profile together.",
            "timeout_seconds": "How long we wait for an answer of the server, at most 100.",
        }
        widgets = {
            "server_type": Choice,
            "description": forms.TextInput,
            "authenticate_using": Options(AUTHENTICATE_HINTS),
            "incoming_host": Exact,
            "outgoing_host": Exact,
            "username": Exact,
            "outgoing_username": Exact,
            "min_polling_interval_minutes": Number,
            "messages_per_cycle": Number,
            "max_concurrent_connections": Number,
            "timeout_seconds": Number,
        }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._close(server_type=type_is_available, authenticate_using=sign_in_is_available)
        self._say_what_is_stored()
        zone = timezone.get_current_timezone_name()
        self.fields[
            "process_email_from"
        ].help_text = f"{zone}. Older messages stay untouched; empty: none is older."
        if self.instance.pk is None:
            self.fields["process_email_from"].initial = timezone.now()

    def beside(self, record: EmailServerProfile) -> dict[str, Any]:
        return {"is_default": record.is_default}

    def lock(self) -> Model:
        """All rows, in the order in which the default moves between them."""
        list(self._rows().order_by("pk"))
        return super().lock()

    def columns(self) -> list[str]:
        loses_flag = "is_default" in self.changes and not self.cleaned_data["is_default"]
        return [*super().columns(), *(["is_default"] if loses_flag else [])]

    def _close(self, **available: Callable[[str], bool]) -> None:
        """Show the options that no transport can serve yet as such."""
        for name, is_available in available.items():
            widget = self.fields[name].widget
            widget.unavailable = {value: NOT_YET for value, _ in widget.choices if not is_available(value)}

    def _say_what_is_stored(self) -> None:
        for name in self.secrets:
            if self.instance.pk and getattr(self.instance, name):
                self.fields[name].widget.attrs["placeholder"] = "stored — leave empty to keep"
            self.fields[name].help_text = "Stored encrypted; it cannot be shown again."

    def clean(self) -> dict[str, Any]:
        """Fill in what follows from other fields: usual ports, and no confirmation of what is not there."""
        super().clean()
        for side in SIDES:
            if self.cleaned_data.get(f"{side}_port", 0) is None:
                self._fill_in_port(side)
        if not any(self.cleaned_data.get(f"{side}_security") == SecurityChoice.NONE for side in SIDES):
            self.cleaned_data["unencrypted_confirmed"] = False
        return self.cleaned_data

    def _fill_in_port(self, side: str) -> None:
        protocols = PROTOCOLS.get(self.cleaned_data.get("server_type", ""), ("", ""))
        security = self.cleaned_data.get(f"{side}_security")
        usual = USUAL_PORTS.get((protocols[SIDES.index(side)], security or ""))
        if usual:
            self.cleaned_data[f"{side}_port"] = usual
        else:
            self.add_error(f"{side}_port", "Type the port: there is no usual one for this server type.")

    def _post_clean(self) -> None:
        if not self.cleaned_data.get("is_default"):
            self.instance.is_default = False
        super()._post_clean()

    def save(self, commit: bool = True) -> EmailServerProfile:
        """Saves the profile; as the new default, it takes the flag off the former one."""
        profile: EmailServerProfile = super().save(commit)
        if "is_default" in self.changes and self.cleaned_data["is_default"]:
            make_default(profile)
        return profile
