"""Single sign-on against a provider that really runs: whom it lets in, whom it does not, and whom it asks."""

from __future__ import annotations

import urllib.request
from typing import Any

import pytest
from django.conf import LazySettings
from django.test import Client

from mailboxes.entrance.single_sign_on import verified_address
from mailboxes.models import User
from tests.servers import free_port

from .conftest import sign_in
from .provider import Provider
from .test_second_factor import code_of, set_up


class _Stay(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        """The browser goes on by itself."""


def through(provider: Provider, browser: Client, **asked: str) -> Any:
    """The way of a browser: from our page to the provider, and back."""
    answer = browser.get("/sign-in/sso/", asked)
    assert answer.url.startswith(f"{provider.address}/authorize?")
    with pytest.raises(urllib.error.HTTPError) as there:
        urllib.request.build_opener(_Stay).open(answer.url, timeout=10)
    back = there.value.headers["Location"]
    there.value.close()
    assert back.startswith("http://testserver/sign-in/sso/back/?")
    return browser.get(back.removeprefix("http://testserver"))


def signed_in(browser: Client) -> bool:
    return bool(browser.get("/sessions/").status_code == 200)


def test_the_sign_in_page_leads_to_the_provider(client: Client, db: None) -> None:
    page = client.get("/sign-in/?next=/messages/").content.decode()
    assert 'href="/sign-in/sso/?next=/messages/"' in page
    assert "Sign in with Contoso" in page


def test_who_is_vouched_for_comes_in_and_is_led_to_where_the_way_began(
    noah: User, provider: Provider
) -> None:
    browser = Client()
    assert through(provider, browser, next="/messages/").url == "/messages/"
    assert signed_in(browser)
    assert User.objects.count() == 1


def test_single_sign_on_never_leads_to_another_site(noah: User, provider: Provider) -> None:
    assert through(provider, Client(), next="https://evil.example/").url == "/"


@pytest.mark.parametrize(
    ("claims", "sentence"),
    [
        ({"email": "nobody@contoso.com"}, "no active user here has that address"),
        ({"email_verified": False}, "no address of yours that it has verified"),
        ({"email_verified": "false"}, "no address of yours that it has verified"),
        ({"email_verified": None}, "no address of yours that it has verified"),
        ({"email": ""}, "no address of yours that it has verified"),
    ],
)
def test_who_is_not_vouched_for_gets_a_sentence_and_no_account(
    noah: User, provider: Provider, claims: dict[str, Any], sentence: str
) -> None:
    provider.person |= claims
    browser = Client()
    answer = through(provider, browser)
    assert answer.status_code == 403
    assert sentence in answer.content.decode()
    assert not signed_in(browser)
    assert User.objects.count() == 1


def test_who_is_inactive_stays_outside(noah: User, provider: Provider) -> None:
    noah.is_active = False
    noah.save()
    browser = Client()
    assert through(provider, browser).status_code == 403
    assert not signed_in(browser)


def test_the_second_factor_is_asked_for_after_single_sign_on_too(noah: User, provider: Provider) -> None:
    first = Client()
    sign_in(first)
    secret, codes = set_up(first)
    browser = Client()
    assert through(provider, browser).url == "/sign-in/code/"
    assert not signed_in(browser)
    assert code_of(secret)
    browser.post("/sign-in/code/", {"code": codes[0]})
    assert signed_in(browser)


def test_a_token_and_a_userinfo_of_two_people_let_nobody_in(noah: User, provider: Provider) -> None:
    provider.token_says = {"sub": "somebody else"}
    browser = Client()
    assert through(provider, browser).status_code == 403
    assert not signed_in(browser)


def test_a_token_for_somebody_elses_application_lets_nobody_in(noah: User, provider: Provider) -> None:
    provider.token_says = {"aud": "another application"}
    browser = Client()
    answer = through(provider, browser)
    assert answer.status_code == 401
    assert "did not come back from the provider as it should" in answer.content.decode()
    assert not signed_in(browser)


def test_an_answer_that_this_browser_did_not_ask_for_lets_nobody_in(noah: User, provider: Provider) -> None:
    answer = Client().get("/sign-in/sso/back/", {"code": "stolen", "state": "made up"})
    assert answer.status_code == 401
    assert "/token" not in provider.asked


def test_who_gives_up_at_the_provider_is_back_at_the_sign_in(noah: User, provider: Provider) -> None:
    provider.refuses = True
    browser = Client()
    assert through(provider, browser).url == "/sign-in/"
    assert "The sign-in with Contoso was given up." in browser.get("/sign-in/").content.decode()


def test_a_provider_that_is_away_is_said(noah: User, caplog: pytest.LogCaptureFixture) -> None:
    answer = Client().get("/sign-in/sso/")
    assert answer.status_code == 503
    assert "the provider could not be reached" in answer.content.decode()
    assert "Single sign-on failed" in caplog.text


@pytest.mark.parametrize("endpoint", ["authorization_endpoint", "token_endpoint"])
def test_a_provider_that_leaves_something_out_is_said(noah: User, provider: Provider, endpoint: str) -> None:
    provider.leaves_out = endpoint
    answer = Client().get("/sign-in/sso/")
    assert answer.status_code == 503
    assert "Not signed in" in answer.content.decode()


def test_nobody_but_the_provider_is_asked(noah: User, provider: Provider) -> None:
    with Provider(f"http://127.0.0.1:{free_port()}", "x", "y") as elsewhere:
        provider.changes = {"token_endpoint": f"{elsewhere.address}/token"}
        browser = Client()
        assert through(provider, browser).status_code == 401
        assert elsewhere.asked == []


def test_another_origin_of_the_provider_is_asked_when_it_is_named(
    noah: User, provider: Provider, settings: LazySettings
) -> None:
    elsewhere = f"http://localhost:{provider.address.rpartition(':')[2]}"
    settings.SSO_OTHER_ORIGINS = [elsewhere]
    provider.changes = {"userinfo_endpoint": f"{elsewhere}/userinfo"}
    browser = Client()
    through(provider, browser)
    assert signed_in(browser)


@pytest.mark.parametrize(
    ("claims", "address"),
    [
        ({"id_token": {"sub": "1", "email": "a@b.example", "email_verified": True}}, "a@b.example"),
        ({"userinfo": {"sub": "1", "email": "a@b.example", "email_verified": True}}, "a@b.example"),
        ({"userinfo": {"sub": "1", "email": "a@b.example"}}, ""),
        ({"userinfo": {"sub": "1", "email": "a@b.example", "email_verified": 1}}, ""),
        ({}, ""),
    ],
)
def test_only_a_verified_address_counts(claims: dict[str, Any], address: str) -> None:
    assert verified_address(claims) == address
