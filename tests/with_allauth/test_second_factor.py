"""Codes of an authenticator app: set up, asked for, used once, lost, and taken away."""

from __future__ import annotations

import base64
import hmac
import re
import time
from typing import Any

import pytest
import time_machine
from allauth.mfa.models import Authenticator
from django.test import Client
from django.urls import NoReverseMatch, reverse

from mailboxes.models import User
from mailboxes.roles import Role, set_role

from .conftest import PASSWORD, sign_in


def code_of(secret: str, after: int = 0) -> str:
    """The code that an app shows `after` seconds from now (RFC 6238 with RFC 4226, section 5.3)."""
    counter = int((time.time() + after) // 30).to_bytes(8, "big")
    digest = hmac.digest(base64.b32decode(secret), counter, "sha1")
    start = digest[-1] & 0x0F
    number = int.from_bytes(digest[start : start + 4], "big") & 0x7FFFFFFF
    return f"{number % 1_000_000:06}"


def text(answer: Any) -> str:
    return str(answer.content.decode())


def set_up(browser: Client) -> tuple[str, list[str]]:
    """Set up the app for whoever has signed in here; returns its secret and the recovery codes."""
    asked = browser.get("/second-factor/set-up/", follow=True)
    assert "Confirm that it is you" in text(asked)
    page = browser.post(asked.redirect_chain[-1][0], {"password": PASSWORD}, follow=True)
    secret = re.findall(r'id="secret" value="([A-Z2-7=]+)"', text(page))[0]
    entered = {"code": code_of(secret), "shown": ""}  # the page is not loaded again: that makes a new secret
    done = browser.post("/second-factor/set-up/", entered, follow=True)
    assert done.redirect_chain[-1][0] == "/second-factor/recovery-codes/"
    return secret, re.findall(r"<code>(\d{8})</code>", text(done))


@pytest.fixture
def factor(noah: User) -> tuple[str, list[str]]:
    """Noah has set up an app."""
    browser = Client()
    sign_in(browser)
    return set_up(browser)


def signed_in(browser: Client) -> bool:
    return bool(browser.get("/sessions/").status_code == 200)


def test_without_a_second_factor_the_password_signs_in_as_ever(noah: User) -> None:
    browser = Client()
    assert sign_in(browser, next="/messages/?state=delivered").url == "/messages/?state=delivered"  # type: ignore[attr-defined]
    assert signed_in(browser)
    assert browser.session.get_expire_at_browser_close()


@pytest.mark.django_db(transaction=True)
def test_an_app_is_set_up_with_its_picture_and_recovery_codes(noah: User) -> None:
    browser = Client()
    sign_in(browser, remember="on")
    page = text(browser.get("/sessions/"))
    assert "Second factor: set up" in page
    _, codes = set_up(browser)
    assert len(set(codes)) == 10
    assert not any(code in text(browser.get("/second-factor/recovery-codes/")) for code in codes)
    assert "A second factor was set up." in text(browser.get("/sessions/"))
    assert not browser.session.get_expire_at_browser_close()


def test_the_picture_keeps_to_the_content_security_policy(noah: User) -> None:
    browser = Client()
    sign_in(browser)
    asked = browser.get("/second-factor/set-up/", follow=True)
    page = browser.post(asked.redirect_chain[-1][0], {"password": PASSWORD}, follow=True)
    assert "<svg" in text(page)
    assert "data:" not in text(page)
    assert " style=" not in text(page)
    assert "default-src 'self'" in page["Content-Security-Policy"]
    assert "no-store" in page["Cache-Control"]


def test_a_wrong_first_code_sets_nothing_up(noah: User) -> None:
    browser = Client()
    sign_in(browser)
    asked = browser.get("/second-factor/set-up/", follow=True)
    browser.post(asked.redirect_chain[-1][0], {"password": PASSWORD})
    browser.get("/second-factor/set-up/")
    answer = browser.post("/second-factor/set-up/", {"code": "000000"})
    assert "This code is not right" in text(answer)
    assert not Authenticator.objects.exists()


def test_secrets_are_sealed_in_the_database(noah: User, factor: tuple[str, list[str]]) -> None:
    secret, codes = factor
    stored = str(list(Authenticator.objects.values_list("data", flat=True)))
    assert secret not in stored
    assert not any(code in stored for code in codes)


def test_the_password_alone_opens_nothing_then(noah: User, factor: tuple[str, list[str]]) -> None:
    browser = Client()
    assert sign_in(browser).url == "/sign-in/code/"  # type: ignore[attr-defined]
    assert "One more step" in text(browser.get("/sign-in/code/"))
    assert not signed_in(browser)


def test_password_and_code_sign_in_and_lead_to_where_the_way_began(
    noah: User, factor: tuple[str, list[str]]
) -> None:
    with time_machine.travel(time.time() + 120):
        browser = Client()
        sign_in(browser, next="/messages/", remember="on")
        before = browser.session.session_key
        answer = browser.post("/sign-in/code/", {"code": code_of(factor[0])})
        assert answer.url == "/messages/"
        assert signed_in(browser)
        assert browser.session.session_key != before
        assert not browser.session.get_expire_at_browser_close()


def test_a_code_of_the_app_works_once(noah: User, factor: tuple[str, list[str]]) -> None:
    with time_machine.travel(time.time() + 120, tick=False):
        for works in (True, False):
            browser = Client()
            sign_in(browser)
            answer = browser.post("/sign-in/code/", {"code": code_of(factor[0])})
            assert signed_in(browser) is works
        assert "This code is not right" in text(answer)


def test_a_recovery_code_works_once(noah: User, factor: tuple[str, list[str]]) -> None:
    code = factor[1][3]
    for works in (True, False):
        browser = Client()
        sign_in(browser)
        browser.post("/sign-in/code/", {"code": code})
        assert signed_in(browser) is works


def test_wrong_codes_are_throttled_like_wrong_passwords(noah: User, factor: tuple[str, list[str]]) -> None:
    browser = Client()
    sign_in(browser)
    answers = [browser.post("/sign-in/code/", {"code": f"{number:06}"}) for number in range(5)]
    assert [answer.status_code for answer in answers] == [200] * 4 + [429]
    assert "Too many attempts failed. Try again in 15 minutes" in text(answers[-1])
    with time_machine.travel(time.time() + 120):
        browser.post("/sign-in/code/", {"code": code_of(factor[0])})
        assert not signed_in(browser)
        assert sign_in(Client()).status_code == 429  # type: ignore[attr-defined]


def test_wrong_passwords_are_throttled_with_the_extra_too(noah: User) -> None:
    answers = [sign_in(Client(), "wrong").status_code for _ in range(5)]  # type: ignore[attr-defined]
    assert answers == [200] * 4 + [429]


def test_the_second_factor_is_removed_by_its_owner_after_a_confirmation(
    noah: User, factor: tuple[str, list[str]]
) -> None:
    browser = Client()
    sign_in(browser)
    browser.post("/sign-in/code/", {"code": factor[1][0]})
    asked = browser.get("/second-factor/remove/", follow=True)
    assert "Confirm that it is you" in text(asked)
    browser.post(asked.redirect_chain[-1][0], {"password": PASSWORD})
    browser.post("/second-factor/remove/")
    assert not Authenticator.objects.exists()
    assert "The second factor was removed." in text(browser.get("/sessions/"))


def test_new_recovery_codes_take_the_place_of_the_old(noah: User, factor: tuple[str, list[str]]) -> None:
    browser = Client()
    sign_in(browser)
    browser.post("/sign-in/code/", {"code": factor[1][0]})
    asked = browser.get("/second-factor/recovery-codes/new/", follow=True)
    browser.post(asked.redirect_chain[-1][0], {"password": PASSWORD})
    page = browser.post("/second-factor/recovery-codes/new/", follow=True)
    new = re.findall(r"<code>(\d{8})</code>", text(page))
    assert len(new) == 10
    assert not set(new) & set(factor[1])


def test_an_administrator_removes_a_lost_second_factor_and_the_person_is_told(
    noah: User, factor: tuple[str, list[str]]
) -> None:
    amara = User.objects.create_user("amara", "amara@contoso.com", first_name="Amara", last_name="Okafor")
    set_role(amara, Role.ADMINISTRATOR)
    browser = Client()
    browser.force_login(amara)
    assert "Remove second factor" in text(browser.get(f"/users/{noah.pk}/"))
    answer = browser.post(reverse("user-remove-second-factor", args=[noah.pk]), follow=True)
    assert "Noah Lind signs in without a code now." in text(answer)
    noahs = Client()
    sign_in(noahs)
    assert "Amara Okafor removed the second factor." in text(noahs.get("/messages/"))


def test_others_remove_nobodys_second_factor(noah: User, factor: tuple[str, list[str]]) -> None:
    browser = Client()
    address = reverse("user-remove-second-factor", args=[noah.pk])
    assert browser.post(address).status_code == 302
    browser.force_login(User.objects.create_user("eve", "eve@contoso.com"))
    assert browser.post(address).status_code == 403
    assert Authenticator.objects.exists()


@pytest.mark.parametrize(
    "path",
    [
        "/second-factor/",
        "/second-factor/set-up/",
        "/second-factor/recovery-codes/",
        "/second-factor/confirm/",
    ],
)
def test_the_pages_of_the_second_factor_ask_for_a_sign_in(client: Client, db: None, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 302
    assert answer.url.startswith("/sign-in/?next=")


def test_the_code_page_is_for_who_has_typed_the_password(client: Client, db: None) -> None:
    assert client.get("/sign-in/code/").url == "/sign-in/"


@pytest.mark.parametrize(
    "name",
    [
        "account_signup",
        "account_email",
        "account_reset_password",
        "account_change_password",
        "socialaccount_signup",
    ],
)
def test_nobody_signs_up_or_reaches_other_pages_of_allauth(client: Client, db: None, name: str) -> None:
    with pytest.raises(NoReverseMatch):
        reverse(name)
    assert client.get("/accounts/signup/").status_code == 404
