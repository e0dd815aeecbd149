"""Comboboxes by keyboard alone, for a screen reader, on a narrow screen, without script, and with the list open."""

from __future__ import annotations

import re
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from emailprofiles.models import EmailServerProfile
from mailboxes.models import Mailbox, Queue, User
from tests.conftest import Office, profile_values

from .conftest import Visitor, in_every_look
from .test_every_page import PASSWORD, flaws

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def people(transactional_db: None, office: Office) -> Office:
    """Amara's office with Bram, two Hannas, and a second profile."""
    office.amara.set_password(PASSWORD)
    office.amara.save()
    for username, first, last in (
        ("bram", "Bram", "de Vries"),
        ("hanna", "Hanna", "Brandt"),
        ("hannah", "Hannah", "Lindqvist"),
    ):
        User.objects.create_user(username, f"{username}@contoso.com", first_name=first, last_name=last)
    EmailServerProfile.objects.create(
        **profile_values(name="Sending only", owner=office.amara, authenticate_using="anonymous")
        | {"incoming_host": ""}
    )
    return office


@pytest.fixture
def desk(visitor: Visitor, people: Office) -> Visitor:
    visitor.signs_in("amara", PASSWORD)
    return visitor


def combobox(page: Page, name: str) -> Locator:
    return page.get_by_role("combobox", name=name)


def shown(page: Page) -> Locator:
    return page.locator(".combo-popup:visible").get_by_role("option")


def active(page: Page, box: Locator) -> str:
    """What a screen reader says is picked in the open list."""
    identity = box.get_attribute("aria-activedescendant")
    return page.locator(f"#{identity} span").inner_text() if identity else ""


def press(page: Page, *keys: str) -> None:
    for key in keys:
        page.keyboard.press(key)


def test_an_owner_is_chosen_with_the_keyboard_alone(desk: Visitor) -> None:
    page = desk.page
    desk.opens("/mailboxes/new/")
    owner = combobox(page, "Owner")
    page.locator("[name=name]").focus()
    press(page, "Tab")
    expect(owner).to_be_focused()
    expect(owner).to_have_attribute("aria-expanded", "false")

    press(page, "ArrowDown")
    expect(shown(page)).to_have_count(4)
    expect(owner).to_have_attribute("aria-expanded", "true")
    assert active(page, owner) == "Amara Okafor"
    press(page, "End")
    assert active(page, owner) == "Hannah Lindqvist"
    press(page, "ArrowDown")
    assert active(page, owner) == "Amara Okafor"
    press(page, "ArrowUp", "ArrowUp")
    assert active(page, owner) == "Hanna Brandt"
    press(page, "Home", "ArrowDown", "Enter")
    expect(owner).to_have_value("Bram de Vries <bram@contoso.com>")
    expect(owner).to_have_attribute("aria-expanded", "false")
    assert page.url.endswith("/mailboxes/new/")

    press(page, "Control+a")
    page.keyboard.type("hanna")
    expect(shown(page)).to_have_count(2)
    assert active(page, owner) == ""
    press(page, "ArrowUp")
    assert active(page, owner) == "Hannah Lindqvist"
    press(page, "Escape")
    expect(shown(page)).to_have_count(0)
    expect(owner).to_have_value("hanna")
    press(page, "Escape")
    expect(owner).to_have_value("Bram de Vries <bram@contoso.com>")

    press(page, "Alt+ArrowDown")
    expect(shown(page)).to_have_count(4)
    assert active(page, owner) == ""
    press(page, "ArrowUp", "Tab")
    expect(owner).to_have_value("Hannah Lindqvist <hannah@contoso.com>")
    expect(page.locator("[name=email_address]")).to_be_focused()
    assert desk.complaints == []


def test_enter_sends_no_form_while_the_list_is_open_and_takes_the_only_one(desk: Visitor) -> None:
    page = desk.page
    desk.opens("/mailboxes/new/")
    owner = combobox(page, "Owner")
    owner.fill("a")
    expect(shown(page)).not_to_have_count(0)
    press(page, "Enter")
    expect(owner).to_have_value("a")
    expect(shown(page)).to_have_count(0)
    owner.fill("vries")
    expect(shown(page)).to_have_count(1)
    press(page, "Enter")
    expect(owner).to_have_value("Bram de Vries <bram@contoso.com>")
    expect(page.locator("#errors-summary")).to_have_count(0)


def test_a_screen_reader_hears_what_it_is_and_how_many_were_found(desk: Visitor) -> None:
    page = desk.page
    desk.opens("/mailboxes/new/")
    owner = combobox(page, "Owner")
    says = page.locator("body > [role=status]")
    owner.fill("hann")
    expect(says).to_have_text("2 people found.")
    press(page, "ArrowDown")
    expect(page.get_by_role("listbox", name="Owner")).to_match_aria_snapshot(
        """
        - listbox "Owner":
          - option "Hanna Brandt hanna@contoso.com" [selected]
          - option "Hannah Lindqvist hannah@contoso.com"
        """
    )
    tree = owner.aria_snapshot()
    assert 'combobox "Owner' in tree
    assert "[expanded]" in tree
    assert owner.get_attribute("aria-controls") == page.get_by_role("listbox").get_attribute("id")
    owner.fill("gregor")
    expect(says).to_have_text("No people found.")
    expect(owner).to_have_attribute("aria-expanded", "false")
    expect(page.locator(".combo-popup:visible")).to_have_text("No people found.")


def test_the_mouse_chooses_too_and_a_click_elsewhere_closes(desk: Visitor) -> None:
    page = desk.page
    desk.opens("/mailboxes/new/")
    owner = combobox(page, "Owner")
    owner.click()
    page.get_by_role("option", name="Bram").click()
    expect(owner).to_have_value("Bram de Vries <bram@contoso.com>")
    expect(owner).to_be_focused()
    owner.click()
    expect(shown(page)).to_have_count(4)
    page.locator("h1").click()
    expect(shown(page)).to_have_count(0)


def test_a_chosen_profile_says_at_once_what_it_can_do(desk: Visitor, people: Office) -> None:
    page = desk.page
    desk.opens(f"/mailboxes/{people.support.mailbox.pk}/")
    profile = combobox(page, "Server Profile")
    server_side = page.locator("[name=incoming_method] option[value=server_side]")
    expect(server_side).to_be_enabled()
    profile.click()
    expect(page.get_by_role("option", name="Head office 127.0.0.1")).to_be_visible()
    press(page, "End", "ArrowDown", "ArrowDown", "Enter")
    expect(profile).to_have_value("Sending only")
    expect(server_side).to_be_disabled()
    desk.sees("the profile Sending only has no incoming server")
    expect(page.locator("#credentials-say")).to_contain_text("Sending only sends without a sign-in")
    # The section was replaced, and what replaced it is a combobox as well, with the focus in it.
    expect(profile).to_be_focused()
    expect(profile).to_have_attribute("role", "combobox")
    press(page, "ArrowDown")
    expect(shown(page)).to_have_count(2)
    desk.presses("Save")
    desk.sees("Support is saved.")
    assert Mailbox.objects.get(queue=people.support).server_profile.name == "Sending only"
    assert desk.complaints == []


def test_members_come_and_go(desk: Visitor) -> None:
    page = desk.page
    desk.opens("/queues/new/")
    desk.types(name="Invoices", email_address="invoices@contoso.com")
    chips = page.get_by_role("list", name="Members").get_by_role("listitem")
    add = combobox(page, "Members")
    add.focus()
    for typed in ("hanna", "bram", "okafor"):
        page.keyboard.type(typed)
        expect(shown(page)).not_to_have_count(0)
        press(page, "ArrowDown", "Enter")
        expect(add).to_have_value("")
    expect(chips).to_have_count(3)
    page.get_by_role("button", name="Remove Bram de Vries").press("Enter")
    expect(chips).to_have_count(2)
    expect(page.get_by_role("button", name="Remove Amara Okafor")).to_be_focused()
    expect(page.locator("body > [role=status]")).to_have_text("Bram de Vries <bram@contoso.com> removed.")
    add.fill("hannah")  # and nothing chosen: it is sent as it stands, and is a user name
    desk.presses("Save")
    desk.sees("Invoices is saved")
    members = Queue.objects.get(name="Invoices").members.values_list("username", flat=True)
    assert set(members) == {"hanna", "amara", "hannah"}


def test_a_member_whom_nobody_knows_is_asked_about_and_the_others_stay(desk: Visitor) -> None:
    page = desk.page
    desk.opens("/queues/new/")
    desk.types(name="Invoices", email_address="invoices@contoso.com")
    add = combobox(page, "Members")
    for typed in ("bram", "lindq"):
        add.fill(typed)
        expect(shown(page)).to_have_count(1)
        press(page, "Escape", "Enter")
    desk.presses("Save")
    desk.sees("No active user is called lindq. Pick one below")
    page.get_by_role("link", name=re.compile("Members: ")).click()
    expect(add).to_be_focused()
    page.get_by_role("group", name="Which one is meant by “lindq”?").get_by_role("radio").check()
    desk.presses("Save")
    desk.sees("Invoices is saved")
    assert set(Queue.objects.get(name="Invoices").members.values_list("username", flat=True)) == {
        "bram",
        "hannah",
    }


@in_every_look
def test_an_open_list_is_without_flaws(visitor_with: Any, people: Office, width: int, scheme: str) -> None:
    visitor = visitor_with(viewport={"width": width, "height": 844}, color_scheme=scheme)
    visitor.signs_in("amara", PASSWORD)
    page = visitor.page
    people.support.members.set(User.objects.all())
    for address, name, typed in (
        ("/mailboxes/new/", "Owner", "ha"),
        ("/mailboxes/new/", "Owner", "nobody here"),
        ("/mailboxes/new/", "Server Profile", "e"),
        (f"/queues/{people.support.pk}/", "Members", "ha"),
        ("/settings/email/", "Default Server Profile", "e"),
        ("/profiles/new/", "Owner", "ha"),
    ):
        visitor.opens(address)
        combobox(page, name).fill(typed)
        popup = page.locator(".combo-popup:visible")
        expect(popup).to_be_visible()
        press(page, "ArrowDown")
        assert flaws(visitor) == []
        where = popup.bounding_box()
        assert where is not None
        assert where["x"] >= 0
        assert where["x"] + where["width"] <= width
        on_top = "element => element.contains(document.elementFromPoint(...(r => [r.x + r.width / 2, r.bottom - 6])(element.getBoundingClientRect())))"
        popup.scroll_into_view_if_needed()
        assert popup.evaluate(on_top)
    assert visitor.complaints == []


def test_without_script_it_is_a_search_field(visitor_with: Any, people: Office) -> None:
    visitor = visitor_with(java_script_enabled=False)
    visitor.signs_in("amara", PASSWORD)
    page = visitor.page
    visitor.opens("/mailboxes/new/")
    expect(page.get_by_role("combobox", name="Owner")).to_have_count(0)
    visitor.types(
        name="Collection 2", email_address="second@contoso.com", owner="hann", server_profile="head"
    )
    visitor.chooses(allow_credentials="True")
    visitor.types(username="second", password="Feldsalat 23")
    visitor.presses("Save")
    visitor.sees("No active user is called hann. Pick one below")
    page.get_by_label("Hanna Brandt hanna@contoso.com").check()
    page.get_by_label("Head office 127.0.0.1").check()
    expect(page.locator("[name=username]")).to_have_value("second")
    visitor.types(password="Feldsalat 23")
    visitor.presses("Save")
    visitor.sees("Collection 2 is saved.")
    made = Mailbox.objects.get(name="Collection 2")
    assert (made.owner.username, made.server_profile.name) == ("hanna", "Head office")

    visitor.opens("/queues/new/")
    visitor.types(name="Invoices", email_address="invoices@contoso.com", owner="amara", members="bram\nlindq")
    visitor.sees("One on each line.")
    visitor.presses("Save")
    page.get_by_label("Hannah Lindqvist hannah@contoso.com").check()
    visitor.presses("Save")
    visitor.sees("Invoices is saved")
    assert Queue.objects.get(name="Invoices").members.count() == 2


def test_a_session_that_ended_closes_the_list_and_says_nothing_wrong(desk: Visitor) -> None:
    page = desk.page
    desk.opens("/mailboxes/new/")
    page.context.clear_cookies()
    owner = combobox(page, "Owner")
    with page.expect_response(re.compile("sign-in")):
        owner.fill("hanna")
    expect(page.locator(".combo-popup:visible")).to_have_count(0)
    expect(owner).to_have_value("hanna")
