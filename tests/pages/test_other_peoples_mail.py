"""Nobody but those whose mail it is, and administrators, reads a word of it: every address is asked for it."""

from collections.abc import Callable, Iterator
from itertools import product
from typing import Any

import pytest
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver
from django.utils import timezone

from emailprofiles.models import EmailServerProfile
from mailboxes import alerts
from mailboxes.models import (
    Alert,
    ConfigurationTest,
    Direction,
    EngineProcess,
    Mailbox,
    Message,
    OutgoingFile,
    OutgoingMessage,
    OutgoingOriginal,
    Queue,
    SyncState,
    TestStep,
    User,
)
from tests.conftest import Office
from tests.pages.letters import attached, collected, delivered

SUBJECT, BODY, FILE = "Zwiebelkuchenrezept", "Knoblauchsuppentopf", "Petersilienwurzel.pdf"
WORDS = ("x",)
"""What addresses take that belongs to nothing; numbers are those of records."""
RECORDS = (
    Mailbox,
    Message,
    User,
    Queue,
    EmailServerProfile,
    ConfigurationTest,
    OutgoingMessage,
    OutgoingFile,
)


def patterns(found: Any = None) -> Iterator[URLPattern]:
    """All addresses of the product."""
    for one in (found or get_resolver()).url_patterns:
        if isinstance(one, URLResolver):
            yield from patterns(one)
        else:
            yield one


def addresses() -> Iterator[str]:
    numbers = sorted({pk for model in RECORDS for pk in model.objects.values_list("pk", flat=True)})
    for pattern in patterns():
        takes = pattern.pattern.converters  # type: ignore[attr-defined]
        fillings = [numbers if type(taken).__name__ == "IntConverter" else WORDS for taken in takes.values()]
        for filling in product(*fillings):
            route = str(pattern.pattern)
            for name, value in zip(takes, filling, strict=True):
                before, _, rest = route.partition("<")
                assert rest.partition(">")[0].endswith(name)
                route = f"{before}{value}{rest.partition('>')[2]}"
            yield f"/{route}"


@pytest.fixture
def mail(office: Office) -> None:
    """Mail in every state, with what its records say beside it: alerts, a failed test, a stopped direction."""
    raw = f"Subject: {SUBJECT}\r\nFrom: x@example.org\r\n\r\n{BODY}\r\n".encode()
    words = {"subject": SUBJECT, "text": BODY, "html": f"<p>{BODY}</p>", "raw": raw}
    attached(
        delivered(office.collection, office.support.mailbox, 1, **words), FILE, "application/pdf", b"%PDF"
    )
    quarantined = {"state": "quarantined", "waiting_for": office.support.mailbox, "explanation": "It waits."}
    collected(office.collection, 2, reason="address_pending", **quarantined, **words)
    collected(office.collection, 3, state="received", **words)
    delivered(office.support.mailbox, office.support.mailbox, 4, **words)
    written(office, raw)
    alerts.messages_unavailable(office.collection, "x", 2)
    for mailbox in Mailbox.objects.all():
        test = ConfigurationTest.request(mailbox, office.amara)
        TestStep.objects.create(
            test=test, direction=Direction.INCOMING, number=1, name="one message read", state="passed"
        )
    ConfigurationTest.objects.update(finished_at=timezone.now())
    SyncState.objects.update(last_error="The server closed the connection.", failing_since=timezone.now())
    EngineProcess.objects.create(holder="x", threads=1)
    Queue.objects.create(
        name="Press", email_address="press@contoso.com", owner=office.amara, is_private=False
    )
    assert Alert.objects.exists()


def written(office: Office, raw: bytes) -> None:
    """What Support sent, and a draft of Amara's."""
    for state in ("sent", "draft"):
        outgoing = OutgoingMessage.objects.create(
            mailbox=office.support.mailbox,
            written_by=office.amara,
            state=state,
            subject=SUBJECT,
            text=BODY,
            message_id=f"{state}@contoso.com",
            queued_at=timezone.now(),
        )
        OutgoingOriginal.objects.create(message=outgoing, raw=raw)
        outgoing.recipients.create(address="boris@example.org", state=state)
        outgoing.files.create(name=FILE, content_type="application/pdf", size=4, data=b"%PDF")


def reading(client: Client) -> dict[str, list[str]]:
    """Which of the secret words each address shows, for those that answer at all."""
    found = {}
    for address in addresses():
        response = client.get(address)
        if response.status_code == 200:
            page = b"".join(response) if response.streaming else response.content
            found[address] = [word for word in (SUBJECT, BODY, FILE) if word.encode() in page]
    return found


@pytest.mark.parametrize("role", ["staff", "approver", "user"])
def test_nobody_else_reads_a_word_of_it(role: str, mail: None, browser_of: Callable[[str], Client]) -> None:
    found = reading(browser_of(role))

    assert {address: words for address, words in found.items() if words} == {}
    assert {"/my-mailbox/", "/messages/", "/my-queues/", "/me/"} <= set(found)
    if role == "staff":
        forward = Mailbox.objects.get(is_forward_mailbox=True).pk
        own = {f"/mailboxes/{forward}/", f"/mailboxes/{forward}/results/"}
        assert {"/quarantine/", "/alerts/", "/mailboxes/", *own} <= set(found)


@pytest.mark.parametrize("role", ["staff", "approver"])
@pytest.mark.parametrize("asked", ["?q=e", "?mailbox=1&way=collected", "?mailbox=2", "?state=quarantined"])
def test_no_search_or_filter_lets_them(
    role: str, asked: str, mail: None, browser_of: Callable[[str], Client]
) -> None:
    client = browser_of(role)

    for address in ("/messages/", "/quarantine/", "/mailboxes/", "/alerts/", "/outbox/"):
        response = client.get(f"{address}{asked}")
        if response.status_code == 200:
            assert SUBJECT not in response.content.decode()
    assert "No message matches" in client.get(f"/messages/{asked}").content.decode()


def test_an_administrator_reads_it_and_so_does_a_member(mail: None, office: Office, amaras: Client) -> None:
    member = User.objects.create_user("priya", "priya@contoso.com")
    office.support.members.add(member)
    client = Client()
    client.force_login(member)

    everything = {word for words in reading(amaras).values() for word in words}
    assert everything == {SUBJECT, BODY, FILE}
    found = reading(client)
    reached = Message.objects.filter(state="delivered").values_list("pk", flat=True)
    sent, carried = (
        OutgoingMessage.objects.get(state="sent").pk,
        OutgoingFile.objects.get(message__state="sent").pk,
    )
    assert f"/outbox/{sent}/files/{carried}/" in found
    assert {address for address, words in found.items() if words} == {
        "/messages/",
        "/outbox/",
        f"/outbox/{sent}/",
        f"/outbox/{sent}/raw/",
        *(f"/messages/{pk}/{part}" for pk in reached for part in ("", "raw/", "source/", "html/")),
    }
