"""Email Configuration Settings: what holds for the whole office."""

from __future__ import annotations

from typing import Any

from auditlog.models import LogEntry
from django import forms
from django.core.exceptions import ValidationError

from emailprofiles.defaults import make_default
from emailprofiles.forms import Choice, Lines, Number, RecordForm, ServerProfileField, YesNo
from emailprofiles.history import last_change
from emailprofiles.models import EmailServerProfile

from ..models import EmailConfigurationSettings, RoutingHeader
from ..models.office import HEADER_LISTS, NO_TRANSPORT

HEADERS_AT_MOST = 50


class SettingsForm(RecordForm):
    """The one record, the default profile's flag, and the routing headers, saved together."""

    default_profile = ServerProfileField(
        label="Default Server Profile",
        required=False,
        help_text="New mailboxes of users and queues begin with it. Empty: they begin without a server, and "
        "server-side synchronization becomes None.",
    )
    require_approval_for_users = YesNo(
        label="Process emails only for approved users",
        help_text="With Yes, nothing is collected, sent or delivered for a user until the address is approved. "
        "With No, mailboxes that wait run as soon as their test has passed.",
    )
    require_approval_for_queues = YesNo(
        label="Process emails only for approved queues",
        help_text="The same for the addresses of queues.",
    )
    route_by_to_and_cc = YesNo(
        label="Route by To and Cc when nothing else matches",
        help_text="The sender writes these, so they count least. With No, a copy that no header above places waits in "
        "quarantine.",
    )
    routing_headers = Lines(
        label="Routing headers",
        required=False,
        widget=forms.Textarea(attrs={"rows": 9, "class": "input mono", "spellcheck": "false"}),
        help_text="Headers in which our own servers name the mailbox a forwarded copy came from. One on each line; the "
        "top one counts most. Once our own mail servers are named, they count only where one of those wrote them.",
    )
    untrusted_routing_headers = Lines(
        label="Routing headers that anyone may write",
        required=False,
        widget=forms.Textarea(attrs={"rows": 9, "class": "input mono", "spellcheck": "false"}),
        help_text="Not trusted: they count wherever they stand, but after all trusted ones, and the evidence says so. "
        "For what a server puts among the sender’s headers, as Exchange does with Resent-From. A header that stands in "
        "neither list is not looked at.",
    )
    use_plus_addresses = YesNo(
        label="Recognise plus-addresses",
        help_text="With Yes, amara+orders@contoso.com reaches whoever has amara@contoso.com, unless somebody has the "
        "full address.",
    )

    mail_alerts = YesNo(
        label="Mail alerts to their owners",
        help_text="What needs somebody is told by mail, at most once a day for one cause, and once when it is over. "
        "What has no owner, such as the quarantine, is told to the email administrators.",
    )

    class Meta:
        model = EmailConfigurationSettings
        fields = (
            "default_incoming_method",
            "default_outgoing_method",
            "default_act_method",
            "require_approval_for_users",
            "require_approval_for_queues",
            "route_by_to_and_cc",
            "use_plus_addresses",
            "trusted_servers",
            "max_message_size_mb",
            "blocked_attachment_extensions",
            "quarantine_alert_at",
            "track_by_token",
            "outbox_alert_minutes",
            "mail_alerts",
            "alert_mail_grace_minutes",
        )
        widgets = {
            "default_act_method": Choice,
            "trusted_servers": forms.Textarea(
                attrs={"rows": 6, "class": "input mono", "spellcheck": "false"}
            ),
            "blocked_attachment_extensions": forms.Textarea(
                attrs={"rows": 4, "class": "input mono", "spellcheck": "false", "autocapitalize": "none"}
            ),
            "max_message_size_mb": Number("MB"),
            "quarantine_alert_at": Number("messages"),
            "outbox_alert_minutes": Number("minutes"),
            "alert_mail_grace_minutes": Number("minutes"),
        }
        help_texts = {
            "trusted_servers": "Names of servers or domains, or networks such as 192.0.2.0/24, one on each line; a "
            "domain stands for all names below it. What stands in a message below the first server that is not listed "
            "may have been written by anyone. Empty: headers are believed wherever they stand, and a stranger can "
            "choose by one who of your people receives a mail.",
            "max_message_size_mb": "From 1 to 200. Of a larger message only the header is collected; it waits in "
            "quarantine, and its original stays on the server. Nothing larger is sent.",
            "blocked_attachment_extensions": "Ends of file names, with spaces between. Such an attachment is shown by "
            "its name and is not handed out; the message itself arrives. Nor can it be sent. Empty: every attachment "
            "is handed out and sent.",
            "track_by_token": "An answer whose reply headers were lost on its way is still known by a token of ours "
            "that it brings back. In the subject, people see it as [#…]. In the reply address, the mail server has to "
            "put plus-addresses such as support+so-…@contoso.com into the same mailbox.",
            "outbox_alert_minutes": "From 0 to 10080, which is a week. One alert for each mailbox, with what its mail "
            "waits for. 0: never.",
            "quarantine_alert_at": "An alert is raised when so many wait, and ends when there are fewer.",
            "alert_mail_grace_minutes": "From 0 to 1440. What is over before is not mailed, and what is over is told "
            "when it has been so for as long.",
            "default_incoming_method": "With Forward Mailbox, mail reaches them through a forward mailbox, and nobody "
            "signs in to theirs. Server-side becomes None where the default profile cannot receive.",
            "default_outgoing_method": "Server-side becomes None where the default profile cannot send. A queue has no "
            "Outlook: that becomes None, too.",
            "default_act_method": "For users only; queues have none.",
        }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["default_act_method"].widget.unavailable = NO_TRANSPORT

    def beside(self, record: EmailConfigurationSettings) -> dict[str, Any]:
        default = EmailServerProfile.objects.filter(is_default=True).first()
        lists = {name: RoutingHeader.names(is_trusted=name == "routing_headers") for name in HEADER_LISTS}
        return {"default_profile": default, **lists}

    def last_change(self, name: str) -> LogEntry | None:
        default = self.beside(self.instance)["default_profile"]
        if name == "default_profile" and default is not None:
            return last_change(default, "is_default")
        return super().last_change(name)

    def lock(self) -> EmailConfigurationSettings:
        """The record, then the profiles, one of which may be the default."""
        record = EmailConfigurationSettings.lock()
        list(EmailServerProfile.objects.select_for_update().order_by("pk"))
        return record

    def clean_routing_headers(self) -> list[str]:
        return self._clean_names("routing_headers")

    def clean_untrusted_routing_headers(self) -> list[str]:
        names = self._clean_names("untrusted_routing_headers")
        trusted = {name.lower() for name in self.cleaned_data.get("routing_headers", ())}
        if both := [name for name in names if name.lower() in trusted]:
            raise ValidationError(f"{', '.join(both)}: take it out of one of the two lists.")
        return names

    def _clean_names(self, field: str) -> list[str]:
        """The names in order; a sentence for each line that is none (RFC 5322, 2.2)."""
        lines = [line.strip().removesuffix(":") for line in self.cleaned_data[field].splitlines()]
        names = [line for line in lines if line]
        errors = [
            sentence for number, line in enumerate(lines, 1) for sentence in _faults(number, line, lines)
        ]
        if len(names) > HEADERS_AT_MOST:
            errors.append(f"{len(names)} headers are too many: at most {HEADERS_AT_MOST} are looked at.")
        if errors:
            raise ValidationError(errors)
        return names

    def save(self, commit: bool = True) -> EmailConfigurationSettings:
        settings: EmailConfigurationSettings = super().save(commit)
        if "default_profile" in self.changes:
            make_default(self.cleaned_data["default_profile"])
        if self.changes & set(HEADER_LISTS):
            RoutingHeader.replace(*(self.cleaned_data[name] for name in HEADER_LISTS))
        return settings


def _faults(number: int, line: str, lines: list[str]) -> list[str]:
    """What is wrong with one line, as the record itself says it."""
    if not line:
        return []
    if line.lower() in (earlier.lower() for earlier in lines[: number - 1]):
        return [f"Line {number}, “{line}”: this header stands further up already."]
    try:
        RoutingHeader(name=line, position=0).clean_fields(exclude=["position"])
        RoutingHeader(name=line, position=0).validate_constraints(exclude=["position"])
    except ValidationError as error:
        return [f"Line {number}, “{line}”: {sentence}" for sentence in error.messages]
    return []
