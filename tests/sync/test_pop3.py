"""The line over POP3: names that come to mean other mail, lists without order, deletions at the end of a session."""

from __future__ import annotations

import pytest

from mailboxes.models import Message, MessageState
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
