"""Messages of which only the header is here: too large, not handed over, or breaking every answer."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from datetime import timedelta

import pytest
from django.core.exceptions import ValidationError
from django.utils import timezone

from emailprofiles.errors import ConnectionLost
from emailprofiles.transports import TRANSPORTS, IncomingTransport
from emailprofiles.transports.imap import Imap
from emailprofiles.wire import Fetched
from mailboxes import words
from mailboxes.models import (
    Alert,
    EmailConfigurationSettings,
    Message,
    MessageState,
    ServerCircuit,
    SyncState,
)
from mailboxes.sync.ledger import balances
from mailboxes.sync.resume import deliver_to, try_again

from .conftest import Office, letter

pytestmark = pytest.mark.django_db(transaction=True)

GIANT = "x" * 1_200_000


def limit(megabytes: int) -> None:
    settings = EmailConfigurationSettings.load()
    settings.max_message_size_mb = megabytes
    settings.save()


def giant(subject: str) -> bytes:
    lines = "\r\n".join(GIANT[at : at + 900] for at in range(0, len(GIANT), 900))
    return letter(subject, Delivered_To="noah@contoso.com", body=lines)


def accounted(office: Office) -> bool:
    return all(balance.difference == 0 for balance in balances(office.forward))


def test_a_message_that_is_too_large_is_a_visible_stub_and_stays_on_the_server(office: Office) -> None:
    office.user("noah")
    limit(1)
    office.arrives(giant("A film"), letter("A letter", Delivered_To="noah@contoso.com"))
    assert office.synchronize().collected == 1
    assert office.delivered() == {"A letter": ["Noah"]}
    stub = Message.objects.get(is_stub=True)
    assert (stub.state, stub.reason, stub.subject) == ("quarantined", "too_large", "A film")
    assert stub.sender == "ines@example.org"
    assert stub.size > 1_200_000
    assert len(stub.raw) < 1000
    assert "1.2 MB" in stub.explanation
    assert len(office.on_server()) == 1
    assert accounted(office)


def test_a_stub_is_not_asked_for_again_until_the_limit_is_raised(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Sequence[str]] = []

    class Counting(Imap):
        fetch_ahead = IncomingTransport.fetch_ahead

        def fetch(self, ids: Sequence[str]) -> Iterator[Fetched]:
            asked.append(ids)
            return super().fetch(ids)

    monkeypatch.setitem(TRANSPORTS["incoming"], "imap", Counting)
    office.user("noah")
    limit(1)
    office.arrives(giant("A film"))
    office.synchronize()
    office.again()
    assert asked == []
    limit(2)
    assert office.again().collected == 1
    assert len(asked) == 1
    assert office.delivered() == {"A film": ["Noah"]}
    assert GIANT[:900] in words.of(Message.objects.get())[0].text
    assert office.on_server() == []
    assert accounted(office)


def test_a_stub_is_not_delivered_by_hand_and_try_again_asks_for_it_whatever_its_size(office: Office) -> None:
    noah = office.user("noah")
    limit(1)
    office.arrives(giant("A film"))
    office.synchronize()
    stub = Message.objects.get()
    with pytest.raises(ValidationError, match="Only the header"):
        deliver_to(stub, noah.mailbox, office.amara)
    assert try_again(stub).state == MessageState.RECEIVED
    office.synchronize()  # its mailbox became due
    assert office.delivered() == {"A film": ["Noah"]}
    assert office.on_server() == []


class Withholding(Imap):
    """The server as it is, but for one message that it lists and does not hand over."""

    fetch_ahead = IncomingTransport.fetch_ahead

    withheld = "1"

    def fetch(self, ids: Sequence[str]) -> Iterator[Fetched]:
        return super().fetch([remote_id for remote_id in ids if remote_id != self.withheld])


def test_what_is_not_handed_over_is_asked_for_in_three_cycles_and_then_once_a_day(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    office.user("noah")
    office.arrives(letter("Withheld", Delivered_To="noah@contoso.com"))
    with monkeypatch.context() as patch:
        patch.setitem(TRANSPORTS["incoming"], "imap", Withholding)
        for cycle in range(4):
            assert office.again().failed == 0
            assert Message.objects.get().attempts == min(cycle + 1, 3)
    stub = Message.objects.get()
    assert (stub.state, stub.reason) == ("quarantined", "not_handed_over")
    office.again()
    assert Message.objects.get().is_stub  # not asked for again on the same day
    Message.objects.update(asked_at=timezone.now() - timedelta(hours=25))
    office.again()
    assert office.delivered() == {"Withheld": ["Noah"]}
    assert not Alert.objects.filter(resolved_at=None).exists()


class Fatal(Withholding):
    """A server that does not hand it over at first, and breaks off whenever it is asked again."""

    def fetch(self, ids: Sequence[str]) -> Iterator[Fetched]:
        if list(ids) == [self.withheld] and Message.objects.filter(is_stub=True).exists():
            raise ConnectionLost("imap.contoso.com")
        return super().fetch(ids)


def test_a_stub_that_breaks_the_connection_is_given_up_and_does_not_stop_its_mailbox(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    office.user("noah")
    monkeypatch.setitem(TRANSPORTS["incoming"], "imap", Fatal)
    failed = []
    for number in range(6):
        office.arrives(letter(f"Number {number}", Delivered_To="noah@contoso.com"))
        failed.append(office.again().failed)
    assert failed == [0, 1, 1, 0, 0, 0]
    stub = Message.objects.get(is_stub=True)
    assert (stub.state, stub.reason, stub.attempts) == ("quarantined", "not_handed_over", 3)
    assert len(office.delivered()) == 5
    Message.objects.update(asked_at=timezone.now() - timedelta(hours=25))
    assert [office.again().failed for _ in range(3)] == [1, 0, 0]  # once a day, not at every cycle


class Undescribing(Imap):
    """A server that numbers a message and leaves it out where all are described."""

    def _fetch_items(self, uids, items):  # type: ignore[no-untyped-def]
        found = super()._fetch_items(uids, items)
        return {uid: said for uid, said in found.items() if uid != 2 or "SIZE" not in items}


def test_what_is_numbered_and_not_described_is_collected_all_the_same(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    office.user("noah")
    monkeypatch.setitem(TRANSPORTS["incoming"], "imap", Undescribing)
    office.arrives(*(letter(f"Number {n}", Delivered_To="noah@contoso.com") for n in range(3)))
    assert office.synchronize().collected == 3
    assert accounted(office)


class Breaking(Imap):
    """A server that dies of one message, whoever asks for it, even for its size."""

    deadly = "3"

    def listed(self, after: str | None, limit: int):  # type: ignore[no-untyped-def]
        listed = super().listed(after, limit)
        if any(message.remote_id == self.deadly for message in listed):
            raise ConnectionLost("imap.contoso.com")
        return listed


def test_a_message_that_breaks_every_answer_is_found_and_passed_by(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    office.user("noah")
    office.arrives(*(letter(f"Number {n}", Delivered_To="noah@contoso.com") for n in range(1, 6)))
    monkeypatch.setitem(TRANSPORTS["incoming"], "imap", Breaking)
    failed = [office.again().failed for _ in range(5)]
    assert failed == [1, 1, 1, 1, 0]
    assert office.delivered() == {f"Number {n}": ["Noah"] for n in (1, 2, 4, 5)}
    stub = Message.objects.get(is_stub=True)
    assert (stub.remote_id, stub.state, stub.reason) == ("3", "quarantined", "not_handed_over")
    assert "broke off" in stub.explanation
    state = SyncState.objects.get(mailbox=office.forward, direction="incoming")
    assert (state.enabled, state.fetch_window, state.failures) == (True, 0, 0)
    assert len(office.on_server()) == 1
    assert accounted(office)


def test_a_file_that_a_real_server_cannot_read_holds_nobody_up(office: Office) -> None:
    office.user("noah")
    office.arrives(*(letter(f"Number {n}", Delivered_To="noah@contoso.com") for n in range(3)))
    damaged = sorted(office.dovecot._maildir(office.account, "INBOX").glob("cur/*"))[1]
    damaged.chmod(0)
    os.chown(damaged, 0, 0)
    for _ in range(6):
        office.again()
    assert office.delivered() == {"Number 0": ["Noah"], "Number 2": ["Noah"]}
    assert Message.objects.get(is_stub=True).reason == "not_handed_over"
    assert not ServerCircuit.objects.exists()
    assert "1 message cannot be collected" in Alert.objects.get(resolved_at=None).title
    damaged.chmod(0o644)
    try_again(Message.objects.get(is_stub=True))
    office.synchronize()
    assert "Number 1" in office.delivered()
    assert not Alert.objects.filter(resolved_at=None).exists()
