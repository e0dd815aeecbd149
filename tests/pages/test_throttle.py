"""Sign-in that fails too often: what is counted, for whom it is closed, and when it opens again."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
import time_machine
from axes.models import AccessAttempt
from django.conf import LazySettings
from django.db import connection
from django.test import Client, RequestFactory
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from mailboxes.client import client_address, counted_address
from mailboxes.models import User

PASSWORD = "Feldsalat und Kresse"
ELSEWHERE = "198.51.100.7"


@pytest.fixture
def noah(db: None) -> User:
    return User.objects.create_user("noah", "noah@contoso.com", PASSWORD)


def tries(username: str = "noah", password: str = "wrong", address: str = "203.0.113.9", **meta: str) -> Any:
    """One attempt in a fresh browser at this address."""
    entered = {"username": username, "password": password}
    return Client().post("/sign-in/", entered, REMOTE_ADDR=address, **meta)


def test_the_fifth_failure_closes_the_door_and_says_for_how_long(noah: User) -> None:
    answers = [tries() for _ in range(5)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 200, 429]
    page = answers[-1].content.decode()
    assert "Too many attempts failed. Try again in 15 minutes" in page
    assert "<h1>Sign in</h1>" in page
    assert 'value="noah"' in page
    assert answers[-1]["Retry-After"] == "900"


def test_behind_a_closed_door_even_the_right_password_is_not_looked_at(noah: User) -> None:
    for _ in range(5):
        tries()
    answer = tries(password=PASSWORD)
    assert answer.status_code == 429
    noah.refresh_from_db()
    assert noah.last_login is None


def test_the_door_opens_at_the_minute_that_was_said(noah: User) -> None:
    with time_machine.travel(timezone.now(), tick=False) as clock:
        for _ in range(5):
            tries()
        clock.shift(timedelta(minutes=10))
        assert "Try again in 5 minutes" in tries(password=PASSWORD).content.decode()
        clock.shift(timedelta(minutes=4, seconds=30))
        assert "Try again in 1 minute;" in tries(password=PASSWORD).content.decode()
        clock.shift(timedelta(seconds=31))
        assert tries(password=PASSWORD).status_code == 302


def test_nobody_is_locked_out_from_elsewhere(noah: User) -> None:
    for _ in range(5):
        tries(address=ELSEWHERE)
    assert tries(address=ELSEWHERE, password=PASSWORD).status_code == 429
    assert tries(password=PASSWORD).status_code == 302


def test_another_browser_at_the_same_address_does_not_count_anew(noah: User) -> None:
    answers = [tries(HTTP_USER_AGENT=f"Browser {number}") for number in range(5)]
    assert answers[-1].status_code == 429


def test_a_success_makes_the_count_start_anew(noah: User) -> None:
    for _ in range(4):
        tries()
    assert tries(password=PASSWORD).status_code == 302
    assert [tries().status_code for _ in range(4)] == [200] * 4


def test_a_name_that_nobody_has_is_answered_in_the_same_way(noah: User) -> None:
    for _ in range(5):
        of_noah, of_nobody = tries(), tries("nobody")
    assert of_noah.status_code == of_nobody.status_code == 429
    sentence = "Too many attempts failed. Try again in 15 minutes"
    assert sentence in of_noah.content.decode()
    assert sentence in of_nobody.content.decode()


def test_an_address_that_tries_many_names_is_closed_for_all_of_them(
    noah: User, settings: LazySettings
) -> None:
    settings.SIGN_IN_ATTEMPTS_PER_ADDRESS = 10
    answers = [tries(f"person{number}") for number in range(10)]
    assert [answer.status_code for answer in answers] == [200] * 9 + [429]
    assert tries(password=PASSWORD).status_code == 429
    assert tries(password=PASSWORD, address=ELSEWHERE).status_code == 302


def test_an_own_success_does_not_reset_what_the_address_has_tried(noah: User, settings: LazySettings) -> None:
    settings.SIGN_IN_ATTEMPTS_PER_ADDRESS = 10
    for number in range(9):
        tries(f"person{number}")
    assert tries(password=PASSWORD).status_code == 302
    assert tries("person9").status_code == 429


def test_what_is_kept_of_an_attempt_holds_no_password_and_goes_away(noah: User) -> None:
    with time_machine.travel(timezone.now(), tick=False) as clock:
        tries(password="Postkutsche 7")
        kept = AccessAttempt.objects.values_list().get()
        assert "Postkutsche" not in str(kept)
        clock.shift(timedelta(minutes=16))
        tries("somebody")
        assert [attempt.username for attempt in AccessAttempt.objects.all()] == ["somebody"]


def test_the_log_names_the_address_and_never_what_was_typed(
    noah: User, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(5):
        tries("Postkutsche 7")
    assert "a sign-in from 203.0.113.9" in caplog.text
    assert "Postkutsche" not in caplog.text


def test_pages_do_not_ask_the_throttle(client: Client, noah: User) -> None:
    client.force_login(noah)
    with CaptureQueriesContext(
        connection,
    ) as asked:
        client.get("/messages/")
    assert [query["sql"] for query in asked if "axes_" in query["sql"]] == []


@pytest.mark.parametrize(
    ("behind", "forwarded", "address"),
    [
        (False, "198.51.100.7", "192.0.2.1"),
        (True, "", "192.0.2.1"),
        (True, "198.51.100.7", "198.51.100.7"),
        (True, "10.0.0.1, 198.51.100.7", "198.51.100.7"),
        (True, "10.0.0.1, nonsense", "192.0.2.1"),
        (True, "::ffff:198.51.100.7", "198.51.100.7"),
        (True, "2001:db8:1:2:3::4", "2001:db8:1:2:3::4"),
    ],
)
def test_a_proxy_is_believed_only_where_there_is_one(
    settings: LazySettings, behind: bool, forwarded: str, address: str
) -> None:
    settings.BEHIND_PROXY = behind
    asked = RequestFactory().get("/", REMOTE_ADDR="192.0.2.1", HTTP_X_FORWARDED_FOR=forwarded)
    assert client_address(asked) == address


def test_a_socket_file_has_no_address() -> None:
    assert client_address(RequestFactory().get("/", REMOTE_ADDR="")) is None


def test_of_ipv6_the_network_is_counted() -> None:
    first, second = (
        counted_address(RequestFactory().get("/", REMOTE_ADDR=f"2001:db8:1:2:{host}"))
        for host in (":5", "a:b:c:d")
    )
    assert first == second == "2001:db8:1:2::"
