"""One person, or several, named by address, user name or full name: never a select of all users."""

from __future__ import annotations

from functools import reduce
from operator import or_
from typing import Any

from django.contrib.auth import get_user_model
from django.db.models import Q, QuerySet

from ..prefixes import WORDS
from .combobox import Candidates, ComboboxField, ComboboxListField, Pick, address_in


class People(Candidates):
    """The active users."""

    address = "people-search"
    columns = ("first_name", "last_name", "username", "email")
    one, many = "person", "people"
    unknown = "No active user is called {}."
    several = "Several active users are called {}."
    advice = "Type a name, a user name or an email address."

    def rows(self) -> QuerySet[Any]:
        return get_user_model()._default_manager.filter(is_active=True)

    def looked_for(self, typed: str) -> str:
        return address_in(typed)

    def named(self, typed: str) -> list[Any]:
        exact = Q(email__iexact=address_in(typed)) | Q(username__iexact=typed)
        found = list(self.rows().filter(exact)[:2])
        return found or list(self.rows().filter(_full_name(typed.split()))[:2])

    def pick(self, record: Any) -> Pick:
        return Pick(str(record), record.email, f"{record} <{record.email}>")


def _full_name(words: list[str]) -> Q:
    """Users of exactly this name, wherever the first name ends and the last name begins."""
    parts = [(words[:cut], words[cut:]) for cut in range(min(len(words), WORDS) + 1)]
    names = (Q(first_name__iexact=" ".join(first), last_name__iexact=" ".join(last)) for first, last in parts)
    return reduce(or_, names)


class PersonField(ComboboxField):
    """One active user."""

    def __init__(self, **options: Any) -> None:
        super().__init__(People(), **options)


class PeopleField(ComboboxListField):
    """Several active users, one on each line."""

    def __init__(self, **options: Any) -> None:
        super().__init__(People(), **options)
