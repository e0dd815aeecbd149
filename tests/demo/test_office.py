"""The demo's provisioning file holds the office that the screens show."""

from __future__ import annotations

from mailboxes.demo import office
from mailboxes.demo.office import Office


def test_it_has_the_people_and_queues_of_a_working_office(demo_office: Office) -> None:
    assert len(demo_office["user"]) >= 20
    assert len(demo_office["queue"]) >= 6
    roles = [user["role"] for user in demo_office["user"]]
    assert {role: roles.count(role) for role in ("administrator", "approver", "staff")} == {
        "administrator": 1,
        "approver": 1,
        "staff": 1,
    }
    pending = [one.name for one in office.occupants(demo_office) if not one.approved]
    assert pending == ["Saoirse Byrne", "Viktor Lindgren"]


def test_every_address_and_user_name_is_there_once(demo_office: Office) -> None:
    accounts = office.people(demo_office, "secret")
    assert len({account.address for account in accounts}) == len(accounts)
    assert len({account.username for account in accounts}) == len(accounts)
    assert office.collection_address(demo_office) in {account.address for account in accounts}


def test_every_owner_is_a_user(demo_office: Office) -> None:
    usernames = {user["username"] for user in demo_office["user"]}
    owners = {entry["owner"] for kind in ("queue", "forward_mailbox") for entry in demo_office[kind]}
    assert owners <= usernames


def test_credentials_of_the_file_are_those_of_the_accounts(demo_office: Office) -> None:
    usernames = {account.username for account in office.people(demo_office, "secret")}
    mailboxes = [
        one.get("mailbox", one) for kind in ("user", "queue", "forward_mailbox") for one in demo_office[kind]
    ]
    given = {mailbox["credentials"]["username"] for mailbox in mailboxes if "credentials" in mailbox}
    assert {"amara", "returns", "forwardmailbox"} <= given <= usernames


def test_whose_mail_is_forwarded_has_the_rule_for_it(demo_office: Office) -> None:
    copies = {account.username: account.copy_to for account in office.people(demo_office, "secret")}
    assert copies["priya"] == copies["support"] == office.collection_address(demo_office)
    assert copies["returns"] == copies["forwardmailbox"] == ""


def test_everyone_who_signs_in_and_a_queue_can_write(demo_office: Office) -> None:
    sends = {
        entry["email_address"].partition("@")[0]
        for kind in ("user", "queue")
        for entry in demo_office[kind]
        if entry["mailbox"]["outgoing"] == "server_side"
    }
    assert {"amara.okafor", "hanna.brandt", "bram.devries", "priya.raman", "support"} <= sends


def test_no_password_stands_in_the_file_and_none_is_printed(demo_office: Office) -> None:
    assert '"password":' not in str(demo_office).replace("'", '"')
    assert "geheim" not in repr(office.people(demo_office, "geheim"))
