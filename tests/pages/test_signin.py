"""The door: signing in and out, and the link that makes the first administrator."""

from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone

from mailboxes.models import SetupLink, User
from mailboxes.roles import Role, role_of

FIRST = {
    "name": "Amara Okafor",
    "username": "amara",
    "email": "amara@contoso.com",
    "password": "Feldsalat und Kresse",
    "password_again": "Feldsalat und Kresse",
}


@pytest.fixture
def noah(db: None) -> User:
    return User.objects.create_user("noah", "noah@contoso.com", "Feldsalat und Kresse")


def sign_in(client: Client, **changes: str) -> object:
    return client.post("/sign-in/", {"username": "noah", "password": "Feldsalat und Kresse"} | changes)


def test_whoever_signs_in_is_led_to_where_the_way_began(client: Client, noah: User) -> None:
    assert client.get("/messages/").url == "/sign-in/?next=/messages/"
    assert sign_in(client, next="/messages/?state=delivered").url == "/messages/?state=delivered"


def test_signing_in_never_leads_to_another_site(client: Client, noah: User) -> None:
    assert sign_in(client, next="https://evil.example/").url == "/"
    assert sign_in(Client(), next="//evil.example/").url == "/"


def test_one_sentence_for_every_failure(client: Client, noah: User) -> None:
    pages = [
        client.post("/sign-in/", {"username": name, "password": "wrong"}).content.decode()
        for name in ("noah", "nobody")
    ]
    assert all("User name and password do not belong together" in page for page in pages)


def test_a_failed_sign_in_shows_no_password(client: Client, noah: User) -> None:
    page = client.post("/sign-in/", {"username": "noah", "password": "Postkutsche 7"}).content.decode()
    assert 'value="noah"' in page
    assert "Postkutsche" not in page


def test_the_session_ends_with_the_browser_unless_asked_otherwise(client: Client, noah: User) -> None:
    sign_in(client)
    assert client.session.get_expire_at_browser_close()
    lasting = Client()
    sign_in(lasting, remember="on")
    assert not lasting.session.get_expire_at_browser_close()


def test_signing_out_needs_a_post(client: Client, noah: User) -> None:
    client.force_login(noah)
    assert client.get("/sign-out/").status_code == 405
    client.post("/sign-out/")
    assert client.get("/messages/").status_code == 302


def test_a_theme_is_stored_and_shown(client: Client, noah: User) -> None:
    client.force_login(noah)
    assert client.post("/theme/", {"theme": "dark", "next": "/messages/"}).url == "/messages/"
    assert 'data-theme="dark"' in client.get("/messages/").content.decode()
    client.post("/theme/", {"theme": "pink"})
    assert User.objects.get().theme == "dark"


def test_choosing_a_theme_never_leads_to_another_site(client: Client, noah: User) -> None:
    client.force_login(noah)
    assert client.post("/theme/", {"theme": "dark", "next": "https://evil.example/"}).url == "/"


def test_the_setup_link_makes_an_administrator_who_is_signed_in(client: Client, db: None) -> None:
    address = f"/setup/{SetupLink.issue()}/"
    assert "First administrator" in client.get(address).content.decode()
    assert client.post(address, FIRST).url == "/profiles/new/"
    amara = User.objects.get()
    assert role_of(amara) == Role.ADMINISTRATOR
    assert (amara.first_name, amara.last_name) == ("Amara", "Okafor")
    assert amara.mailbox.email_address == "amara@contoso.com"
    assert amara.check_password(FIRST["password"])
    assert client.get("/profiles/new/").status_code == 200


def test_the_setup_link_works_once(client: Client, db: None) -> None:
    address = f"/setup/{SetupLink.issue()}/"
    client.post(address, FIRST)
    again = Client().post(address, FIRST | {"username": "eve", "email": "eve@contoso.com"})
    assert again.status_code == 404
    assert "This link is over" in again.content.decode()
    assert User.objects.count() == 1


def test_the_setup_link_of_two_who_try_at_once_serves_one(client: Client, db: None) -> None:
    from mailboxes.forms.signin import FirstAdministratorForm

    token = SetupLink.issue()
    first = FirstAdministratorForm(FIRST)
    second = FirstAdministratorForm(FIRST | {"username": "eve", "email": "eve@contoso.com"})
    assert first.is_valid()
    assert second.is_valid()
    assert first.make(token) is not None
    assert second.make(token) is None


def test_the_setup_link_ends_after_half_an_hour(client: Client, db: None) -> None:
    token = SetupLink.issue()
    SetupLink.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    assert client.get(f"/setup/{token}/").status_code == 404


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"password_again": "Feldsalat"}, "The two passwords differ"),
        ({"password": "12345", "password_again": "12345"}, "too short"),
        ({"email": "amara"}, "Enter a valid email address"),
        ({"username": ""}, "This field is required"),
        ({"username": "amara okafor"}, "Enter a valid username"),
    ],
)
def test_a_wrong_entry_of_the_first_administrator_is_named(
    client: Client, db: None, changes: dict[str, str], sentence: str
) -> None:
    page = client.post(f"/setup/{SetupLink.issue()}/", FIRST | changes).content.decode()
    assert sentence in page
    assert 'value="Amara Okafor"' in page
    assert "Feldsalat" not in page
    assert User.objects.count() == 0
