"""Quarantine in the browser: who sees what, try again, deliver to somebody."""

from collections.abc import Callable

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from mailboxes import alerts
from mailboxes.models import (
    Alert,
    Delivery,
    EmailConfigurationSettings,
    Mailbox,
    Message,
    MessageState,
    Queue,
)
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
    assert reverse("message", args=[stuck.pk]) in page


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


def test_a_message_is_discarded_with_a_reason_and_can_be_taken_back(
    office: Office, stuck: Message, amaras: Client
) -> None:
    address = reverse("quarantine-discard", args=[stuck.pk])
    assert "In the next cycle the copy on the server" in amaras.get(address).content.decode()
    assert amaras.post(address, {"reason": " "}).status_code == 422
    stuck.refresh_from_db()
    assert stuck.state == MessageState.QUARANTINED

    amaras.post(address, {"reason": "An advertisement"})

    stuck.refresh_from_db()
    assert (stuck.state, stuck.discarded_by, stuck.discard_reason) == (
        MessageState.DISCARDED,
        office.amara,
        "An advertisement",
    )
    assert bytes(stuck.raw) == RAW
    found = amaras.get(reverse("quarantine"), {"state": "discarded"}).content.decode()
    assert "An advertisement" in found
    assert "An advertisement" in amaras.get(reverse("message", args=[stuck.pk])).content.decode()

    amaras.post(reverse("quarantine-put-back", args=[stuck.pk]))

    stuck.refresh_from_db()
    assert (stuck.state, stuck.discarded_at, stuck.discard_reason) == (MessageState.QUARANTINED, None, "")
    assert stuck.reason == "no_recipient_matched"


def many(office: Office, count: int) -> list[Message]:
    values = {"state": MessageState.QUARANTINED, "reason": "no_recipient_matched"}
    return [collected(office.collection, number, subject=f"No {number}", **values) for number in range(count)]


def test_many_are_discarded_and_what_left_meanwhile_is_skipped(office: Office, amaras: Client) -> None:
    rows = many(office, 3)
    asked = {"command": "discard", "pick": [row.pk for row in rows]}
    assert "Discard 3 messages" in amaras.post(reverse("quarantine-many"), asked).content.decode()
    Message.objects.filter(pk=rows[0].pk).update(state=MessageState.DELIVERED)

    response = amaras.post(reverse("quarantine-many"), asked | {"confirmed": "1", "reason": "Spam"})

    states = Message.objects.order_by("pk").values_list("state", flat=True)
    assert list(states) == ["delivered", "discarded", "discarded"]
    page = response.content.decode()
    assert "2 of 3 messages left the quarantine" in page
    assert "not in quarantine any more" in page


def test_many_are_delivered_to_one(office: Office, amaras: Client) -> None:
    may_receive(office.support.mailbox)
    rows = many(office, 2)
    stub = collected(office.collection, 9, state=MessageState.QUARANTINED, reason="too_large", is_stub=True)
    asked = {"command": "deliver", "pick": [row.pk for row in (*rows, stub)]}
    assert "For whom are these 3 messages" in amaras.post(reverse("quarantine-many"), asked).content.decode()

    response = amaras.post(reverse("quarantine-many"), asked | {"confirmed": "1", "target": "Support"})

    assert Delivery.objects.filter(mailbox=office.support.mailbox).count() == 2
    assert "Only the header of this message was collected" in response.content.decode()


@pytest.mark.django_db(transaction=True)
def test_all_that_match_are_tried_again(office: Office, amaras: Client) -> None:
    may_receive(office.support.mailbox)
    many(office, 3)

    response = amaras.post(reverse("quarantine-many"), {"command": "again", "all": "1", "q": "No 1"})

    assert Message.objects.filter(state=MessageState.DELIVERED).count() == 1
    assert "The message left the quarantine" in response.content.decode()


def test_a_command_for_nothing_does_nothing(office: Office, stuck: Message, amaras: Client) -> None:
    for asked in ({"command": "discard"}, {"command": "nonsense", "pick": stuck.pk}):
        response = amaras.post(reverse("quarantine-many"), asked, follow=True)
        assert "nothing was done" in response.content.decode()


def test_a_stub_says_that_only_its_header_is_here(office: Office, amaras: Client) -> None:
    stub = collected(
        office.collection,
        state=MessageState.QUARANTINED,
        reason="too_large",
        is_stub=True,
        announced_size=90 * 1024 * 1024,
    )

    page = amaras.get(reverse("message", args=[stub.pk])).content.decode()

    assert "Only the header is here" in page
    assert "90.0" in page
    assert reverse("quarantine-deliver", args=[stub.pk]) not in page


def test_a_stub_of_which_nothing_came_has_a_page_and_a_source(office: Office, amaras: Client) -> None:
    stub = collected(
        office.collection, state=MessageState.QUARANTINED, reason="not_handed_over", is_stub=True, raw=b""
    )
    for name in ("message", "message-source", "message-raw"):
        assert amaras.get(reverse(name, args=[stub.pk])).status_code == 200, name


def test_the_source_is_shown_escaped_and_without_what_cannot_be_seen(office: Office, amaras: Client) -> None:
    raw = b"Subject: <script>\x1b\xff\r\n\r\n\xe2\x80\xaeabc"
    message = collected(office.collection, raw=raw)

    page = amaras.get(reverse("message-source", args=[message.pk])).content.decode()

    assert "Subject: &lt;script&gt;\\x1b\\xff" in page
    assert "\\x202eabc" in page


def test_the_list_costs_the_same_number_of_queries_whatever_its_length(
    office: Office, amaras: Client, django_assert_max_num_queries: Callable[[int], object]
) -> None:
    many(office, 60)
    with django_assert_max_num_queries(25):  # type: ignore[attr-defined]
        page = amaras.get(reverse("quarantine"))
    assert len(page.context["page"].rows) == 50


def test_an_alert_tells_of_a_growing_quarantine_and_is_resolved(office: Office, amaras: Client) -> None:
    settings = EmailConfigurationSettings.load()
    EmailConfigurationSettings.objects.filter(pk=settings.pk).update(quarantine_alert_at=3)
    rows = many(office, 2)
    alerts.quarantine_watched()
    assert not Alert.objects.exists()

    rows += [collected(office.collection, 7, state=MessageState.QUARANTINED, reason="unreadable")]
    alerts.quarantine_watched()
    alerts.quarantine_watched()
    alert = Alert.objects.get()
    assert alert.title == "3 messages wait in quarantine"
    assert "No recipient matched: 2; The message could not be read: 1." in alert.why

    amaras.post(reverse("quarantine-discard", args=[rows[0].pk]), {"reason": "Spam"})
    assert Alert.objects.get().resolved_at is not None

    amaras.post(reverse("quarantine-put-back", args=[rows[0].pk]))
    assert Alert.objects.filter(resolved_at=None).count() == 1
    EmailConfigurationSettings.objects.update(quarantine_alert_at=0)
    alerts.quarantine_watched()
    assert not Alert.objects.filter(resolved_at=None).exists()


def test_what_a_command_is_for_and_what_came_of_it_reads_well_for_one_and_on_a_phone(
    amaras: Client, stuck: Message, office: Office
) -> None:
    other = collected(office.collection, 2, state=MessageState.QUARANTINED, reason="loop")
    address = reverse("quarantine-many")
    form = amaras.post(address, {"command": "discard", "pick": [stuck.pk, other.pk]}).content.decode()
    assert '<td data-label="Reason">No recipient matched</td>' in form

    again = amaras.post(address, {"command": "again", "pick": stuck.pk}).content.decode()
    assert "The message is where it was, for the reason beside it." in again
    given_up = {"command": "discard", "confirmed": "1", "reason": "Advertising", "pick": stuck.pk}
    assert "The message left the quarantine." in amaras.post(address, given_up).content.decode()

    Message.objects.filter(pk=stuck.pk).update(discarded_by=None)  # the engine does that, too
    listed = amaras.get(reverse("quarantine"), {"state": "discarded"}).content.decode()
    today = timezone.localtime(Message.objects.get(pk=stuck.pk).discarded_at).day
    assert f"“Advertising”, {today} " in listed
    assert (
        f"omebody, {today} " not in listed + amaras.get(reverse("message", args=[stuck.pk])).content.decode()
    )
