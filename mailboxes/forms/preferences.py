"""What everyone decides alone: the zone of times, the theme, the language, and what stands below one's own mail."""

from __future__ import annotations

from typing import Any

from django import forms
from django.conf import settings
from django.forms.utils import flatatt
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from emailprofiles.forms import RecordForm

from ..models import User, time_zones
from ..models.people import SIGNATURE_LETTERS, SIGNATURE_LINES

PLAIN_TEXT = f"Plain text of at most {SIGNATURE_LINES} lines. Empty: no signature."


class LanguageField(forms.ChoiceField):
    """One of the languages that this version speaks."""

    def __init__(self, **options: Any) -> None:
        super().__init__(label="Language", choices=lambda: settings.LANGUAGES, **options)
        if len(settings.LANGUAGES) == 1:
            self.help_text = f"This version speaks {settings.LANGUAGES[0][1]} only."


class LongSelect(forms.Select):
    """A plain select of hundreds: with a template for each option they take longer than the rest of the page."""

    def render(self, name: str, value: Any, attrs: Any = None, renderer: Any = None) -> SafeString:
        chosen = set(self.format_value(value))
        options = format_html_join(
            "\n",
            '<option value="{}"{}>{}</option>',
            ((key, " selected" if str(key) in chosen else "", label) for key, label in self.choices),
        )
        own = self.build_attrs(self.attrs, attrs)
        return format_html('<select name="{}"{}>\n{}\n</select>', name, flatatt(own), options)


class TimeZoneField(forms.ChoiceField):
    """A time zone by its name in the tz database."""

    def __init__(self, **options: Any) -> None:
        super().__init__(
            label="Time zone",
            choices=lambda: [(zone, zone) for zone in time_zones()],
            widget=LongSelect,
            **options,
        )


class SignatureText(forms.Textarea):
    """A text of a few lines, as it will stand below a mail."""

    def __init__(self) -> None:
        super().__init__({"rows": 5, "maxlength": SIGNATURE_LETTERS})


class PreferencesForm(RecordForm):
    """Of the person who has signed in; no other column can be posted."""

    time_zone = TimeZoneField(help_text="In which times are shown to you.")
    language = LanguageField()

    class Meta:
        model = User
        fields = ("time_zone", "language", "theme", "signature")
        widgets = {"theme": forms.RadioSelect, "signature": SignatureText}
        help_texts = {
            "theme": "With Auto, your computer or phone decides.",
            "signature": "Stands below what you write from your own mailbox, above the mail that you answer. "
            f"{PLAIN_TEXT}",
        }
