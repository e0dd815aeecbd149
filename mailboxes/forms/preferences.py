"""What everyone decides alone: the zone of times, the theme, the language."""

from __future__ import annotations

from typing import Any

from django import forms
from django.conf import settings

from emailprofiles.forms import RecordForm

from ..models import User, time_zones


class LanguageField(forms.ChoiceField):
    """One of the languages that this version speaks."""

    def __init__(self, **options: Any) -> None:
        super().__init__(label="Language", choices=lambda: settings.LANGUAGES, **options)
        if len(settings.LANGUAGES) == 1:
            self.help_text = f"This version speaks {settings.LANGUAGES[0][1]} only."


class TimeZoneField(forms.ChoiceField):
    """A time zone by its name in the tz database."""

    def __init__(self, **options: Any) -> None:
        super().__init__(
            label="Time zone", choices=lambda: [(zone, zone) for zone in time_zones()], **options
        )


class PreferencesForm(RecordForm):
    """Of the person who has signed in; no other column can be posted."""

    time_zone = TimeZoneField(help_text="In which times are shown to you.")
    language = LanguageField()

    class Meta:
        model = User
        fields = ("time_zone", "language", "theme")
        widgets = {"theme": forms.RadioSelect}
        help_texts = {"theme": "With Auto, your computer or phone decides."}
