"""Help: every topic opens for everyone who has signed in, and every link in it leads somewhere."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.test import Client
from django.urls import reverse
from django.utils.html import escape

from mailboxes.handbook import topics

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("role", ["administrator", "approver", "staff", "user"])
def test_the_help_is_open_to_everyone_who_has_signed_in(
    browser_of: Callable[[str], Client], role: str
) -> None:
    client = browser_of(role)
    assert client.get(reverse("help")).status_code == 200
    for topic in topics():
        page = client.get(topic.address)
        assert page.status_code == 200, topic.slug
        assert escape(topic.title) in page.content.decode()


def test_nobody_else_reads_it(browser_of: Callable[[str], Client]) -> None:
    page = browser_of("anonymous").get("/help/routing/")
    assert page.status_code == 302
    assert page["Location"].startswith("/sign-in/")


def test_an_unknown_topic_is_not_found(amaras: Client) -> None:
    assert amaras.get("/help/exchange-2003/").status_code == 404
