"""Rows that are written without the ORM are rows like any other; and what a pass asks for has an index."""

from datetime import UTC, datetime

import pytest
from django.db import IntegrityError, connection, transaction
from django.db.models import QuerySet

from emailprofiles.wire import Folder
from mailboxes.models import Message, MessageState, Original
from mailboxes.sync import ingest, rows
from mailboxes.sync.disposal import PROCESSED, UNDELIVERABLE
from tests.pages.letters import collected
from tests.sync.conftest import Office

NOON = datetime(2026, 11, 27, 12, 0, 0, 123456, tzinfo=UTC)


def row(office: Office, pk: int, remote_id: str = "1") -> rows.Row:
    return {
        "id": pk,
        "mailbox_id": office.forward.pk,
        "remote_id": remote_id,
        "received_at": NOON,
        "size": 3,
        "raw_sha256": "0" * 64,
    }


def stored(office: Office, *remote_ids: str) -> list[int]:
    with transaction.atomic():
        office.forward.save()  # whoever numbers rows has written before
        numbers = list(rows.keys(Message, len(remote_ids)))
        rows.insert(Message, [row(office, *one) for one in zip(numbers, remote_ids, strict=True)])
        rows.insert(Original, [{"message_id": pk, "raw": b"\x00\xff\\n%s"} for pk in numbers])
    return numbers


def test_what_a_row_does_not_name_has_its_default(office: Office) -> None:
    (pk,) = stored(office, "1")
    message = Message.objects.get(pk=pk)
    usual = Message(received_at=NOON)
    assert message.received_at == NOON
    assert (message.state, message.folder, message.occurrence) == (usual.state, "INBOX", 1)
    assert (message.is_stub, message.asked_at, message.subject) == (False, None, "")
    assert abs(message.collected_at - usual.collected_at).total_seconds() < 60
    assert message.raw == b"\x00\xff\\n%s"


def test_numbers_are_given_once(office: Office) -> None:
    before = collected(office.forward, 7)
    numbers = stored(office, "1", "2")
    after = collected(office.forward, 8)
    assert len({before.pk, *numbers, after.pk}) == 4
    assert numbers == sorted(numbers)
    assert after.pk > max(numbers)


def test_nothing_to_write_is_nothing(office: Office) -> None:
    assert stored(office) == []
    rows.update(Message, [])
    assert not Message.objects.exists()


def test_rows_are_changed_by_their_numbers(office: Office) -> None:
    first, second = stored(office, "1", "2")
    rows.update(Message, [{"id": second, "subject": "Ä", "sent_at": NOON, "waiting_for_id": None}])
    assert Message.objects.get(pk=first).subject == ""
    changed = Message.objects.get(pk=second)
    assert (changed.subject, changed.sent_at) == ("Ä", NOON)


def test_the_database_refuses_what_it_always_refuses(office: Office) -> None:
    stored(office, "1")
    with pytest.raises(IntegrityError), transaction.atomic():
        stored(office, "2", "1")
    assert Message.objects.count() == 1
    with pytest.raises(IntegrityError), transaction.atomic():
        rows.insert(Message, [row(office, 900, "9") | {"state": "lost"}])


def asked(place: ingest.Place) -> dict[str, QuerySet[Message]]:
    live = ingest.live(place)
    return {
        "message_to_settle": live.filter(PROCESSED, disposed_at=None),
        "message_gone": live.filter(gone_at__isnull=False, raw_sha256__in=["a", "b"]),
        "message_stubs": live.filter(is_stub=True).exclude(state=MessageState.DISCARDED),
    }


@pytest.mark.skipif(connection.vendor != "sqlite", reason="asks SQLite itself")
@pytest.mark.parametrize("index", ["message_to_settle", "message_gone", "message_stubs"])
def test_what_a_pass_asks_for_is_found_without_a_walk_through_the_folder(office: Office, index: str) -> None:
    place = ingest.Place(office.forward, Folder("INBOX", "1", 0, True, True, True))
    assert index in asked(place)[index].explain()
    assert "message_to_settle" in ingest.live(place).filter(UNDELIVERABLE, disposed_at=None).explain()
