"""Browsers of the people of the office."""

from collections.abc import Callable

import pytest
from django.test import Client

from mailboxes.models import Mailbox, User
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


def works(office: Office, mailbox: Mailbox, *, status: str = "success") -> None:
    """Let a mailbox be read itself, approved, with credentials, and tested with this result."""
    stored = Mailbox.objects.get(pk=mailbox.pk)
    stored.approval = stored.approval if stored.is_forward_mailbox else "approved"
    stored.server_profile, stored.incoming_method = office.profile, "server_side"
    stored.allow_credentials, stored.username = True, f"account{mailbox.pk}"
    stored.password = "Postkutsche 7"
    stored.save()
    stored.states.filter(direction="incoming").update(
        enabled=status == "success",
        test_status=status,
        tested_mailbox_version=stored.connection_version,
        tested_profile_version=office.profile.connection_version,
    )
