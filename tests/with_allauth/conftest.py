"""Noah, who may sign in, in a process that was started with SIGN_IN_WITH=allauth."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.conf import settings
from django.core.cache import cache
from django.test import Client

from mailboxes.models import User

from .provider import Provider

PASSWORD = "Feldsalat und Kresse"


@pytest.fixture(autouse=True)
def _nothing_is_remembered() -> None:
    """allauth counts attempts and used codes in the cache."""
    cache.clear()


@pytest.fixture
def noah(db: None) -> User:
    return User.objects.create_user("noah", "noah@contoso.com", PASSWORD, first_name="Noah", last_name="Lind")


@pytest.fixture
def provider() -> Iterator[Provider]:
    """The provider of SSO_SERVER_URL; Noah signs in there."""
    person = {"sub": "8f1c", "email": "noah@contoso.com", "email_verified": True}
    with Provider(
        settings.SSO_SERVER_URL, settings.SSO_CLIENT_ID, settings.SSO_CLIENT_SECRET, person
    ) as running:
        yield running


def sign_in(browser: Client, password: str = PASSWORD, **more: str) -> object:
    return browser.post("/sign-in/", {"username": "noah", "password": password} | more)
