"""For whom is this message? Asked of a person when nothing in it says so."""

from __future__ import annotations

from typing import Any

from django import forms
from django.db.models import QuerySet

from emailprofiles.forms import Candidates, ComboboxField, Pick, Summed, address_in

from ..models import Mailbox


class Targets(Candidates):
    """Users' and queues' mailboxes that are active."""

    address = "target-search"
    columns = ("name", "email_address")
    one, many = "user or queue", "users and queues"
    unknown = "No active user or queue is called {}, or has this address."
    several = "Several mailboxes are called {}."
    advice = "Type the name or the address."

    def rows(self) -> QuerySet[Any]:
        targets = Mailbox.objects.filter(is_active=True, is_forward_mailbox=False)
        return targets.only("name", "email_address", "user", "is_forward_mailbox")

    def looked_for(self, typed: str) -> str:
        return address_in(typed)

    def named(self, typed: str) -> list[Any]:
        found = list(self.rows().filter(email_address__iexact=address_in(typed))[:2])
        return found or list(self.rows().filter(name__iexact=typed).order_by("pk")[:2])

    def pick(self, record: Any) -> Pick:
        kind, address = record.kind.label, record.email_address
        return Pick(record.name, f"{kind}, {address}", f"{record.name} <{address}>")


class DeliverForm(Summed, forms.Form):
    """The user or queue, typed as name or address."""

    target = ComboboxField(
        Targets(),
        label="Deliver to",
        attrs={"class": "input"},
        help_text="The name or the address of a user or a queue.",
    )


class DiscardForm(Summed, forms.Form):
    """Why messages are given up."""

    reason = forms.CharField(
        label="Reason",
        max_length=1000,
        widget=forms.Textarea(attrs={"class": "input", "rows": 3}),
        help_text="In a few words; it stands at the message afterwards, with your name and the time.",
    )
