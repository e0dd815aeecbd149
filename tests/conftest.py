"""Fixtures of all tests: a database of their own, Amara who administers, and her office."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, ClassVar

import django.test
import pytest
from django.conf import settings
from django.db import connection
from django.dispatch import receiver
from django.test.client import ClientHandler
from django.test.signals import setting_changed

from emailprofiles.models import EmailServerProfile
from mailboxes import roles
from mailboxes.models import Mailbox, Queue, User
from tests.standing import Standing

pytest_plugins = ["tests.server_fixtures"]

# They run in a process of their own, which `pages/test_extra.py` starts.
collect_ignore = [] if settings.SIGN_IN_WITH == "allauth" else ["with_allauth"]


class Browser(django.test.Client):
    """Loads a page before it posts to it, and sends back what the page carries (its field `shown`).

    A test that posts without having looked says so: `{"shown": ""}`.
    """

    CARRIED = re.compile(r'name="shown" value="([^"]+)"')

    # One for all browsers, as a server has one: to make the middleware takes longer than most pages.
    handlers: ClassVar[dict[bool, ClientHandler]] = {}

    @property
    def handler(self) -> ClientHandler:
        return self.handlers.setdefault(self._strict, ClientHandler(self._strict))

    @handler.setter
    def handler(self, made: ClientHandler) -> None:
        self._strict = made.enforce_csrf_checks

    def post(self, path: Any, data: Any = None, *args: Any, **options: Any) -> Any:
        if isinstance(data, dict) and data and "shown" not in data:
            page = self.get(path)
            carried = self.CARRIED.search(page.content.decode()) if page.status_code == 200 else None
            data = data | {"shown": carried[1]} if carried else data
        return super().post(path, data, *args, **options)


@receiver(setting_changed)
def other_middleware(**_: Any) -> None:
    """It reads its settings when it is made."""
    Browser.handlers.clear()


django.test.Client = Browser  # type: ignore[misc]  # what every test takes for a browser
settings.PASSWORD_HASHERS = ["tests.hashers.QuickArgon2", *settings.PASSWORD_HASHERS[1:]]


OPTIONS = settings.DATABASES["default"].get("OPTIONS", {})  # as the product is delivered


@pytest.fixture(scope="session")
def django_db_modify_db_settings(tmp_path_factory: pytest.TempPathFactory) -> None:
    """A database file for each run: two runs at the same time do not meet, and threads have connections."""
    if connection.vendor == "sqlite":
        name = str(tmp_path_factory.mktemp("database") / "test.sqlite3")
        settings.DATABASES["default"]["TEST"]["NAME"] = name
        connection.settings_dict["TEST"]["NAME"] = name
        # No test cuts the power of the machine; processes that are killed leave what they wrote to the system.
        # What they start themselves has the settings of the product.
        connection.settings_dict["OPTIONS"] = OPTIONS | {
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=OFF;"
        }
    else:
        worker = os.environ.get("PYTEST_XDIST_WORKER", "alone")
        connection.settings_dict["TEST"]["NAME"] = f"test_{connection.settings_dict['NAME']}_{worker}"


def profile_values(**values: object) -> dict[str, object]:
    """What a profile of a server on this machine needs; `values` come on top."""
    return {
        "name": "Head office",
        "incoming_host": "127.0.0.1",
        "incoming_port": 10143,
        "incoming_security": "none",
        "outgoing_host": "127.0.0.1",
        "outgoing_port": 10025,
        "outgoing_security": "none",
    } | values


def forward_values(**values: object) -> dict[str, object]:
    """What a forward mailbox needs that receives nothing yet; `values` come on top."""
    return {"name": "Collection 1", "email_address": "forwardmailbox@contoso.com"} | values


@dataclass
class Office:
    """Amara's office: one profile, the queue Support, and a forward mailbox that it is collected into."""

    amara: User
    profile: EmailServerProfile
    support: Queue
    collection: Mailbox


@pytest.fixture
def amara(request: pytest.FixtureRequest, db: None) -> User:
    """Amara Okafor, email administrator; where the test has an office too, she is the one who works there."""
    if STANDING.fixture in request.fixturenames:
        return request.getfixturevalue("office").amara
    return new_amara()


@pytest.fixture
def office(standing_office: None, db: None) -> Office:
    return deepcopy(STANDING.made) or new_office(new_amara())


@pytest.fixture(scope="session")
def standing_office(django_db_setup: None, django_db_blocker: Any) -> Iterator[None]:
    STANDING.first(django_db_blocker)
    yield
    STANDING.fall()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    STANDING.prepare(item)


def new_amara() -> User:
    user = User.objects.create_user("amara", "amara@contoso.com", first_name="Amara", last_name="Okafor")
    roles.set_role(user, roles.Role.ADMINISTRATOR)
    return user


def new_office(amara: User) -> Office:
    profile = EmailServerProfile.objects.create(**profile_values(owner=amara))
    support = Queue.objects.create(name="Support", email_address="support@contoso.com", owner=amara)
    collection = Mailbox.new_forward(
        **forward_values(
            owner=amara,
            server_profile=profile,
            incoming_method="server_side",
            allow_credentials=True,
            username="forwardmailbox",
            password="Feldsalat 23",
        )
    )
    collection.full_clean()
    collection.save()
    return Office(amara, profile, support, collection)


STANDING = Standing("standing_office", lambda: new_office(new_amara()))
