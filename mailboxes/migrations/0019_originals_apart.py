import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    """The bytes of messages, and what was read in them, move out of the row that changes often.

    Copied within the database, in one statement each: until the old columns are gone it needs their room twice.
    """

    dependencies = [
        ('mailboxes', '0018_found_in_quarantine'),
    ]

    operations = [
        migrations.CreateModel(
            name='Body',
            fields=[
                ('message', models.OneToOneField(on_delete=django.db.models.deletion.CASCADE, primary_key=True, related_name='body', serialize=False, to='mailboxes.message')),
                ('text', models.TextField(blank=True)),
                ('html', models.TextField(blank=True)),
            ],
            options={
                'verbose_name_plural': 'bodies',
            },
        ),
        migrations.CreateModel(
            name='Original',
            fields=[
                ('message', models.OneToOneField(on_delete=django.db.models.deletion.CASCADE, primary_key=True, related_name='original', serialize=False, to='mailboxes.message')),
                ('raw', models.BinaryField()),
            ],
        ),
        migrations.RunSQL(
            [
                'INSERT INTO mailboxes_original (message_id, raw) SELECT id, raw FROM mailboxes_message',
                "INSERT INTO mailboxes_body (message_id, text, html) SELECT id, text, html FROM mailboxes_message "
                "WHERE state <> 'received' OR text <> '' OR html <> ''",
            ],
            [
                'UPDATE mailboxes_message SET raw = o.raw FROM mailboxes_original o WHERE o.message_id = mailboxes_message.id',
                'UPDATE mailboxes_message SET text = b.text, html = b.html FROM mailboxes_body b '
                'WHERE b.message_id = mailboxes_message.id',
            ],
        ),
        # The way back adds the column to rows that have no bytes yet.
        migrations.SeparateDatabaseAndState(
            state_operations=[
                migrations.AlterField(model_name='message', name='raw', field=models.BinaryField(default=b'')),
            ],
        ),
        migrations.RemoveField(
            model_name='message',
            name='html',
        ),
        migrations.RemoveField(
            model_name='message',
            name='raw',
        ),
        migrations.RemoveField(
            model_name='message',
            name='text',
        ),
    ]
