"""A person writes, answers and follows what became of it, with a real engine and a real server behind the page."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from mailboxes.models import Mailbox, OutgoingMessage, User
from mailboxes.parsing import parse
from tests.pages.letters import attached, delivered
from tests.postbox import Postbox
from tests.sync.sending import Sender, passed, sender_on

from .conftest import Visitor, in_every_look


@pytest.fixture
def postbox() -> Postbox:
    return Postbox()


@pytest.fixture
def post(postbox: Postbox, transactional_db: None) -> Iterator[Sender]:
    """Amara's office sends through the postbox; so does Priya, a plain user."""
    with postbox.serve() as server:
        sender = sender_on(server.port)
        priya = User.objects.create_user("priya", "priya@contoso.com", "Feldsalat 23", first_name="Priya")
        priya.signature = "Priya Nair\nContoso"
        priya.save()
        mailbox = Mailbox.objects.get(user=priya)
        mailbox.server_profile, mailbox.outgoing_method = sender.profile, "server_side"
        mailbox.approval = "approved"
        mailbox.save()
        passed(mailbox)
        yield sender


def subject_of(raw: bytes) -> str:
    return parse(raw).subject


@in_every_look
def test_a_person_writes_and_sees_it_sent(
    visitor_with: Any, post: Sender, postbox: Postbox, tmp_path: Path, width: int, scheme: str
) -> None:
    visitor: Visitor = visitor_with(viewport={"width": width, "height": 1000}, color_scheme=scheme)
    visitor.signs_in("priya", "Feldsalat 23")
    visitor.opens("/outbox/")
    visitor.sees("Nothing written yet")
    visitor.follows("New message")
    to = visitor.page.get_by_role("combobox", name="To", exact=True)
    to.press_sequentially("ama", delay=20)
    visitor.page.get_by_role("option", name="Amara").first.click()
    expect(visitor.page.locator(".chips li").first).to_contain_text("amara@contoso.com")
    to.fill("boris@example.org")
    to.press("Enter")
    visitor.types(subject="Angebot für Zürich", text="Guten Tag\n\nanbei der Plan.")
    plan = tmp_path / "plan.txt"
    plan.write_text("the plan")
    visitor.page.set_input_files("[name=attach]", plan)
    visitor.page.locator("[name=subject]").press("Enter")  # sends nothing
    visitor.sees("The draft is saved.")
    visitor.presses("Send")
    visitor.sees("The message is in the outbox.")
    message = OutgoingMessage.objects.get()
    for _ in range(100):
        message.refresh_from_db()
        if message.state == "sent":
            break
        visitor.page.wait_for_timeout(100)
    visitor.page.reload()
    visitor.sees("Sent", "250 2.0.0 Ok: queued as 4711")
    found = parse(postbox.taken[0])
    assert found.subject == "Angebot für Zürich"
    assert found.to == ("amara@contoso.com", "boris@example.org")
    assert found.text.endswith("anbei der Plan.\n\n-- \nPriya Nair\nContoso\n")
    assert found.attachments[0].name == "plan.txt"
    visitor.opens("/outbox/")
    visitor.sees("Angebot für Zürich")
    assert visitor.complaints == []


def test_enter_takes_the_address_that_was_typed_whatever_is_offered(visitor: Visitor, post: Sender) -> None:
    visitor.signs_in("priya", "Feldsalat 23")
    visitor.opens("/outbox/new/")
    to = visitor.page.get_by_role("combobox", name="To", exact=True)
    to.press_sequentially("boris@example.org")
    expect(visitor.page.locator(".combo-popup:visible")).to_have_count(1)
    to.press("Enter")
    to.press_sequentially("ama")
    expect(visitor.page.get_by_role("option")).to_have_count(1)
    to.press_sequentially("ro@example.org")  # and goes on before the list does
    to.press("Enter")
    to.press_sequentially("ama")
    visitor.page.wait_for_timeout(1000)  # the list is that of all three letters
    to.press("Enter")
    expect(visitor.page.locator(".chips li")).to_have_text(
        ["boris@example.org×", "amaro@example.org×", re.compile("Amara.*amara@contoso.com")]
    )


def test_a_person_answers_and_goes_on_with_a_draft_without_script(
    visitor_with: Any, post: Sender, postbox: Postbox
) -> None:
    asked = delivered(post.mailbox, Mailbox.objects.get(user__username="priya"), 3, sent_at=None)
    attached(asked, "a.txt", "text/plain", b"first")
    visitor: Visitor = visitor_with(java_script_enabled=False)
    visitor.signs_in("priya", "Feldsalat 23")
    visitor.opens(f"/messages/{asked.pk}/")
    visitor.follows("Reply")
    visitor.sees("Reply")
    assert "> Hello" in visitor.page.locator("[name=text]").input_value()
    visitor.types(to="", text="Thank you\n\nOn Monday, Beatriz wrote:\n> Hello")
    visitor.presses("Send")
    visitor.sees("Name at least one recipient.")
    visitor.types(to="Beatriz Moreno <beatriz@example.org>")
    visitor.presses("Save draft")
    visitor.sees("The draft is saved.")
    visitor.presses("Send")
    visitor.sees("The message is in the outbox.")
    for _ in range(100):
        if postbox.taken:
            break
        visitor.page.wait_for_timeout(100)
    found = parse(postbox.taken[0])
    assert found.text.startswith(
        "Thank you\n\n-- \nPriya Nair\nContoso\n\nOn Monday, Beatriz wrote:\n> Hello"
    )
    assert {header.name: header.value for header in found.headers}["In-Reply-To"] == f"<{asked.message_id}>"
