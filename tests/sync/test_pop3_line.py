"""The line over POP3: on a real Dovecot, and at a server that gives its names to other messages."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from mailboxes.models import Alert, Delivery, EmailConfigurationSettings, Message, SkippedMessage
from mailboxes.sync.ledger import balances
from tests.servers import Scripted

from .conftest import Office, enable, letter

pytestmark = pytest.mark.django_db(transaction=True)


def speaks_pop3(office: Office, port: int) -> Office:
    office.profile.server_type = "pop3_smtp"
    office.profile.incoming_port = port
    office.profile.save()
    office.forward.refresh_from_db()
    office.forward.server_profile = office.profile
    office.forward.credentials_location_version = office.profile.location_version
    office.forward.save()
    enable(office.forward)
    return office


def keep_on_server(office: Office) -> None:
    office.forward.delete_emails_after_processing = False
    office.forward.save()
    enable(office.forward)


@pytest.fixture
def pop3(office: Office) -> Office:
    return speaks_pop3(office, office.dovecot.pop3_port)


def balanced(office: Office) -> bool:
    return all(balance.difference == 0 for balance in balances(office.forward))


def numbered(count: int) -> list[bytes]:
    return [letter(f"Number {n}", Delivered_To="noah@contoso.com") for n in range(count)]


def test_mail_is_collected_delivered_and_deleted(pop3: Office) -> None:
    pop3.user("noah")
    pop3.arrives(*numbered(5), letter("Nobody's", to="x@example.net"))
    summary = pop3.synchronize()
    assert (summary.collected, summary.failures) == (6, [])
    assert pop3.delivered() == {f"Number {n}": ["Noah"] for n in range(5)}
    assert [b"Nobody's" in kept.raw for kept in pop3.on_server()] == [True]
    assert pop3.again().collected == 0
    assert balanced(pop3)


def test_what_stays_on_the_server_is_collected_once(pop3: Office) -> None:
    pop3.user("noah")
    keep_on_server(pop3)
    pop3.profile.messages_per_cycle = 2
    pop3.profile.save()
    pop3.arrives(*numbered(5))
    assert pop3.synchronize().collected == 5
    pop3.arrives(letter("Later", Delivered_To="noah@contoso.com"))
    assert pop3.again().collected == 1
    assert len(pop3.on_server()) == 6
    assert Delivery.objects.count() == 6
    assert not Alert.objects.exists()
    assert balanced(pop3)


def test_process_email_from_reads_the_topmost_received_line(pop3: Office) -> None:
    pop3.user("noah")
    pop3.profile.process_email_from = datetime(2026, 6, 1, tzinfo=UTC)
    pop3.profile.save()
    received = "from a.example by mx.contoso.com; {}"
    pop3.arrives(
        letter("Old", Received=received.format("Fri, 01 May 2026 10:00:00 +0000")),
        letter("New", Received=received.format("Wed, 01 Jul 2026 10:00:00 +0000")),
        letter("Undated"),
    )
    assert pop3.synchronize().collected == 2
    assert sorted(Message.objects.values_list("subject", flat=True)) == ["New", "Undated"]
    pop3.again()
    assert SkippedMessage.objects.get().why == "too_old"
    assert len(pop3.on_server()) == 3  # the old one, and two in quarantine
    assert balanced(pop3)


def test_a_message_that_is_too_large_is_a_stub_here_too(pop3: Office) -> None:
    pop3.user("noah")
    EmailConfigurationSettings.objects.update(max_message_size_mb=1)
    pop3.arrives(letter("A film", Delivered_To="noah@contoso.com", body="line\r\n" * 200_000))
    pop3.synchronize()
    stub = Message.objects.get()
    assert (stub.is_stub, stub.subject, stub.reason) == (True, "A film", "too_large")
    EmailConfigurationSettings.objects.update(max_message_size_mb=2)
    pop3.again()
    assert pop3.delivered() == {"A film": ["Noah"]}
    assert pop3.on_server() == []


class Careless:
    """A POP3 server whose names are the numbers of the moment: each is given to another message, again and again."""

    def __init__(self, *messages: bytes) -> None:
        self.drop = list(messages)
        self.loses_farewells = False

    def play(self, connection: socket.socket) -> None:
        connection.sendall(b"+OK hello\r\n")
        here, deleted = list(self.drop), set[int]()
        with connection.makefile("rb") as lines:
            for line in lines:
                command, *words = line.decode().split()
                if command == "QUIT":
                    if self.loses_farewells:
                        return
                    self.drop = [
                        raw for number, raw in enumerate(here, 1) if number not in deleted
                    ] + self.drop[len(here) :]
                    connection.sendall(b"+OK bye\r\n")
                    return
                if command == "DELE":
                    deleted.add(int(words[0]))
                connection.sendall(b"".join(self.answer(command, words, here)))

    def answer(self, command: str, words: list[str], here: list[bytes]) -> Iterator[bytes]:
        yield b"+OK\r\n"
        if command == "CAPA":
            yield b"USER\r\nTOP\r\nUIDL\r\n.\r\n"
        elif command in ("LIST", "UIDL"):
            for number, raw in enumerate(here, 1):
                yield b"%d %d\r\n" % (number, len(raw) if command == "LIST" else number)
            yield b".\r\n"
        elif command == "RETR":
            yield here[int(words[0]) - 1] + b".\r\n"
        elif command == "TOP":
            yield here[int(words[0]) - 1].partition(b"\r\n\r\n")[0] + b"\r\n\r\n.\r\n"


def test_a_name_that_is_given_to_another_message_names_another_message(office: Office) -> None:
    office.user("noah")
    careless = Careless(*numbered(3))
    with Scripted(careless.play) as server:
        speaks_pop3(office, server.port)
        assert office.synchronize().collected == 3
        assert careless.drop == []
        careless.drop = [letter(f"Other {n}", Delivered_To="noah@contoso.com") for n in range(3)]
        assert office.again().collected == 3
    assert len(office.delivered()) == 6
    assert careless.drop == []
    assert sorted(Message.objects.values_list("remote_id", "occurrence")) == [
        (str(name), occurrence) for name in (1, 2, 3) for occurrence in (1, 2)
    ]
    assert balanced(office)


def test_nothing_is_deleted_by_a_name_that_means_another_message_by_now(office: Office) -> None:
    """The farewell was lost, so nothing was deleted; then somebody deletes the first, and the names move up."""
    office.user("noah")
    careless = Careless(*numbered(2))
    with Scripted(careless.play) as server:
        speaks_pop3(office, server.port)
        careless.loses_farewells = True
        office.synchronize()
        assert len(office.delivered()) == 2
        assert len(careless.drop) == 2
        careless.loses_farewells = False
        new = letter("New", to="x@example.net")
        careless.drop = [careless.drop[1], new]
        office.again()
        office.again()
    assert careless.drop == [new]  # in quarantine: nobody's, so it stays
    assert set(office.delivered()) == {"Number 0", "Number 1"}
    assert Message.objects.get(subject="New").state == "quarantined"
    assert Delivery.objects.count() == 2
