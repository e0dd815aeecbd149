"""To, Cc and Bcc: addresses as people type them, one on each line or with commas between."""

from __future__ import annotations

from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.db.models import Q, QuerySet

from emailprofiles.forms import Candidates, Pick
from emailprofiles.forms.combobox import ComboboxLines

from ..addresslist import addresses, not_addresses
from ..models import Mailbox, OutgoingRecipient, User
from ..writing import Person, shown

BEFORE = 10
"""So many of those who were written to before are offered."""
TYPED_AT_MOST = 50_000


class Correspondents(Candidates):
    """Users, queues that this person may know of, and whom this person wrote to before.

    An offer is only a help: any address may be typed.
    """

    address = "recipient-search"
    columns = ("name", "email_address")
    one, many = "recipient", "recipients"
    advice = "Names of this office are offered; any address may be typed."

    def __init__(self, user: User) -> None:
        self.user = user

    def rows(self) -> QuerySet[Any]:
        own = Mailbox.objects.own(self.user).order_by().values("pk")
        known = Q(user__isnull=False) | Q(queue__is_private=False) | Q(pk__in=own)
        active = Mailbox.objects.filter(known, is_active=True, is_forward_mailbox=False)
        return active.only("name", "email_address")

    def found(self, typed: str) -> tuple[list[Pick], bool]:
        picks, more = super().found(typed)
        offered = {pick.text.lower() for pick in picks}
        before = (_pick(one) for one in self._written_to(typed.replace("\0", "").strip()[:100]))
        return [*picks, *(pick for pick in before if pick.text.lower() not in offered)], more

    def _written_to(self, typed: str) -> list[Person]:
        if not typed:
            return []
        mine = OutgoingRecipient.objects.filter(message__written_by=self.user)
        like = mine.filter(Q(address__icontains=typed) | Q(name__icontains=typed))
        latest: dict[str, Person] = {}
        for name, address in like.order_by("-message").values_list("name", "address")[:200]:
            latest.setdefault(address.lower(), Person(name, address))
        return list(latest.values())[:BEFORE]

    def named(self, typed: str) -> list[Any]:
        return []

    def pick(self, record: Any) -> Pick:
        return _pick(Person(record.name, record.email_address))


def _pick(one: Person) -> Pick:
    return Pick(one.name or one.address, one.address, shown(one))


class RecipientsField(forms.CharField):
    """People, each with an address; one sentence names what is none."""

    def __init__(self, candidates: Candidates, **options: Any) -> None:
        widget = ComboboxLines(candidates)
        widget.attrs |= {"rows": 2, "class": "input"}
        super().__init__(required=False, max_length=TYPED_AT_MOST, widget=widget, **options)

    def prepare_value(self, value: Any) -> Any:
        return "\n".join(map(shown, value)) if isinstance(value, list) else value

    def clean(self, value: Any) -> list[Person]:
        typed = super().clean(self.prepare_value(value))
        listed = ", ".join(line.strip().rstrip(",;") for line in typed.splitlines() if line.strip())
        wrong = [piece for piece in not_addresses(listed) if piece.strip()]
        if wrong:
            named = ", ".join(f"“{piece[:60]}”" for piece in wrong[:5])
            raise ValidationError(f"{named}: this is no email address. Write it as name@example.com.")
        return [Person(one.name[:200], one.address) for one in addresses(listed)]
