from django.apps import AppConfig


class EmailProfilesConfig(AppConfig):
    name = "emailprofiles"
    verbose_name = "Email server profiles"

    def ready(self) -> None:
        from . import checks, keycanary  # noqa: F401  (registers the checks)

        keycanary.watch_migrations(self)
