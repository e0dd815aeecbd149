"""A new password: by who knows the current one, and by the one-time link that an administrator makes."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta

import pytest
import time_machine
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from mailboxes.models import SignInEvent, SignInLink, User
from tests.conftest import Office

OLD, NEW = "Feldsalat und Kresse", "Postkutsche im Regen"


@pytest.fixture
def noah(office: Office) -> User:
    return User.objects.create_user("noah", "noah@contoso.com", OLD, first_name="Noah", last_name="Lind")


def signed_in(password: str = OLD) -> Client:
    browser = Client()
    assert browser.post("/sign-in/", {"username": "noah", "password": password}).status_code == 302
    return browser


def may_sign_in(password: str) -> bool:
    answer = Client().post("/sign-in/", {"username": "noah", "password": password})
    return answer.status_code == 302


def change(browser: Client, **changes: str) -> str:
    typed = {"current_password": OLD, "password": NEW, "password_again": NEW} | changes
    return str(browser.post("/password/", typed, follow=True).content.decode())


# --- one's own -------------------------------------------------------------------------------------------


def test_a_changed_password_ends_all_other_sessions_and_says_so(noah: User) -> None:
    here, there = signed_in(), signed_in()
    page = change(here)
    assert "Your password is changed. 1 other session has ended" in page
    assert "The password was changed." in page
    assert here.get("/sessions/").status_code == 200
    assert there.get("/sessions/").status_code == 302
    assert may_sign_in(NEW)
    assert not may_sign_in(OLD)


def test_the_session_has_a_new_key_after_the_change(noah: User) -> None:
    here = signed_in()
    before = here.session.session_key
    change(here)
    assert here.session.session_key != before


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"current_password": "wrong"}, "This is not your current password"),
        ({"current_password": ""}, "This field is required"),
        ({"password_again": "Postkutsche"}, "The two passwords differ"),
        ({"password": "short", "password_again": "short"}, "too short"),
        ({"password": "password", "password_again": "password"}, "too common"),
        ({"password": "noah@contoso.com", "password_again": "noah@contoso.com"}, "too similar"),
    ],
)
def test_a_wrong_entry_is_named_and_nothing_typed_is_shown(
    noah: User, changes: dict[str, str], sentence: str
) -> None:
    here = signed_in()
    page = change(here, **changes)
    assert "Not saved" in page
    assert sentence in page
    assert NEW not in page
    assert OLD not in page
    assert may_sign_in(OLD)


def test_guessing_the_current_password_is_throttled_like_a_sign_in(noah: User) -> None:
    here = signed_in()
    pages = [change(here, current_password=f"guess {number}") for number in range(5)]
    assert "This is not your current password" in pages[3]
    assert "Too many wrong ones" in pages[4]
    assert "Change password" in pages[4]
    assert "Too many wrong ones" in change(here)
    assert not may_sign_in(NEW)


# --- a link that an administrator makes ------------------------------------------------------------------


def made_by(browser: Client, user: User) -> str:
    """The path of the link that the page shows."""
    page = browser.post(reverse("user-link", args=[user.pk])).content.decode()
    return re.findall(r'value="http://testserver(/sign-in/link/[^"]+/)"', page)[0]


def choose(path: str, password: str = NEW, again: str = "") -> tuple[int, str]:
    answer = Client().post(path, {"password": password, "password_again": again or password}, follow=True)
    return answer.status_code, answer.content.decode()


def over(path: str) -> bool:
    answer = Client().get(path)
    return answer.status_code == 404 and "This link is over" in answer.content.decode()


def test_a_link_leads_to_a_new_password_and_works_once(noah: User, amaras: Client) -> None:
    before = signed_in()
    path = made_by(amaras, noah)
    assert "who signs in as <strong>noah</strong>" in Client().get(path).content.decode()
    status, page = choose(path)
    assert status == 200
    assert "Your new password is stored. Sign in with it." in page
    assert may_sign_in(NEW)
    assert before.get("/sessions/").status_code == 302
    assert over(path)
    assert choose(path, "Ein ganz neues Wort")[0] == 404


def test_a_link_of_two_who_try_at_once_serves_one(noah: User, office: Office) -> None:
    token = SignInLink.issue(noah, office.amara)
    first, second = SignInLink.redeemable(token), SignInLink.redeemable(token)
    assert first is not None
    assert second is not None
    assert first.redeem(NEW)
    assert not second.redeem("Ein ganz neues Wort")
    assert may_sign_in(NEW)


def test_opening_a_link_does_not_use_it_up(noah: User, amaras: Client) -> None:
    path = made_by(amaras, noah)
    for _ in range(3):
        assert Client().get(path).status_code == 200


def test_a_wrong_new_password_does_not_use_it_up_either(noah: User, amaras: Client) -> None:
    path = made_by(amaras, noah)
    status, page = choose(path, NEW, "something else")
    assert status == 422
    assert "The two passwords differ" in page
    assert NEW not in page
    assert choose(path)[0] == 200


def test_a_link_ends_with_time(noah: User, amaras: Client) -> None:
    path = made_by(amaras, noah)
    with time_machine.travel(timezone.now() + timedelta(minutes=31)):
        assert over(path)


def test_a_link_ends_with_a_newer_one(noah: User, amaras: Client) -> None:
    first, second = made_by(amaras, noah), made_by(amaras, noah)
    assert over(first)
    assert not over(second)


def test_a_link_ends_with_a_new_password(noah: User, amaras: Client) -> None:
    path = made_by(amaras, noah)
    change(signed_in())
    assert over(path)


def test_a_link_ends_with_a_new_address(noah: User, amaras: Client) -> None:
    path = made_by(amaras, noah)
    noah.email = "noah.lind@contoso.com"
    noah.save()
    assert over(path)


def test_a_link_ends_for_good_when_the_user_is_deactivated(noah: User, amaras: Client) -> None:
    path = made_by(amaras, noah)
    for active in (False, True):
        noah.is_active = active
        noah.save()
        assert over(path)


def test_nobody_makes_a_link_for_who_is_inactive(noah: User, amaras: Client) -> None:
    noah.is_active = False
    noah.save()
    answer = amaras.post(reverse("user-link", args=[noah.pk]), follow=True)
    assert "Noah Lind is inactive" in answer.content.decode()
    assert "Make a sign-in link" not in answer.content.decode()
    assert not SignInLink.objects.exists()


def test_a_link_is_shown_once_and_stored_as_a_hash(noah: User, amaras: Client) -> None:
    path = made_by(amaras, noah)
    token = path.split("/")[-2]
    assert token not in amaras.get(reverse("user-edit", args=[noah.pk])).content.decode()
    assert token not in str(SignInLink.objects.values_list().get())


def test_no_cache_keeps_a_link(noah: User, amaras: Client) -> None:
    answer = amaras.post(reverse("user-link", args=[noah.pk]))
    assert "no-store" in answer["Cache-Control"]


def test_a_link_is_made_by_a_post_of_an_administrator_only(
    noah: User, browser_of: Callable[[str], Client], amaras: Client
) -> None:
    address = reverse("user-link", args=[noah.pk])
    assert amaras.get(address).status_code == 405
    for role, status in (("anonymous", 302), ("user", 403), ("approver", 403), ("staff", 403)):
        browser = browser_of(role)
        assert browser.post(address).status_code == status
        assert browser.post(reverse("user-end-sessions", args=[noah.pk])).status_code == status
        assert browser.post(reverse("user-link", args=[999_999])).status_code == status
    assert not SignInLink.objects.exists()


def test_no_account_is_taken_over_silently(
    noah: User, amaras: Client, caplog: pytest.LogCaptureFixture
) -> None:
    path = made_by(amaras, noah)
    assert "noah: Amara Okafor made a sign-in link." in caplog.text
    assert path.split("/")[-2] not in caplog.text
    assert "Amara Okafor made a sign-in link." in amaras.get(f"/users/{noah.pk}/").content.decode()
    noahs = signed_in()
    assert "Amara Okafor made a sign-in link." in noahs.get("/messages/").content.decode()
    assert "Amara Okafor made a sign-in link." not in noahs.get("/messages/").content.decode()
    assert "Amara Okafor made a sign-in link." in noahs.get("/sessions/").content.decode()
    choose(path)
    assert "A sign-in link was used" in signed_in(NEW).get("/messages/").content.decode()


def test_a_password_that_an_administrator_sets_is_told_too(noah: User, amaras: Client) -> None:
    values = {
        "username": "noah",
        "email": "noah@contoso.com",
        "first_name": "Noah",
        "last_name": "Lind",
        "is_active": "True",
        "time_zone": "UTC",
        "role": "user",
        "new_password": NEW,
    }
    amaras.post(reverse("user-edit", args=[noah.pk]), values)
    assert [event.kind for event in SignInEvent.objects.all()] == ["password_set"]
    assert "Amara Okafor set a new password." in signed_in(NEW).get("/messages/").content.decode()


@pytest.mark.parametrize("name", ["password_change", "sessions"])
def test_the_pages_of_the_own_sign_in_ask_for_it(client: Client, db: None, name: str) -> None:
    assert client.get(reverse(name)).url == f"/sign-in/?next={reverse(name)}"
