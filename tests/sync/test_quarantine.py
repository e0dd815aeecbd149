"""Quarantine: each message with its reason, tried again by itself when what it waits for changes, or by a person."""

from __future__ import annotations

import pytest
from django.core.exceptions import ValidationError
from django.test import Client
from django.urls import reverse

from mailboxes import lifecycle
from mailboxes.models import Delivery, Message, MessageState
from mailboxes.parsing import parse
from mailboxes.quarantine import discard, put_back
from mailboxes.sync import ingest
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


def test_what_is_discarded_leaves_the_server_by_the_mailbox_s_rule_and_stays_here(office: Office) -> None:
    office.arrives(letter("An advertisement", to="x@example.net"))
    office.synchronize()
    message = Message.objects.get()
    raw = message.raw
    with pytest.raises(ValidationError, match="why this message is given up"):
        discard(message, "  ", office.amara)
    assert len(office.on_server()) == 1
    discard(message, "Nobody asked for it", office.amara)
    office.again()
    assert office.on_server() == []
    put_back(message)
    with pytest.raises(ValidationError, match="not discarded any more"):
        put_back(message)
    message.refresh_from_db()
    assert (message.state, message.raw) == (MessageState.QUARANTINED, raw)
    office.user("ingrid")
    deliver_to(message, office.user("noah").mailbox, office.amara)
    assert office.delivered() == {"An advertisement": ["Noah"]}


FORWARDED = (
    "Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\nContent-Type: message/rfc822\r\n\r\n"
    "Subject: Inner\r\nFrom: Ines <ines@example.org>\r\nContent-Type: multipart/mixed; boundary=y\r\n\r\n"
    "--y\r\n\r\nHello\r\n--y\r\nContent-Disposition: attachment; filename=setup.pdf.exe\r\n\r\nMZ\r\n"
    "--y\r\nContent-Disposition: attachment; filename=plan.txt\r\n\r\nthe plan\r\n--y--\r\n--x--\r\n"
)


def test_attachments_of_a_forwarded_message_are_found_in_it_and_programs_are_blocked(office: Office) -> None:
    noah = office.user("noah")
    mail = f"From: noah@contoso.com\r\nTo: forwardmailbox@contoso.com\r\nSubject: Fwd\r\n{FORWARDED}"
    office.arrives(mail.encode())
    office.synchronize()
    message = Message.objects.get()
    parts = {part.name: part for part in message.attachments.all()}
    assert (message.subject, message.state, set(parts)) == (
        "Inner",
        MessageState.DELIVERED,
        {"setup.pdf.exe", "plan.txt"},
    )
    assert parts["setup.pdf.exe"].is_blocked
    assert not parts["plan.txt"].is_blocked
    browser = Client()
    browser.force_login(noah)
    plan, program = (
        browser.get(reverse("attachment", args=[message.pk, parts[name].number]))
        for name in ("plan.txt", "setup.pdf.exe")
    )
    assert plan.content == b"the plan"
    assert program.status_code == 302
    assert browser.get(reverse("message-raw", args=[message.pk])).status_code == 302
    browser.force_login(office.amara)
    assert browser.get(reverse("message-raw", args=[message.pk])).content == message.raw


def test_what_a_person_discards_while_it_is_read_again_stays_discarded(office: Office) -> None:
    office.arrives(letter("Advert", to="x@example.net"))
    office.synchronize()
    message = Message.objects.get()
    noah = office.user("noah")
    sorter = ingest.Sorter(office.forward)
    decided = sorter.decide([(message, parse(letter("Advert", Delivered_To="noah@contoso.com")))])
    assert [target.name for target in decided[0].route.targets] == ["Noah"]
    discard(message, "An advert", office.amara)
    ingest.deliver(None, decided)
    message.refresh_from_db()
    assert (message.state, message.discard_reason) == ("discarded", "An advert")
    assert not noah.mailbox.deliveries.exists()
