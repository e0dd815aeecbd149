"""Mail of strangers: kept raw, shown as well as possible or put aside, and never in the way of the next."""

from __future__ import annotations

import pytest

from mailboxes.models import Message, MessageState

from .conftest import Office, letter

pytestmark = pytest.mark.django_db(transaction=True)


def nested(depth: int) -> bytes:
    opened = b"".join(
        b'Content-Type: multipart/mixed; boundary="b%d"\r\n\r\n--b%d\r\n' % (n, n) for n in range(depth)
    )
    return b"From: x@example.org\r\nSubject: nested\r\n" + opened + b"\r\nat the bottom\r\n"


def many_parts(count: int) -> bytes:
    part = b"--b\r\nContent-Type: text/plain\r\n\r\npart\r\n"
    head = (
        b'From: x@example.org\r\nSubject: many parts\r\nContent-Type: multipart/mixed; boundary="b"\r\n\r\n'
    )
    return head + part * count + b"--b--\r\n"


HOSTILE = {
    "broken MIME": b'Subject: broken\r\nContent-Type: multipart/mixed; boundary="x"\r\n\r\n--x\r\nnever closed',
    "1,000 nested parts": nested(1000),
    "1,000 parts": many_parts(1000),
    "a header of 1 MB": b"Subject: long\r\nX-Long: " + b"a" * 1_000_000 + b"\r\n\r\nbody\r\n",
    "NULs": b"Subject: nul\x00 byte\r\nFrom: a\x00b@example.org\r\n\r\nbo\x00dy\r\n",
    "no Message-ID": b"Subject: none\r\nFrom: x@example.org\r\n\r\nbody\r\n",
    "an unknown charset": b"Subject: =?x-klingon?Q?Qapla=27?=\r\nContent-Type: text/plain; charset=x-klingon\r\n\r\nabc\xff\r\n",
    "unlisted recipients": b"To: unlisted-recipients:; (no To-header on input)\r\nSubject: unlisted\r\n\r\nbody\r\n",
    "nothing but an empty line": b"\r\n",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_it_is_kept_raw_and_the_next_message_is_delivered(office: Office, name: str) -> None:
    office.user("noah")
    office.arrives(HOSTILE[name], letter("The next one", Delivered_To="noah@contoso.com"))
    stored = {kept.raw for kept in office.on_server()}
    summary = office.synchronize()
    assert (summary.collected, summary.failed) == (2, 0)
    assert office.delivered() == {"The next one": ["Noah"]}
    strange = Message.objects.get(state=MessageState.QUARANTINED)
    assert bytes(strange.raw) in stored
    assert strange.reason_label == "No recipient matched"
    assert strange.explanation


@pytest.mark.parametrize("name", HOSTILE)
def test_it_reaches_its_target_when_a_server_named_one(office: Office, name: str) -> None:
    office.user("noah")
    office.arrives(b"Delivered-To: noah@contoso.com\r\n" + HOSTILE[name])
    office.synchronize()
    message = Message.objects.get()
    assert message.state == MessageState.DELIVERED
    assert [delivery.mailbox.name for delivery in message.deliveries.all()] == ["Noah"]
    assert office.on_server() == []


def test_the_same_mail_in_two_copies_is_delivered_once(office: Office) -> None:
    office.user("noah")
    mail = letter("Twice", Delivered_To="noah@contoso.com")
    office.arrives(mail, b"Received: by another.example; Mon, 23 Nov 2026 10:00:00 +0100\r\n" + mail)
    office.synchronize()
    assert office.delivered() == {"Twice": ["Noah"]}
    first, second = Message.objects.order_by("pk")
    assert second.state == MessageState.DELIVERED
    assert f"same as message {first.pk}" in second.considered
    assert office.on_server() == []


def test_without_a_message_id_nothing_is_ever_the_same(office: Office) -> None:
    office.user("noah")
    mail = b"Delivered-To: noah@contoso.com\r\nSubject: Reminder\r\nFrom: x@example.org\r\n\r\nbody\r\n"
    office.arrives(mail, mail)
    office.synchronize()
    assert office.delivered() == {"Reminder": ["Noah", "Noah"]}
