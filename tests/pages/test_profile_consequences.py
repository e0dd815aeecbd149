"""What a change of a profile means for its mailboxes is told before it is saved, and no typed password is lost."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from emailprofiles.forms import kept
from emailprofiles.models import EmailServerProfile
from mailboxes.models import Mailbox, Session
from tests.conftest import Office

CANARY = "Kanarienvogel 9"


@pytest.fixture
def profile(office: Office) -> EmailServerProfile:
    """Used by Collection 1, with its own credentials, and by Support, which does nothing through it."""
    support = Mailbox.objects.get(queue=office.support)
    support.server_profile = office.profile
    support.save()
    return EmailServerProfile.objects.get(pk=office.profile.pk)


def page_of(profile: EmailServerProfile) -> str:
    return reverse("profile-edit", args=[profile.pk])


def filled_in(response: Any) -> dict[str, Any]:
    """What a browser would send back of the form on a page: its fields, and what it carries."""
    form, page = response.context["form"], response.content.decode()
    rendered = [name for name in form.fields if name not in form.secrets and form[name].value() is not None]
    sent = {name: form[name].value() for name in rendered}
    carried = dict(re.findall(r'type="hidden" name="(shown|seen)" value="([^"]+)"', page.split('id="do"')[0]))
    return {name: value for name, value in sent.items() if value is not False} | carried


def changed(browser: Client, profile: EmailServerProfile, **values: Any) -> Any:
    """Open the page, change fields, and press Save."""
    return browser.post(page_of(profile), filled_in(browser.get(page_of(profile))) | values)


def confirmed(browser: Client, asked: Any, **values: Any) -> Any:
    """Press the button that the page asks with."""
    return browser.post(asked.wsgi_request.path, filled_in(asked) | values)


def stored(profile: EmailServerProfile) -> EmailServerProfile:
    return EmailServerProfile.objects.get(pk=profile.pk)


def says(response: Any) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", response.content.decode()).split())


def test_a_changed_server_is_saved_once_its_consequences_are_seen(
    profile: EmailServerProfile, amaras: Client
) -> None:
    asked = changed(amaras, profile, incoming_host="localhost")

    page = says(asked)
    assert "Not saved yet: 2 mailboxes use this profile." in page
    assert (
        "After this change 1 of them does not run until Test &amp; Enable has passed again; the stored"
        in page
    )
    assert "the stored credentials of 1 mailbox wait for your confirmation." in page
    assert "Save and rest 1 mailbox" in page
    assert stored(profile).incoming_host == "127.0.0.1"

    done = confirmed(amaras, asked)

    assert done.status_code == 302
    assert stored(profile).incoming_host == "localhost"
    assert "Send the stored credentials of 1 mailbox to localhost" in says(amaras.get(page_of(profile)))


def test_a_changed_limit_says_for_whom(profile: EmailServerProfile, amaras: Client) -> None:
    asked = changed(amaras, profile, timeout_seconds="20", min_polling_interval_minutes="15")

    page = says(asked)
    assert (
        "Minimum Polling Interval in Minutes and Timeout in Seconds change for 1 mailbox from the next cycle on."
        in page
    )
    assert "does not run" not in page
    confirmed(amaras, asked)
    assert stored(profile).timeout_seconds == 20


def test_where_copies_are_kept_changes_without_a_new_test(
    profile: EmailServerProfile, amaras: Client
) -> None:
    asked = changed(amaras, profile, sent_folder="Sent")

    page = says(asked)
    assert "Keep a copy of sent mail in changes for 1 mailbox from the next cycle on." in page
    assert "does not run" not in page
    confirmed(amaras, asked)
    assert stored(profile).sent_folder == "Sent"


def test_what_concerns_no_mailbox_is_saved_at_once(profile: EmailServerProfile, amaras: Client) -> None:
    changed(amaras, profile, description="In Berlin")

    assert stored(profile).description == "In Berlin"


def test_nobody_is_asked_where_no_mailbox_uses_the_profile(office: Office, amaras: Client) -> None:
    Mailbox.objects.update(server_profile=None, incoming_method="none")

    changed(amaras, office.profile, incoming_host="localhost")

    assert stored(office.profile).incoming_host == "localhost"


def test_a_deactivated_mailbox_does_not_rest_and_its_credentials_wait(office: Office, amaras: Client) -> None:
    office.collection.is_active = False
    office.collection.save()

    page = says(changed(amaras, office.profile, incoming_host="localhost"))

    assert "does not run" not in page
    assert "the stored credentials of 1 mailbox wait" in page
    assert "Save for 1 mailbox" in page


def test_consent_holds_for_what_was_shown(profile: EmailServerProfile, amaras: Client) -> None:
    asked = changed(amaras, profile, incoming_folder="Orders")
    Mailbox.objects.filter(queue__isnull=False).update(outgoing_method="server_side")

    again = confirmed(amaras, asked)

    assert "they do not run until" in says(again)
    assert stored(profile).incoming_folder == "INBOX"
    confirmed(amaras, again)
    assert stored(profile).incoming_folder == "Orders"


def test_what_else_was_typed_is_not_lost(profile: EmailServerProfile, amaras: Client) -> None:
    asked = changed(amaras, profile, incoming_folder="Orders", description="In Berlin", then="close")

    assert 'name="then" value="close"' in asked.content.decode()
    done = confirmed(amaras, asked, then="close")

    assert done.url == reverse("profile-list")
    assert stored(profile).description == "In Berlin"


@pytest.mark.parametrize("bad", ["", "0.0", "1.1.0.x", "<script>"])
def test_another_consent_is_none(bad: str, profile: EmailServerProfile, amaras: Client) -> None:
    response = changed(amaras, profile, incoming_folder="Orders", seen=bad)

    assert "Not saved yet" in says(response)
    assert "<script>" not in response.content.decode()
    assert stored(profile).incoming_folder == "INBOX"


class TestTypedPasswords:
    SIGN_IN = {"authenticate_using": "profile", "username": "service", "password": CANARY}

    def test_the_password_is_typed_once_and_never_rendered(
        self, profile: EmailServerProfile, amaras: Client
    ) -> None:
        asked = changed(amaras, profile, **self.SIGN_IN)

        assert CANARY not in asked.content.decode()
        assert "typed — leave empty to use it" in asked.content.decode()
        confirmed(amaras, asked)
        assert stored(profile).password.reveal() == CANARY
        assert kept.NAME not in amaras.session

    def test_it_lies_sealed_in_the_session(self, profile: EmailServerProfile, amaras: Client) -> None:
        changed(amaras, profile, **self.SIGN_IN)

        assert kept.NAME in amaras.session
        assert CANARY not in str(dict(amaras.session))
        assert not any(CANARY in session.session_data for session in Session.objects.all())

    @pytest.mark.parametrize(
        ("name", "value"),
        [("incoming_host", "localhost"), ("username", "mallory"), ("incoming_port", "10144")],
    )
    def test_it_goes_to_no_other_place_than_it_was_typed_for(
        self, name: str, value: str, profile: EmailServerProfile, amaras: Client
    ) -> None:
        asked = changed(amaras, profile, **self.SIGN_IN)

        response = confirmed(amaras, asked, **{name: value})

        assert response.status_code == 422
        assert "Type the password of the account" in says(response)
        assert stored(profile).authenticate_using == "mailbox"

    def test_it_is_of_no_use_to_another_profile(
        self, office: Office, profile: EmailServerProfile, amaras: Client
    ) -> None:
        asked = changed(amaras, profile, **self.SIGN_IN)
        values = filled_in(asked)
        place = amaras.session
        assert kept.kept(place, profile.pk, values) == {"password": CANARY}
        assert kept.kept(place, profile.pk + 1, values) == {}

    def test_it_is_of_no_use_in_another_session(self, profile: EmailServerProfile, amaras: Client) -> None:
        values = filled_in(changed(amaras, profile, **self.SIGN_IN))
        other = Client()
        other.force_login(profile.owner)
        session = other.session
        session[kept.NAME] = amaras.session[kept.NAME]
        session.save()

        assert kept.kept(other.session, profile.pk, values) == {}

    def test_it_does_not_lie_there_for_long(self, profile: EmailServerProfile, amaras: Client) -> None:
        asked = changed(amaras, profile, **self.SIGN_IN)
        session = amaras.session
        session[kept.NAME] |= {"until": (timezone.now() - timedelta(seconds=1)).timestamp()}
        session.save()

        assert confirmed(amaras, asked).status_code == 422

    def test_one_that_was_typed_and_given_up_is_not_taken_later(
        self, profile: EmailServerProfile, amaras: Client
    ) -> None:
        changed(amaras, profile, **self.SIGN_IN)

        again = changed(amaras, profile, **self.SIGN_IN | {"password": ""})

        assert again.status_code == 422
        assert "Type the password of the account" in says(again)


def previewed(browser: Client, profile: EmailServerProfile, **values: Any) -> Any:
    page = browser.get(page_of(profile))
    return browser.post(reverse("profile-preview", args=[profile.pk]), filled_in(page) | values)


def test_the_bar_says_while_typing_what_a_save_would_do(profile: EmailServerProfile, amaras: Client) -> None:
    assert "Saving rests 1 mailbox, holds back 1 sign-in" in says(
        previewed(amaras, profile, incoming_host="localhost")
    )
    assert "Saving changes limits of 1 mailbox" in says(previewed(amaras, profile, timeout_seconds="20"))
    assert "Saving stops none of its 2 mailboxes" in says(previewed(amaras, profile, description="x"))
    assert "Saving stops none" in says(previewed(amaras, profile, timeout_seconds="soon"))
    assert stored(profile).incoming_host == "127.0.0.1"


@pytest.mark.parametrize(
    ("role", "status"), [("anonymous", 302), ("user", 403), ("approver", 403), ("staff", 403)]
)
@pytest.mark.parametrize(
    "address",
    ["profile-preview", "profile-activate", "profile-deactivate", "profile-default", "profile-delete"],
)
def test_only_administrators_do_anything_to_a_profile(
    address: str,
    role: str,
    status: int,
    profile: EmailServerProfile,
    browser_of: Callable[[str], Client],
) -> None:
    browser = browser_of(role)

    assert browser.post(reverse(address, args=[profile.pk])).status_code == status
    assert browser.post(reverse(address, args=[profile.pk + 99])).status_code == status
    now = stored(profile)
    assert (now.is_active, now.is_default) == (True, False)
