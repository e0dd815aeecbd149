"""The directory that routing asks: which address belongs to whom, and may they receive."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from django.db.models.functions import Lower

from .models import (
    AdditionalAddress,
    Approval,
    EmailConfigurationSettings,
    IncomingMethod,
    Mailbox,
    RoutingHeader,
)
from .routing import Entry, Reason, Rules
from .routing import Kind as EntryKind
from .trace import Servers

KINDS: dict[str, EntryKind] = {"user": "user", "queue": "queue", "forward": "forward"}


class AddressDirectory:
    """The entries of some addresses, read with two queries; see `routing.Directory`.

    An address of a mailbox comes before an additional one, and an active mailbox before a deactivated one.
    """

    def __init__(self, addresses: Iterable[str], settings: EmailConfigurationSettings) -> None:
        asked = {address.lower() for address in addresses}
        further = AdditionalAddress.objects.filter(address__in=asked).select_related("mailbox")
        rows = Mailbox.objects.annotate(address=Lower("email_address")).filter(address__in=asked)
        # What comes last wins.
        found = [
            *((row.address, row.mailbox, True) for row in further.defer("mailbox__password")),
            *((row.email_address.lower(), row, False) for row in rows.defer("password")),
        ]
        found.sort(key=lambda one: (one[1].is_active, not one[2]))
        self._entries = {
            address: replace(entry(mailbox, settings), is_additional=is_additional)
            for address, mailbox, is_additional in found
        }

    def find(self, address: str) -> Entry | None:
        return self._entries.get(address.lower())


def rules_of(settings: EmailConfigurationSettings) -> Rules:
    """How this office routes."""
    return Rules(
        headers=RoutingHeader.listed(),
        use_to_and_cc=settings.route_by_to_and_cc,
        use_plus_addresses=settings.use_plus_addresses,
        servers=Servers.listed(settings.trusted_servers),
    )


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
