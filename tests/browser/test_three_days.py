"""The days of the three people, wide and narrow, by day and by night, with and without script, and by keyboard alone.

An administrator creates a forward mailbox; an administrator edits a record that exists; staff review test results.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from playwright.sync_api import expect

from emailprofiles.models import EmailServerProfile
from mailboxes import roles
from mailboxes.models import ConfigurationTest, Mailbox, Queue, User
from tests.servers import GOOD, Dovecot
from tests.sync.conftest import letter

from .conftest import Visitor
from .test_every_page import flaws

pytestmark = pytest.mark.django_db(transaction=True)

PASSWORD = "Vier Zwiebeln 44"
WAYS = {
    "wide by day": {"viewport": {"width": 1440, "height": 900}, "color_scheme": "light"},
    "narrow by night": {"viewport": {"width": 390, "height": 844}, "color_scheme": "dark"},
    "wide by night without script": {
        "viewport": {"width": 1440, "height": 900},
        "color_scheme": "dark",
        "java_script_enabled": False,
    },
    "narrow by day without script": {
        "viewport": {"width": 390, "height": 844},
        "color_scheme": "light",
        "java_script_enabled": False,
    },
}


@dataclass
class Office:
    """Amara administers, Bram looks; one profile on a real Dovecot, the queue Support."""

    dovecot: Dovecot
    profile: EmailServerProfile
    support: Queue

    def account(self, *letters: bytes) -> str:
        """A new account on the server that all tests share, with these letters in it."""
        name = f"threedays-{uuid.uuid4().hex[:8]}"
        self.dovecot.add_user(name, "correct horse")
        self.dovecot.append_many(name, letters)
        return name

    def forward(self, account: str, **values: Any) -> Mailbox:
        mailbox = Mailbox.new_forward(
            **{
                "name": "Collection 1",
                "owner": User.objects.get(username="amara"),
                "email_address": "forwardmailbox@contoso.com",
                "server_profile": self.profile,
                "incoming_method": "server_side",
                "allow_credentials": True,
                "username": account,
                "password": "correct horse",
            }
            | values
        )
        mailbox.full_clean()
        mailbox.save()
        return mailbox


@pytest.fixture
def office(transactional_db: None, dovecot: Dovecot) -> Office:
    for name, role in (("amara", roles.Role.ADMINISTRATOR), ("bram", roles.Role.STAFF)):
        user = User.objects.create_user(name, f"{name}@contoso.com", PASSWORD, first_name=name.title())
        roles.set_role(user, role)
    amara = User.objects.get(username="amara")
    profile = EmailServerProfile.objects.create(
        name="Head office",
        owner=amara,
        is_default=True,
        incoming_host=GOOD,
        incoming_port=dovecot.port,
        incoming_security="none",
        min_polling_interval_minutes=0,
        timeout_seconds=5,
    )
    support = Queue.objects.create(name="Support", email_address="support@contoso.com", owner=amara)
    box = support.mailbox
    box.approval, box.incoming_method = "approved", "forward"
    box.save()
    return Office(dovecot, profile, support)


def waits_for(visitor: Visitor, words: str) -> None:
    """Until the page says so: by itself with script, by loading it again without."""
    for _ in range(60):
        if words in visitor.page.inner_text("main"):
            return
        visitor.page.wait_for_timeout(250)
        if not visitor.has_script:
            visitor.page.reload()
    raise AssertionError(f"never said {words!r}: {visitor.page.inner_text('main')[:3000]}")


def is_fine(visitor: Visitor) -> None:
    """Nothing runs over the edge, and axe finds nothing (it needs script to look)."""
    assert not visitor.has_script or flaws(visitor) == []


def runs_a_test(mailbox: Mailbox) -> None:
    """Test & Enable by the engine that runs behind the pages."""
    test = ConfigurationTest.request(mailbox, User.objects.get(username="amara"))
    deadline = time.monotonic() + 20
    while not ConfigurationTest.objects.filter(pk=test.pk, finished_at__isnull=False).exists():
        assert time.monotonic() < deadline, "no engine took up the test"
        time.sleep(0.1)


@pytest.fixture
def comes(visitor_with: Any, office: Office) -> Callable[[str, str], Visitor]:
    def by_way(name: str, way: str) -> Visitor:
        visitor: Visitor = visitor_with(**WAYS[way])
        visitor.has_script = WAYS[way].get("java_script_enabled", True) is True
        visitor.signs_in(name, PASSWORD)
        return visitor

    return by_way


@pytest.mark.parametrize("way", WAYS)
def test_an_administrator_creates_a_forward_mailbox(comes: Any, office: Office, way: str) -> None:
    account = office.account(
        letter("A question", X_Original_To="support@contoso.com"),
        letter("Whose is this", to="stranger@example.org"),
    )
    visitor = comes("amara", way)
    visitor.opens("/settings/")
    visitor.page.locator("main").get_by_role("link", name="Mailboxes").first.click()
    visitor.follows("New Forward Mailbox")
    is_fine(visitor)
    visitor.types(name="Collection 1", email_address="support@contoso.com", username=account)
    visitor.types(password="correct horse")
    visitor.chooses(delete_emails_after_processing="True")
    visitor.presses("Save")
    visitor.sees("already belongs to the queue mailbox Support")
    is_fine(visitor)
    visitor.types(email_address="forwardmailbox@contoso.com", password="correct horse")
    visitor.presses("Save")
    visitor.sees("Collection 1 is saved", "Not Run")

    visitor.presses("Look first")
    waits_for(visitor, "nothing was enabled, marked or collected")
    visitor.sees("2 messages in INBOX", "Support", "No recipient matched")
    assert len(office.dovecot.messages(account)) == 2
    visitor.presses("Test & Enable")
    waits_for(visitor, "Incoming email runs")
    is_fine(visitor)
    for _ in range(60):
        if len(office.dovecot.messages(account)) == 1:
            break
        visitor.page.wait_for_timeout(250)
    assert [b"Whose is this" in kept.raw for kept in office.dovecot.messages(account)] == [True]
    visitor.opens("/messages/")
    visitor.sees("A question", "Support")


@pytest.mark.parametrize("way", WAYS)
def test_an_administrator_edits_a_record_that_exists(comes: Any, office: Office, way: str) -> None:
    account = office.account()
    mailbox = office.forward(account)
    runs_a_test(mailbox)
    visitor = comes("amara", way)
    visitor.opens("/mailboxes/?view=forward")
    visitor.follows("Collection 1")
    visitor.sees("Incoming email runs")
    is_fine(visitor)
    visitor.types(name="Collection of Berlin", username="threedays-wrong")
    visitor.presses("Save")
    visitor.sees("The user name or the server profile changed: type the password again.")
    visitor.types(password="wrong staple")
    visitor.presses("Save")
    visitor.sees("Collection of Berlin is saved", "Settings changed since the last test")
    visitor.presses("Test & Enable")
    waits_for(visitor, "The server refused the sign-in")
    visitor.sees("Why is incoming email not running?", "What you can do", "AUTHENTICATIONFAILED")
    is_fine(visitor)
    visitor.types(username=account, password="correct horse")
    visitor.presses("Test & Enable")
    waits_for(visitor, "Incoming email runs")
    visitor.presses("Save & Close")
    visitor.opens("/mailboxes/?view=forward")
    visitor.sees("Collection of Berlin", "Working")


@pytest.mark.parametrize("way", WAYS)
def test_staff_review_test_results(comes: Any, office: Office, way: str) -> None:
    mailbox = office.forward(office.account(), password="wrong staple")
    runs_a_test(mailbox)
    visitor = comes("bram", way)
    visitor.opens("/")
    visitor.page.get_by_role("link", name="Needs attention").click()
    is_fine(visitor)
    visitor.follows("Collection 1")
    visitor.sees(
        "Failure", "Mailbox Test Completed On", "Cause", "The server refused the sign-in", "What you can do"
    )
    is_fine(visitor)
    main = visitor.page.locator("main")
    for command in ("Save", "Test & Enable", "Look first", "Approve Email", "Deactivate", "Test again"):
        expect(main.get_by_role("button", name=command, exact=True)).to_have_count(0)
    expect(main.locator("input:enabled:not([type=hidden]), select:enabled, textarea:enabled")).to_have_count(
        0
    )
    assert "wrong staple" not in visitor.page.content()


# ── By keyboard alone ───────────────────────────────────────────────────────────────────────


def tabs_to(visitor: Visitor, selector: str) -> None:
    """Press Tab until the element has the focus, as somebody without a mouse does."""
    for _ in range(120):
        if visitor.page.evaluate("selector => document.activeElement?.matches(selector) ?? false", selector):
            return
        visitor.page.keyboard.press("Tab")
    raise AssertionError(f"Tab never reaches {selector}")


def enters(visitor: Visitor, name: str, value: str) -> None:
    tabs_to(visitor, f"main [name={name}]")
    visitor.page.keyboard.press("Control+A")
    visitor.page.keyboard.type(value)


def test_a_forward_mailbox_is_made_tested_and_mended_by_keyboard_alone(comes: Any, office: Office) -> None:
    account = office.account()
    visitor = comes("amara", "wide by day")
    visitor.opens("/mailboxes/new/")
    keys = visitor.page.keyboard
    enters(visitor, "name", "Collection 1")
    enters(visitor, "email_address", "support@contoso.com")
    enters(visitor, "username", account)
    enters(visitor, "password", "correct horse")
    keys.press("Enter")
    visitor.sees("already belongs to the queue mailbox Support")
    tabs_to(visitor, "[role=alert] a")  # the summary leads to the field
    keys.press("Enter")
    enters(visitor, "email_address", "forwardmailbox@contoso.com")
    enters(visitor, "password", "correct horse")
    keys.press("Enter")
    visitor.sees("Collection 1 is saved")
    visitor.page.wait_for_load_state()
    tabs_to(visitor, "button[name=then][value=test]")
    keys.press("Enter")
    waits_for(visitor, "Incoming email runs")
    visitor.opens(f"/mailboxes/{Mailbox.objects.get(is_forward_mailbox=True).pk}/")
    tabs_to(visitor, "#test-incoming summary")
    keys.press("Enter")
    expect(visitor.page.locator("#test-incoming .ladder")).to_be_visible()
    assert visitor.complaints == []
