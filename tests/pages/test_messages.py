"""Messages in the browser: who sees which, the list in pages, one message and everything in it."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.test import Client
from django.urls import reverse

from mailboxes import safehtml
from mailboxes.models import Body, Message, MessageState, User
from mailboxes.routing import Reason
from mailboxes.sync import parser
from tests.conftest import Office
from tests.pages.letters import MONDAY, RAW, attached, collected, delivered


def test_the_list_asks_for_a_sign_in(db: None, client: Client) -> None:
    response = client.get(reverse("message-list"))

    assert response.status_code == 302
    assert response.url.startswith(reverse("login"))


def test_an_administrator_sees_every_message(office: Office, amaras: Client) -> None:
    delivered(office.collection, office.support.mailbox, 1, subject="Delivered one")
    collected(office.collection, 2, subject="Stuck one", state="quarantined", reason="no_recipient_matched")

    page = amaras.get(reverse("message-list")).content.decode()

    assert "Delivered one" in page
    assert "Stuck one" in page
    assert "No recipient matched" in page


@pytest.mark.parametrize("role", ["approver", "staff", "user"])
def test_others_see_what_reached_them_or_their_queues(
    role: str, office: Office, browser_of: Callable[[str], Client]
) -> None:
    browser = browser_of(role)
    person = User.objects.get(username=role)
    mine = delivered(office.collection, person.mailbox, 1, subject="For me")
    queues = delivered(office.collection, office.support.mailbox, 2, subject="For support")
    office.support.members.add(person)
    hidden = delivered(office.collection, office.amara.mailbox, 3, subject="For Amara alone")

    page = browser.get(reverse("message-list")).content.decode()

    assert "For me" in page
    assert "For support" in page
    assert "For Amara alone" not in page
    assert browser.get(reverse("message", args=[mine.pk])).status_code == 200
    assert browser.get(reverse("message", args=[queues.pk])).status_code == 200
    assert browser.get(reverse("message", args=[hidden.pk])).status_code == 404


@pytest.mark.parametrize("name", ["message", "message-raw", "message-html", "attachment"])
def test_what_a_person_may_not_see_is_as_absent_as_what_does_not_exist(
    name: str, office: Office, browser_of: Callable[[str], Client]
) -> None:
    hidden = delivered(office.collection, office.amara.mailbox)
    attached(hidden, "note.pdf", "application/pdf", b"%PDF")
    browser = browser_of("user")
    number = [1] if name == "attachment" else []

    present = browser.get(reverse(name, args=[hidden.pk, *number]))
    absent = browser.get(reverse(name, args=[hidden.pk + 999, *number]))

    assert (present.status_code, absent.status_code) == (404, 404)
    assert hidden.subject not in present.content.decode()


def test_another_target_of_the_same_mail_stays_unknown(
    office: Office, browser_of: Callable[[str], Client]
) -> None:
    browser = browser_of("user")
    person = User.objects.get(username="user")
    message = delivered(office.collection, person.mailbox)
    message.deliveries.create(
        mailbox=office.support.mailbox, rule="to_and_cc", evidence="Cc names support@contoso.com."
    )

    page = browser.get(reverse("message", args=[message.pk])).content.decode()

    assert "user@contoso.com" in page
    assert "Cc names support@contoso.com" not in page


def test_pages_of_the_list_miss_nothing_and_repeat_nothing(office: Office, amaras: Client) -> None:
    for number in range(120):  # several share one moment
        collected(
            office.collection,
            number,
            subject=f"<{number}>",
            received_at=MONDAY + timedelta(hours=number // 3),
        )
    seen: list[int] = []
    address = reverse("message-list")

    while address:
        page = amaras.get(address).context["page"]
        seen += [int(message.remote_id) for message in page.rows]
        address = f"{reverse('message-list')}?before={page.before}".replace("+", "%2B") if page.before else ""

    assert seen == list(range(119, -1, -1))


def test_the_way_back_leads_to_the_same_page(office: Office, amaras: Client) -> None:
    for number in range(110):
        collected(office.collection, number, received_at=MONDAY + timedelta(minutes=number))
    first = amaras.get(reverse("message-list")).context["page"]
    second = amaras.get(reverse("message-list"), {"before": first.before}).context["page"]

    back = amaras.get(reverse("message-list"), {"after": second.after}).context["page"]

    assert [row.pk for row in back.rows] == [row.pk for row in first.rows]
    assert back.after == ""


@pytest.mark.parametrize(
    "place", ["", "x", "2026-13-45T00:00:00+00:00_1", "2026-11-23T09:00:00_1", "_", "now_²"]
)
def test_a_broken_place_in_the_address_shows_the_first_page(
    place: str, office: Office, amaras: Client
) -> None:
    collected(office.collection)

    assert len(amaras.get(reverse("message-list"), {"before": place}).context["page"].rows) == 1


def test_the_list_takes_the_same_queries_for_one_message_as_for_forty(
    office: Office, amaras: Client, django_assert_max_num_queries: Callable
) -> None:
    delivered(office.collection, office.support.mailbox, 0)
    with django_assert_max_num_queries(60) as few:
        amaras.get(reverse("message-list"))
    for number in range(1, 40):
        delivered(office.collection, office.support.mailbox, number)
    with django_assert_max_num_queries(60) as many:
        amaras.get(reverse("message-list"))

    assert len(many) == len(few)
    asked = " ".join(query["sql"] for query in many.captured_queries)
    assert "mailboxes_original" not in asked
    assert "mailboxes_body" not in asked


def test_search_looks_at_subject_sender_and_message_id(office: Office, amaras: Client) -> None:
    collected(office.collection, 1, subject="Stock list", sender="lager@example.org", message_id="aaa@x")
    collected(office.collection, 2, subject="Invoice", sender="billing@example.org", message_id="bbb@x")

    def found(words: str) -> list[str]:
        page = amaras.get(reverse("message-list"), {"q": words}).context["page"]
        return [row.subject for row in page.rows]

    assert found("stock") == ["Stock list"]
    assert found("BILLING") == ["Invoice"]
    assert found("<aaa@x>") == ["Stock list"]
    assert found("nothing") == []


def test_a_mailbox_filters_by_what_it_collected_or_what_reached_it(office: Office, amaras: Client) -> None:
    delivered(office.collection, office.support.mailbox, 1, subject="Through both")
    collected(office.collection, 2, subject="Only collected")

    def found(**asked: object) -> list[str]:
        page = amaras.get(reverse("message-list"), asked).context["page"]
        return sorted(row.subject for row in page.rows)

    assert found(mailbox=office.support.mailbox.pk) == ["Through both"]
    assert found(mailbox="SUPPORT@contoso.com") == ["Through both"]
    assert found(mailbox="Collection 1", way="collected") == ["Only collected", "Through both"]
    assert found(mailbox="Collection 1", way="reached") == []
    assert found(mailbox="nobody@contoso.com") == []
    assert found(state="delivered") == ["Through both"]


def test_an_empty_list_says_what_it_is_for(amaras: Client) -> None:
    assert "No message yet" in amaras.get(reverse("message-list")).content.decode()
    assert "No message matches" in amaras.get(reverse("message-list"), {"q": "x"}).content.decode()


def test_a_message_shows_why_it_was_routed(office: Office, amaras: Client) -> None:
    message = delivered(
        office.collection,
        office.support.mailbox,
        considered="It does not carry exactly one message.\nTo names service@contoso.com.",
    )

    page = amaras.get(reverse("message", args=[message.pk])).content.decode()

    assert "Why was this routed here?" in page
    assert "The X-Original-To header names support@contoso.com" in page
    assert "It does not carry exactly one message." in page
    assert "To names service@contoso.com." in page
    assert "Zwei Kartons vertauscht" in page
    assert "Return-Path: &lt;beatriz@example.org&gt;" in page


def test_words_of_the_message_stay_words(office: Office, amaras: Client) -> None:
    evil = "<script>alert(1)</script>"
    message = collected(office.collection, subject=evil, text=evil, sender_name=evil, considered=evil)

    page = amaras.get(reverse("message", args=[message.pk])).content.decode()

    assert evil not in page
    assert page.count("&lt;script&gt;") >= 4


def unread(office: Office, raw: bytes, **values: object) -> Message:
    """A message that nobody looked at since it was delivered."""
    message = collected(office.collection, raw=raw, state=MessageState.DELIVERED, **values)
    Body.objects.filter(message=message).delete()
    return message


def test_what_a_message_says_is_read_when_somebody_looks_and_kept(office: Office, amaras: Client) -> None:
    message = unread(office, b"Subject: x\r\n\r\nTwo boxes were swapped.\r\n")

    for _ in range(2):
        assert "Two boxes were swapped." in amaras.get(reverse("message", args=[message.pk])).content.decode()

    assert Body.objects.get().text == "Two boxes were swapped.\n"


def test_of_a_message_that_was_forwarded_as_attachment_the_inner_one_is_shown(
    office: Office, amaras: Client
) -> None:
    inner = b"Subject: in\r\nContent-Type: text/html\r\n\r\n<p>The inner one</p>"
    raw = b"Subject: out\r\nContent-Type: message/rfc822\r\n\r\n" + inner
    message = unread(office, raw, shows_forwarded=True)

    assert "The inner one" in amaras.get(reverse("message-html", args=[message.pk])).content.decode()


def test_a_message_that_harms_its_reader_says_so_on_its_page(
    office: Office, amaras: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    message = unread(office, b"X-Poison: crash\r\n\r\nBoom")
    monkeypatch.setattr(parser, "WORDS", "tests.sync.poison:read")

    page = amaras.get(reverse("message", args=[message.pk])).content.decode()

    assert "What it says could not be read now." in page
    assert "Reading the message ended the parser (signal 11)." in page
    assert not Body.objects.exists()


@pytest.mark.parametrize(
    "values",
    [{"state": MessageState.RECEIVED}, {"state": MessageState.QUARANTINED, "reason": Reason.UNREADABLE}],
)
def test_what_harmed_the_engine_is_not_opened_for_a_page(
    values: dict[str, str], office: Office, amaras: Client
) -> None:
    message = unread(office, b"Subject: x\r\n\r\nDo not open")
    Message.objects.update(**values)

    assert "Do not open" not in amaras.get(reverse("message", args=[message.pk])).content.decode()


def test_html_is_shown_in_a_frame_with_a_policy_of_its_own(office: Office, amaras: Client) -> None:
    html = '<p onclick="x()">Hi</p><script>alert(1)</script><img src="https://spy.example/1.gif">'
    message = collected(office.collection, text="", html=html)

    page = amaras.get(reverse("message", args=[message.pk])).content.decode()
    frame = amaras.get(reverse("message-html", args=[message.pk]))

    assert "1 picture from other servers is not loaded" in page
    assert " sandbox " in page
    assert frame["Content-Security-Policy"] == (
        "default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'self'; sandbox"
    )
    content = frame.content.decode()
    assert "<p>Hi</p>" in content
    assert "alert" not in content
    assert "spy.example" not in content


@pytest.mark.parametrize(
    "html",
    [
        '<a href="javascript:alert(1)">x</a>',
        '<a href="data:text/html,x">x</a>',
        '<img src="data:image/svg+xml;base64,AAAA">',
        '<p style="background:url(https://spy.example/)">x</p>',
        '<table background="https://spy.example/"></table>',
        '<svg><image href="https://spy.example/"/></svg>',
        '<form action="https://spy.example/"><input name="q"></form>',
        '<link rel="stylesheet" href="https://spy.example/"><meta http-equiv="refresh" content="0">',
        '<iframe src="https://spy.example/"></iframe><base href="https://spy.example/">',
        '<video src="https://spy.example/" poster="https://spy.example/"></video>',
        '<img srcset="https://spy.example/ 2x" src="//spy.example/">',
        "<style>@import 'https://spy.example/';</style>",
    ],
)
def test_nothing_that_runs_or_loads_is_left_in_html(html: str) -> None:
    cleaned = safehtml.clean(html).html

    for word in ("javascript", "data:", "spy.example", "<form", "<iframe", "<meta", "<svg", "<style"):
        assert word not in cleaned


def test_pictures_of_the_message_itself_are_shown(office: Office, amaras: Client) -> None:
    message = collected(office.collection, text="", html='<img src="cid:logo@x"><img src="cid:evil@x">')
    attached(message, "logo.png", "image/png", b"\x89PNG", content_id="logo@x")
    attached(message, "evil.svg", "image/svg+xml", b"<svg/>", content_id="evil@x")

    content = amaras.get(reverse("message-html", args=[message.pk])).content.decode()

    assert 'src="data:image/png;base64,iVBORw=="' in content
    assert "svg" not in content


def test_the_message_downloads_byte_for_byte(office: Office, amaras: Client) -> None:
    message = collected(office.collection)

    response = amaras.get(reverse("message-raw", args=[message.pk]))

    assert response.content == RAW
    assert response["Content-Disposition"] == f'attachment; filename="message-{message.pk}.eml"'
    assert response["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize(
    ("content_type", "served"),
    [
        ("application/pdf", "application/pdf"),
        ("image/png", "image/png"),
        ("text/html", "application/octet-stream"),
        ("image/svg+xml", "application/octet-stream"),
        ("text/html\r\nX-Evil: 1", "application/octet-stream"),
    ],
)
def test_attachments_are_downloads_only(
    content_type: str, served: str, office: Office, amaras: Client
) -> None:
    message = collected(office.collection)
    attached(message, 'Prüf"bericht.html', content_type, b"<script>1</script>")

    response = amaras.get(reverse("attachment", args=[message.pk, 1]))

    assert response.content == b"<script>1</script>"
    assert response["Content-Type"] == served
    assert response["Content-Disposition"].startswith("attachment")
    assert response["X-Content-Type-Options"] == "nosniff"


def test_a_giant_header_does_not_keep_a_message_from_being_shown(office: Office, amaras: Client) -> None:
    raw = b"Subject: big\r\nX-Filler: " + b"x" * 1_000_000 + b"\r\n\r\nHello"
    message = collected(office.collection, raw=raw, state=MessageState.QUARANTINED, reason="unreadable")

    response = amaras.get(reverse("message", args=[message.pk]))

    assert response.status_code == 200
    assert len(response.content) < 200_000


def test_a_blocked_attachment_is_listed_with_its_reason_and_never_handed_out(
    office: Office, amaras: Client
) -> None:
    message = delivered(office.collection, office.support.mailbox)
    reason = "Files that end in .exe are blocked."
    attached(message, "invoice.pdf.exe", "application/pdf", b"MZ", is_blocked=True, blocked_because=reason)
    address = reverse("attachment", args=[message.pk, 1])

    assert address not in amaras.get(reverse("message", args=[message.pk])).content.decode()
    response = amaras.get(address, follow=True)
    assert reason in response.content.decode()
    assert "Content-Disposition" not in response


def test_a_download_is_locked_up(office: Office, amaras: Client) -> None:
    message = delivered(office.collection, office.support.mailbox)
    attached(message, "Zürich.pdf", "text/html", b"%PDF-1.7", detected_type="application/pdf")

    response = amaras.get(reverse("attachment", args=[message.pk, 1]))

    assert response.content == b"%PDF-1.7"
    assert response["Content-Type"] == "application/pdf"
    assert response["Content-Disposition"] == "attachment; filename*=utf-8''Z%C3%BCrich.pdf"
    assert "sandbox" in response["Content-Security-Policy"]
    page = amaras.get(reverse("message", args=[message.pk])).content.decode()
    assert "It says text/html and is a PDF." in page
