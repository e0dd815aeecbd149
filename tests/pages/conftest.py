"""Browsers of the people of the office."""

from collections.abc import Callable

import pytest
from django.test import Client

from mailboxes.models import User
from mailboxes.roles import Role, set_role
from tests.conftest import Office


@pytest.fixture
def browser_of(office: Office) -> Callable[[str], Client]:
    """A browser in which somebody of this role has signed in; in that of "anonymous" nobody has."""

    def signed_in(role: str) -> Client:
        client = Client()
        if role != "anonymous":
            person = User.objects.create_user(role, f"{role}@contoso.com", first_name=role.title())
            set_role(person, Role(role))
            client.force_login(person)
        return client

    return signed_in


@pytest.fixture
def amaras(office: Office) -> Client:
    """Amara's browser: she administers email."""
    client = Client()
    client.force_login(office.amara)
    return client
