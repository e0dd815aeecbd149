"""Where a person is signed in: the list, how it ends, and what is written when."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
import time_machine
from django.contrib.sessions.backends.base import UpdateError
from django.core.management import call_command
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from mailboxes.browsers import browser_name
from mailboxes.models import Session, SignInEvent, User
from tests.conftest import Office

PASSWORD = "Feldsalat und Kresse"
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:133.0) Gecko/20100101 Firefox/133.0"
SAFARI = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.0 Mobile/15E148 Safari/604.1"


@pytest.fixture
def noah(office: Office) -> User:
    return User.objects.create_user("noah", "noah@contoso.com", PASSWORD, first_name="Noah", last_name="Lind")


def signed_in(agent: str = FIREFOX, address: str = "203.0.113.9", password: str = PASSWORD) -> Client:
    """A browser in which Noah has signed in."""
    browser = Client(headers={"user-agent": agent}, REMOTE_ADDR=address)
    sent = {"username": "noah", "password": password}
    assert browser.post("/sign-in/", sent).status_code == 302
    return browser


def is_signed_in(browser: Client) -> bool:
    return bool(browser.get("/sessions/").status_code == 200)


def session_of(browser: Client) -> Session:
    return Session.objects.get(session_key=browser.session.session_key)


def page_of(browser: Client, address: str = "/sessions/") -> str:
    return str(browser.get(address).content.decode())


def test_the_list_says_which_browser_from_where_and_which_is_this_one(noah: User) -> None:
    signed_in(SAFARI, "198.51.100.7")
    page = page_of(signed_in())
    assert "Safari on iPhone" in page
    assert "198.51.100.7" in page
    assert "Firefox on Linux" in page
    assert page.count("This one") == 1
    assert page.index("This one") < page.index("Safari on iPhone")
    assert "2 open" in page


def test_the_list_shows_nobody_elses_sessions_and_no_key(noah: User, amaras: Client) -> None:
    here, there = signed_in(), signed_in(SAFARI)
    assert "Safari" not in page_of(amaras)
    page = page_of(here)
    for browser in (here, there):
        assert session_of(browser).session_key not in page


def test_one_session_can_be_ended_and_the_others_go_on(noah: User) -> None:
    here, there, elsewhere = signed_in(), signed_in(SAFARI), signed_in()
    answer = here.post(reverse("session_end", args=[session_of(there).reference]), follow=True)
    assert "The session in Safari on iPhone has ended." in answer.content.decode()
    assert not is_signed_in(there)
    assert is_signed_in(elsewhere)


def test_ending_the_own_session_signs_out(noah: User) -> None:
    here = signed_in()
    assert here.post(reverse("session_end", args=[session_of(here).reference])).url == "/sign-in/"
    assert not is_signed_in(here)
    assert not Session.objects.exists()


def test_nobody_ends_a_session_of_somebody_else(noah: User, amaras: Client) -> None:
    here = signed_in()
    answer = amaras.post(reverse("session_end", args=[session_of(here).reference]), follow=True)
    assert "That session had ended already." in answer.content.decode()
    assert is_signed_in(here)


def test_all_others_end_at_once(noah: User) -> None:
    here, others = signed_in(), [signed_in(), signed_in(SAFARI)]
    answer = here.post(reverse("sessions_end_others"), follow=True)
    assert "2 other sessions ended." in answer.content.decode()
    assert [is_signed_in(browser) for browser in others] == [False, False]
    assert is_signed_in(here)


@pytest.mark.parametrize("name", ["sessions_end_others", "session_end"])
def test_only_a_post_ends_a_session(noah: User, name: str) -> None:
    here = signed_in()
    arguments = [session_of(here).reference] if name == "session_end" else []
    assert here.get(reverse(name, args=arguments)).status_code == 405
    assert Client().post(reverse(name, args=arguments)).url.startswith("/sign-in/?next=")


def test_a_session_gets_a_new_key_at_sign_in_and_at_sign_out(noah: User) -> None:
    browser = Client()
    session = browser.session  # what somebody else has put into this browser
    session["cart"] = "1"
    session.save()
    planted = session.session_key
    browser.cookies["sessionid"] = planted
    browser.post("/sign-in/", {"username": "noah", "password": PASSWORD})
    assert browser.session.session_key != planted
    assert not Session.objects.filter(session_key=planted).exists()
    browser.post("/sign-out/")
    assert not Session.objects.exists()


def test_a_session_that_is_ended_meanwhile_does_not_come_back(noah: User) -> None:
    here = signed_in()
    kept = here.session  # as a page has it that is still being made
    assert kept["_auth_user_id"] == str(noah.pk)
    Session.objects.all().delete()
    kept["colour"] = "blue"
    with pytest.raises(UpdateError):
        kept.save()
    assert not is_signed_in(here)


def test_a_host_that_is_not_ours_gets_a_page_of_ours(client: Client, db: None) -> None:
    answer = client.get("/sign-in/", HTTP_HOST="evil.example")
    assert answer.status_code == 400
    assert "This cannot be answered" in answer.content.decode()


def test_deactivating_a_user_ends_the_sessions_for_good(noah: User) -> None:
    here = signed_in()
    noah.refresh_from_db()
    noah.is_active = False
    noah.save()
    assert not is_signed_in(here)
    noah.is_active = True
    noah.save()
    assert not is_signed_in(here)
    assert noah.open_sessions == 0


def test_a_new_password_from_an_administrator_ends_the_sessions(noah: User, amaras: Client) -> None:
    here = signed_in()
    noah.refresh_from_db()
    noah.set_password("Postkutsche im Regen")
    noah.save()
    assert not is_signed_in(here)
    assert noah.open_sessions == 0


def test_other_changes_of_a_user_end_nothing(noah: User) -> None:
    here = signed_in()
    noah.refresh_from_db()
    noah.last_name = "Berg"
    noah.save()
    assert is_signed_in(here)


def test_an_administrator_ends_all_sessions_and_the_person_is_told(noah: User, amaras: Client) -> None:
    browsers = [signed_in(), signed_in(SAFARI)]
    assert "Signed in in 2 browsers." in page_of(amaras, f"/users/{noah.pk}/")
    answer = amaras.post(reverse("user-end-sessions", args=[noah.pk]), follow=True)
    assert "2 sessions of Noah Lind ended." in answer.content.decode()
    assert [is_signed_in(browser) for browser in browsers] == [False, False]
    again = signed_in()
    assert "Amara Okafor ended all sessions." in page_of(again, "/messages/")
    assert page_of(again).count("Amara Okafor ended all sessions.") == 1  # told once, listed for a year


def test_what_is_older_than_a_year_is_forgotten(noah: User, office: Office) -> None:
    with time_machine.travel(timezone.now() - timedelta(days=366)):
        SignInEvent.record(noah, "sessions_ended", office.amara)
    SignInEvent.record(noah, "link_made", office.amara)
    assert [event.kind for event in noah.sign_in_events.all()] == ["link_made"]


def writes(asked: Any) -> list[str]:
    return [query["sql"] for query in asked if query["sql"].startswith(("UPDATE", "INSERT", "DELETE"))]


def test_pages_write_that_they_were_seen_every_five_minutes_only(noah: User) -> None:
    with time_machine.travel(timezone.now(), tick=False) as clock:
        here = signed_in()
        began = session_of(here).seen_at
        with CaptureQueriesContext(connection) as asked:
            here.get("/messages/")
            clock.shift(timedelta(minutes=4))
            here.get("/messages/")
        assert writes(asked) == []
        clock.shift(timedelta(minutes=2))
        with CaptureQueriesContext(connection) as asked:
            here.get("/messages/", REMOTE_ADDR="198.51.100.7")
            here.get("/messages/")
        assert len(writes(asked)) == 1
        session = session_of(here)
        assert session.seen_at - began == timedelta(minutes=6)
        assert session.created_at == began
        assert session.address == "198.51.100.7"


def test_what_a_page_stores_leaves_alone_when_the_session_began(noah: User) -> None:
    with time_machine.travel(timezone.now(), tick=False) as clock:
        here = signed_in()
        before = session_of(here)
        clock.shift(timedelta(minutes=1))
        session = here.session
        session["colour"] = "blue"
        session.save()
        after = session_of(here)
        assert after.get_decoded()["colour"] == "blue"
        assert (after.created_at, after.reference, after.user_agent) == (
            before.created_at,
            before.reference,
            FIREFOX,
        )


def test_a_page_without_a_session_writes_none(client: Client, db: None) -> None:
    client.get("/sign-in/")
    client.post("/sign-in/", {"username": "nobody", "password": "wrong"})
    assert not Session.objects.exists()


@pytest.mark.parametrize("how", ["clearsessions", "sign-in"])
def test_sessions_that_are_over_are_cleaned_away(noah: User, how: str) -> None:
    old = signed_in()
    Session.objects.update(expire_date=timezone.now() - timedelta(seconds=1))
    assert not is_signed_in(old)
    if how == "sign-in":
        signed_in()
    else:
        call_command("clearsessions")
    assert Session.objects.filter(expire_date__lt=timezone.now()).count() == 0


def test_cookies_are_out_of_reach_of_scripts_and_other_sites(noah: User, settings: Any) -> None:
    settings.SESSION_COOKIE_SECURE = settings.CSRF_COOKIE_SECURE = True  # as HTTPS_ONLY sets them
    cookie = signed_in().cookies["sessionid"]
    assert cookie["httponly"]
    assert cookie["samesite"] == "Lax"
    assert cookie["secure"]


@pytest.mark.parametrize(
    ("agent", "name"),
    [
        (FIREFOX, "Firefox on Linux"),
        (SAFARI, "Safari on iPhone"),
        (
            "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0 Safari/537.36 Edg/131.0",
            "Edge on Windows",
        ),
        (
            "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0 Mobile Safari/537.36",
            "Chrome on Android",
        ),
        (
            "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.1 Safari/605.1.15",
            "Safari on macOS",
        ),
        ("curl/8.5.0", "curl"),
        ("<script>alert(1)</script>", "An unknown browser"),
        ("", "An unknown browser"),
    ],
)
def test_browsers_are_called_as_people_call_them(agent: str, name: str) -> None:
    assert browser_name(agent) == name
