"""The help in a real browser: every topic without flaws, and a field's help opens beside what was typed."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import expect

from mailboxes.handbook import topics
from tests.conftest import Office

from .conftest import Visitor, in_every_look
from .test_every_page import PASSWORD, walk

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def reader(office: Office) -> str:
    """The name of somebody who can sign in."""
    office.amara.set_password(PASSWORD)
    office.amara.save()
    return office.amara.username


@in_every_look
def test_every_topic_is_without_flaws(visitor_with: Any, reader: str, width: int, scheme: str) -> None:
    visitor = visitor_with(viewport={"width": width, "height": 900}, color_scheme=scheme)
    visitor.signs_in(reader, PASSWORD)
    addresses = ["/help/", *(one.address for one in topics())]
    found = walk(visitor, addresses)
    assert {address: said for address, said in found.items() if said} == {}
    assert list(found) == addresses
    assert visitor.complaints == []


def test_help_opens_beside_the_page_by_keyboard_and_nothing_typed_is_lost(
    visitor: Visitor, reader: str
) -> None:
    visitor.signs_in(reader, PASSWORD)
    visitor.opens("/mailboxes/new/")
    visitor.types(name="Collection 2", email_address="collection2@contoso.com")
    visitor.page.keyboard.press("Tab")
    link = visitor.page.get_by_role("link", name="Help, in a new tab: Forwarding rules on the mail server")
    expect(link).to_be_focused()
    with visitor.page.context.expect_page() as opened:
        visitor.page.keyboard.press("Enter")
    expect(opened.value.get_by_role("heading", level=1)).to_have_text("Forwarding rules on the mail server")
    opened.value.get_by_role("link", name="Postfix").click()
    expect(opened.value.get_by_role("heading", name="Postfix")).to_be_in_viewport()
    expect(visitor.page.locator("main [name=name]")).to_have_value("Collection 2")
