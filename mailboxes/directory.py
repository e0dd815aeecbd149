"""The directory that routing asks: which address belongs to whom, and may they receive."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from django.db.models.functions import Lower

from .models import (
    AdditionalAddress,
    Approval,
    EmailConfigurationSettings,
    IncomingMethod,
    Kind,
    Mailbox,
    RoutingHeader,
)
from .routing import Entry, Reason, Rules
from .routing import Kind as EntryKind
from .trace import Servers

KINDS: dict[str, EntryKind] = {"user": "user", "queue": "queue", "forward": "forward"}


class Receiver(NamedTuple):
    """What routing needs to know of a mailbox; a directory asks for thousands, so they are no model objects."""

    pk: int
    name: str
    is_active: bool
    incoming_method: str
    approval: str
    is_forward_mailbox: bool
    user_id: int | None

    @classmethod
    def of(cls, mailbox: Mailbox) -> Receiver:
        return cls(*(getattr(mailbox, name) for name in cls._fields))

    @property
    def kind(self) -> Kind:
        return Kind.of(is_forward_mailbox=self.is_forward_mailbox, user_id=self.user_id)


class AddressDirectory:
    """The entries of some addresses, read with two queries; see `routing.Directory`.

    An address of a mailbox comes before an additional one, and an active mailbox before a deactivated one.
    """

    def __init__(self, addresses: Iterable[str], settings: EmailConfigurationSettings) -> None:
        asked = {address.lower() for address in addresses}
        further = AdditionalAddress.objects.filter(address__in=asked)
        rows = Mailbox.objects.annotate(address=Lower("email_address")).filter(address__in=asked).order_by()
        # What comes last wins.
        found = [
            *((row[0], Receiver(*row[1:]), True) for row in further.values_list("address", *_THROUGH)),
            *((row[0], Receiver(*row[1:]), False) for row in rows.values_list("address", *Receiver._fields)),
        ]
        found.sort(key=lambda one: (one[1].is_active, not one[2]))
        self._entries = {
            address: _entry(receiver, settings, is_additional) for address, receiver, is_additional in found
        }

    def find(self, address: str) -> Entry | None:
        return self._entries.get(address.lower())


_THROUGH = tuple(f"mailbox__{name}" for name in Receiver._fields)


def rules_of(settings: EmailConfigurationSettings) -> Rules:
    """How this office routes."""
    return Rules(
        headers=RoutingHeader.listed(),
        use_to_and_cc=settings.route_by_to_and_cc,
        use_plus_addresses=settings.use_plus_addresses,
        servers=Servers.listed(settings.trusted_servers),
    )


def _entry(receiver: Receiver, settings: EmailConfigurationSettings, is_additional: bool) -> Entry:
    why_not = why_not_receiving(receiver, settings)
    return Entry(
        mailbox_id=receiver.pk,
        kind=KINDS[receiver.kind],
        name=receiver.name,
        may_receive=why_not is None,
        why_not=why_not,
        is_additional=is_additional,
    )


def why_not_receiving(mailbox: Receiver, settings: EmailConfigurationSettings) -> Reason | None:
    """Why mail cannot be routed to this mailbox now; None when it can."""
    if not mailbox.is_active:
        return Reason.MAILBOX_INACTIVE
    if mailbox.incoming_method != IncomingMethod.FORWARD:
        return Reason.METHOD_NOT_FORWARD
    if settings.requires_approval(mailbox.kind) and mailbox.approval != Approval.APPROVED:
        rejected = mailbox.approval == Approval.REJECTED
        return Reason.ADDRESS_REJECTED if rejected else Reason.ADDRESS_PENDING
    return None
