"""Email Configuration Settings in the browser: one record, the default profile's flag, the routing headers."""

from collections.abc import Callable
from typing import Any

import pytest
from django.conf import LazySettings
from django.db import IntegrityError
from django.test import Client
from django.urls import reverse

from emailprofiles.models import EmailServerProfile
from mailboxes.models import EmailConfigurationSettings, RoutingHeader, TokenPlace
from tests.conftest import Office, profile_values

ADDRESS = "/settings/email/"


def values(**changes: Any) -> dict[str, Any]:
    return {
        "default_profile": "",
        "default_incoming_method": "forward",
        "default_outgoing_method": "none",
        "default_act_method": "none",
        "require_approval_for_users": "True",
        "require_approval_for_queues": "True",
        "route_by_to_and_cc": "True",
        "routing_headers": "X-Original-To\nDelivered-To",
    } | changes


@pytest.mark.parametrize(
    ("role", "status"),
    [("anonymous", 302), ("user", 403), ("approver", 403), ("staff", 403), ("administrator", 200)],
)
def test_settings_are_the_administrators_business(
    role: str, status: int, browser_of: Callable[[str], Client]
) -> None:
    browser = browser_of(role)

    assert browser.get(ADDRESS).status_code == status
    if status != 200:
        assert browser.post(ADDRESS, values(route_by_to_and_cc="False")).status_code == status
        assert EmailConfigurationSettings.load().route_by_to_and_cc


def test_the_page_shows_what_holds(office: Office, amaras: Client) -> None:
    form = amaras.get(reverse("configuration")).context["form"]

    assert form["routing_headers"].value().splitlines()[:2] == ["X-Original-To", "Delivered-To"]
    assert form["default_incoming_method"].value() == "forward"
    assert form["default_profile"].value() is None


def test_everything_is_saved_together(office: Office, amaras: Client) -> None:
    response = amaras.post(
        ADDRESS,
        values(
            default_profile=office.profile.name,
            default_incoming_method="server_side",
            require_approval_for_queues="False",
            route_by_to_and_cc="False",
            routing_headers="\n X-Envelope-To: \nDelivered-To\r\n",
        ),
    )

    settings = EmailConfigurationSettings.load()
    assert response.url == ADDRESS
    assert settings.default_incoming_method == "server_side"
    assert settings.require_approval_for_users
    assert not settings.require_approval_for_queues
    assert not settings.route_by_to_and_cc
    assert RoutingHeader.names() == ("X-Envelope-To", "Delivered-To")
    assert EmailServerProfile.objects.get(is_default=True) == office.profile


def test_the_default_profile_changes_and_goes(office: Office, amaras: Client) -> None:
    other = EmailServerProfile.objects.create(**profile_values(name="Branch", owner=office.amara))

    def default_after(**changes: Any) -> list[str]:
        amaras.post(ADDRESS, values(**changes))
        return list(EmailServerProfile.objects.filter(is_default=True).values_list("name", flat=True))

    assert default_after(default_profile=office.profile.name) == ["Head office"]
    assert default_after(default_profile=other.name) == ["Branch"]
    assert default_after(default_profile="") == []


def test_an_inactive_profile_is_not_offered(office: Office, amaras: Client) -> None:
    EmailServerProfile.objects.filter(pk=office.profile.pk).update(is_active=False)

    response = amaras.post(ADDRESS, values(default_profile=office.profile.name))

    assert response.status_code == 422


@pytest.mark.parametrize(
    ("typed", "sentence"),
    [
        ("X-Original-To\nDelivered To", "Line 2, “Delivered To”: A header name has no spaces and no colon"),
        ("X-Original-To\n\nDelivered-To: x", "Line 3, “Delivered-To: x”"),
        ("Übermittelt-An", "Line 1, “Übermittelt-An”"),
        (
            "X-Original-To\nDelivered-To\nx-original-TO",
            "Line 3, “x-original-TO”: this header stands further up",
        ),
        ("X" * 101, "at most 100 characters"),
        ("\n".join(f"X-{number}" for number in range(60)), "60 headers are too many"),
    ],
)
def test_a_bad_line_is_named_and_nothing_is_saved(
    typed: str, sentence: str, office: Office, amaras: Client
) -> None:
    response = amaras.post(ADDRESS, values(routing_headers=typed, route_by_to_and_cc="False"))

    page = response.content.decode()
    assert response.status_code == 422
    assert sentence in page
    assert typed.splitlines()[0] in page
    assert EmailConfigurationSettings.load().route_by_to_and_cc
    assert len(RoutingHeader.names()) == 8


def test_no_header_at_all_is_a_choice(office: Office, amaras: Client) -> None:
    amaras.post(ADDRESS, values(routing_headers=""))

    assert RoutingHeader.names() == ()


def test_what_no_transport_can_do_is_closed_and_refused(office: Office, amaras: Client) -> None:
    page = amaras.get(ADDRESS).content.decode()
    response = amaras.post(ADDRESS, values(default_act_method="server_side"))

    assert "there is no transport for calendars yet" in page
    assert response.status_code == 422
    assert EmailConfigurationSettings.load().default_act_method == "none"


def test_the_page_says_what_follows_and_where_existing_mailboxes_get_the_defaults(
    office: Office, amaras: Client
) -> None:
    page = amaras.get(ADDRESS).content.decode()

    assert "Mailboxes that exist stay as they are." in page
    assert f'href="{reverse("mailbox-list")}">list of mailboxes</a>' in page
    assert "?view=approval" in page
    assert ">2 addresses wait</a> for approval now" in page
    for nothing_obeys in ("retention", "tracking"):
        assert nothing_obeys not in page.lower()


def test_limits_and_our_own_servers_are_saved_as_they_are_meant(office: Office, amaras: Client) -> None:
    amaras.post(
        ADDRESS,
        values(
            trusted_servers="Contoso.com.\n\n10.1.2.3/16\ncontoso.com",
            blocked_attachment_extensions="*.EXE, .js;exe\nvbs",
            max_message_size_mb="20",
            quarantine_alert_at="5",
            use_plus_addresses="False",
            routing_headers="Delivered-To",
            untrusted_routing_headers="Resent-From:",
        ),
    )

    settings = EmailConfigurationSettings.load()
    assert settings.trusted_servers == "contoso.com\n10.1.0.0/16"
    assert settings.blocked_attachment_extensions == "exe js vbs"
    assert (settings.max_message_size_mb, settings.quarantine_alert_at) == (20, 5)
    assert not settings.use_plus_addresses
    assert RoutingHeader.listed() == (("Delivered-To", True), ("Resent-From", False))


@pytest.mark.parametrize(
    ("field", "typed", "sentence"),
    [
        (
            "trusted_servers",
            "*.contoso.com",
            "“*.contoso.com”: write contoso.com; all names below it are meant, too.",
        ),
        ("trusted_servers", "mx.contoso.com\n0.0.0.0/0", "“0.0.0.0/0”: this network is too wide"),
        ("blocked_attachment_extensions", "tar.gz", "“tar.gz”: write only what stands behind the last dot"),
        ("max_message_size_mb", "0", "Choose a number of megabytes from 1 to 200."),
        ("quarantine_alert_at", "many", "Enter a whole number."),
        ("alert_mail_grace_minutes", "1441", "Choose a number of minutes from 0 to 1440."),
        ("outbox_alert_minutes", "10081", "Choose a number of minutes from 0 (never) to 10080 (a week)."),
        ("outbox_alert_minutes", "-1", "Ensure this value is greater than or equal to 0."),
        ("track_by_token", "everywhere", "is not a valid choice"),
        ("untrusted_routing_headers", "delivered-TO", "delivered-TO: take it out of one of the two lists."),
    ],
)
def test_what_is_not_right_is_said_at_its_field(
    field: str, typed: str, sentence: str, office: Office, amaras: Client
) -> None:
    response = amaras.post(ADDRESS, values(**{field: typed}))

    assert response.status_code == 422
    assert sentence in " ".join(response.context["form"].errors[field])


def test_alerts_are_mailed_unless_somebody_says_otherwise_and_the_history_tells(
    office: Office, amaras: Client
) -> None:
    settings = EmailConfigurationSettings.load()
    assert (settings.mail_alerts, settings.alert_mail_grace_minutes) == (True, 15)

    amaras.post(ADDRESS, values(mail_alerts="False", alert_mail_grace_minutes="0"))

    settings = EmailConfigurationSettings.load()
    assert (settings.mail_alerts, settings.alert_mail_grace_minutes) == (False, 0)
    history = amaras.get(reverse("configuration-history")).content.decode()
    assert "Mail alerts to their owners" in history
    assert "Minutes that something lasts before a mail is sent" in history


def test_where_the_token_stands_and_when_waiting_mail_is_told_of_are_chosen_and_in_the_history(
    office: Office, amaras: Client
) -> None:
    settings = EmailConfigurationSettings.load()
    assert (settings.track_by_token, settings.outbox_alert_minutes) == (TokenPlace.NONE, 60)

    amaras.post(ADDRESS, values(track_by_token="address", outbox_alert_minutes="0"))

    settings = EmailConfigurationSettings.load()
    assert (settings.track_by_token, settings.outbox_alert_minutes) == (TokenPlace.ADDRESS, 0)
    page = " ".join(amaras.get(ADDRESS).content.decode().split())
    assert "such as support+so-…@contoso.com" in page
    history = amaras.get(reverse("configuration-history")).content.decode()
    assert "Token by which answers are known" in history
    assert "from Nowhere: by reply headers alone to In the reply address" in history
    assert "Alert when a message has waited in the outbox for" in history


def test_the_database_holds_the_grace_time_too(office: Office) -> None:
    EmailConfigurationSettings.load()
    with pytest.raises(IntegrityError, match="settings_alert_mail_grace_in_range"):
        EmailConfigurationSettings.objects.update(alert_mail_grace_minutes=1441)


@pytest.mark.parametrize(("address", "says"), [("", True), ("smtp://mail.contoso.com", False)])
def test_the_page_says_when_nothing_is_mailed(
    address: str, says: bool, office: Office, amaras: Client, settings: LazySettings
) -> None:
    settings.EMAIL_URL = address

    page = amaras.get(ADDRESS).content.decode()

    assert ("<code>EMAIL_URL</code> is not set" in page) is says
