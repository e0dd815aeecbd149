"""Everyone's own mailbox: whose it is, what can be changed there, and that nothing else can."""

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from mailboxes.models import (
    Alert,
    Approval,
    ConfigurationTest,
    Direction,
    Mailbox,
    Queue,
    SyncState,
    TestStep,
    User,
)
from mailboxes.roles import Role
from tests.conftest import Office
from tests.pages.letters import delivered

PAGE = reverse("my-mailbox")
SAID = {"why": "The server refused.", "what_we_do": "Nothing is tried.", "what_you_can_do": "Type it again."}


@pytest.fixture
def priya(office: Office) -> User:
    """Priya Raman, whose mailbox is read by itself."""
    user = User.objects.create_user("priya", "priya@contoso.com", first_name="Priya", last_name="Raman")
    mailbox = Mailbox.objects.get(user=user)
    mailbox.server_profile, mailbox.incoming_method = office.profile, "server_side"
    mailbox.approval = Approval.APPROVED
    mailbox.save()
    return user


@pytest.fixture
def priyas(priya: User) -> Client:
    client = Client()
    client.force_login(priya)
    return client


def credentials(**changes: Any) -> dict[str, Any]:
    typed = {"allow_credentials": "True", "username": "priya", "password": "Postkutsche 7", "then": "stay"}
    return typed | changes


def shown(response: Any) -> str:
    assert response.status_code == 200
    page: str = response.content.decode()
    return page


# ── Whose mailbox ───────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("role", [role.value for role in Role])
def test_everyone_has_the_page_of_the_own_mailbox_in_the_rack(
    role: str, browser_of: Callable[[str], Client]
) -> None:
    client = browser_of(role)
    page = shown(client.get(PAGE))

    assert f"{role}@contoso.com" in page
    assert f'href="{PAGE}" aria-current="page"' in page
    assert client.get(PAGE).context["mailbox"] == Mailbox.objects.get(user__username=role)


@pytest.mark.parametrize("name", ["my-mailbox", "my-mailbox-results", "me"])
def test_the_own_pages_ask_for_a_sign_in(name: str, db: None, client: Client) -> None:
    assert client.get(reverse(name)).status_code == 302


def test_somebody_without_a_mailbox_has_no_such_page(priyas: Client, priya: User) -> None:
    Mailbox.objects.filter(user=priya).delete()

    assert priyas.get(PAGE).status_code == 404
    assert "My mailbox" not in shown(priyas.get(reverse("message-list")))


@pytest.mark.parametrize("named", ["pk", "id", "mailbox", "mailbox_id", "user", "instance"])
def test_no_posted_number_leads_to_another_mailbox(
    named: str, priyas: Client, priya: User, office: Office
) -> None:
    others = office.support.mailbox

    priyas.post(f"{PAGE}?{named}={others.pk}", credentials(**{named: others.pk}))

    others.refresh_from_db()
    assert (others.allow_credentials, others.username, bool(others.password)) == (False, "", False)
    assert Mailbox.objects.get(user=priya).username == "priya"


def test_no_other_column_can_be_posted(priyas: Client, priya: User, office: Office) -> None:
    before = Mailbox.objects.get(user=priya)
    smuggled = {
        "name": "Root",
        "owner": "amara",
        "email_address": "ceo@contoso.com",
        "delete_emails_after_processing": "True",
        "server_profile": "",
        "incoming_method": "none",
        "outgoing_method": "server_side",
        "act_method": "outlook",
        "approval": "rejected",
        "is_active": "False",
        "is_forward_mailbox": "True",
        "connection_version": "77",
        "credentials_location_version": "77",
    }

    assert priyas.post(PAGE, credentials(**smuggled)).status_code == 302

    after = Mailbox.objects.get(user=priya)
    kept = [field.attname for field in Mailbox._meta.concrete_fields]
    differing = {name for name in kept if getattr(after, name) != getattr(before, name)}
    assert differing - {"changed_at"} == {
        "allow_credentials",
        "username",
        "password",
        "connection_version",
        "changed_by_id",
    }
    assert after.password.reveal() == "Postkutsche 7"
    assert after.connection_version == before.connection_version + 1


# ── What it shows ───────────────────────────────────────────────────────────────────────────


def test_the_page_says_how_it_stands_and_who_can_change_it(priyas: Client, priya: User) -> None:
    page = shown(priyas.get(PAGE))

    assert "Why is incoming email not running?" in page
    assert "The profile asks for this mailbox&#x27;s own user name and password" in page
    assert "Type them" in page
    Mailbox.objects.filter(user=priya).update(is_active=False, approval=Approval.PENDING)
    page = shown(priyas.get(PAGE))
    assert "An email administrator can change this" in page
    assert "An address approver decides" in page


def test_nobody_is_led_to_a_page_that_is_closed_to_them(priyas: Client, priya: User, office: Office) -> None:
    mailbox = Mailbox.objects.get(user=priya)
    delivered(mailbox, mailbox)
    office.profile.is_active = False
    office.profile.save()

    page = shown(priyas.get(PAGE))
    links = {part.partition('"')[0] for part in page.split('href="')[1:]}

    own = {link for link in links if link.startswith("/") and not link.startswith("/static/")}
    assert own
    assert {link: priyas.get(link, follow=True).status_code for link in own} == dict.fromkeys(own, 200)


def test_only_alerts_of_the_own_mailbox_are_shown(priyas: Client, priya: User, office: Office) -> None:
    mine = Mailbox.objects.get(user=priya)
    Alert.objects.create(cause="a", title="Receiving for Priya stopped", mailbox=mine, **SAID)
    Alert.objects.create(
        cause="b", title="Receiving for Support stopped", mailbox=office.support.mailbox, **SAID
    )
    Alert.objects.create(cause="c", title="The server is in trouble", profile=office.profile, **SAID)

    page = shown(priyas.get(PAGE))

    assert "Receiving for Priya stopped" in page
    for sentence in SAID.values():
        assert sentence in page
    assert "Receiving for Support stopped" not in page
    assert "The server is in trouble" not in page
    assert '<span class="tally is-bad">1' in page
    assert priyas.get(reverse("alert-list")).status_code == 403


def test_own_messages_are_one_click_away(priyas: Client, priya: User, office: Office) -> None:
    delivered(office.collection, Mailbox.objects.get(user=priya), subject="For Priya")
    delivered(office.collection, office.support.mailbox, 2, subject="For Support")

    address = f"{reverse('message-list')}?mailbox={Mailbox.objects.get(user=priya).pk}"

    assert address in shown(priyas.get(PAGE))
    page = shown(priyas.get(address))
    assert "For Priya" in page
    assert "For Support" not in page


def test_a_number_tells_nothing_about_other_peoples_mailboxes(priyas: Client, office: Office) -> None:
    def without_the_number(asked: object) -> str:
        page = shown(priyas.get(reverse("message-list"), {"mailbox": asked}))
        main = page.partition("<main")[2]
        return main.replace(f'value="{asked}"', "").replace(f"“{asked}”", "")

    others = office.support.mailbox
    assert "support@contoso.com" not in without_the_number(others.pk)
    assert without_the_number(others.pk) == without_the_number(others.pk + 999)
    assert without_the_number("Support") == without_the_number("Nothing")
    office.support.members.add(User.objects.get(username="priya"))
    assert "support@contoso.com" in without_the_number(others.pk)


# ── Credentials ─────────────────────────────────────────────────────────────────────────────


def test_credentials_are_saved_sealed_and_never_shown_again(priyas: Client, priya: User) -> None:
    response = priyas.post(PAGE, credentials(), follow=True)

    page = shown(response)
    assert "Your credentials are saved" in page
    assert "Postkutsche 7" not in page
    assert "stored — leave empty to keep" in page
    assert "Saved" in page
    assert "by Priya Raman" in page


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"username": ""}, "Type the user name that the mail server expects"),
        ({"password": ""}, "Type the password that belongs to this user name"),
        ({"username": "x" * 255}, "at most 254 characters"),
    ],
)
def test_the_rules_are_those_of_the_record(changes: dict[str, str], sentence: str, priyas: Client) -> None:
    response = priyas.post(PAGE, credentials(**changes))

    page = response.content.decode()
    assert response.status_code == 422
    assert "Not saved" in page
    assert sentence in page
    assert "Postkutsche 7" not in page


def test_another_user_name_asks_for_the_password_again(priyas: Client, priya: User) -> None:
    priyas.post(PAGE, credentials())

    response = priyas.post(PAGE, credentials(username="priya.raman", password=""))

    assert "type the password again" in response.content.decode()
    assert Mailbox.objects.get(user=priya).username == "priya"


def test_an_empty_password_keeps_the_stored_one(priyas: Client, priya: User) -> None:
    priyas.post(PAGE, credentials())
    priyas.post(PAGE, credentials(allow_credentials="False", password=""))

    mailbox = Mailbox.objects.get(user=priya)
    assert not mailbox.allow_credentials
    assert mailbox.password.reveal() == "Postkutsche 7"


def test_an_account_that_is_read_already_is_refused_without_naming_whose(
    priyas: Client, priya: User, office: Office
) -> None:
    office.support.mailbox.name = "Board of directors"
    office.support.mailbox.save()
    taken = Mailbox.objects.get(queue=office.support)
    taken.server_profile, taken.incoming_method = office.profile, "server_side"
    taken.allow_credentials, taken.username, taken.password = True, "board", "Feldsalat 24"
    taken.save()

    response = priyas.post(PAGE, credentials(username="board"))

    page = response.content.decode()
    assert "Another mailbox already reads the mail of this account" in page
    assert "Board of directors" not in page
    assert Mailbox.objects.get(user=priya).username == ""


def test_credentials_that_the_profile_does_not_use_are_kept_and_said_so(
    priyas: Client, priya: User, office: Office
) -> None:
    Mailbox.objects.filter(user=priya).update(incoming_method="none")
    office.profile.incoming_host, office.profile.authenticate_using = "", "anonymous"
    office.collection.incoming_method = "none"
    office.collection.save()
    office.profile.save()

    page = shown(priyas.post(PAGE, credentials(), follow=True))

    assert "credentials here are kept, but not used" in page


# ── Test & Enable ───────────────────────────────────────────────────────────────────────────


def test_test_and_enable_saves_what_was_typed_and_asks_for_a_test(priyas: Client, priya: User) -> None:
    response = priyas.post(PAGE, credentials(then="test"))

    assert response.url == f"{PAGE}#results"
    test = ConfigurationTest.objects.get()
    assert (test.mailbox, test.requested_by) == (Mailbox.objects.get(user=priya), priya)
    page = shown(priyas.get(PAGE))
    assert f'hx-get="{reverse("my-mailbox-results")}" hx-trigger="every 1s"' in page
    assert "/mailboxes/" not in shown(priyas.get(reverse("my-mailbox-results")))


def test_a_look_enables_nothing(priyas: Client) -> None:
    assert priyas.post(PAGE, credentials(then="look")).url == f"{PAGE}#results"
    assert not ConfigurationTest.objects.get().enables


def test_the_ladder_says_what_failed_and_offers_the_test_again(priyas: Client, priya: User) -> None:
    mailbox = Mailbox.objects.get(user=priya)
    test = ConfigurationTest.request(mailbox, priya)
    TestStep.objects.create(
        test=test,
        direction=Direction.INCOMING,
        number=1,
        name="signed in",
        state="failed",
        cause="The server refused the sign-in.",
        advice="Type the password again.",
        server_words="NO [AUTHENTICATIONFAILED]",
    )
    ConfigurationTest.objects.update(finished_at=test.requested_at)
    SyncState.objects.filter(mailbox=mailbox, direction="incoming").update(
        test_status="failure",
        tested_mailbox_version=mailbox.connection_version,
        tested_profile_version=mailbox.profile_version,
    )

    page = shown(priyas.get(PAGE))

    for said in ("The server refused the sign-in.", "AUTHENTICATIONFAILED", "Failure", "Test again"):
        assert said in page


def test_nothing_to_test_is_said(priyas: Client, priya: User) -> None:
    Mailbox.objects.filter(user=priya).update(incoming_method="none")

    page = shown(priyas.post(PAGE, credentials(then="test"), follow=True))

    assert "Nothing to test" in page
    assert not ConfigurationTest.objects.exists()


def test_a_queue_owner_keeps_the_own_mailbox_only(priyas: Client, priya: User) -> None:
    queue = Queue.objects.create(name="Invoices", email_address="invoices@contoso.com", owner=priya)

    assert "invoices@contoso.com" not in shown(priyas.get(PAGE))
    assert priyas.get(reverse("mailbox-edit", args=[queue.mailbox.pk])).status_code == 403


# ── Preferences ─────────────────────────────────────────────────────────────────────────────


def test_preferences_are_ones_own(priyas: Client, priya: User) -> None:
    chosen = {"time_zone": "Asia/Kolkata", "language": "en", "theme": "dark"}
    smuggled = {
        "username": "root",
        "email": "root@contoso.com",
        "is_superuser": "True",
        "role": "administrator",
    }

    page = shown(priyas.post(reverse("me"), chosen | smuggled, follow=True))

    assert "Your preferences are saved" in page
    assert 'data-theme="dark"' in page
    after = User.objects.get(pk=priya.pk)
    assert (after.time_zone, after.theme) == ("Asia/Kolkata", "dark")
    assert (after.username, after.email, after.is_superuser) == ("priya", "priya@contoso.com", False)


@pytest.mark.parametrize(
    "wrong", [{"time_zone": "Mars/Olympus"}, {"language": "tlh"}, {"theme": "plaid"}, {"theme": ""}]
)
def test_a_wrong_preference_changes_nothing(wrong: dict[str, str], priyas: Client, priya: User) -> None:
    chosen = {"time_zone": "Asia/Kolkata", "language": "en", "theme": "dark"}

    response = priyas.post(reverse("me"), chosen | wrong)

    assert response.status_code == 422
    assert User.objects.get(pk=priya.pk).time_zone == "UTC"


def test_everyone_keeps_the_own_signature_and_the_history_tells(
    priyas: Client, priya: User, amaras: Client
) -> None:
    page = shown(
        priyas.post(reverse("me"), {"signature": "Priya Raman \r\n\r\nContoso, Pune\r\n"}, follow=True)
    )

    assert User.objects.get(pk=priya.pk).signature == "Priya Raman\n\nContoso, Pune"
    assert "Priya Raman\n\nContoso, Pune</textarea>" in page
    history = shown(amaras.get(reverse("user-history", args=[priya.pk])))
    assert "Signature" in history
    assert "from nothing to Priya Raman" in history


@pytest.mark.parametrize(
    ("typed", "sentence"),
    [
        ("a" * 2001, "Write at most 2000 characters."),
        ("\n".join("abcdefghijklmnopqrstu"), "21 lines are too many: write at most 20."),
        ("Priya\n\x1b[31mRaman", "Line 2 contains a control character. Type plain text."),
    ],
)
def test_a_signature_that_cannot_stand_below_a_mail_is_refused(
    typed: str, sentence: str, priyas: Client, priya: User
) -> None:
    response = priyas.post(reverse("me"), {"signature": typed})

    assert response.status_code == 422
    assert sentence in response.content.decode()
    assert User.objects.get(pk=priya.pk).signature == ""


def test_a_signature_of_full_length_is_taken_whatever_ends_its_lines(priyas: Client, priya: User) -> None:
    typed = ["a" * 99] * 19 + ["a" * 100]

    priyas.post(reverse("me"), {"signature": "\r\n".join(typed)})

    assert User.objects.get(pk=priya.pk).signature == "\n".join(typed)


def test_a_language_that_is_gone_is_no_reason_for_no_page(priyas: Client, priya: User) -> None:
    User.objects.filter(pk=priya.pk).update(language="tlh", time_zone="Mars/Olympus")

    assert '<html lang="en"' in shown(priyas.get(reverse("me")))
