"""What an earlier version stored is still there after `migrate`, and after the way back."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from django.utils import timezone

BEFORE, AFTER = "0018_found_in_quarantine", "0019_originals_apart"


def migrated(name: str) -> Any:
    """The models as they were then."""
    executor = MigrationExecutor(connection)
    executor.migrate([("mailboxes", name)])
    return MigrationExecutor(connection).loader.project_state([("mailboxes", name)]).apps


@pytest.fixture
def earlier(transactional_db: None) -> Iterator[Any]:
    yield migrated(BEFORE)
    call_command("migrate", verbosity=0)


def test_bytes_and_bodies_move_out_of_the_row_and_back(earlier: Any) -> None:
    owner = earlier.get_model("mailboxes", "User").objects.create(username="amara")
    mailbox = earlier.get_model("mailboxes", "Mailbox").objects.create(
        name="Collection 1", owner=owner, is_forward_mailbox=True, email_address="all@contoso.com"
    )
    Message = earlier.get_model("mailboxes", "Message")
    for number, state in enumerate(("received", "delivered", "quarantined")):
        Message.objects.create(
            mailbox=mailbox,
            remote_id=str(number),
            state=state,
            received_at=timezone.now(),
            size=5,
            raw_sha256=str(number) * 64,
            raw=b"\x00raw" + bytes([number]),
            text="" if state == "received" else f"Text {number}",
            html="" if state == "received" else f"<p>{number}</p>",
        )

    after = migrated(AFTER)
    originals = after.get_model("mailboxes", "Original").objects.order_by("pk")
    assert [bytes(one.raw) for one in originals] == [b"\x00raw\x00", b"\x00raw\x01", b"\x00raw\x02"]
    bodies = after.get_model("mailboxes", "Body").objects.order_by("pk")
    assert [(one.text, one.html) for one in bodies] == [("Text 1", "<p>1</p>"), ("Text 2", "<p>2</p>")]

    rows = migrated(BEFORE).get_model("mailboxes", "Message").objects.order_by("pk")
    assert [(bytes(row.raw), row.text) for row in rows] == [
        (b"\x00raw\x00", ""),
        (b"\x00raw\x01", "Text 1"),
        (b"\x00raw\x02", "Text 2"),
    ]


def test_users_and_queues_keep_everything_when_the_length_of_signatures_is_held(
    transactional_db: None,
) -> None:
    before = migrated("0024_outbox")
    amara = before.get_model("mailboxes", "User").objects.create(username="amara", signature="Amara")
    support = before.get_model("mailboxes", "Queue").objects.create(
        name="Support", email_address="support@contoso.com", owner=amara, signature="Support"
    )
    support.members.add(amara)
    for values in ({"user": amara, "email_address": "amara@contoso.com"}, {"queue": support}):
        before.get_model("mailboxes", "Mailbox").objects.create(
            name="Box", owner=amara, approval="pending", **{"email_address": "support@contoso.com"} | values
        )

    after = migrated("0025_signature_length")

    queue = after.get_model("mailboxes", "Queue").objects.get()
    assert (queue.signature, queue.owner.signature) == ("Support", "Amara")
    assert [one.username for one in queue.members.all()] == ["amara"]
    assert (queue.mailbox.name, queue.owner.mailbox.name) == ("Box", "Box")
    connection.check_constraints()
