"""The mailbox form: which fields each kind has, what is closed and why, and what follows from a choice."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from emailprofiles.forms import Choice, PersonField, ServerProfileField, YesNo
from emailprofiles.models import EmailServerProfile

from ..models import ActMethod, IncomingMethod, Kind, Mailbox, OutgoingMethod
from .credentials import CredentialsForm

HINTS: dict[str, dict[Kind | None, str]] = {
    "owner": {Kind.FORWARD: "Receives the alerts of this mailbox. Type a name, a user name or an address."},
    "email_address": {
        Kind.FORWARD: "The address your server rule transfers mail to, such as forwardmailbox@contoso.com. "
        "Nobody may use it as a working mailbox.",
        Kind.QUEUE: "A change here also changes the queue, and needs a new approval.",
        Kind.USER: "A change here also changes the user, and needs a new approval.",
    },
    "delete_emails_after_processing": {
        Kind.USER: "Only a forward mailbox or a queue’s mailbox can delete: a person’s mail stays.",
        None: "With Yes, a message is deleted on the server only after it is stored here. With No, it is "
        "marked as read and the box grows.",
    },
    "allow_credentials": {
        None: "Choose Yes if the email server profile has Authenticate Using set to Credentials Specified "
        "by a User or Queue."
    },
    "incoming_method": {
        Kind.FORWARD: "A forward mailbox is read by server-side synchronization or not at all.",
        None: "With Forward Mailbox, copies that a forward mailbox collects find their way by this address. "
        "With server-side synchronization, this mailbox itself is read.",
    },
    "outgoing_method": {
        Kind.FORWARD: "For a forward mailbox only None is allowed. Answers leave through the mailbox of the "
        "user or queue.",
        None: "With server-side synchronization, what is written here leaves through the outgoing server of the "
        "profile. With None, nothing is sent for this address.",
    },
    "act_method": {
        Kind.FORWARD: "A forward mailbox has no calendar of its own.",
        Kind.QUEUE: "A queue has no calendar of its own: only users have appointments, contacts, and tasks.",
        None: "With None, appointments, contacts, and tasks are not synchronized.",
    },
}


class MailboxForm(CredentialsForm):
    """Fields are named as in the model. What a kind can never choose is shown locked, and refused if sent."""

    owner = PersonField(label="Owner")
    server_profile = ServerProfileField(label="Server Profile", required=False)
    delete_emails_after_processing = YesNo(label="Delete Emails After Processing", required=False)

    class Meta:
        model = Mailbox
        fields = [
            "name",
            "owner",
            "email_address",
            "delete_emails_after_processing",
            "allow_credentials",
            "username",
            "server_profile",
            "incoming_method",
            "outgoing_method",
            "act_method",
        ]
        widgets = {
            "incoming_method": Choice,
            "outgoing_method": Choice,
            "act_method": Choice,
        }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.kind = self.instance.kind
        if self.kind != Kind.FORWARD:
            del self.fields["owner"]
        for name in ("incoming_method", "outgoing_method", "act_method"):
            # Left out of a request: the record keeps what it has.
            self.fields[name].required = False
        self._keep_what_was_chosen()
        self._close_methods()
        self._explain()
        self._dress()

    def _keep_what_was_chosen(self) -> None:
        """A profile or owner that is not active any more is not offered, and stays where it is."""
        for name in {"owner", "server_profile"} & self.fields.keys():
            field: Any = self.fields[name]
            if chosen := getattr(self.instance, name, None):
                field.keep(chosen)

    def _close_methods(self) -> None:
        for name, closed in closed_methods(self.kind, self.profile).items():
            widget: Any = self.fields[name].widget
            widget.unavailable = closed

    def _explain(self) -> None:
        for name, by_kind in HINTS.items():
            if name in self.fields:
                self.fields[name].help_text = by_kind.get(self.kind, by_kind.get(None, ""))

    def _dress(self) -> None:
        self.fields["email_address"].widget.attrs["autocomplete"] = "off"
        if self.kind == Kind.FORWARD:
            self.fields["email_address"].widget.attrs["placeholder"] = "forwardmailbox@contoso.com"

    @cached_property
    def profile(self) -> EmailServerProfile | None:
        """The profile that is chosen on the page now, saved or not."""
        field: Any = self.fields["server_profile"]
        chosen: EmailServerProfile | None = field.chosen(self["server_profile"].value())
        return chosen

    @property
    def needs_a_forward_mailbox(self) -> bool:
        """Whether incoming mail is to come by way of a forward mailbox."""
        return self.typed("incoming_method") == IncomingMethod.FORWARD


_ALL_BUT_NONE = (OutgoingMethod.OUTLOOK.value, OutgoingMethod.SERVER_SIDE.value)


def closed_methods(kind: Kind, profile: EmailServerProfile | None) -> dict[str, dict[str, str]]:
    """For each method field the options that this kind or profile cannot use, with the reason."""
    closed: dict[str, dict[str, str]] = {"incoming_method": {}, "outgoing_method": {}, "act_method": {}}
    if profile is not None:
        lacks = f"the profile {profile.name}"
        if not profile.can_receive:
            closed["incoming_method"][IncomingMethod.SERVER_SIDE] = f"{lacks} has no incoming server."
        if not profile.can_send:
            closed["outgoing_method"][OutgoingMethod.SERVER_SIDE] = f"{lacks} has no outgoing server."
    if kind == Kind.USER and (profile is None or not profile.can_synchronize_act):
        who = f"the profile {profile.name}" if profile else "a profile"
        closed["act_method"][ActMethod.SERVER_SIDE] = f"{who} needs a calendar server, and there is none."
    if kind == Kind.QUEUE:
        reason = "a queue has no Outlook of its own."
        closed["incoming_method"][IncomingMethod.OUTLOOK] = reason
        closed["outgoing_method"][OutgoingMethod.OUTLOOK] = reason
    if kind == Kind.FORWARD:
        reason = "not for the box that others forward to."
        closed["incoming_method"] |= {IncomingMethod.FORWARD: reason, IncomingMethod.OUTLOOK: reason}
        closed["outgoing_method"] = dict.fromkeys(_ALL_BUT_NONE, "a forward mailbox sends nothing.")
    if kind != Kind.USER:
        closed["act_method"] = dict.fromkeys(_ALL_BUT_NONE, "only for a user.")
    return closed
