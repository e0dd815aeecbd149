"""Quarantine: each message with its reason, tried again by itself when what it waits for changes, or by a person."""

from __future__ import annotations

import pytest
from django.core.exceptions import ValidationError

from mailboxes import lifecycle
from mailboxes.models import Delivery, Message, MessageState
from mailboxes.sync.resume import deliver_to, try_again

from .conftest import Office, letter

pytestmark = pytest.mark.django_db(transaction=True)


def test_mail_for_an_address_that_waits_for_approval_is_delivered_once_it_is_approved(office: Office) -> None:
    saoirse = office.user("saoirse", approval="pending")
    office.arrives(letter("Early", Delivered_To="saoirse@contoso.com"))
    office.synchronize()
    message = Message.objects.get()
    assert (message.state, message.reason) == (MessageState.QUARANTINED, "address_pending")
    assert message.waiting_for == saoirse.mailbox
    lifecycle.approve(saoirse.mailbox, office.amara)
    office.synchronize()  # approving made the forward mailbox due
    assert office.delivered() == {"Early": ["Saoirse"]}
    assert office.on_server() == []


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"approval": "rejected"}, "address_rejected"),
        ({"incoming_method": "none"}, "method_not_forward"),
        ({"is_active": False}, "mailbox_inactive"),
    ],
)
def test_a_target_that_may_not_receive_is_the_reason(
    office: Office, change: dict[str, object], reason: str
) -> None:
    office.user("noah", **change)
    office.user("priya")
    office.arrives(letter("Waits", to="priya@contoso.com", Delivered_To="noah@contoso.com"))
    office.synchronize()
    message = Message.objects.get()
    assert (message.state, message.reason) == (MessageState.QUARANTINED, reason)
    assert not Delivery.objects.exists()  # no lower rule is tried


def test_trying_again_finds_a_user_who_exists_by_now(office: Office) -> None:
    office.arrives(letter("For the new one", Delivered_To="ingrid@contoso.com"))
    office.synchronize()
    message = Message.objects.get()
    assert try_again(message).state == MessageState.QUARANTINED
    office.user("ingrid")
    assert try_again(message).state == MessageState.DELIVERED
    office.again()
    assert office.on_server() == []


def test_a_person_decides_for_whom_it_is(office: Office) -> None:
    queue = office.queue("support")
    office.arrives(letter("Whose", to="x@example.net"))
    office.synchronize()
    message = Message.objects.get()
    deliver_to(message, queue.mailbox, office.amara)
    delivery = Delivery.objects.get()
    assert (delivery.rule, delivery.delivered_by) == ("by_hand", office.amara)
    with pytest.raises(ValidationError, match="not in quarantine any more"):
        deliver_to(message, queue.mailbox, office.amara)
    office.again()
    assert office.on_server() == []


def test_a_forward_mailbox_serves_nobody(office: Office) -> None:
    office.arrives(letter("Whose", to="x@example.net"))
    office.synchronize()
    with pytest.raises(ValidationError, match="nobody's own mail"):
        deliver_to(Message.objects.get(), office.forward, office.amara)
