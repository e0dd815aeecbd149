"""The form of a profile in Chromium: types, ports, what a change stops, deactivating; with and without script."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import expect

from emailprofiles.models import EmailServerProfile
from tests.conftest import Office

from .conftest import Visitor, in_every_look
from .test_every_page import PASSWORD, flaws

pytestmark = pytest.mark.django_db(transaction=True)

WITH_AND_WITHOUT_SCRIPT = pytest.mark.parametrize("script", [True, False], ids=["script", "no script"])


@pytest.fixture
def profile(transactional_db: None, office: Office) -> EmailServerProfile:
    office.amara.set_password(PASSWORD)
    office.amara.save()
    return office.profile


@pytest.fixture
def amaras(visitor_with: Any, profile: EmailServerProfile) -> Any:
    """Amara, signed in; `amaras(script=False, …)`."""

    def signed_in(script: bool = True, **options: Any) -> Visitor:
        visitor: Visitor = visitor_with(java_script_enabled=script, **options)
        visitor.signs_in("amara", PASSWORD)
        return visitor

    return signed_in


def stored(profile: EmailServerProfile) -> EmailServerProfile:
    return EmailServerProfile.objects.get(pk=profile.pk)


@WITH_AND_WITHOUT_SCRIPT
def test_a_type_shows_only_what_it_uses(amaras: Any, script: bool) -> None:
    """Some types cannot be chosen yet, so the options are opened here as a transport will open them."""
    visitor = amaras(script)
    visitor.opens("/profiles/new/")
    field = visitor.page.locator
    expect(field("[name=incoming_folder]")).to_be_visible()
    expect(field("text=usually 993")).to_be_visible()

    field("[name=server_type]").evaluate(
        "select => { for (const option of select.options) option.disabled = false }"
    )
    visitor.chooses(server_type="pop3_smtp")

    expect(field("[name=incoming_folder]")).to_be_hidden()
    expect(field("[name=incoming_host]")).to_be_visible()
    expect(field("text=usually 995")).to_be_visible()
    expect(field("text=usually 993")).to_be_hidden()
    expect(field("[name=incoming_port]")).to_have_value("995" if script else "993")

    visitor.chooses(server_type="exchange_online")
    expect(field("[name=incoming_host]")).to_be_hidden()
    expect(field("[name=caldav_url]")).to_be_hidden()
    expect(field("[name=incoming_folder]")).to_be_visible()


@WITH_AND_WITHOUT_SCRIPT
def test_the_sign_in_shows_only_what_it_uses(amaras: Any, script: bool) -> None:
    visitor = amaras(script)
    visitor.opens("/profiles/new/")
    field = visitor.page.locator
    expect(field("[name=username]")).to_be_hidden()

    visitor.chooses(authenticate_using="profile")
    expect(field("[name=username]")).to_be_visible()
    expect(field("[name=outgoing_username]")).to_be_hidden()
    field("label:has([name=same_sign_in_for_outgoing][value=False])").click()
    expect(field("[name=outgoing_username]")).to_be_visible()


def test_the_port_follows_until_somebody_types_another(amaras: Any) -> None:
    visitor = amaras()
    visitor.opens("/profiles/new/")
    port = visitor.page.locator("[name=outgoing_port]")
    expect(port).to_have_value("465")

    visitor.chooses(outgoing_security="starttls")
    expect(port).to_have_value("587")
    port.fill("2525")
    visitor.chooses(outgoing_security="tls")
    expect(port).to_have_value("2525")
    port.fill("")
    visitor.chooses(outgoing_security="starttls")
    expect(port).to_have_value("587")


@WITH_AND_WITHOUT_SCRIPT
def test_a_new_profile_has_the_usual_port_either_way(amaras: Any, script: bool) -> None:
    visitor = amaras(script)
    visitor.opens("/profiles/new/")
    visitor.types(name="Branch", incoming_host="imap.contoso.com")
    visitor.chooses(incoming_security="starttls")
    visitor.presses("Save")

    visitor.sees("Branch is created.")
    assert EmailServerProfile.objects.get(name="Branch").incoming_port == 143


@WITH_AND_WITHOUT_SCRIPT
@pytest.mark.parametrize("width", [1440, 390])
def test_what_a_change_stops_is_seen_before_it_is_saved(
    amaras: Any, profile: EmailServerProfile, script: bool, width: int
) -> None:
    visitor = amaras(script, viewport={"width": width, "height": 900})
    visitor.opens(f"/profiles/{profile.pk}/")
    visitor.types(incoming_host="localhost", description="In Berlin")
    if script:
        expect(visitor.page.locator("#affects")).to_contain_text(
            "Saving rests 1 mailbox, holds back 1 sign-in"
        )
        expect(visitor.page.locator("#affects")).to_be_visible()
    visitor.presses("Save")

    visitor.sees("Not saved yet: 1 mailbox uses this profile.", "wait for your confirmation")
    assert stored(profile).incoming_host == "127.0.0.1"
    assert not script or flaws(visitor) == []
    visitor.presses("Save and rest 1 mailbox")

    visitor.sees("Head office is saved.", "Send the stored credentials of 1 mailbox to localhost")
    assert (stored(profile).incoming_host, stored(profile).description) == ("localhost", "In Berlin")
    assert visitor.complaints == []


@WITH_AND_WITHOUT_SCRIPT
def test_a_password_is_typed_once(amaras: Any, profile: EmailServerProfile, script: bool) -> None:
    visitor = amaras(script)
    visitor.opens(f"/profiles/{profile.pk}/")
    visitor.chooses(authenticate_using="profile")
    visitor.types(username="service", password="Kanarienvogel 9")
    visitor.presses("Save")

    visitor.sees("Not saved yet")
    assert "Kanarienvogel" not in visitor.page.content()
    expect(visitor.page.locator("[name=password]")).to_have_value("")
    visitor.presses("Save and rest 1 mailbox")

    visitor.sees("Head office is saved.")
    assert stored(profile).password.reveal() == "Kanarienvogel 9"


def test_no_password_is_sent_while_somebody_types(amaras: Any, profile: EmailServerProfile) -> None:
    visitor = amaras()
    visitor.opens(f"/profiles/{profile.pk}/")
    visitor.chooses(authenticate_using="profile")
    with visitor.page.expect_request("**/preview/") as asked:
        visitor.types(username="service", password="Kanarienvogel 9")

    assert "service" in (asked.value.post_data or "")
    assert "Kanarienvogel" not in (asked.value.post_data or "")


@WITH_AND_WITHOUT_SCRIPT
def test_deactivating_says_what_stops_and_can_be_undone(
    amaras: Any, profile: EmailServerProfile, script: bool
) -> None:
    visitor = amaras(script)
    visitor.opens(f"/profiles/{profile.pk}/")
    visitor.presses("Set as Default")
    visitor.sees("New mailboxes begin with Head office from now on.")
    visitor.follows("Deactivate")
    visitor.sees("What this stops", "It is the default for new mailboxes")
    assert not script or flaws(visitor) == []
    visitor.presses("Deactivate")

    visitor.sees("Head office is deactivated.")
    assert not stored(profile).is_active
    visitor.presses("Activate")
    visitor.sees("Head office is active.")
    assert stored(profile).is_active


@in_every_look
def test_every_state_of_the_page_is_without_flaws(
    amaras: Any, profile: EmailServerProfile, width: int, scheme: str
) -> None:
    spare = EmailServerProfile.objects.create(name="Spare", owner=profile.owner, outgoing_host="127.0.0.1")
    visitor = amaras(viewport={"width": width, "height": 900}, color_scheme=scheme)
    for address in (
        f"{profile.pk}/deactivate/",
        f"{profile.pk}/delete/",
        f"{spare.pk}/delete/",
        f"{spare.pk}/",
        "?state=unused",
        "?q=nothing+like+this",
    ):
        visitor.opens(f"/profiles/{address}")
        assert flaws(visitor) == [], address
    assert visitor.complaints == []
