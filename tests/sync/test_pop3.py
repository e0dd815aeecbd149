"""The line over POP3: names that come to mean other mail, lists without order, deletions at the end of a session."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
import time_machine
from django.utils import timezone

from mailboxes.models import Delivery, EmailConfigurationSettings, Message, MessageState, SkippedMessage
from mailboxes.sync.ledger import balances
from tests.maildrop import Maildrop
from tests.servers import needs

from .conftest import Office, enable, letter

pytestmark = pytest.mark.django_db(transaction=True)


def by_pop3(office: Office, port: int) -> None:
    office.profile.server_type, office.profile.incoming_port = "pop3_smtp", port
    office.profile.full_clean()
    office.profile.save()
    office.forward.refresh_from_db()
    confirmed = {"credentials_location_version": office.profile.location_version}
    type(office.forward).objects.filter(pk=office.forward.pk).update(**confirmed)
    office.forward.refresh_from_db()
    enable(office.forward)


@pytest.fixture
def drop(office: Office) -> Maildrop:
    """A maildrop that Noah's mail is collected from."""
    office.user("noah")
    return Maildrop([])


def balanced(office: Office) -> bool:
    return all(balance.difference == 0 for balance in balances(office.forward))


def for_noah(subject: str) -> bytes:
    return letter(subject, Delivered_To="noah@contoso.com")


def test_mail_is_collected_delivered_and_deleted(office: Office) -> None:
    needs("pop3")
    office.user("noah")
    by_pop3(office, office.dovecot.pop3_port)
    office.arrives(for_noah("One"), letter("Whose is this", to="x@example.net"), for_noah("Two"))
    summary = office.synchronize()
    assert (summary.collected, summary.failed) == (3, 0)
    assert office.delivered() == {"One": ["Noah"], "Two": ["Noah"]}
    (kept,) = office.on_server()
    assert b"Whose is this" in kept.raw
    office.arrives(for_noah("Three"))
    assert office.again().collected == 1
    assert office.again().collected == 0
    assert len(office.on_server()) == 1
    assert Message.objects.filter(state=MessageState.QUARANTINED).count() == 1


def test_what_is_not_deleted_is_not_collected_again(office: Office) -> None:
    needs("pop3")
    office.user("noah")
    office.forward.delete_emails_after_processing = False
    office.forward.save()
    by_pop3(office, office.dovecot.pop3_port)
    office.arrives(for_noah("One"), for_noah("Two"))
    assert office.synchronize().collected == 2
    assert office.again().collected == 0
    assert len(office.on_server()) == 2


def test_a_name_that_is_given_to_another_message_is_another_message(office: Office, drop: Maildrop) -> None:
    with drop.serve() as server:
        by_pop3(office, server.port)
        for subject in ("One", "Two", "Three"):
            drop.messages = [("msg1", for_noah(subject))]
            assert office.again().collected == 1
            assert drop.messages == []
    assert set(office.delivered()) == {"One", "Two", "Three"}


def test_new_mail_may_stand_anywhere_in_the_list(office: Office, drop: Maildrop) -> None:
    unknown = letter("Nobody", to="x@example.net")
    with drop.serve() as server:
        by_pop3(office, server.port)
        drop.messages = [("m", unknown), ("n", letter("Nobody either", to="x@example.net"))]
        assert office.again().collected == 2
        drop.messages.insert(0, ("a", for_noah("First")))
        drop.messages.insert(2, ("z", for_noah("Between")))
        assert office.again().collected == 2
        assert [uidl for uidl, _ in drop.messages] == ["m", "n"]
    assert set(office.delivered()) == {"First", "Between"}


def test_without_names_nothing_is_lost_and_nothing_comes_twice(office: Office, drop: Maildrop) -> None:
    drop.without = ("UIDL",)
    with drop.serve() as server:
        by_pop3(office, server.port)
        drop.messages = [("", letter("Nobody", to="x@example.net")), ("", for_noah("One"))]
        assert office.again().collected == 2
        drop.messages.append(("", for_noah("Two")))
        assert office.again().collected == 1
        assert len(drop.messages) == 1
    assert Message.objects.count() == 3


def test_a_session_that_ends_before_its_farewell_deletes_in_the_next(office: Office, drop: Maildrop) -> None:
    with drop.serve() as server:
        by_pop3(office, server.port)
        drop.messages = [("a", for_noah("One"))]
        drop.says["DELE"] = b""  # the connection stands, and nothing is said: the session is lost
        office.profile.timeout_seconds = 1
        office.profile.save()
        assert office.again().failed == 1
        assert len(drop.messages) == 1
        del drop.says["DELE"]
        assert office.again().collected == 0
        assert drop.messages == []
    assert office.delivered() == {"One": ["Noah"]}


def test_process_email_from_reads_the_topmost_received_line(office: Office) -> None:
    needs("pop3")
    office.user("noah")
    by_pop3(office, office.dovecot.pop3_port)
    office.profile.process_email_from = datetime(2026, 6, 1, tzinfo=UTC)
    office.profile.save()
    received = "from a.example by mx.contoso.com; {}"
    office.arrives(
        letter("Old", Received=received.format("Fri, 01 May 2026 10:00:00 +0000")),
        letter("New", Received=received.format("Wed, 01 Jul 2026 10:00:00 +0000")),
        letter("Undated"),
    )
    assert office.synchronize().collected == 2
    assert sorted(Message.objects.values_list("subject", flat=True)) == ["New", "Undated"]
    office.again()
    assert SkippedMessage.objects.get().why == "too_old"
    assert len(office.on_server()) == 3  # the old one, and two in quarantine
    assert balanced(office)


def test_a_message_that_is_too_large_is_a_stub_here_too(office: Office) -> None:
    needs("pop3")
    office.user("noah")
    by_pop3(office, office.dovecot.pop3_port)
    EmailConfigurationSettings.objects.update(max_message_size_mb=1)
    office.arrives(letter("A film", Delivered_To="noah@contoso.com", body="line\r\n" * 200_000))
    office.synchronize()
    stub = Message.objects.get()
    assert (stub.is_stub, stub.subject, stub.reason) == (True, "A film", "too_large")
    EmailConfigurationSettings.objects.update(max_message_size_mb=2)
    office.again()
    assert office.delivered() == {"A film": ["Noah"]}
    assert office.on_server() == []


@pytest.mark.parametrize("ahead", [timedelta(0), timedelta(hours=3)])
def test_nothing_is_deleted_by_a_name_that_means_another_message_by_now(
    office: Office, drop: Maildrop, ahead: timedelta
) -> None:
    """The farewell was lost, so nothing was deleted; then somebody deletes the first, and the names move up. The clock
    was wrong on the first day."""
    first, second = for_noah("Number 0"), for_noah("Number 1")
    drop.messages = [("a", first), ("b", second)]
    with drop.serve() as server:
        by_pop3(office, server.port)
        with time_machine.travel(timezone.now() + ahead, tick=True):
            office.synchronize()
        drop.messages = [("a", first), ("b", second)]  # nothing was deleted after all
        Message.objects.update(disposed_at=None, disposal="")
        new = letter("Newest 0", to="x@example.net")
        drop.messages = [("a", second), ("b", new)]
        office.again()
        drop.messages = [("a", raw) for _, raw in drop.messages]
        office.again()
    assert [raw for _, raw in drop.messages] == [new]  # in quarantine: nobody's, so it stays
    assert set(office.delivered()) == {"Number 0", "Number 1"}
    assert Message.objects.get(subject="Newest 0").state == MessageState.QUARANTINED
    assert Delivery.objects.count() == 2
    assert balanced(office)


@pytest.mark.parametrize("poor", [{"by_number": "%d"}, {"by_number": "msg%d"}, {"without": ("UIDL",)}])
def test_a_message_in_the_place_of_another_of_its_size_is_collected(
    office: Office, drop: Maildrop, poor: dict[str, str]
) -> None:
    """Somebody else deletes what waits in quarantine; the next bears its number, has its size, and came since."""
    for name, value in poor.items():
        setattr(drop, name, value)
    drop.messages = [
        ("", letter("Nobody 1", to="x@example.net")),
        ("", letter("Nobody 2", to="x@example.net")),
    ]
    with drop.serve() as server:
        by_pop3(office, server.port)
        assert office.again().collected == 2
        assert office.again().collected == 0
        drop.messages = [drop.messages[1], ("", letter("Nobody 3", to="x@example.net"))]
        assert office.again().collected == 1
        assert office.again().collected == 0
    assert sorted(Message.objects.values_list("subject", flat=True)) == ["Nobody 1", "Nobody 2", "Nobody 3"]
    assert Message.objects.exclude(gone_at=None).get().subject == "Nobody 1"
    assert balanced(office)


def test_lasting_names_that_look_like_numbers_at_first_bring_nothing_twice(
    office: Office, drop: Maildrop
) -> None:
    drop.messages = [("1", for_noah("One")), ("2", letter("Nobody", to="x@example.net"))]
    with drop.serve() as server:
        by_pop3(office, server.port)
        assert office.again().collected == 2
        assert [uidl for uidl, _ in drop.messages] == ["2"]
        office.again()
        drop.messages.append(("3", for_noah("Three")))
        office.again()
        assert [uidl for uidl, _ in drop.messages] == ["2"]
    assert Message.objects.count() == 3
    assert set(office.delivered()) == {"One", "Three"}
    assert balanced(office)
