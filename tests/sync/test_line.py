"""The straight line on a real server: collected, kept, routed, delivered, and only then disposed of."""

from __future__ import annotations

import pytest

from mailboxes.models import Delivery, Message, MessageState, SyncState

from .conftest import Office, letter

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
    assert bytes(message.raw) == kept.raw


def test_without_deleting_the_copy_stays_and_is_marked_read(office: Office) -> None:
    office.user("noah")
    office.forward.delete_emails_after_processing = False
    office.forward.save()
    from .conftest import enable

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
