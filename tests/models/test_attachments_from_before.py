"""What an earlier version stored without looking at it is known by its bytes after the migration."""

from __future__ import annotations

from collections.abc import Iterator
from email.message import EmailMessage
from typing import Any

import pytest
from django.core.management import call_command
from django.utils import timezone

from .test_upgrade import migrated

BEFORE, AFTER = "0016_watch", "0017_attachments_from_before"
PARTS = (
    ("invoice.pdf", "application/pdf", b"MZ\x90\x00 a program"),
    ("invoice.pdf", "application/pdf", b"%PDF-1.7"),
    ("notes.js", "text/plain", b"alert(1)"),
    ("photo.jpg", "image/jpeg", b"no picture at all"),
)


@pytest.fixture
def earlier(transactional_db: None) -> Iterator[Any]:
    yield migrated(BEFORE)
    call_command("migrate", verbosity=0)


def test_it_is_judged_as_what_comes_now(earlier: Any) -> None:
    earlier.get_model("mailboxes", "EmailConfigurationSettings").objects.update_or_create(
        pk=1, defaults={"blocked_attachment_extensions": "exe js"}
    )
    one, two = stored(earlier, PARTS[:3]), stored(earlier, PARTS[3:])
    # What can no longer be taken out of its message is judged by what is known of it.
    two.attachments.create(number=9, name="lost.exe", content_type="", size=1)

    rows = migrated(AFTER).get_model("mailboxes", "Attachment").objects.order_by("pk")

    assert {row.message_id for row in rows} == {one.pk, two.pk}
    assert [*rows.values_list("detected_type", "is_blocked", "blocked_because")] == [
        ("application/x-msdownload", True, "It is a program, whatever its name says, and these are blocked."),
        ("application/pdf", False, ""),
        ("", True, "Files that end in .js are blocked."),
        ("", False, ""),
        ("", True, "Files that end in .exe are blocked."),
    ]


def stored(earlier: Any, parts: tuple[tuple[str, str, bytes], ...]) -> Any:
    """A message with these parts, as that version kept it."""
    whole = EmailMessage()
    whole.set_content("Hello")
    for name, content_type, data in parts:
        whole.add_attachment(data, *content_type.split("/"), filename=name)
    raw = whole.as_bytes()
    owner, _ = earlier.get_model("mailboxes", "User").objects.get_or_create(username="amara")
    mailbox, _ = earlier.get_model("mailboxes", "Mailbox").objects.get_or_create(
        name="Collection 1", owner=owner, is_forward_mailbox=True, email_address="all@contoso.com"
    )
    message = earlier.get_model("mailboxes", "Message").objects.create(
        mailbox=mailbox,
        remote_id=str(len(parts)),
        state="received",
        received_at=timezone.now(),
        size=len(raw),
        raw_sha256=str(len(parts)) * 64,
        raw=raw,
    )
    for number, (name, content_type, data) in enumerate(parts, 1):
        message.attachments.create(number=number, name=name, content_type=content_type, size=len(data))
    return message
