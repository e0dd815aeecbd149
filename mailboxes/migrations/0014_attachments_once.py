from django.db import migrations, models


def number_inner_parts(apps, schema_editor):
    """What was forwarded as attachment is numbered within the inner message."""
    Attachment = apps.get_model("mailboxes", "Attachment")
    forwarded = Attachment.objects.filter(message__deliveries__rule="forwarded_as_attachment")
    Attachment.objects.filter(pk__in=forwarded.order_by().values("pk")).update(in_forwarded=True)


class Migration(migrations.Migration):
    """The bytes of attachments stand in the raw message already: they are stored once."""

    dependencies = [
        ("mailboxes", "0013_reconciliation"),
    ]

    operations = [
        migrations.AddField("attachment", "in_forwarded", models.BooleanField(default=False)),
        migrations.AddField(
            "attachment", "detected_type", models.CharField(blank=True, max_length=100, default=""),
            preserve_default=False,
        ),
        migrations.AddField(
            "attachment", "blocked_because", models.CharField(blank=True, max_length=200, default=""),
            preserve_default=False,
        ),
        migrations.RunPython(number_inner_parts, migrations.RunPython.noop),
        migrations.RemoveField("attachment", "data"),
    ]
