"""Alerts in the browser: open ones first, each with since when, why, what we do and what you can do."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from mailboxes.models import Alert
from tests.conftest import Office


def alert(**values: object) -> Alert:
    return Alert.objects.create(
        **{
            "cause": "mailbox:1:incoming",
            "title": "Receiving for Collection 1 stopped",
            "why": "The server refused the password.",
            "what_we_do": "Nothing more is tried.",
            "what_you_can_do": "Type the password again.",
        }
        | values
    )


@pytest.mark.parametrize(
    ("role", "status"),
    [("anonymous", 302), ("user", 403), ("approver", 403), ("staff", 200), ("administrator", 200)],
)
def test_who_may_see_alerts(role: str, status: int, browser_of: Callable[[str], Client]) -> None:
    assert browser_of(role).get(reverse("alert-list")).status_code == status


def test_an_alert_says_all_it_knows(office: Office, amaras: Client) -> None:
    alert(mailbox=office.collection, server_words="NO <go away>", times=4)

    page = amaras.get(reverse("alert-list")).content.decode()

    for words in ("Receiving for Collection 1 stopped", "refused the password", "Nothing more is tried"):
        assert words in page
    assert "NO &lt;go away&gt;" in page
    assert "Seen 4 times" in page
    assert reverse("mailbox-edit", args=[office.collection.pk]) in page


def test_open_alerts_come_before_closed_ones(office: Office, amaras: Client) -> None:
    now = timezone.now()
    alert(cause="a", title="Closed one", resolved_at=now, resolution="The test passed.")
    alert(cause="b", title="Old open one", since=now - timedelta(days=40), profile=office.profile)
    alert(cause="c", title="New open one")
    alert(cause="d", title="Closed long ago", resolved_at=now - timedelta(days=31))

    rows = amaras.get(reverse("alert-list")).context["page"]

    assert [row.title for row in rows] == ["New open one", "Old open one", "Closed one"]


@pytest.mark.parametrize(
    ("view", "titles"),
    [("open", ["W", "E"]), ("error", ["E"]), ("warning", ["W"]), ("information", []), ("resolved", ["R"])],
)
def test_views_show_their_part(view: str, titles: list[str], amaras: Client) -> None:
    alert(cause="e", title="E")
    alert(cause="w", title="W", level="warning")
    alert(cause="r", title="R", resolved_at=timezone.now())

    response = amaras.get(reverse("alert-list"), {"view": view})

    assert [row.title for row in response.context["page"]] == titles
    assert response.context["counts"] == {
        "all": 3,
        "open": 2,
        "resolved": 1,
        "error": 1,
        "warning": 1,
        "information": 0,
    }


def test_no_alert_is_good_news(amaras: Client) -> None:
    assert "Everything that should run does" in amaras.get(reverse("alert-list")).content.decode()


def test_many_alerts_take_no_more_queries(amaras: Client, django_assert_max_num_queries: Callable) -> None:
    alert()
    with django_assert_max_num_queries(60) as few:
        amaras.get(reverse("alert-list"))
    for number in range(20):
        alert(cause=str(number))
    with django_assert_max_num_queries(60) as many:
        amaras.get(reverse("alert-list"))

    assert len(many) == len(few)
