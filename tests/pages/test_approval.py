"""An approver's day, and what an address that is not approved holds up, said wherever people look."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from mailboxes import lifecycle
from mailboxes.models import Approval, EmailConfigurationSettings, Mailbox, User
from mailboxes.roles import Role, set_role
from tests.conftest import Office


@pytest.fixture
def hanna(office: Office) -> User:
    """Hanna Brandt, who approves addresses."""
    user = User.objects.create_user("hanna", "hanna@contoso.com", first_name="Hanna", last_name="Brandt")
    set_role(user, Role.APPROVER)
    return user


@pytest.fixture
def hannas(hanna: User) -> Client:
    client = Client()
    client.force_login(hanna)
    return client


@pytest.fixture
def support(office: Office) -> Mailbox:
    mailbox = office.support.mailbox
    mailbox.incoming_method = "forward"
    mailbox.save()
    return mailbox


def text(response: Any) -> str:
    assert response.status_code == 200
    page: str = response.content.decode()
    return page


def test_an_approver_lands_on_what_waits(hannas: Client) -> None:
    assert hannas.get(reverse("home")).url == f"{reverse('mailbox-list')}?view=approval"


@pytest.mark.parametrize(
    ("role", "lands"),
    [("administrator", "mailbox-list"), ("staff", "mailbox-list"), ("user", "message-list")],
)
def test_others_land_where_their_work_is(role: str, lands: str, browser_of: Callable[[str], Client]) -> None:
    assert browser_of(role).get(reverse("home")).url == reverse(lands)


def test_the_record_says_since_when_an_address_waits_and_what_waits_with_it(
    hannas: Client, support: Mailbox
) -> None:
    page = text(hannas.get(reverse("mailbox-edit", args=[support.pk])))

    day = timezone.localtime(support.approval_at).strftime("%-d %b %Y")
    assert f"since {day}" in page
    assert f"waits for approval since {day}: nothing is delivered to support@contoso.com" in page
    assert "waits in quarantine, and is delivered once the address is approved" in page


def test_an_approved_address_holds_up_nothing(hannas: Client, hanna: User, support: Mailbox) -> None:
    page = text(hannas.post(reverse("mailbox-approve", args=[support.pk]), follow=True))

    assert "Support is approved" in page
    assert "nothing is delivered to" not in page
    assert "Hanna Brandt, " in page
    support.refresh_from_db()
    assert (support.approval, support.approval_by) == (Approval.APPROVED, hanna)


def test_a_rejected_address_says_by_whom_when_and_what_to_do(hannas: Client, support: Mailbox) -> None:
    page = text(hannas.post(reverse("mailbox-reject", args=[support.pk]), follow=True))

    assert "The email address was rejected by Hanna Brandt, " in page
    assert "put it right: a changed address asks for approval anew" in page
    assert "an address approver can still approve it" in page


def test_where_no_approval_is_required_nothing_waits(hannas: Client, support: Mailbox) -> None:
    EmailConfigurationSettings.load()
    EmailConfigurationSettings.objects.update(require_approval_for_queues=False)

    assert "nothing is delivered to" not in text(hannas.get(reverse("mailbox-edit", args=[support.pk])))


def test_everyone_sees_at_the_own_mailbox_what_approval_holds_up(hannas: Client, hanna: User) -> None:
    lifecycle.reject(Mailbox.objects.get(user=hanna), hanna)

    page = text(hannas.get(reverse("my-mailbox")))

    assert "The email address was rejected by Hanna Brandt" in page
    assert "nothing is delivered to hanna@contoso.com" in page


def test_the_answer_leads_back_to_where_it_was_asked(hannas: Client, support: Mailbox) -> None:
    address = reverse("mailbox-approve", args=[support.pk])

    assert hannas.post(address, {"next": "/mailboxes/?view=approval"}).url == "/mailboxes/?view=approval"
    assert hannas.post(address, {"next": "https://elsewhere.example/"}).url.startswith("/mailboxes/")


def test_a_changed_address_is_said_to_wait_again(amaras: Client, office: Office, support: Mailbox) -> None:
    lifecycle.approve(support, office.amara)
    values = {
        "name": "Support",
        "email_address": "help@contoso.com",
        "delete_emails_after_processing": "False",
        "incoming_method": "forward",
        "then": "close",
    }

    page = text(amaras.post(reverse("mailbox-edit", args=[support.pk]), values, follow=True))

    assert "The address is new. The email address waits for approval since" in page
    page = text(amaras.post(reverse("mailbox-edit", args=[support.pk]), values, follow=True))
    assert "The address is new" not in page


def test_who_waits_longest_stands_first_and_says_since_when(
    hannas: Client, hanna: User, office: Office
) -> None:
    now = timezone.now()
    Mailbox.objects.filter(user=hanna).update(approval_at=now - timedelta(days=40))
    Mailbox.objects.filter(user=office.amara).update(approval_at=now - timedelta(days=3))

    response = hannas.get(reverse("home"), follow=True)

    names = [row.mailbox.name for row in response.context["rows"]]
    assert names == ["Hanna Brandt", "Amara Okafor", "Support"]
    page = text(response)
    assert f"waits since {timezone.localtime(now - timedelta(days=40)).strftime('%-d %b %Y')}" in page
    assert "Waiting longest first" in page
    by_name = hannas.get(reverse("mailbox-list"), {"view": "approval", "sort": "name"})
    assert by_name.context["rows"][0].mailbox.name == "Amara Okafor"
