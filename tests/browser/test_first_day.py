"""A newcomer's first day, clicked through: set up, profile, forward mailbox, Test & Enable, mail, quarantine, edit."""

from __future__ import annotations

import re
from typing import Any

import pytest
from playwright.sync_api import expect

from emailprofiles.models import EmailServerProfile
from mailboxes import roles
from mailboxes.models import Mailbox, SetupLink, User
from tests.servers import EXPIRED, GOOD, WRONG_NAME, Dovecot, SmtpSink, free_port
from tests.sync.conftest import letter

from .conftest import Visitor

pytestmark = pytest.mark.django_db(transaction=True)

PASSWORD = "Vier Zwiebeln 44"


@pytest.fixture
def amara(transactional_db: None) -> User:
    user = User.objects.create_user(
        "amara", "amara@contoso.com", PASSWORD, first_name="Amara", last_name="Okafor"
    )
    roles.set_role(user, roles.Role.ADMINISTRATOR)
    return user


def approved(mailbox: Mailbox) -> Mailbox:
    mailbox.approval, mailbox.incoming_method = "approved", "forward"
    mailbox.save()
    return mailbox


def profile_of(owner: User, dovecot: Dovecot, **values: Any) -> EmailServerProfile:
    there = {"incoming_host": GOOD, "incoming_port": dovecot.port, "incoming_security": "none"}
    return EmailServerProfile.objects.create(
        **{"name": "Head office", "owner": owner, "timeout_seconds": 5, "min_polling_interval_minutes": 0}
        | there
        | values
    )


def types_a_forward_mailbox(visitor: Visitor, account: str, password: str = "correct horse") -> None:
    profile = EmailServerProfile.objects.get()
    visitor.types(
        name="Collection 1", email_address="forwardmailbox@contoso.com", server_profile=profile.name
    )
    visitor.chooses(incoming_method="server_side", allow_credentials="True")
    visitor.types(username=account, password=password)


def test_from_an_empty_database_to_routed_mail(
    visitor: Visitor, dovecot: Dovecot, transactional_db: None
) -> None:
    dovecot.add_user("firstday", "correct horse")
    visitor.opens(f"/setup/{SetupLink.issue()}/")
    visitor.types(
        name="Amara Okafor",
        username="amara",
        email="amara@contoso.com",
        password=PASSWORD,
        password_again=PASSWORD,
    )
    visitor.presses("Open the office")
    expect(visitor.page).to_have_url(f"{visitor.site}/profiles/new/")

    visitor.types(name="Head office", incoming_host=GOOD)
    visitor.chooses(incoming_security="none")
    visitor.types(incoming_port=str(dovecot.port), min_polling_interval_minutes="0", process_email_from="")
    visitor.presses("Save")
    visitor.sees("Head office")

    for page, values in {
        "/users/new/": {
            "username": "noah",
            "first_name": "Noah",
            "email": "noah@contoso.com",
            "new_password": PASSWORD,
        },
        "/queues/new/": {"name": "Support", "email_address": "support@contoso.com", "owner": "amara"},
    }.items():
        visitor.opens(page)
        visitor.types(**values)
        visitor.presses("Save")
        visitor.follows("Mailbox")
    for mailbox in Mailbox.objects.filter(email_address__in=["noah@contoso.com", "support@contoso.com"]):
        visitor.opens(f"/mailboxes/{mailbox.pk}/")
        visitor.presses("Approve Email")
        visitor.sees("Email address is approved")

    visitor.page.get_by_role("link", name="Settings", exact=True).first.click()
    visitor.page.locator("main").get_by_role("link", name="Mailboxes").first.click()
    visitor.follows("New Forward Mailbox")
    types_a_forward_mailbox(visitor, "firstday")
    visitor.types(email_address="support@contoso.com")
    visitor.chooses(delete_emails_after_processing="True")
    visitor.presses("Save")
    visitor.sees("already belongs to the queue mailbox Support")
    for name, kept in {"name": "Collection 1", "username": "firstday", "password": ""}.items():
        expect(visitor.page.locator(f"main [name={name}]")).to_have_value(kept)
    visitor.types(email_address="forwardmailbox@contoso.com", password="correct horse")
    visitor.presses("Save")
    visitor.sees("Not Run")
    visitor.presses("Test & Enable")
    visitor.sees("Incoming email runs")

    other = letter("Somebody else deletes this", to="x@example.net")
    uid = dovecot.append("firstday", other)
    with dovecot.client("firstday", "INBOX") as someone_else:
        someone_else.add_flags([uid], [rb"\Deleted"])
    dovecot.append("firstday", letter("A question", Delivered_To="noah@contoso.com"))
    dovecot.append("firstday", letter("Whose is this", to="y@example.net"))

    expect(visitor.page.locator("body")).to_be_visible()
    for _ in range(60):
        visitor.opens("/quarantine/")
        if "Whose is this" in visitor.page.inner_text("main"):
            break
        visitor.page.wait_for_timeout(250)
    visitor.sees("No recipient matched")
    visitor.page.get_by_role("button", name="Try again: Whose is this").click()
    visitor.sees("Whose is this")
    visitor.page.get_by_role("link", name="Deliver to…: Whose is this").click()
    visitor.types(target="Support")
    visitor.presses("Deliver")
    visitor.sees("Support")

    visitor.opens("/messages/")
    visitor.page.get_by_role("link", name="A question").first.click()
    visitor.sees("Why was this routed here?", "Delivered-To", "noah@contoso.com")
    for _ in range(60):
        left = [kept.raw for kept in dovecot.messages("firstday")]
        if left == [other]:
            break
        visitor.page.wait_for_timeout(250)
    assert left == [other]

    noah = Mailbox.objects.get(email_address="noah@contoso.com")
    visitor.opens(f"/mailboxes/{noah.pk}/")
    visitor.presses("Test & Enable")
    visitor.sees("Success")
    visitor.types(email_address="noah.pettersen@contoso.com")
    visitor.presses("Save & Close")
    expect(visitor.page).to_have_url(re.compile(r"/mailboxes/(#.*)?$"))
    visitor.opens(f"/mailboxes/{noah.pk}/")
    visitor.sees("Not Run")
    visitor.opens(f"/users/{User.objects.get(username='noah').pk}/")
    expect(visitor.page.locator("main [name=email]")).to_have_value("noah.pettersen@contoso.com")
    said = [words for words in visitor.complaints if "422" not in words]
    assert said == []


MISTAKES = {
    "a misspelt host": ({"incoming_host": "imap.nosuch.invalid"}, "Name resolved", "could not be resolved"),
    "a closed port": ({"incoming_port": "closed"}, "Port reached", "Nothing answers"),
    "TLS against a plain port": ({"incoming_security": "tls"}, "TLS", "does not speak TLS"),
    "an expired certificate": (
        {"incoming_host": EXPIRED, "incoming_security": "starttls"},
        "TLS",
        "has expired",
    ),
    "a wrong name": ({"incoming_host": WRONG_NAME, "incoming_security": "starttls"}, "TLS", "is not for"),
    "a missing folder": ({"incoming_folder": "Nowhere"}, "Folder opened", "There is no folder Nowhere"),
    "a wrong password": ({}, "Signed in", "refused the sign-in"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_fails_at_its_own_step_and_runs_once_put_right(
    visitor: Visitor, amara: User, dovecot: Dovecot, settings: Any, name: str
) -> None:
    settings.TLS_CA_FILE = dovecot.certificates.ca_file
    dovecot.add_user("mistakes", "correct horse")
    changes, step, cause = MISTAKES[name]
    wrong = {key: free_port() if value == "closed" else value for key, value in changes.items()}
    profile = profile_of(amara, dovecot, unencrypted_confirmed=True, **wrong)
    visitor.signs_in("amara", PASSWORD)
    visitor.opens("/mailboxes/new/")
    types_a_forward_mailbox(visitor, "mistakes", "wrong" if name == "a wrong password" else "correct horse")
    visitor.presses("Save")
    visitor.presses("Test & Enable")
    failed = visitor.page.locator("li.step.is-bad")
    expect(failed).to_have_count(1, timeout=15_000)
    for words in (step, "Cause", cause, "What you can do", "What we do"):
        expect(failed).to_contain_text(words)
    if name == "a wrong password":
        expect(failed.locator(".words")).to_contain_text("AUTHENTICATIONFAILED")

    visitor.opens(f"/profiles/{profile.pk}/")
    visitor.types(incoming_host=GOOD, incoming_folder="INBOX")
    visitor.chooses(incoming_security="none")
    visitor.types(incoming_port=str(dovecot.port))
    visitor.presses("Save")
    if name != "a wrong password":
        visitor.presses("Save and rest 1 mailbox")
    visitor.opens(f"/mailboxes/{Mailbox.objects.get(is_forward_mailbox=True).pk}/")
    visitor.types(password="correct horse")
    visitor.presses("Test & Enable")
    visitor.sees("Incoming email runs")


def test_outgoing_climbs_until_a_test_message_is_accepted(
    visitor: Visitor, amara: User, dovecot: Dovecot, smtp_sink: SmtpSink
) -> None:
    profile_of(
        amara,
        dovecot,
        incoming_host="",
        outgoing_host="127.0.0.1",
        outgoing_port=smtp_sink.port,
        outgoing_security="none",
        authenticate_using="anonymous",
    )
    mailbox = amara.mailbox
    mailbox.server_profile, mailbox.outgoing_method = EmailServerProfile.objects.get(), "server_side"
    mailbox.incoming_method = "none"
    mailbox.save()
    visitor.signs_in("amara", PASSWORD)
    visitor.opens(f"/mailboxes/{mailbox.pk}/")
    visitor.presses("Test & Enable")
    passed = visitor.page.locator("#test-outgoing li.step.is-ok")
    expect(passed.last).to_contain_text("Test message accepted", timeout=15_000)
    assert len(smtp_sink.received) == 1


def test_without_script_a_forward_mailbox_is_made_and_tested(
    visitor_with: Any, amara: User, dovecot: Dovecot
) -> None:
    dovecot.add_user("noscript", "correct horse")
    profile_of(amara, dovecot)
    visitor = visitor_with(java_script_enabled=False)
    visitor.signs_in("amara", PASSWORD)
    visitor.opens("/mailboxes/new/")
    types_a_forward_mailbox(visitor, "noscript")
    visitor.presses("Save")
    visitor.presses("Test & Enable")
    for _ in range(60):
        visitor.page.reload()
        if "Incoming email runs" in visitor.page.inner_text("main"):
            break
        visitor.page.wait_for_timeout(250)
    visitor.sees("Incoming email runs")
