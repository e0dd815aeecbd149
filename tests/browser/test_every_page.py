"""Every page, wide and narrow, by day and by night: axe finds nothing, no CSP report, nothing runs over the edge."""

from __future__ import annotations

from importlib.resources import files
from typing import Any

import pytest
from django.utils import timezone

from mailboxes import outbox, roles
from mailboxes.models import (
    Alert,
    ConfigurationTest,
    Mailbox,
    OutgoingMessage,
    Queue,
    TestStep,
    User,
)
from mailboxes.writing import File, Person
from tests.conftest import Office
from tests.pages.letters import collected, delivered

from .conftest import Visitor, in_every_look

pytestmark = pytest.mark.django_db(transaction=True)

AXE = files("axe_playwright_python").joinpath("axe.min.js").read_text(encoding="utf-8")
PASSWORD = "Vier Zwiebeln 44"
ADDRESSES = (
    "/settings/",
    "/settings/email/",
    "/settings/routing/",
    "/mailboxes/",
    "/mailboxes/new/",
    "/profiles/",
    "/profiles/new/",
    "/users/",
    "/users/new/",
    "/queues/",
    "/queues/new/",
    "/messages/",
    "/outbox/",
    "/outbox/new/",
    "/quarantine/",
    "/alerts/",
    "/sessions/",
    "/password/",
    "/my-mailbox/",
    "/my-queues/",
    "/me/",
)
DOOR = ("/sign-in/", "/password/forgotten/", "/password/forgotten/sent/")

HOSTILE = """<h1 style="position:fixed;inset:0;background:url(http://tracker.example.net/bg.png)">Offer</h1>
<script>parent.document.title = 'taken over'</script><img src="http://tracker.example.net/pixel.png"
onerror="parent.document.title = 'taken over'"><a href="javascript:alert(1)">Click</a><form action="/theme/"></form>"""


@pytest.fixture
def pages(transactional_db: None, office: Office) -> list[str]:
    """An office with something on every page; the addresses of its records come with those of the lists."""
    office.amara.set_password(PASSWORD)
    office.amara.save()
    for name, role in (
        ("hanna", roles.Role.APPROVER),
        ("bram", roles.Role.STAFF),
        ("priya", roles.Role.USER),
    ):
        user = User.objects.create_user(name, f"{name}@contoso.com", PASSWORD, first_name=name.title())
        roles.set_role(user, role)
    Queue.objects.create(
        name="Press", email_address="press@contoso.com", owner=office.amara, is_private=False
    )
    message = delivered(office.collection, office.support.mailbox, html=HOSTILE, text="")
    collected(office.collection, 2, state="quarantined", reason="no_recipient_matched", explanation="Nobody.")
    said = {"why": "A reason.", "what_we_do": "We wait.", "what_you_can_do": "Look."}
    Alert.objects.create(
        cause="x", title="Receiving for Collection 1 stopped", mailbox=office.collection, **said
    )
    test = failed_test(office)
    failed, draft = written(office)
    return [
        *ADDRESSES,
        f"/outbox/{failed.pk}/",
        f"/outbox/{draft.pk}/",
        f"/outbox/{draft.pk}/edit/",
        f"/outbox/new/?answers={message.pk}&how=all",
        f"/mailboxes/{office.collection.pk}/history/",
        f"/mailboxes/{office.collection.pk}/tests/{test.pk}/",
        f"/profiles/{office.profile.pk}/history/",
        "/settings/email/history/",
        f"/mailboxes/{office.collection.pk}/",
        f"/mailboxes/{office.support.mailbox.pk}/",
        f"/profiles/{office.profile.pk}/",
        f"/users/{office.amara.pk}/",
        *(f"/users/{office.amara.pk}/{name}/" for name in ("deactivate", "activate", "delete", "hand-over")),
        f"/queues/{office.support.pk}/",
        *(f"/queues/{office.support.pk}/{name}/" for name in ("deactivate", "activate", "delete")),
        f"/messages/{message.pk}/",
    ]


def written(office: Office) -> tuple[OutgoingMessage, OutgoingMessage]:
    """Support sends: a message of many fates with a file, and a draft of Amara's."""
    office.amara.signature = "Amara Okafor\nContoso"
    office.amara.save()
    mailbox = office.support.mailbox
    mailbox.server_profile, mailbox.outgoing_method = office.profile, "server_side"
    mailbox.save()
    to = [Person("", f"{name}@wholesale-of-lamps-and-shelves.example.org") for name in ("a", "b", "c")]
    plan = File("plan.txt", "text/plain", b"the plan")
    message = outbox.send(mailbox, to=to, subject="Shelves", text="Hello", files=[plan], by=office.amara)
    for one, state in zip(message.recipients.all(), ("sent", "deferred", "failed"), strict=True):
        one.state, one.said = state, f"550 5.1.1 <{one.address}>: what a server says of it"
        one.save()
    outbox.follow(message)
    draft = OutgoingMessage(mailbox=mailbox, written_by=office.amara, subject="Holiday", text="Dear")
    return message, outbox.save_draft(draft, {"to": [Person("Priya", "priya@contoso.com")]}, [plan])


def failed_test(office: Office) -> ConfigurationTest:
    """It worked; the password was changed; the earlier of two tests since then failed."""
    for state in ("passed", "failed", "failed"):
        test = ConfigurationTest.objects.create(mailbox=office.collection, finished_at=timezone.now())
        TestStep.objects.create(
            test=test, direction="incoming", number=1, name="signed in", state=state, cause=f"It {state}."
        )
        box = Mailbox.objects.get(pk=office.collection.pk)
        box.password = f"after it {state}"
        box.save()
    earlier: ConfigurationTest = office.collection.tests.all()[1]
    return earlier


def flaws(visitor: Visitor) -> list[str]:
    """What axe finds, and whether the document is wider than the window."""
    found = visitor.page.evaluate(
        f"{AXE}; axe.run(document, {{iframes: false, resultTypes: ['violations']}})"
    )
    said = [f"{rule['id']}: {node['html']}" for rule in found["violations"] for node in rule["nodes"]]
    if visitor.page.evaluate("document.documentElement.scrollWidth > innerWidth"):
        said.append("runs over the edge")
    return said


def walk(visitor: Visitor, addresses: list[str]) -> dict[str, list[str]]:
    found = {}
    for address in addresses:
        answer = visitor.page.goto(f"{visitor.site}{address}")
        assert answer is not None
        if answer.status == 200:
            found[address] = flaws(visitor)
    return found


@in_every_look
def test_every_page_is_without_flaws(visitor_with: Any, pages: list[str], width: int, scheme: str) -> None:
    visitor = visitor_with(viewport={"width": width, "height": 900}, color_scheme=scheme)
    outside = walk(visitor, list(DOOR))
    assert outside == {address: [] for address in DOOR}
    visitor.signs_in("amara", PASSWORD)
    found = walk(visitor, pages)
    assert {address: said for address, said in found.items() if said} == {}
    assert set(found) == set(pages)
    assert visitor.complaints == []


@pytest.mark.parametrize("name", ["hanna", "bram", "priya"])
def test_what_others_may_see_is_without_flaws_too(visitor_with: Any, pages: list[str], name: str) -> None:
    visitor = visitor_with()
    visitor.signs_in(name, PASSWORD)
    found = walk(visitor, pages)
    assert {address: said for address, said in found.items() if said} == {}
    assert {"/messages/", "/my-mailbox/", "/my-queues/", "/me/"} <= set(found)
    assert f"/users/{User.objects.get(username='amara').pk}/" not in found


def test_hostile_mail_is_shown_and_does_nothing(visitor: Visitor, pages: list[str]) -> None:
    asked: list[str] = []
    visitor.page.on("request", lambda request: asked.append(request.url))
    visitor.signs_in("amara", PASSWORD)
    visitor.opens(pages[-1])
    frame = visitor.page.frame_locator("iframe")
    assert frame.locator("h1").inner_text() == "Offer"
    visitor.page.wait_for_timeout(500)
    assert "taken over" not in visitor.page.title()
    assert [url for url in asked if not url.startswith((visitor.site, "data:", "about:"))] == []
    assert frame.locator("script, [onerror], form").count() == 0
    assert visitor.complaints == []
