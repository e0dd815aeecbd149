"""Quarantine in the browser: who sees what, try again, deliver to somebody."""

from collections.abc import Callable

import pytest
from django.test import Client
from django.urls import reverse

from mailboxes.models import Delivery, Mailbox, Message, MessageState, Queue
from tests.conftest import Office
from tests.pages.letters import RAW, collected


@pytest.fixture
def stuck(office: Office) -> Message:
    """A message for support@contoso.com that nobody could be found for."""
    return collected(
        office.collection,
        subject="Rechnung 1187",
        state=MessageState.QUARANTINED,
        reason="no_recipient_matched",
        explanation="No address of a user or queue was found in the message.",
    )


def may_receive(mailbox: Mailbox) -> None:
    Mailbox.objects.filter(pk=mailbox.pk).update(approval="approved", incoming_method="forward")


@pytest.mark.parametrize(
    ("role", "status"),
    [("anonymous", 302), ("user", 403), ("approver", 403), ("staff", 200), ("administrator", 200)],
)
def test_who_may_open_the_quarantine(
    role: str, status: int, stuck: Message, browser_of: Callable[[str], Client]
) -> None:
    assert browser_of(role).get(reverse("quarantine")).status_code == status


def test_staff_see_only_how_many_wait_for_which_reason(
    stuck: Message, browser_of: Callable[[str], Client]
) -> None:
    page = browser_of("staff").get(reverse("quarantine")).content.decode()

    assert "No recipient matched" in page
    assert "Rechnung 1187" not in page
    assert "Try again" not in page


@pytest.mark.parametrize("role", ["staff", "approver", "user"])
def test_only_administrators_command(role: str, stuck: Message, browser_of: Callable[[str], Client]) -> None:
    browser = browser_of(role)

    assert browser.post(reverse("quarantine-retry", args=[stuck.pk])).status_code == 403
    assert browser.post(reverse("quarantine-deliver", args=[stuck.pk])).status_code == 403
    assert browser.get(reverse("quarantine-deliver", args=[stuck.pk])).status_code == 403


def test_a_message_says_its_reason_and_its_attempts(stuck: Message, amaras: Client) -> None:
    page = amaras.get(reverse("quarantine")).content.decode()

    assert "Rechnung 1187" in page
    assert "No address of a user or queue was found in the message." in page
    assert "0 of 3" in page
    assert reverse("message-raw", args=[stuck.pk]) in page


def test_reason_mailbox_and_words_filter(office: Office, stuck: Message, amaras: Client) -> None:
    def found(**asked: object) -> int:
        return len(amaras.get(reverse("quarantine"), asked).context["page"].rows)

    assert found() == 1
    assert found(reason="no_recipient_matched") == 1
    assert found(reason="unreadable") == 0
    assert found(mailbox=office.collection.pk) == 1
    assert found(mailbox=office.support.mailbox.pk) == 0
    assert found(q="rechnung") == 1
    assert found(q="other") == 0


def test_an_empty_quarantine_says_so(
    office: Office, amaras: Client, browser_of: Callable[[str], Client]
) -> None:
    for browser in (amaras, browser_of("staff")):
        assert "Nothing in quarantine" in browser.get(reverse("quarantine")).content.decode()


@pytest.mark.django_db(transaction=True)
def test_trying_again_delivers_once_the_address_may_receive(
    office: Office, stuck: Message, amaras: Client
) -> None:
    may_receive(office.support.mailbox)

    response = amaras.post(reverse("quarantine-retry", args=[stuck.pk]), follow=True)

    stuck.refresh_from_db()
    assert stuck.state == MessageState.DELIVERED
    assert Delivery.objects.get(message=stuck).mailbox == office.support.mailbox
    assert "was delivered" in response.content.decode()


@pytest.mark.django_db(transaction=True)
def test_trying_again_in_vain_says_why(office: Office, stuck: Message, amaras: Client) -> None:
    response = amaras.post(reverse("quarantine-retry", args=[stuck.pk]), follow=True)

    stuck.refresh_from_db()
    assert stuck.state == MessageState.QUARANTINED
    assert "stays in quarantine. The address waits for approval" in response.content.decode()


def test_what_left_the_quarantine_is_not_tried_again(office: Office, amaras: Client) -> None:
    message = collected(office.collection, state=MessageState.DELIVERED)

    response = amaras.post(reverse("quarantine-retry", args=[message.pk]), follow=True)

    assert "not in quarantine any more" in response.content.decode()


@pytest.mark.parametrize("typed", ["Support", "support@contoso.com", "Support <SUPPORT@contoso.com>"])
def test_a_person_delivers_to_whom_they_choose(
    typed: str, office: Office, stuck: Message, amaras: Client
) -> None:
    may_receive(office.support.mailbox)

    response = amaras.post(reverse("quarantine-deliver", args=[stuck.pk]), {"target": typed}, follow=True)

    delivery = Delivery.objects.get(message=stuck)
    assert (delivery.mailbox, delivery.rule, delivery.delivered_by) == (
        office.support.mailbox,
        "by_hand",
        office.amara,
    )
    assert "was delivered to Support" in response.content.decode()


@pytest.mark.parametrize(
    ("typed", "sentence"),
    [
        ("", "This field is required"),
        ("nobody@contoso.com", "No active user or queue is called nobody@contoso.com"),
        ("forwardmailbox@contoso.com", "No active user or queue is called forwardmailbox@contoso.com"),
        ("Support", "Support cannot receive: the address waits for approval"),
        ("Twins", "Several mailboxes are called Twins"),
    ],
)
def test_a_wrong_target_gets_its_sentence(
    typed: str, sentence: str, office: Office, stuck: Message, amaras: Client
) -> None:
    for number in (1, 2):
        Queue.objects.create(name="Twins", email_address=f"twin{number}@contoso.com", owner=office.amara)

    response = amaras.post(reverse("quarantine-deliver", args=[stuck.pk]), {"target": typed})

    page = response.content.decode()
    assert sentence in page
    assert 'aria-invalid="true"' in page
    assert typed in page
    assert not Delivery.objects.exists()


def test_the_raw_message_can_be_taken_along(stuck: Message, amaras: Client) -> None:
    assert amaras.get(reverse("message-raw", args=[stuck.pk])).content == RAW
