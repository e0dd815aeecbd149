"""The straight line on a real server: collected, kept, routed, delivered, and only then disposed of."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

import pytest

from emailprofiles.transports import TRANSPORTS, IncomingTransport
from emailprofiles.transports.imap import Imap
from emailprofiles.wire import Fetched
from mailboxes.models import (
    Alert,
    ConfigurationTest,
    Delivery,
    Direction,
    Message,
    MessageState,
    ServerCircuit,
    SyncState,
)
from mailboxes.sync import errands, leases, plan
from mailboxes.sync.incoming import synchronize
from mailboxes.sync.parser import Parser

from .conftest import Office, enable, letter

pytestmark = pytest.mark.django_db(transaction=True)


def test_mail_reaches_its_user_and_queue_and_the_copy_is_deleted(office: Office) -> None:
    office.user("noah")
    office.queue("support")
    office.arrives(
        letter("For Noah", Delivered_To="noah@contoso.com"),
        letter("For Support", X_Forwarded_For="support@contoso.com forwardmailbox@contoso.com"),
        letter("For both", to="noah@contoso.com, support@contoso.com"),
    )
    summary = office.synchronize()
    assert (summary.passes, summary.collected, summary.failed) == (1, 3, 0)
    assert office.delivered() == {
        "For Noah": ["Noah"],
        "For Support": ["Support"],
        "For both": ["Noah", "Support"],
    }
    assert office.on_server() == []
    assert not Message.objects.filter(disposed_at=None).exists()


def test_what_matches_nobody_waits_in_quarantine_and_on_the_server(office: Office) -> None:
    office.arrives(letter("Whose is this", to="stranger@example.net"))
    office.synchronize()
    message = Message.objects.get()
    assert (message.state, message.reason_label) == (MessageState.QUARANTINED, "No recipient matched")
    (kept,) = office.on_server()
    assert "\\Seen" not in kept.flags
    assert message.raw == kept.raw


def test_without_deleting_the_copy_stays_and_is_marked_read(office: Office) -> None:
    office.user("noah")
    office.forward.delete_emails_after_processing = False
    office.forward.save()
    enable(office.forward)
    office.arrives(letter("Stays", Delivered_To="noah@contoso.com"))
    office.synchronize()
    (kept,) = office.on_server()
    assert "\\Seen" in kept.flags
    assert office.again().collected == 0


def test_a_second_run_finds_nothing_new(office: Office) -> None:
    office.user("noah")
    office.arrives(letter("Once", Delivered_To="noah@contoso.com"), letter("Nobody", to="x@example.net"))
    office.synchronize()
    assert office.again().collected == 0
    assert Message.objects.count() == 2
    assert Delivery.objects.count() == 1


def test_a_thousand_messages_are_collected_routed_and_deleted_by_one_run(office: Office) -> None:
    names = ["noah", "priya", "tomasz"]
    for name in names:
        office.user(name)
    office.arrives(*(letter(f"Number {n}", Delivered_To=f"{names[n % 3]}@contoso.com") for n in range(1000)))
    summary = office.synchronize()
    assert (summary.collected, summary.failed) == (1000, 0)
    assert Delivery.objects.count() == 1000
    assert office.delivered()["Number 4"] == ["Priya"]
    assert office.on_server() == []
    state = SyncState.objects.get(mailbox=office.forward, direction="incoming")
    assert state.last_success_at
    assert state.lease_holder == ""


class Withholding(Imap):
    """The server as it is, but for one message that it lists and does not hand over."""

    fetch_ahead = IncomingTransport.fetch_ahead

    withheld = "2"

    def fetch(self, ids: Sequence[str]) -> Iterator[Fetched]:
        return super().fetch([remote_id for remote_id in ids if remote_id != self.withheld])


def test_a_message_the_server_does_not_hand_over_is_asked_for_again_and_holds_nobody_up(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    office.user("noah")
    office.profile.messages_per_cycle = 2
    office.profile.save()
    enable(office.forward)
    office.arrives(*(letter(f"Number {n}", Delivered_To="noah@contoso.com") for n in range(5)))
    with monkeypatch.context() as patch:
        patch.setitem(TRANSPORTS["incoming"], "imap", Withholding)
        assert office.synchronize().collected == 4
        assert "Number 1" not in office.delivered()
        assert "1 message cannot be collected" in Alert.objects.get(resolved_at=None).title
    assert office.again().collected == 1
    assert office.delivered() == {f"Number {n}": ["Noah"] for n in range(5)}
    assert not Alert.objects.filter(resolved_at=None).exists()


def test_a_message_that_breaks_the_connection_does_not_put_the_whole_server_in_doubt(office: Office) -> None:
    office.arrives(*(letter(f"Number {n}", to="x@example.net") for n in range(3)))
    damaged = sorted(office.dovecot._maildir(office.account, "INBOX").glob("cur/*"))[1]
    damaged.chmod(0)
    os.chown(damaged, 0, 0)
    assert office.synchronize().failed == 1
    assert not ServerCircuit.objects.exists()
    state = SyncState.objects.get(mailbox=office.forward, direction="incoming")
    assert (state.failures, state.enabled) == (1, True)
    assert "Internal error" not in state.last_error


def test_a_pass_ends_between_two_batches_when_somebody_asks_for_a_test(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan, "BATCH_MESSAGES", 1)
    office.user("noah")
    office.arrives(*[letter(f"Letter {n}", Delivered_To="noah@contoso.com") for n in range(4)])
    state = office.forward.states.get(direction=Direction.INCOMING)
    lease = leases.seize(state.pk, leases.this_process())
    assert lease is not None
    asked: list[bool] = []

    def stopping() -> bool:
        assert len(asked) < 50, "the pass goes round and round"
        asked.append(True)
        if Message.objects.exists() and not office.forward.tests.filter(finished_at=None).exists():
            ConfigurationTest.request(office.forward, None)
        return False

    parser = Parser()
    try:
        (errand,) = errands.read([lease])
        tally = synchronize(errand, parser, stopping)
    finally:
        parser.close()
    assert (tally.more, tally.collected) == (True, 1)
    assert office.delivered() == {"Letter 0": ["Noah"]}
    assert len(office.on_server()) == 3
