"""One person, typed as address, user name or full name: never a select of all users."""

from __future__ import annotations

from functools import reduce
from operator import or_
from typing import Any

from django import forms
from django.contrib.auth import get_user_model
from django.core.exceptions import ValidationError
from django.db.models import Q, QuerySet

from .controls import Suggesting

SUGGESTED = 50


def written_as(user: Any) -> str:
    """A person as an input shows them: "Amara Okafor <amara@contoso.com>"."""
    return f"{user} <{user.email}>"


def people_found(typed: str = "") -> QuerySet[Any]:
    """Active users whose name, user name or address contains every word typed."""
    users = get_user_model()._default_manager.filter(is_active=True)
    for word in typed.split()[:5]:
        fields = ("first_name", "last_name", "username", "email")
        users = users.filter(reduce(or_, (Q(**{f"{field}__icontains": word}) for field in fields)))
    return users.order_by("first_name", "last_name", "username")


def suggested_people() -> list[str]:
    return [written_as(user) for user in people_found()[:SUGGESTED]]


def person_named(typed: str) -> Any:
    """The one active user of an address, user name or full name; raises ValidationError with a sentence."""
    address = typed.rpartition("<")[2].strip().removesuffix(">")
    exact = Q(email__iexact=address) | Q(username__iexact=typed.strip())
    users = get_user_model()._default_manager.filter(exact, is_active=True)
    found = list(users[:2]) or [
        user for user in people_found(typed)[:SUGGESTED] if str(user) == typed.strip()
    ]
    if len(found) == 1:
        return found[0]
    if found:
        raise ValidationError(f"Several active users are called {typed}: type the email address.")
    raise ValidationError(f"No active user is called {typed}. Type a name, a user name or an email address.")


class PersonField(forms.CharField):
    """One active user, typed as address, user name or full name, with suggestions."""

    def __init__(self, *, attrs: dict[str, Any] | None = None, **options: Any) -> None:
        super().__init__(widget=Suggesting(suggested_people, attrs), **options)

    def prepare_value(self, value: Any) -> Any:
        """A user, or the key of one, as text; what was typed stays as it was typed."""
        if isinstance(value, int):
            value = get_user_model()._default_manager.filter(pk=value).first()
        return written_as(value) if isinstance(value, get_user_model()) else value

    def clean(self, value: Any) -> Any:
        if isinstance(value, get_user_model()) or value is None:
            return value
        typed = super().clean(self.prepare_value(value))
        return person_named(typed) if typed else None

    def has_changed(self, initial: Any, data: Any) -> bool:
        return bool(super().has_changed(self.prepare_value(initial), data))
