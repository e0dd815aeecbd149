"""Many mailboxes at once in Chromium: ticked, commanded, watched; with and without script, and by keyboard alone."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import expect

from mailboxes import roles
from mailboxes.models import BulkCommand, Mailbox, Queue, User
from tests.conftest import Office

from .conftest import Visitor, in_every_look
from .test_every_page import PASSWORD, flaws

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def many(transactional_db: None, office: Office) -> list[Mailbox]:
    """Sixty queues that wait for approval: two pages with the forward mailbox and Amara's."""
    office.amara.set_password(PASSWORD)
    office.amara.save()
    for n in range(60):
        Queue.objects.create(name=f"Queue {n:02d}", email_address=f"q{n}@contoso.com", owner=office.amara)
    return list(Mailbox.objects.filter(name__startswith="Queue").order_by("name"))


def ticks(visitor: Visitor, *names: str) -> None:
    for name in names:
        visitor.page.get_by_label(f"Select {name}", exact=True).check()


def approved() -> set[str]:
    return set(Mailbox.objects.filter(approval="approved").values_list("name", flat=True))


def test_mailboxes_are_ticked_approved_and_watched(visitor: Visitor, many: list[Mailbox]) -> None:
    visitor.signs_in("amara", PASSWORD)
    visitor.opens("/mailboxes/?sort=name")
    approve = visitor.page.get_by_role("button", name="Approve Email")
    expect(approve).to_be_disabled()
    visitor.sees("0 of 63 selected")
    ticks(visitor, "Queue 00", "Queue 03", "Collection 1")
    visitor.sees("3 of 63 selected")
    expect(approve).to_be_enabled()
    whole = visitor.page.get_by_label("Select all on this page")
    assert whole.evaluate("box => box.indeterminate")
    visitor.page.get_by_role("link", name="Next").click()
    visitor.sees("3 of 63 selected")
    ticks(visitor, "Queue 59")
    visitor.sees("4 of 63 selected")
    visitor.presses("Approve Email")
    visitor.sees("Approve Email: 4 mailboxes", "Finished", "4 of 4", "A forward mailbox needs no approval")
    assert approved() == {"Queue 00", "Queue 03", "Queue 59"}
    first = visitor.page.locator("#progress tbody tr").first
    expect(first).to_contain_text("Refused")
    visitor.page.reload()
    visitor.sees("4 of 4", "Refused", "Done")
    assert flaws(visitor) == []
    assert visitor.complaints == []


def test_a_whole_page_all_of_them_and_none_again(visitor: Visitor, many: list[Mailbox]) -> None:
    visitor.signs_in("amara", PASSWORD)
    visitor.opens("/mailboxes/?sort=name")
    visitor.page.get_by_label("Select all on this page").check()
    visitor.sees("50 of 63 selected")
    visitor.follows("Select all 63")
    visitor.sees("All 63 selected")
    expect(visitor.page.get_by_label("Select Queue 01", exact=True)).to_be_disabled()
    visitor.follows("Clear")
    visitor.sees("0 of 63 selected")
    expect(visitor.page.get_by_label("Select Queue 01", exact=True)).not_to_be_checked()
    assert visitor.complaints == []


def test_the_browsers_way_back_keeps_what_was_ticked(visitor: Visitor, many: list[Mailbox]) -> None:
    visitor.signs_in("amara", PASSWORD)
    visitor.opens("/mailboxes/?sort=name")
    ticks(visitor, "Queue 00", "Queue 01")
    visitor.presses("Deactivate")
    visitor.sees("Deactivate: 2 mailboxes")
    visitor.follows("Cancel")
    visitor.sees("2 of 63 selected")
    expect(visitor.page.get_by_label("Select Queue 01", exact=True)).to_be_checked()
    visitor.page.go_back()
    visitor.page.go_back()
    visitor.sees("2 of 63 selected")
    assert not BulkCommand.objects.exists()


@pytest.mark.parametrize("width", [1440, 390])
def test_without_script_the_same_is_done_with_buttons_and_reloads(
    visitor_with: Any, many: list[Mailbox], width: int
) -> None:
    visitor = visitor_with(java_script_enabled=False, viewport={"width": width, "height": 900})
    visitor.signs_in("amara", PASSWORD)
    visitor.opens("/mailboxes/?sort=name")
    visitor.presses("Approve Email")
    visitor.sees("Nothing is selected")
    ticks(visitor, "Queue 00")
    visitor.presses("Keep these when I turn the page")
    visitor.sees("1 of 63 selected")
    visitor.follows("Next")
    ticks(visitor, "Queue 58")
    visitor.presses("Approve Email")
    visitor.sees("Approve Email: 2 mailboxes")
    for _ in range(40):
        if visitor.page.get_by_role("link", name="Reload").count() == 0:
            break
        visitor.page.wait_for_timeout(250)
        visitor.follows("Reload")
    visitor.sees("Finished", "2 of 2")
    assert approved() == {"Queue 00", "Queue 58"}


def reaches(visitor: Visitor, label: str) -> None:
    """Tab on until the control with this label has the focus."""
    for _ in range(140):
        visitor.page.keyboard.press("Tab")
        says = "document.activeElement.ariaLabel || document.activeElement.textContent.trim()"
        if visitor.page.evaluate(says) == label:
            return
    pytest.fail(f"Tab never reaches {label}")


def test_by_keyboard_alone(visitor: Visitor, many: list[Mailbox]) -> None:
    visitor.signs_in("amara", PASSWORD)
    visitor.opens("/mailboxes/?sort=name")
    keys = visitor.page.keyboard
    reaches(visitor, "Email address")
    keys.press("Enter")
    expect(visitor.page.locator("th[aria-sort]")).to_have_text("Email address")
    for name in ("Queue 00", "Queue 01"):
        reaches(visitor, f"Select {name}")
        keys.press("Space")
    visitor.sees("2 of 63 selected")
    reaches(visitor, "Deactivate")
    keys.press("Enter")
    visitor.sees("Deactivate: 2 mailboxes", "nothing stops")
    reaches(visitor, "Deactivate: 2 mailboxes")
    keys.press("Enter")
    visitor.sees("Finished", "2 of 2")
    assert set(Mailbox.objects.filter(is_active=False).values_list("name", flat=True)) == {
        "Queue 00",
        "Queue 01",
    }
    assert visitor.complaints == []


@in_every_look
def test_what_is_shown_first_is_without_flaws(
    visitor_with: Any, many: list[Mailbox], office: Office, width: int, scheme: str
) -> None:
    Mailbox.objects.filter(pk=office.support.mailbox.pk).update(incoming_method="none")
    visitor = visitor_with(viewport={"width": width, "height": 900}, color_scheme=scheme)
    visitor.signs_in("amara", PASSWORD)
    visitor.opens("/mailboxes/?all=1")
    assert flaws(visitor) == []
    for command, words in (
        ("Apply Default Email Settings", "What changes"),
        ("Reject Email", "What happens"),
    ):
        visitor.opens("/mailboxes/?all=1")
        visitor.presses(command)
        visitor.sees(words)
        assert flaws(visitor) == []
    visitor.presses("Reject Email: 63 mailboxes")
    visitor.sees("Reject Email: 63 mailboxes", "Finished")
    assert flaws(visitor) == []
    visitor.opens("/mailboxes/commands/")
    assert flaws(visitor) == []
    assert visitor.complaints == []


def test_an_approver_approves_all_that_wait(visitor: Visitor, many: list[Mailbox]) -> None:
    hanna = User.objects.create_user("hanna", "hanna@contoso.com", PASSWORD, first_name="Hanna")
    roles.set_role(hanna, roles.Role.APPROVER)
    visitor.signs_in("hanna", PASSWORD)
    visitor.opens("/mailboxes/?view=approval")
    waiting = Mailbox.objects.filter(approval="pending").count()
    visitor.follows(f"Select all {waiting}")
    visitor.presses("Approve Email")
    visitor.sees("Finished", f"{waiting} of {waiting}")
    assert len(approved()) == waiting
    assert visitor.complaints == []
