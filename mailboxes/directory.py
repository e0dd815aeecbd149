"""The directory that routing asks: which address belongs to whom, and may they receive."""

from __future__ import annotations

from collections.abc import Iterable

from django.db.models.functions import Lower

from .models import Approval, EmailConfigurationSettings, IncomingMethod, Mailbox
from .routing import Entry, Reason
from .routing import Kind as EntryKind

KINDS: dict[str, EntryKind] = {"user": "user", "queue": "queue", "forward": "forward"}


class AddressDirectory:
    """The entries of some addresses, read with one query; see `routing.Directory`."""

    def __init__(self, addresses: Iterable[str]) -> None:
        settings = EmailConfigurationSettings.load()
        rows = Mailbox.objects.annotate(address=Lower("email_address")).filter(
            address__in={address.lower() for address in addresses}
        )
        # An active mailbox comes last, and so wins over a deactivated one with the same address.
        self._entries = {
            row.email_address.lower(): entry(row, settings)
            for row in rows.defer("password").order_by("is_active")
        }

    def find(self, address: str) -> Entry | None:
        return self._entries.get(address.lower())


def entry(mailbox: Mailbox, settings: EmailConfigurationSettings) -> Entry:
    """What routing needs to know of one mailbox."""
    why_not = why_not_receiving(mailbox, settings)
    return Entry(
        mailbox_id=mailbox.pk,
        kind=KINDS[mailbox.kind],
        name=mailbox.name,
        may_receive=why_not is None,
        why_not=why_not,
    )


def why_not_receiving(mailbox: Mailbox, settings: EmailConfigurationSettings) -> Reason | None:
    """Why mail cannot be routed to this mailbox now; None when it can."""
    if not mailbox.is_active:
        return Reason.MAILBOX_INACTIVE
    if mailbox.incoming_method != IncomingMethod.FORWARD:
        return Reason.METHOD_NOT_FORWARD
    if settings.requires_approval(mailbox.kind) and mailbox.approval != Approval.APPROVED:
        rejected = mailbox.approval == Approval.REJECTED
        return Reason.ADDRESS_REJECTED if rejected else Reason.ADDRESS_PENDING
    return None
