"""For whom is this message? Asked of a person when nothing in it says so."""

from __future__ import annotations

from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.db.models import Q, QuerySet

from emailprofiles.forms import SUGGESTED, Suggesting

from ..models import Mailbox


def _targets() -> QuerySet[Mailbox]:
    """Users' and queues' mailboxes that are active."""
    return Mailbox.objects.filter(is_active=True, is_forward_mailbox=False).only("name", "email_address")


def _suggested() -> list[str]:
    return [
        f"{target.name} <{target.email_address}>" for target in _targets().order_by("name")[: 4 * SUGGESTED]
    ]


class DeliverForm(forms.Form):
    """The user or queue, typed as name or address."""

    target = forms.CharField(
        label="Deliver to",
        widget=Suggesting(_suggested, {"class": "input"}),
        help_text="The name or the address of a user or a queue.",
    )

    def clean_target(self) -> Mailbox:
        typed = self.cleaned_data["target"].strip()
        address = typed.rpartition("<")[2].strip().removesuffix(">")
        found = list(_targets().filter(email_address__iexact=address)[:2])
        found = found or list(_targets().filter(Q(name__iexact=typed)).order_by("pk")[:2])
        if len(found) == 1:
            return found[0]
        if found:
            raise ValidationError(f"Several mailboxes are called {typed}: type the address.")
        raise ValidationError(f"No active user or queue is called {typed}, or has this address.")

    @property
    def summary(self) -> list[tuple[str, str, str]]:
        """As in RecordForm: (anchor, label, sentence) of each error."""
        bound: Any = self["target"]
        return [(bound.auto_id, bound.label, str(sentence)) for sentence in bound.errors]
