"""Email server profiles in the browser: who may what, ports, secrets, encryption, the default, a changed server."""

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils.html import escape

from emailprofiles.models import NOT_OBEYED, EmailServerProfile
from mailboxes.models import Mailbox
from tests.conftest import Office

CANARY = "Kanarienvogel 9"


def values(**changes: Any) -> dict[str, Any]:
    """What a browser sends for a new profile; `changes` come on top."""
    return {
        "name": "Branch",
        "owner": "amara@contoso.com",
        "server_type": "imap_smtp",
        "description": "",
        "is_active": "True",
        "is_default": "False",
        "incoming_host": "imap.contoso.com",
        "incoming_security": "tls",
        "incoming_port": "",
        "outgoing_host": "smtp.contoso.com",
        "outgoing_security": "starttls",
        "outgoing_port": "",
        "authenticate_using": "mailbox",
        "username": "",
        "password": "",
        "same_sign_in_for_outgoing": "True",
        "outgoing_username": "",
        "outgoing_password": "",
        "incoming_folder": "INBOX",
        "process_email_from": "",
        "min_polling_interval_minutes": "5",
        "messages_per_cycle": "500",
        "max_concurrent_connections": "10",
        "timeout_seconds": "30",
        "then": "stay",
    } | changes


def new(browser: Client, **changes: Any) -> Any:
    return browser.post(reverse("profile-new"), values(**changes))


def refused(response: Any, sentence: str) -> str:
    """The page that a refused form comes back with; it says the sentence."""
    page: str = response.content.decode()
    assert response.status_code == 422
    assert "Not saved" in page
    assert sentence in page
    return page


@pytest.mark.parametrize(
    ("role", "sees", "makes"),
    [
        ("anonymous", 302, 302),
        ("user", 403, 403),
        ("approver", 403, 403),
        ("staff", 200, 403),
        ("administrator", 200, 200),
    ],
)
def test_who_sees_profiles_and_who_makes_them(
    role: str, sees: int, makes: int, office: Office, browser_of: Callable[[str], Client]
) -> None:
    browser = browser_of(role)
    edit = reverse("profile-edit", args=[office.profile.pk])

    assert browser.get(reverse("profile-list")).status_code == sees
    assert browser.get(edit).status_code == sees
    assert browser.get(reverse("profile-new")).status_code == makes


@pytest.mark.parametrize(
    ("role", "status"), [("anonymous", 302), ("user", 403), ("approver", 403), ("staff", 403)]
)
def test_only_administrators_change_profiles(
    role: str, status: int, office: Office, browser_of: Callable[[str], Client]
) -> None:
    browser = browser_of(role)

    for address in (reverse("profile-edit", args=[office.profile.pk]), reverse("profile-new")):
        assert browser.post(address, values(name="Mine now")).status_code == status
    assert list(EmailServerProfile.objects.values_list("name", flat=True)) == ["Head office"]


def test_staff_look_without_commands_or_secrets(office: Office, browser_of: Callable[[str], Client]) -> None:
    office.profile.authenticate_using = "profile"
    office.profile.username, office.profile.password = "service", CANARY
    office.profile.save()

    page = browser_of("staff").get(reverse("profile-edit", args=[office.profile.pk])).content.decode()

    assert CANARY not in page
    assert "Save" not in page
    assert "disabled" in page
    assert "Unencrypted" in page


def test_a_profile_is_made_with_the_usual_ports(amaras: Client) -> None:
    response = new(amaras)

    profile = EmailServerProfile.objects.get(name="Branch")
    assert (profile.incoming_port, profile.outgoing_port) == (993, 587)
    assert response.url == reverse("profile-edit", args=[profile.pk])


@pytest.mark.parametrize(
    ("security", "incoming", "outgoing"), [("tls", 993, 465), ("starttls", 143, 587), ("none", 143, 25)]
)
def test_an_empty_port_follows_the_security(
    security: str, incoming: int, outgoing: int, amaras: Client
) -> None:
    new(
        amaras,
        incoming_security=security,
        outgoing_security=security,
        incoming_host="localhost",
        outgoing_host="localhost",
    )

    profile = EmailServerProfile.objects.get(name="Branch")
    assert (profile.incoming_port, profile.outgoing_port) == (incoming, outgoing)


@pytest.mark.parametrize(("security", "port"), [("starttls", 143), ("tls", 993)])
def test_a_usual_port_that_was_left_alone_follows_without_script(
    security: str, port: int, office: Office, amaras: Client
) -> None:
    new(amaras, incoming_security=security, incoming_port="993")

    assert EmailServerProfile.objects.get(name="Branch").incoming_port == port


def test_so_it_does_when_the_profile_exists(office: Office, amaras: Client) -> None:
    made = new(amaras, incoming_port="993", outgoing_security="tls", outgoing_port="465").url

    page = amaras.post(
        made, values(incoming_port="993", outgoing_security="starttls", outgoing_port="465"), follow=True
    )

    assert EmailServerProfile.objects.get(name="Branch").outgoing_port == 587
    assert "Outgoing Port is 587 now, as is usual for this security." in page.content.decode()


def test_another_port_than_the_usual_one_is_left_alone(office: Office, amaras: Client) -> None:
    made = new(amaras, incoming_port="10993").url

    amaras.post(made, values(incoming_port="10993", incoming_security="starttls", outgoing_port="587"))
    amaras.post(made, values(incoming_port="993", incoming_security="starttls", outgoing_port="587"))

    assert EmailServerProfile.objects.get(name="Branch").incoming_port == 993


@pytest.mark.parametrize(
    ("unused", "choices"),
    [
        ({"username": "x" * 300, "password": CANARY}, {}),
        ({"outgoing_username": "x" * 300, "outgoing_password": CANARY}, {"authenticate_using": "profile"}),
        ({"username": "x" * 300}, {"authenticate_using": "anonymous", "incoming_host": ""}),
        ({"sent_folder": "x" * 300}, {"server_type": "pop3_smtp"}),
    ],
)
def test_what_the_choices_leave_unused_is_neither_judged_nor_taken(
    unused: dict[str, str], choices: dict[str, str], office: Office, amaras: Client
) -> None:
    own = {"username": "service", "password": "Feldsalat 23"} if "authenticate_using" in choices else {}

    new(amaras, **own | choices | unused)

    profile = EmailServerProfile.objects.get(name="Branch")
    assert not any(getattr(profile, name) for name in unused)


def test_a_type_without_folders_keeps_the_stored_folder(office: Office, amaras: Client) -> None:
    new(amaras, server_type="pop3_smtp", incoming_folder="", incoming_port="")

    profile = EmailServerProfile.objects.get(name="Branch")
    assert (profile.incoming_folder, profile.incoming_port) == ("INBOX", 995)


def test_a_profile_says_where_copies_of_sent_mail_are_kept(office: Office, amaras: Client) -> None:
    new(amaras, sent_folder=" Gesendete Grüße ")

    profile = EmailServerProfile.objects.get(name="Branch")
    assert profile.sent_folder == "Gesendete Grüße"
    assert profile.keeps_copies
    page = amaras.get(reverse("profile-edit", args=[profile.pk])).content.decode()
    assert 'value="Gesendete Grüße"' in page
    assert 'href="/help/synchronization-method/#sent"' in page


@pytest.mark.parametrize(
    ("choices", "keeps"),
    [
        ({"sent_folder": "Sent"}, True),
        ({"sent_folder": ""}, False),
        ({"sent_folder": "Sent", "incoming_host": ""}, False),
        ({"sent_folder": "Sent", "incoming_host": "", "authenticate_using": "anonymous"}, False),
        ({"sent_folder": "Sent", "server_type": "pop3_smtp"}, False),
    ],
)
def test_copies_are_kept_where_there_is_a_server_for_them(choices: dict[str, str], keeps: bool) -> None:
    row = {"incoming_host": "imap.contoso.com", "outgoing_host": "smtp.contoso.com"} | choices
    assert EmailServerProfile(**row).keeps_copies is keeps


def test_a_typed_port_stays(amaras: Client) -> None:
    new(amaras, incoming_port="10993")

    assert EmailServerProfile.objects.get(name="Branch").incoming_port == 10993


def test_save_and_close_goes_to_the_list(amaras: Client) -> None:
    assert new(amaras, then="close").url == reverse("profile-list")


def test_a_new_profile_proposes_now_as_the_beginning(amaras: Client) -> None:
    form = amaras.get(reverse("profile-new")).context["form"]

    assert form["process_email_from"].value() is not None
    assert form["owner"].value() == "Amara Okafor <amara@contoso.com>"


def test_what_a_new_profile_proposes_can_be_sent_back(amaras: Client) -> None:
    form = amaras.get(reverse("profile-new")).context["form"]
    proposed = {name: form[name].value() for name in form.fields if form[name].value() is not None}
    beginning = proposed.pop("process_email_from").strftime("%Y-%m-%dT%H:%M")
    typed = {"name": "Branch", "incoming_host": "imap.contoso.com", "process_email_from": beginning}

    amaras.post(reverse("profile-new"), proposed | typed)

    profile = EmailServerProfile.objects.get(name="Branch")
    assert profile.is_active
    assert profile.same_sign_in_for_outgoing
    assert profile.incoming_port == 993


def test_an_old_profile_proposes_nothing(office: Office, amaras: Client) -> None:
    form = amaras.get(reverse("profile-edit", args=[office.profile.pk])).context["form"]

    assert form["process_email_from"].value() is None


def test_the_beginning_is_read_in_the_zone_of_who_types(office: Office, amaras: Client) -> None:
    office.amara.time_zone = "Europe/Berlin"
    office.amara.save(update_fields=["time_zone"])

    new(amaras, process_email_from="2026-11-24T01:00")

    begins = EmailServerProfile.objects.get(name="Branch").process_email_from
    assert begins.isoformat() == "2026-11-24T00:00:00+00:00"


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"name": ""}, "This field is required"),
        ({"name": "HEAD OFFICE"}, 'id="id_name_error"'),
        ({"name": "HEAD OFFICE"}, "Another profile has this name"),
        ({"owner": "nobody"}, "No active user is called nobody"),
        ({"server_type": "exchange_online"}, "Exchange Online is not available in this version"),
        ({"authenticate_using": "oauth"}, "OAuth 2.0 is not available in this version"),
        ({"incoming_host": "", "outgoing_host": ""}, "Give the incoming or the outgoing server location"),
        ({"authenticate_using": "anonymous"}, "Without credentials mail can only be sent"),
        ({"authenticate_using": "profile"}, "Type the user name of the account"),
        ({"authenticate_using": "profile", "username": "x"}, "Type the password of the account"),
        ({"sent_folder": "inbox"}, "This folder is read: what is sent would be collected"),
        ({"timeout_seconds": "101"}, "less than or equal to 100"),
        ({"timeout_seconds": "soon"}, "Enter a whole number"),
        ({"incoming_port": "70000"}, "less than or equal to 65535"),
        ({"incoming_security": "none"}, "Without encryption everyone on the way can read"),
        ({"is_default": "True", "is_active": "False"}, "An inactive profile cannot be the default"),
        *(
            (
                {
                    "authenticate_using": "profile",
                    "username": "x",
                    "password": "y",
                    field: f"a{poison}Z9 LOGOUT",
                },
                said,
            )
            for field in (
                "incoming_folder",
                "sent_folder",
                "incoming_host",
                "outgoing_host",
                "username",
                "password",
            )
            for poison, said in (
                ("\r\n", "This contains a line break or a NUL"),
                ("\n", "This contains a line break or a NUL"),
                ("\r", "This contains a line break or a NUL"),
                ("\0", "Null characters are not allowed"),
            )
        ),
    ],
)
def test_a_wrong_entry_gets_its_sentence_and_nothing_typed_is_lost(
    changes: dict[str, str], sentence: str, office: Office, amaras: Client
) -> None:
    response = new(amaras, **{"description": "Typed by hand"} | changes, outgoing_password=CANARY)

    page = refused(response, sentence)
    assert "Typed by hand" in page
    assert CANARY not in page
    assert EmailServerProfile.objects.count() == 1


def test_types_and_sign_ins_without_a_transport_are_closed_with_the_reason(amaras: Client) -> None:
    page = amaras.get(reverse("profile-new")).content.decode()

    assert '<option value="gmail" disabled' in page
    assert "Exchange Server, Exchange Online, Gmail: Not available in this version." in page
    assert 'value="oauth"' in page


@pytest.mark.parametrize("name", NOT_OBEYED)
def test_what_nothing_obeys_is_shown_with_the_reason_and_refused_when_sent_by_hand(
    name: str, office: Office, amaras: Client
) -> None:
    page = amaras.get(reverse("profile-new")).content.decode()
    value = "https://dav.contoso.com/" if name.endswith("_url") else "True"

    assert str(escape(NOT_OBEYED[name])) in page
    refused(new(amaras, **{name: value}), f'id="id_{name}_error"')
    assert not EmailServerProfile.objects.filter(name="Branch").exists()


def test_an_alert_mail_to_the_owner_is_chosen_and_its_help_is_at_hand(office: Office, amaras: Client) -> None:
    made = new(amaras, send_alert_email="True").url

    assert EmailServerProfile.objects.get(name="Branch").send_alert_email
    form = amaras.get(made).context["form"]
    assert form["send_alert_email"].value() == "True"
    assert "disabled" not in str(form["send_alert_email"])
    assert 'href="/help/alerts/#mail"' in amaras.get(made).content.decode()


def test_no_encryption_asks_for_a_confirmation_and_is_shown_everywhere(
    office: Office, amaras: Client, caplog: pytest.LogCaptureFixture
) -> None:
    response = new(amaras, incoming_security="none", unencrypted_confirmed="on")

    profile = EmailServerProfile.objects.get(name="Branch")
    assert profile.unencrypted_confirmed
    assert "confirmed that profile" in caplog.text
    assert "Unencrypted" in amaras.get(response.url).content.decode()
    assert "Unencrypted" in amaras.get(reverse("profile-list")).content.decode()


def test_a_confirmation_ends_with_its_reason(amaras: Client) -> None:
    new(amaras, incoming_security="tls", unencrypted_confirmed="on")

    assert not EmailServerProfile.objects.get(name="Branch").unencrypted_confirmed


def test_passwords_are_never_shown_and_an_empty_one_stays(office: Office, amaras: Client) -> None:
    made = new(amaras, authenticate_using="profile", username="service", password=CANARY).url

    page = amaras.get(made).content.decode()
    amaras.post(
        made, values(authenticate_using="profile", username="service", description="x", incoming_port="993")
    )

    profile = EmailServerProfile.objects.get(name="Branch")
    assert CANARY not in page
    assert "stored — leave empty to keep" in page
    assert (profile.description, profile.password.reveal()) == ("x", CANARY)


def test_another_server_wants_the_password_again(office: Office, amaras: Client) -> None:
    made = new(amaras, authenticate_using="profile", username="service", password=CANARY).url
    moved = values(authenticate_using="profile", username="service", incoming_host="imap.new.example")

    refused(amaras.post(made, moved), "type the password again")
    amaras.post(made, moved | {"password": "Neues Wort 7"})

    profile = EmailServerProfile.objects.get(name="Branch")
    assert (profile.incoming_host, profile.password.reveal()) == ("imap.new.example", "Neues Wort 7")


def defaults() -> list[str]:
    return list(EmailServerProfile.objects.filter(is_default=True).values_list("name", flat=True))


def test_the_default_moves_in_one_step(office: Office, amaras: Client) -> None:
    first = EmailServerProfile.objects.get(
        pk=int(new(amaras, name="First", is_default="True").url.split("/")[2])
    )
    new(amaras, name="Second", is_default="True")
    assert defaults() == ["Second"]

    page = amaras.post(reverse("profile-default", args=[first.pk]), follow=True).content.decode()

    assert defaults() == ["First"]
    assert "New mailboxes begin with First from now on, in place of Second." in page


def test_an_inactive_profile_does_not_become_the_default(office: Office, amaras: Client) -> None:
    new(amaras, name="First", is_default="True")
    made = new(amaras, name="Second", is_active="False").url

    page = amaras.post(f"{made}default/", follow=True).content.decode()

    assert "An inactive profile cannot be the default" in page
    assert defaults() == ["First"]


def test_a_refused_default_leaves_the_former_one(office: Office, amaras: Client) -> None:
    new(amaras, name="First", is_default="True")

    refused(new(amaras, name="Second", is_default="True", is_active="False"), "cannot be the default")

    assert EmailServerProfile.objects.get(is_default=True).name == "First"
    assert not EmailServerProfile.objects.filter(name="Second").exists()


def moved(office: Office, host: str) -> EmailServerProfile:
    office.profile.incoming_host = host
    office.profile.unencrypted_confirmed = True
    office.profile.save()
    return office.profile


def test_stored_credentials_wait_for_a_confirmation(office: Office, amaras: Client) -> None:
    profile = moved(office, "imap.new.example")
    page = amaras.get(reverse("profile-edit", args=[profile.pk])).content.decode()

    response = amaras.post(
        reverse("profile-confirm", args=[profile.pk]),
        {"location_version": profile.location_version},
        follow=True,
    )

    assert "Send the stored credentials of 1 mailbox to imap.new.example" in page
    assert "The stored credentials of 1 mailbox may go to this server" in response.content.decode()
    assert "Send the stored credentials" not in response.content.decode()
    stored = Mailbox.objects.get(pk=office.collection.pk)
    assert stored.credentials_location_version == profile.location_version


def test_a_confirmation_holds_only_for_the_server_that_was_shown(office: Office, amaras: Client) -> None:
    shown = moved(office, "imap.new.example").location_version
    moved(office, "imap.other.example")

    response = amaras.post(
        reverse("profile-confirm", args=[office.profile.pk]), {"location_version": shown}, follow=True
    )

    assert "The server location changed meanwhile" in response.content.decode()
    stored = Mailbox.objects.get(pk=office.collection.pk)
    assert stored.credentials_location_version != office.profile.location_version


@pytest.mark.parametrize(
    ("role", "status"), [("anonymous", 302), ("staff", 403), ("approver", 403), ("user", 403)]
)
def test_only_an_administrator_confirms(
    role: str, status: int, office: Office, browser_of: Callable[[str], Client]
) -> None:
    profile = moved(office, "imap.new.example")
    address = reverse("profile-confirm", args=[profile.pk])

    response = browser_of(role).post(address, {"location_version": profile.location_version})

    assert response.status_code == status
    stored = Mailbox.objects.get(pk=office.collection.pk)
    assert stored.credentials_location_version != profile.location_version


def test_what_mailboxes_use_cannot_be_taken_away(office: Office, amaras: Client) -> None:
    response = amaras.post(
        reverse("profile-edit", args=[office.profile.pk]),
        values(name="Head office", incoming_host="", outgoing_host="localhost"),
    )

    refused(response, "1 mailbox uses this profile for incoming email")


def test_the_count_of_mailboxes_leads_to_them(office: Office, amaras: Client) -> None:
    link = f'href="{reverse("mailbox-list")}?profile={office.profile.pk}"'

    assert link in amaras.get(reverse("profile-list")).content.decode()
    assert link in amaras.get(reverse("profile-edit", args=[office.profile.pk])).content.decode()


def test_the_list_searches_and_says_when_it_is_empty(amaras: Client) -> None:
    new(amaras)

    assert "Branch" in amaras.get(reverse("profile-list"), {"q": "imap.contoso"}).content.decode()
    assert "No profile matches" in amaras.get(reverse("profile-list"), {"q": "x9"}).content.decode()


def test_the_first_visit_explains_profiles(client: Client, amara: Any) -> None:
    client.force_login(amara)

    assert "No email server profile yet" in client.get(reverse("profile-list")).content.decode()


def test_a_profile_that_is_not_there_is_not_found(office: Office, amaras: Client) -> None:
    assert amaras.get(reverse("profile-edit", args=[999])).status_code == 404


@pytest.mark.parametrize("field", ["incoming_port", "messages_per_cycle", "max_concurrent_connections"])
def test_a_number_that_no_column_holds_gets_a_sentence(amaras: Client, office: Office, field: str) -> None:
    response = amaras.post(f"/profiles/{office.profile.pk}/", values(**{field: "1" + "0" * 30}))
    assert response.status_code == 422
    assert response.context["form"].errors[field]
