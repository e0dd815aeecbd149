"""Further addresses of users and queues: nobody else has them, in whatever way, and routing knows them."""

from __future__ import annotations

from typing import Any

import pytest
from auditlog.models import LogEntry
from django.core.exceptions import ValidationError
from django.test import Client

from mailboxes import provision
from mailboxes.directory import AddressDirectory
from mailboxes.models import AdditionalAddress, EmailConfigurationSettings, Mailbox, Queue, User
from tests.conftest import Office, forward_values


def addresses(mailbox: Mailbox) -> list[str]:
    return list(mailbox.additional_addresses.values_list("address", flat=True))


def refused(mailbox: Mailbox, *typed: str) -> list[str]:
    with pytest.raises(ValidationError) as error:
        mailbox.put_additional_addresses(typed)
    return error.value.message_dict["additional_addresses"]


def chidi() -> User:
    return User.objects.create_user("chidi", "chidi@contoso.com", first_name="Chidi", last_name="Eze")


def test_they_are_stored_in_lower_case_and_leave_one_entry(office: Office) -> None:
    mailbox = office.support.mailbox
    assert mailbox.put_additional_addresses(["Sales@Contoso.com", " help@contoso.com"])
    assert addresses(mailbox) == ["help@contoso.com", "sales@contoso.com"]
    assert not mailbox.put_additional_addresses(["SALES@contoso.com", "help@contoso.com"])
    entry = LogEntry.objects.get_for_object(office.support).first()
    assert entry.changes == {"additional_addresses": ["", "help@contoso.com, sales@contoso.com"]}


@pytest.mark.parametrize(
    ("address", "sentence"),
    [
        ("amara@contoso.com", "This address already belongs to the user mailbox Amara Okafor."),
        ("ForwardMailbox@contoso.com", "This address already belongs to the forward mailbox Collection 1."),
        ("chidi.eze@contoso.com", "This address already belongs to the user mailbox Chidi Eze."),
        ("support@contoso.com", "This is the address of Support already."),
        ("nonsense", "Enter a valid email address."),
    ],
)
def test_one_that_is_taken_names_who_has_it(office: Office, address: str, sentence: str) -> None:
    chidi().mailbox.put_additional_addresses(["chidi.eze@contoso.com"])
    assert refused(office.support.mailbox, "sales@contoso.com", address) == [
        f"“{address.lower()}”: {sentence}"
    ]
    assert addresses(office.support.mailbox) == []


def test_a_forward_mailbox_has_none(office: Office) -> None:
    assert "belong to users and queues" in refused(office.collection, "more@contoso.com")[0]


def test_no_new_mailbox_user_or_queue_takes_one(office: Office) -> None:
    office.support.mailbox.put_additional_addresses(["sales@contoso.com"])
    sentence = "already belongs to the queue mailbox Support"
    for record in (
        Mailbox.new_forward(
            **forward_values(owner=office.amara, name="C", email_address="Sales@contoso.com")
        ),
        User(username="sales", password="!", email="sales@contoso.com"),
        Queue(name="Sales", email_address="sales@contoso.com", owner=office.amara),
    ):
        with pytest.raises(ValidationError, match=sentence):
            record.full_clean()
        with pytest.raises(ValidationError, match=sentence):
            record.save()


def test_who_comes_back_finds_it_taken(office: Office) -> None:
    user = chidi()
    user.mailbox.put_additional_addresses(["sales@contoso.com"])
    user.is_active = False
    user.save()
    assert "keeps it: take it away there first" in refused(office.support.mailbox, "sales@contoso.com")[0]
    Queue.objects.create(name="Sales", email_address="sales@contoso.com", owner=office.amara)
    user.is_active = True
    user.save()
    mailbox = Mailbox.objects.get(user=user)
    mailbox.is_active = True
    with pytest.raises(ValidationError, match="belongs to the queue mailbox Sales by now"):
        mailbox.full_clean()


def test_the_directory_knows_them_with_one_query_more(office: Office, django_assert_num_queries: Any) -> None:
    office.support.mailbox.put_additional_addresses(["sales@contoso.com"])
    with django_assert_num_queries(3):  # the settings, the addresses, the additional ones
        directory = AddressDirectory(
            ["SALES@contoso.com", "amara@contoso.com", "nobody@contoso.com"],
            EmailConfigurationSettings.load(),
        )
    sales, amara = directory.find("Sales@Contoso.com"), directory.find("amara@contoso.com")
    assert sales is not None
    assert amara is not None
    assert (sales.name, sales.is_additional) == ("Support", True)
    assert (amara.name, amara.is_additional) == ("Amara Okafor", False)
    assert directory.find("nobody@contoso.com") is None


def test_the_address_of_an_active_mailbox_comes_before_what_a_deactivated_one_keeps(office: Office) -> None:
    user = chidi()
    user.mailbox.put_additional_addresses(["sales@contoso.com"])
    user.is_active = False
    user.save()
    Queue.objects.create(name="Sales", email_address="sales@contoso.com", owner=office.amara)
    found = AddressDirectory(["sales@contoso.com"], EmailConfigurationSettings.load()).find(
        "sales@contoso.com"
    )
    assert found is not None
    assert (found.name, found.is_additional) == ("Sales", False)


def test_they_are_edited_on_the_form_of_the_queue_and_of_the_user(office: Office) -> None:
    browser = Client()
    browser.force_login(office.amara)
    at_queue, at_user = f"/queues/{office.support.pk}/", f"/users/{office.amara.pk}/"
    browser.post(at_queue, {"additional_addresses": "Sales@contoso.com\n\nhelp@contoso.com"})
    assert addresses(office.support.mailbox) == ["help@contoso.com", "sales@contoso.com"]
    response = browser.post(at_user, {"additional_addresses": "sales@contoso.com"})
    assert response.status_code == 422
    assert "already belongs to the queue mailbox Support" in response.content.decode()
    assert not AdditionalAddress.objects.filter(mailbox__user=office.amara).exists()
    browser.post(at_queue, {"additional_addresses": ""})
    assert addresses(office.support.mailbox) == []


def test_they_are_provisioned(office: Office) -> None:
    queue = {
        "name": "Support",
        "email_address": "support@contoso.com",
        "additional_addresses": ["Sales@contoso.com"],
    }
    file = {
        "settings": {
            "trusted_servers": ["Contoso.com", "10.1.2.3/16"],
            "blocked_attachment_extensions": ["*.EXE", ".js"],
            "use_plus_addresses": False,
            "max_message_size_mb": 20,
            "quarantine_alert_at": 5,
            "mail_alerts": False,
            "alert_mail_grace_minutes": 60,
            "routing_headers": ["Delivered-To"],
            "untrusted_routing_headers": ["Resent-From"],
        },
        "queue": [queue],
    }
    assert [str(line.outcome) for line in provision.apply(file).lines] == ["changed", "changed"]
    assert [str(line.outcome) for line in provision.apply(file).lines] == ["equal", "equal"]
    assert addresses(office.support.mailbox) == ["sales@contoso.com"]
    wrong = provision.apply({"queue": [queue | {"additional_addresses": ["amara@contoso.com"]}]})
    assert wrong.lines[0].why.startswith(
        "additional_addresses: “amara@contoso.com”: This address already belongs"
    )


@pytest.mark.parametrize("turned", [False, True])
def test_they_change_hands_within_one_file_in_whatever_order_it_names_people(
    office: Office, turned: bool
) -> None:
    """Between users, between a queue and a user, and to where one becomes an address of its own."""
    chidi().mailbox.put_additional_addresses(["post@contoso.com", "new@contoso.com"])
    office.amara.mailbox.put_additional_addresses(["office@contoso.com"])
    office.support.mailbox.put_additional_addresses(["help@contoso.com"])
    users = [
        {"username": "chidi", "additional_addresses": ["office@contoso.com", "help@contoso.com"]},
        {"username": "amara", "additional_addresses": []},
        {
            "username": "noah",
            "full_name": "Noah",
            "email_address": "new@contoso.com",
            "password": "Rapunzel 24",
        },
    ]
    queue = {
        "name": "Support",
        "email_address": "support@contoso.com",
        "additional_addresses": ["post@contoso.com"],
    }
    file = {"user": users[::-1] if turned else users, "queue": [queue]}
    assert provision.apply(file).wrong == 0
    assert addresses(User.objects.get(username="chidi").mailbox) == ["help@contoso.com", "office@contoso.com"]
    assert addresses(office.support.mailbox) == ["post@contoso.com"]
    assert addresses(office.amara.mailbox) == []
    assert {line.outcome for line in provision.apply(file).lines} == {provision.Outcome.EQUAL}
