from django.db import migrations, models

import emailprofiles.rules


class Migration(migrations.Migration):
    """Alerts are told by mail."""

    dependencies = [
        ('mailboxes', '0022_search'),
    ]

    operations = [
        migrations.AddField(
            model_name='alert',
            name='mailed_at',
            field=models.DateTimeField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name='alert',
            name='recovery_mailed_at',
            field=models.DateTimeField(blank=True, null=True),
        ),
        migrations.AddIndex(
            model_name='alert',
            index=models.Index(condition=models.Q(('mailed_at__isnull', False)), fields=['mailed_at'], name='alert_mailed'),
        ),
        migrations.AddField(
            model_name='emailconfigurationsettings',
            name='mail_alerts',
            field=models.BooleanField(default=True, verbose_name='Mail alerts to their owners'),
        ),
        migrations.AddField(
            model_name='emailconfigurationsettings',
            name='alert_mail_grace_minutes',
            field=models.PositiveSmallIntegerField(default=15, verbose_name='Minutes that something lasts before a mail is sent'),
        ),
        migrations.AddConstraint(
            model_name='emailconfigurationsettings',
            constraint=emailprofiles.rules.FieldRule(condition=models.Q(('alert_mail_grace_minutes__gte', 0), ('alert_mail_grace_minutes__lte', 1440)), field='alert_mail_grace_minutes', message='Choose a number of minutes from 0 to 1440.', name='settings_alert_mail_grace_in_range'),
        ),
    ]
