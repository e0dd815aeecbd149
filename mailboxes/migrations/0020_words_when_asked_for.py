import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    """What a message says is read when somebody looks; rows written by the thousand lose indexes that others cover."""

    dependencies = [
        ('mailboxes', '0019_originals_apart'),
    ]

    operations = [
        migrations.RemoveIndex(
            model_name='message',
            name='message_by_reason',
        ),
        migrations.RemoveIndex(
            model_name='message',
            name='message_by_collector',
        ),
        migrations.AddField(
            model_name='message',
            name='shows_forwarded',
            field=models.BooleanField(default=False),
        ),
        migrations.AlterField(
            model_name='attachment',
            name='message',
            field=models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='attachments', to='mailboxes.message'),
        ),
        migrations.AlterField(
            model_name='delivery',
            name='delivered_by',
            field=models.ForeignKey(blank=True, db_index=False, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL),
        ),
        migrations.AlterField(
            model_name='delivery',
            name='message',
            field=models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='deliveries', to='mailboxes.message'),
        ),
        migrations.AlterField(
            model_name='message',
            name='discarded_by',
            field=models.ForeignKey(blank=True, db_index=False, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL),
        ),
        migrations.AlterField(
            model_name='message',
            name='mailbox',
            field=models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='collected', to='mailboxes.mailbox'),
        ),
        migrations.AlterField(
            model_name='message',
            name='waiting_for',
            field=models.ForeignKey(blank=True, db_index=False, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='awaited_messages', to='mailboxes.mailbox'),
        ),
        migrations.AddIndex(
            model_name='delivery',
            index=models.Index(condition=models.Q(('delivered_by__isnull', False)), fields=['delivered_by'], name='delivery_by_hand'),
        ),
        migrations.AddIndex(
            model_name='message',
            index=models.Index(condition=models.Q(('state', 'quarantined')), fields=['state', 'reason', '-received_at'], name='message_by_reason'),
        ),
        migrations.AddIndex(
            model_name='message',
            index=models.Index(condition=models.Q(('state', 'quarantined')), fields=['state', 'mailbox', '-received_at'], name='message_by_collector'),
        ),
        migrations.AddIndex(
            model_name='message',
            index=models.Index(condition=models.Q(('waiting_for__isnull', False)), fields=['waiting_for'], name='message_waiting_for'),
        ),
        migrations.AddIndex(
            model_name='message',
            index=models.Index(condition=models.Q(('discarded_by__isnull', False)), fields=['discarded_by'], name='message_discarded_by'),
        ),
    ]
