from django.apps import AppConfig
from django.db.models.signals import post_migrate


class MailboxesConfig(AppConfig):
    name = "mailboxes"
    verbose_name = "Mailboxes"

    def ready(self) -> None:
        from . import checks, roles  # noqa: F401  (registers the checks)

        post_migrate.connect(roles.make_groups)
