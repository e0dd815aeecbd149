"""Email Configuration Settings: what holds for the whole office."""

from __future__ import annotations

from typing import Any

from auditlog.models import LogEntry
from django import forms
from django.core.exceptions import ValidationError

from emailprofiles.defaults import make_default
from emailprofiles.forms import Choice, Lines, RecordForm, ServerProfileField, YesNo
from emailprofiles.history import last_change
from emailprofiles.models import EmailServerProfile

from ..models import EmailConfigurationSettings, RoutingHeader
from ..models.office import NO_TRANSPORT

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
        help_text="Headers in which servers name the mailbox a forwarded copy came from. One on each line; the top "
        "one counts most. A header that is not listed is not looked at.",
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
        )
        widgets = {"default_act_method": Choice}
        help_texts = {
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
        return {"default_profile": default, "routing_headers": RoutingHeader.names()}

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
        """The names in order; a sentence for each line that is none (RFC 5322, 2.2)."""
        lines = [line.strip().removesuffix(":") for line in self.cleaned_data["routing_headers"].splitlines()]
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
        if "routing_headers" in self.changes:
            RoutingHeader.replace(self.cleaned_data["routing_headers"])
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
