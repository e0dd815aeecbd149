from django.db import migrations, models


def since_their_creation(apps, schema_editor):
    """Addresses that wait already have waited at least since their mailbox was made."""
    Mailbox = apps.get_model("mailboxes", "Mailbox")
    waiting = Mailbox.objects.filter(approval="pending", approval_at=None)
    waiting.update(approval_at=models.F("created_at"))


class Migration(migrations.Migration):

    dependencies = [
        ('mailboxes', '0002_bulk_commands_and_surveys'),
    ]

    operations = [
        migrations.RunPython(since_their_creation, migrations.RunPython.noop),
        migrations.AlterField(
            model_name="queue",
            name="is_private",
            field=models.BooleanField(default=True, verbose_name="Private"),
        ),
    ]
