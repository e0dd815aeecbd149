"""To whom everything goes that a person owns, and whether a mailbox comes back with its user or queue."""

from __future__ import annotations

from typing import Any

from django import forms
from django.core.exceptions import ValidationError

from emailprofiles.forms import PersonField, Summed, YesNo

from ..departures import hand_over
from ..models import User


class HandOverForm(Summed, forms.Form):
    """The person who takes over everything that `user` owns."""

    to = PersonField(
        label="Hand over to",
        help_text="Receives the alerts of these records from then on. Type a name, a user name or an address.",
        attrs={"class": "input"},
    )

    def __init__(self, *args: Any, user: User, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.user = user

    def try_to_hand_over(self) -> int | None:
        """How many records changed hands; None, with the sentences at the field, when it was refused."""
        if not self.is_valid():
            return None
        try:
            return hand_over(self.user, self.cleaned_data["to"])
        except ValidationError as error:
            self.add_error("to", " ".join(error.messages))
            return None


class ActivateForm(forms.Form):
    """Whether the mailbox becomes active, too."""

    with_mailbox = YesNo(
        label="Activate its mailbox, too",
        initial=True,
        help_text="With No, nothing runs for it until its mailbox is activated.",
    )
