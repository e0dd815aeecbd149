"""What an earlier version stored without looking at it is known by its bytes after the migration."""

from __future__ import annotations

from importlib import import_module

from django.apps import apps

from mailboxes.models import Attachment, EmailConfigurationSettings
from tests.conftest import Office
from tests.pages.letters import attached, collected

migration = import_module("mailboxes.migrations.0017_attachments_from_before")


def test_it_is_judged_as_what_comes_now(office: Office) -> None:
    EmailConfigurationSettings.load()
    EmailConfigurationSettings.objects.update(blocked_attachment_extensions="exe js")
    one, two = collected(office.collection), collected(office.collection, 2)
    attached(one, "invoice.pdf", "application/pdf", b"MZ\x90\x00 a program")
    attached(one, "invoice.pdf", "application/pdf", b"%PDF-1.7")
    attached(one, "notes.js", "text/plain", b"alert(1)")
    attached(two, "photo.jpg", "image/jpeg", b"no picture at all")
    # What can no longer be taken out of its message is judged by what is known of it.
    Attachment.objects.create(message=two, number=9, name="lost.exe", content_type="", size=1)

    migration.know_by_their_bytes(apps, None)

    rows = Attachment.objects.order_by("pk")
    assert [*rows.values_list("detected_type", "is_blocked", "blocked_because")] == [
        ("application/x-msdownload", True, "It is a program, whatever its name says, and these are blocked."),
        ("application/pdf", False, ""),
        ("", True, "Files that end in .js are blocked."),
        ("", False, ""),
        ("", True, "Files that end in .exe are blocked."),
    ]
