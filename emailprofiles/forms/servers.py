"""One email server profile, chosen by its name."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet

from ..models import EmailServerProfile
from .combobox import Candidates, ComboboxField, Pick


class Profiles(Candidates):
    """The active profiles."""

    address = "profile-search"
    columns = ("name", "incoming_host", "outgoing_host")
    one, many = "profile", "profiles"
    unknown = "No active profile is called {}."
    advice = "Choose one of the active profiles."

    def rows(self) -> QuerySet[Any]:
        return EmailServerProfile.objects.filter(is_active=True)

    def named(self, typed: str) -> list[Any]:
        return list(self.rows().filter(name__iexact=typed))

    def pick(self, record: Any) -> Pick:
        places = dict.fromkeys(filter(None, (record.incoming_host, record.outgoing_host)))
        return Pick(record.name, ", ".join(places), record.name)


class ServerProfileField(ComboboxField):
    """One active profile, or the one that was chosen before."""

    def __init__(self, **options: Any) -> None:
        super().__init__(Profiles(), **options)
