"""Priya keeps her own credentials: she tests, is told what is wrong, puts it right, and reads her mail."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import expect

from mailboxes.models import Mailbox, User
from tests.servers import Dovecot
from tests.sync.conftest import letter

from .conftest import Visitor, in_every_look
from .test_every_page import flaws
from .test_first_day import PASSWORD, profile_of

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def priya(transactional_db: None, dovecot: Dovecot) -> User:
    """Priya Raman, whose approved mailbox is read by itself and lacks its credentials."""
    dovecot.add_user("priya", "correct horse")
    user = User.objects.create_user(
        "priya", "priya@contoso.com", PASSWORD, first_name="Priya", last_name="Raman"
    )
    mailbox = Mailbox.objects.get(user=user)
    mailbox.server_profile, mailbox.approval = profile_of(user, dovecot), "approved"
    mailbox.incoming_method = "server_side"
    mailbox.save()
    return user


@in_every_look
def test_she_watches_the_ladder_and_puts_right_what_it_says(
    visitor_with: Any, priya: User, dovecot: Dovecot, width: int, scheme: str
) -> None:
    visitor: Visitor = visitor_with(viewport={"width": width, "height": 900}, color_scheme=scheme)
    visitor.signs_in("priya", PASSWORD)
    visitor.opens("/my-mailbox/")
    visitor.sees("Why is incoming email not running?", "user name and password")
    visitor.chooses(allow_credentials="True")
    visitor.types(username="priya", password="wrong horse")
    visitor.presses("Test & Enable")
    failed = visitor.page.locator("li.step.is-bad")
    expect(failed).to_contain_text("Signed in", timeout=15_000)  # by itself, nothing is reloaded
    expect(failed.locator(".words")).to_contain_text("AUTHENTICATIONFAILED")
    assert flaws(visitor) == []

    visitor.types(password="correct horse")
    visitor.page.locator("li.step.is-bad").get_by_role("button", name="Test again").click()
    visitor.sees("Incoming email runs")
    expect(visitor.page.locator("#label")).to_contain_text("Working")
    expect(visitor.page.locator("main [name=password]")).to_have_value("")
    assert flaws(visitor) == []

    dovecot.append("priya", letter("For Priya alone"))
    for _ in range(60):
        visitor.opens("/my-mailbox/")
        visitor.follows("My messages")
        if "For Priya alone" in visitor.page.inner_text("main"):
            break
        visitor.page.wait_for_timeout(250)
    visitor.sees("For Priya alone")
    assert [words for words in visitor.complaints if "422" not in words] == []


def test_without_script_she_reloads(visitor_with: Any, priya: User) -> None:
    visitor: Visitor = visitor_with(java_script_enabled=False)
    visitor.signs_in("priya", PASSWORD)
    visitor.opens("/my-mailbox/")
    visitor.chooses(allow_credentials="True")
    visitor.types(username="priya", password="correct horse")
    visitor.presses("Test & Enable")
    for _ in range(60):
        if "Incoming email runs" in visitor.page.inner_text("main"):
            break
        visitor.page.wait_for_timeout(250)
        visitor.page.reload()
    visitor.sees("Incoming email runs", "Success")


def test_a_refusal_leads_to_its_field_and_keeps_what_was_typed(visitor: Visitor, priya: User) -> None:
    visitor.signs_in("priya", PASSWORD)
    visitor.opens("/my-mailbox/")
    visitor.chooses(allow_credentials="True")
    visitor.types(username="priya")
    visitor.presses("Save")
    visitor.sees("Type the password that belongs to this user name")
    expect(visitor.page.locator("main [name=username]")).to_have_value("priya")
    assert flaws(visitor) == []


def test_preferences_change_what_is_shown_at_once(visitor: Visitor, priya: User) -> None:
    visitor.signs_in("priya", PASSWORD)
    visitor.page.get_by_role("link", name="Preferences of Priya Raman").click()
    visitor.chooses(time_zone="Asia/Kolkata", theme="dark")
    visitor.presses("Save")
    visitor.sees("Your preferences are saved")
    assert visitor.page.get_attribute("html", "data-theme") == "dark"
    assert flaws(visitor) == []
