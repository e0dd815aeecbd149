"""A message to try the routing rules with: pasted, or as a file."""

from __future__ import annotations

from typing import Any

from django import forms
from django.core.exceptions import ValidationError

from emailprofiles.forms import Summed

from ..models import Mailbox

LARGEST_FILE = 25 * 1024 * 1024
LONGEST_TEXT = 1024 * 1024


class SimulatorForm(Summed, forms.Form):
    """Gives `raw`, the bytes of the message, and the forward mailbox that would have collected it."""

    mailbox = forms.ModelChoiceField(
        label="Collected by",
        queryset=Mailbox.objects.none(),
        widget=forms.Select(attrs={"class": "input"}),
        empty_label="Choose a forward mailbox",
        help_text="The forward mailbox that a copy like this arrives in.",
        error_messages={
            "required": "Choose the forward mailbox that would collect the message.",
            "invalid_choice": "Choose one of the forward mailboxes.",
        },
    )
    file = forms.FileField(
        label="Message as a file",
        required=False,
        allow_empty_file=True,
        widget=forms.FileInput(attrs={"class": "input", "accept": ".eml,message/rfc822"}),
        help_text="An .eml file of at most 25 MB, chosen or dropped here. It comes before what is pasted.",
    )
    message = forms.CharField(
        label="Headers or whole message",
        required=False,
        max_length=LONGEST_TEXT,
        strip=False,
        widget=forms.Textarea(attrs={"rows": 16, "class": "input mono", "spellcheck": "false"}),
        help_text="The source of the message, as mail programs show it. The headers are enough, but for a message that "
        "was forwarded as attachment.",
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        field: Any = self.fields["mailbox"]
        rows = Mailbox.objects.filter(is_forward_mailbox=True, is_active=True)
        field.queryset = rows.defer("password").order_by("name")
        if not self.initial.get("mailbox") and rows.count() == 1:
            self.initial["mailbox"] = rows.get().pk

    def clean_file(self) -> bytes:
        """The bytes of the file; none when there is no file."""
        chosen = self.cleaned_data.get("file")
        if chosen is None:
            return b""
        if chosen.size > LARGEST_FILE:
            raise ValidationError("The file is larger than 25 MB: paste its headers instead.")
        data: bytes = chosen.read()
        if not data.strip():
            raise ValidationError("The file is empty: choose one that holds a message.")
        return data

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        pasted = cleaned.get("message", "").lstrip()
        cleaned["raw"] = cleaned.get("file") or pasted.encode("utf-8", "surrogateescape")
        if not cleaned["raw"] and not self.errors:
            raise ValidationError({"message": "Paste the headers of a message, or choose an .eml file."})
        return cleaned
