from itertools import groupby

from django.db import migrations

from mailboxes import filetypes, reading
from mailboxes.sync.parser import ATTACHED, Parser, Poison

AT_ONCE = 200


def know_by_their_bytes(apps, schema_editor):
    """What was stored before attachments were looked at is judged as what comes now, in portions."""
    Attachment = apps.get_model("mailboxes", "Attachment")
    blocked = _blocked(apps.get_model("mailboxes", "EmailConfigurationSettings"))
    place = 0
    with Parser(target=ATTACHED) as parser:
        while rows := _portion(Attachment, place):
            for _, parts in groupby(rows, key=lambda row: row.message_id):
                _judge(list(parts), blocked, parser, apps.get_model("mailboxes", "Message"))
            Attachment.objects.bulk_update(rows, ["detected_type", "is_blocked", "blocked_because"])
            place = rows[-1].pk


def _portion(Attachment, place):
    unknown = Attachment.objects.filter(detected_type="", blocked_because="", pk__gt=place)
    return list(unknown.order_by("pk")[:AT_ONCE])


def _blocked(Settings):
    written = Settings.objects.values_list("blocked_attachment_extensions", flat=True).first() or ""
    return frozenset(word.strip(".*") for word in written.lower().replace(",", " ").split()) - {""}


def _judge(parts, blocked, parser, Message):
    raw = Message.objects.values_list("raw", flat=True).get(pk=parts[0].message_id)
    request = reading.ask_for_files(bytes(raw), [part.number for part in parts], parts[0].in_forwarded)
    answer = next(parser.ask_many([request], reading.load_files))
    found = {} if isinstance(answer, Poison) else answer
    for part in parts:
        part.detected_type = filetypes.detect(found.get(part.number, b""))
        part.blocked_because = filetypes.why_blocked(part.name, part.content_type, part.detected_type, blocked)
        part.is_blocked = bool(part.blocked_because)


class Migration(migrations.Migration):
    """Attachments that an earlier version stored are known by their bytes, too, and blocked kinds stay inside."""

    atomic = False

    dependencies = [
        ("mailboxes", "0016_watch"),
    ]

    operations = [migrations.RunPython(know_by_their_bytes, migrations.RunPython.noop)]
