"""The form of an email server profile."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django import forms
from django.db.models import Model
from django.utils import timezone

from ..consequences import Consequences, consequences_of, credentials_of
from ..defaults import make_default
from ..models import NOT_OBEYED, AuthenticateUsing, EmailServerProfile, SecurityChoice, ServerType
from ..servertypes import (
    FIELDS_OF_SOME_TYPES,
    FIELDS_OF_TYPES,
    PROTOCOLS,
    SIDES,
    sign_in_is_available,
    type_is_available,
    unused_fields,
    usual_port,
)
from .controls import Choice, Exact, Moment, Number, Options, Password, YesNo
from .people import PersonField
from .record import RecordForm
from .shown import as_sent

NOT_YET = "Not available in this version."
AUTHENTICATE_HINTS: dict[str, str] = {
    AuthenticateUsing.MAILBOX: "Each mailbox signs in for itself, with its own user name and password.",
    AuthenticateUsing.PROFILE: "One account opens all mailboxes, each by its email address; the server must allow it "
    "to.",
    AuthenticateUsing.OAUTH: "No password is stored.",
    AuthenticateUsing.ANONYMOUS: "For sending only: leave the incoming server location empty.",
}
PROTOCOL_NAMES = {
    "imap": "IMAP",
    "pop3": "POP3",
    "smtp": "SMTP",
    "ews": "EWS",
    "graph": "Graph",
    "gmail": "Gmail",
}
PORT_HINTS = {
    "incoming": "SSL/TLS: encrypted from the first byte, usually {tls}. STARTTLS: starts plain, then encrypts, "
    "usually {starttls}.",
    "outgoing": "STARTTLS is never dropped silently: if the server does not offer it, we refuse to sign in. Usually "
    "{starttls}, or {tls} with SSL/TLS.",
}


class ProfileForm(RecordForm):
    """How to speak to one mail server.

    What the server type and the sign-in do not use is hidden, and keeps its stored value whatever is sent.
    A port that is empty, or left at what was usual for the former type and security, becomes the usual one.
    A change that stops mailboxes is saved once `seen` says that its `consequences` were: until then `asks`.
    """

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
    caldav_url = forms.URLField(label="Calendar location (CalDAV)", required=False, assume_scheme="https")
    carddav_url = forms.URLField(
        label="Address book location (CardDAV)", required=False, assume_scheme="https"
    )
    use_push = YesNo(
        label="Collect as soon as mail arrives (IMAP IDLE)",
        required=False,
        initial=False,
        empty_value=False,
        help_text="A connection of each mailbox waits for the server to tell of mail, in up to half of the connections "
        "below; the polling interval goes on beside it. A server that cannot tell is asked at the interval alone.",
    )
    move_undelivered = YesNo(
        label="Move undelivered emails to the undeliverable folder",
        required=False,
        initial=False,
        empty_value=False,
        help_text="What can be delivered to nobody moves on the server to the folder Undeliverable, and stays there "
        "for people to look at. What only waits for an approval or an activation stays where it is.",
    )
    send_alert_email = YesNo(
        label="Send an alert mail to the owner",
        required=False,
        initial=False,
        empty_value=False,
        help_text="At once when more than half of the mailboxes of this profile failed within an hour, beside what is "
        "told of each cause.",
    )

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
            "use_push",
            "move_undelivered",
            "sent_folder",
            "caldav_url",
            "carddav_url",
            "max_concurrent_connections",
            "timeout_seconds",
            "send_alert_email",
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
            "server_type": "Decides which protocols are spoken, and what is asked below.",
            "incoming_host": "Such as imap.contoso.com. Empty: this profile only sends.",
            "outgoing_host": "Such as smtp.contoso.com. Empty: this profile only receives.",
            "username": "The account that may open the mailboxes of this profile.",
            "outgoing_username": "The account that may send for the mailboxes of this profile.",
            "incoming_folder": "INBOX on most servers.",
            "sent_folder": "Such as Sent, on the incoming server; made when it is missing. Empty: no copy is kept. "
            "Many servers, Gmail and Exchange among them, keep one by themselves: then it would be there twice. A copy "
            "that cannot be kept never holds up or repeats the mail itself.",
            "min_polling_interval_minutes": "A message waits half of this on average before it arrives here.",
            "messages_per_cycle": "Then another mailbox has its turn; the rest follows in the next cycle.",
            "max_concurrent_connections": "At the same time, by all mailboxes of this profile together.",
            "timeout_seconds": "How long we wait for an answer; then the mailbox waits for its next turn.",
        }
        widgets = {
            "server_type": Choice,
            "description": forms.TextInput,
            "authenticate_using": Options(AUTHENTICATE_HINTS),
            "incoming_host": Exact,
            "outgoing_host": Exact,
            "username": Exact,
            "outgoing_username": Exact,
            "sent_folder": Exact,
            "min_polling_interval_minutes": Number("minutes"),
            "messages_per_cycle": Number("messages"),
            "max_concurrent_connections": Number("connections"),
            "timeout_seconds": Number("seconds, at most 100"),
        }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.exists:  # what has commands of its own, which say what follows
            del self.fields["is_active"], self.fields["is_default"]
        self.asks = False
        self.followed: list[str] = []
        self._close(server_type=type_is_available, authenticate_using=sign_in_is_available)
        self._close_what_nothing_obeys()
        zone = timezone.get_current_timezone_name()
        self.fields[
            "process_email_from"
        ].help_text = f"{zone}. Older messages stay untouched; empty: none is older."
        self._say_what_is_stored()
        self._say_who_has_credentials()
        if not self.exists:
            self._propose()
        if self.is_bound:
            self._posted = self.data = self._without_unused()

    def lock(self) -> Model:
        """All rows, in the order in which the default moves between them."""
        list(self._rows().order_by("pk"))
        return super().lock()

    # What can be chosen, and what is said about it.

    def _close(self, **available: Callable[[str], bool]) -> None:
        """Show the options that no transport can serve yet as such."""
        for name, is_available in available.items():
            widget = self.fields[name].widget
            widget.unavailable = {value: NOT_YET for value, _ in widget.choices if not is_available(value)}

    def _close_what_nothing_obeys(self) -> None:
        """Browsers send nothing for it; sent by hand, it is judged like everything else."""
        for name, reason in NOT_OBEYED.items():
            self.fields[name].widget.attrs["disabled"] = True
            self.fields[name].help_text = reason

    def _say_what_is_stored(self) -> None:
        for name in self.secrets:
            if self.exists and getattr(self.instance, name):
                self.fields[name].widget.attrs["placeholder"] = "stored — leave empty to keep"
            self.fields[name].help_text = "Stored encrypted; it cannot be shown again."

    def _say_who_has_credentials(self) -> None:
        using, having = credentials_of(self.instance) if self.exists else (0, 0)
        if using:
            told = f" {having} of {using} have their own user name and password."
            hints = AUTHENTICATE_HINTS | {
                AuthenticateUsing.MAILBOX: f"Each mailbox signs in for itself.{told}"
            }
            self.fields["authenticate_using"].widget.hints = hints

    def say_what_is_kept(self, names: set[str]) -> None:
        """These passwords were typed already, and wait for the answer of the person."""
        for name in names:
            self.fields[name].widget.attrs["placeholder"] = "typed — leave empty to use it"
            self.fields[
                name
            ].help_text = "Kept encrypted for ten minutes, for this server and user name alone."

    def _propose(self) -> None:
        """What a new profile begins with: nothing older than itself, and the usual ports."""
        self.fields["process_email_from"].initial = timezone.now()
        for side in SIDES:
            self.fields[f"{side}_port"].initial = getattr(self.instance, f"{side}_port")

    # What each server type uses, as the page needs it.

    @property
    def shown_for(self) -> dict[str, str]:
        """Field → the classes by which the page shows it for some server types only."""
        return {name: _shown_for(name) for name in FIELDS_OF_SOME_TYPES}

    @property
    def ports(self) -> list[tuple[str, int]]:
        """("imap_smtp-incoming-tls", 993), and so on."""
        return [
            (f"{server_type}-{side}-{security}", port)
            for server_type in ServerType.values
            for side in SIDES
            for security in SecurityChoice.values
            if (port := usual_port(server_type, side, security))
        ]

    @property
    def sides(self) -> dict[str, list[dict[str, str]]]:
        """For each side and server type: its class, its protocol, and what to know about ports."""
        return {side: [_side_of(server_type, side) for server_type in ServerType.values] for side in SIDES}

    # What is taken of what was sent.

    def _without_unused(self) -> Any:
        """What was sent, but for fields that these choices leave unused: they read as they are stored."""
        data = self._posted.copy()
        same = data.get("same_sign_in_for_outgoing", "True") != "False"
        unused = unused_fields(
            data.get("server_type", ""), data.get("authenticate_using", ""), same_sign_in=same
        )
        for name in unused - NOT_OBEYED.keys():
            field = self.fields[name]
            stored = "" if name in self.secrets else as_sent(field, self.initial.get(name, field.initial))
            data[self.add_prefix(name)] = stored
        return data

    def clean(self) -> dict[str, Any]:
        """Fill in what follows from other fields: usual ports, and no confirmation of what is not there."""
        super().clean()
        self.followed = []
        for side in SIDES:
            self._follow(side)
        if not any(self.cleaned_data.get(f"{side}_security") == SecurityChoice.NONE for side in SIDES):
            self._put("unencrypted_confirmed", False)
        return self.cleaned_data

    def _follow(self, side: str) -> None:
        """Let the port of a server be the usual one, unless somebody chose another."""
        name, security = f"{side}_port", f"{side}_security"
        if name not in self.cleaned_data:
            return
        port = self.cleaned_data[name]
        former = usual_port(self._before("server_type"), side, self._before(security))
        usual = usual_port(
            self.cleaned_data.get("server_type", ""), side, self.cleaned_data.get(security, "")
        )
        if usual and port in (None, former) and port != usual:
            self._put(name, usual)
            if port is not None and self.cleaned_data.get(f"{side}_host"):
                self.followed.append(
                    f"{self.fields[name].label} is {usual} now, as is usual for this security."
                )
        elif port is None:
            self.add_error(name, "Type the port: there is no usual one for this server type.")

    def _before(self, name: str) -> str:
        """A choice as it is stored, or as a new profile begins."""
        value: str = self.initial.get(name, getattr(self.instance, name))
        return value

    def _put(self, name: str, value: Any) -> None:
        """Take a value as if it had been typed; the page shows it, should it be shown again."""
        self.cleaned_data[name] = value
        sent: Any = self.data
        self.data = data = sent.copy()
        data[self.add_prefix(name)] = as_sent(self.fields[name], value)

    # What follows for mailboxes.

    @property
    def consequences(self) -> Consequences:
        """What a save means for the mailboxes that use this profile."""
        stored = self.instance.stored() if self.exists else None
        return consequences_of(self.instance, stored) if stored else Consequences()

    def try_save(self) -> bool:
        """As for any record; False, too, while a person has not seen what follows."""
        if self.is_valid() and (told := self.consequences):
            self.asks = self.data.get("seen", "") != told.mark
        return not self.asks and super().try_save()

    @property
    def typed(self) -> dict[str, str]:
        """The passwords that were typed, by field."""
        return {name: self.cleaned_data[name] for name in self.secrets if self.cleaned_data.get(name)}

    def save(self, commit: bool = True) -> EmailServerProfile:
        """Saves the profile; a new default takes the flag off the former one."""
        profile: EmailServerProfile = super().save(commit)
        if self.cleaned_data.get("is_default"):
            make_default(profile)
        return profile


def _shown_for(name: str) -> str:
    types = (server_type for server_type in ServerType.values if name in FIELDS_OF_TYPES[server_type])
    return " ".join(("by-type", *(f"for-{server_type}" for server_type in types)))


def _side_of(server_type: str, side: str) -> dict[str, str]:
    protocol = PROTOCOLS[server_type][SIDES.index(side)]
    tls, starttls = (
        usual_port(server_type, side, security) for security in (SecurityChoice.TLS, SecurityChoice.STARTTLS)
    )
    return {
        "css": f"by-type for-{server_type}",
        "protocol": PROTOCOL_NAMES[protocol],
        "hint": PORT_HINTS[side].format(tls=tls, starttls=starttls) if tls else "",
    }
