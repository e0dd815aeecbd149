"""Who uses a profile and how they fare, what stops with it, and the list of profiles at any size."""

from __future__ import annotations

import datetime as dt
import re
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from emailprofiles.models import EmailServerProfile
from emailprofiles.network import certificate_expires
from mailboxes.models import (
    Approval,
    ConfigurationTest,
    Direction,
    Mailbox,
    Queue,
    ServerCircuit,
    StepState,
    SyncState,
    TestStatus,
    TestStep,
)
from tests.conftest import Office, profile_values

CERTIFICATE = "TLS 1.3, certificate from Contoso CA, expires {}"


def says(response: Any) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", response.content.decode()).split())


def after_a_test(mailbox: Mailbox, direction: Direction, status: str = TestStatus.SUCCESS) -> None:
    """As Test & Enable leaves a direction."""
    fresh = Mailbox.objects.get(pk=mailbox.pk)
    SyncState.objects.filter(mailbox=mailbox, direction=direction).update(
        enabled=status == TestStatus.SUCCESS,
        test_status=status,
        tested_mailbox_version=fresh.connection_version,
        tested_profile_version=fresh.profile_version,
    )


@pytest.fixture
def profile(office: Office) -> EmailServerProfile:
    """Collection 1 receives through it, Support sends and needs attention, Returns was never tested."""
    sign_in = {"allow_credentials": True, "password": "Feldsalat 23", "approval": Approval.APPROVED}
    sign_in |= {"incoming_method": "none"}
    for queue in (
        office.support,
        Queue.objects.create(name="Returns", email_address="returns@contoso.com", owner=office.amara),
    ):
        mailbox = Mailbox.objects.get(queue=queue)
        for name, value in sign_in.items():
            setattr(mailbox, name, value)
        mailbox.username = queue.name.lower()
        mailbox.server_profile, mailbox.outgoing_method = office.profile, "server_side"
        mailbox.save()
    after_a_test(office.collection, Direction.INCOMING)
    after_a_test(Mailbox.objects.get(queue=office.support), Direction.OUTGOING, TestStatus.FAILURE)
    return office.profile


def page(browser: Client, profile: EmailServerProfile) -> Any:
    return browser.get(reverse("profile-edit", args=[profile.pk]))


def test_the_label_tells_how_its_mailboxes_fare(profile: EmailServerProfile, amaras: Client) -> None:
    text = says(page(amaras, profile))

    assert "Mailboxes 1 working of 3" in text
    assert "Needs attention 1 mailbox Support" in text
    assert "Circuit Closed 0 of 10 connections" in text
    assert "1 not tested" in text


def test_every_figure_leads_to_as_many_mailboxes(profile: EmailServerProfile, amaras: Client) -> None:
    html = page(amaras, profile).content.decode()
    links = re.findall(r'href="(/mailboxes/\?[^"]+)"[^>]*>(?:<svg.*?</svg>)?(?:All |of )?(\d+)', html)

    assert len(links) >= 8
    for address, number in links:
        listed = amaras.get(address.replace("&amp;", "&"))
        assert listed.context["page"].paginator.count == int(number), address


def test_an_open_circuit_says_when_the_server_is_asked_again(
    profile: EmailServerProfile, amaras: Client
) -> None:
    again = timezone.now() + dt.timedelta(minutes=5)
    ServerCircuit.objects.create(profile=profile, open_until=again, reason="Nothing answers")

    text = says(page(amaras, profile))

    assert f"Circuit Open Incoming asked again at {again:%H:%M}" in text
    assert "1 waiting" in text


def seen(mailbox: Mailbox, direction: Direction, expires: str) -> None:
    """A finished test whose step TLS passed."""
    test = ConfigurationTest.objects.create(mailbox=mailbox, finished_at=timezone.now())
    TestStep.objects.create(
        test=test,
        direction=direction,
        number=4,
        name="TLS",
        state=StepState.PASSED,
        seen=CERTIFICATE.format(expires),
    )


@pytest.mark.parametrize(
    ("days", "word"),
    [(90, "Valid"), (14, "Valid"), (13, "Expires soon"), (0, "Expires soon"), (-1, "Expired")],
)
def test_the_certificate_of_the_last_test(
    days: int, word: str, profile: EmailServerProfile, amaras: Client
) -> None:
    collection = Mailbox.objects.get(is_forward_mailbox=True)
    day = timezone.localdate() + dt.timedelta(days=days)
    seen(collection, Direction.INCOMING, "1 Jan 2020")
    seen(collection, Direction.INCOMING, f"{day.day} {day:%b %Y}")

    assert f"Certificate {word} until {day.day} {day:%b %Y}" in says(page(amaras, profile))


def test_of_two_servers_the_certificate_that_ends_first_counts(
    profile: EmailServerProfile, amaras: Client
) -> None:
    seen(Mailbox.objects.get(is_forward_mailbox=True), Direction.INCOMING, "1 Mar 2999")
    seen(Mailbox.objects.get(queue__name="Support"), Direction.OUTGOING, "7 Feb 2999")

    assert "Certificate Valid until 7 Feb 2999" in says(page(amaras, profile))


def test_of_another_server_nothing_is_known(profile: EmailServerProfile, amaras: Client) -> None:
    seen(Mailbox.objects.get(is_forward_mailbox=True), Direction.INCOMING, "1 Mar 2999")
    profile.incoming_host = "localhost"
    profile.save()

    assert "Certificate Valid" not in says(page(amaras, profile))


@pytest.mark.parametrize("agreed", ["", "TLS 1.3", "TLS 1.3, certificate from expires Ltd", "expires soon"])
def test_what_tells_no_day_is_no_day(agreed: str) -> None:
    assert certificate_expires(agreed) is None


def test_deactivating_says_what_stops_before_it_is_done(profile: EmailServerProfile, amaras: Client) -> None:
    after_a_test(Mailbox.objects.get(queue__name="Returns"), Direction.OUTGOING)
    amaras.post(reverse("profile-default", args=[profile.pk]))
    address = reverse("profile-deactivate", args=[profile.pk])

    told = says(amaras.get(address))

    assert "This stops receiving for 1 mailbox and sending for 1 mailbox." in told
    assert "Among them is a forward mailbox: who receives through it gets nothing, too." in told
    assert "It is the default for new mailboxes" in told
    assert EmailServerProfile.objects.get(pk=profile.pk).is_active

    done = amaras.post(address, follow=True)

    now = EmailServerProfile.objects.get(pk=profile.pk)
    assert (now.is_active, now.is_default) == (False, False)
    assert "is deactivated" in says(done)
    assert "Nothing runs through this profile now." in says(amaras.get(address))


def test_activating_says_who_runs_again(profile: EmailServerProfile, amaras: Client) -> None:
    amaras.post(reverse("profile-deactivate", args=[profile.pk]))

    done = amaras.post(reverse("profile-activate", args=[profile.pk]), follow=True)

    assert "Head office is active. Again 1 mailbox receives through it." in says(done)


def test_the_default_of_another_stays_when_one_goes(profile: EmailServerProfile, amaras: Client) -> None:
    branch = EmailServerProfile.objects.create(
        **profile_values(name="Branch", owner=profile.owner, is_default=True)
    )

    amaras.post(reverse("profile-deactivate", args=[profile.pk]))

    assert EmailServerProfile.objects.get(is_default=True) == branch


def test_a_profile_in_use_offers_deactivate_and_says_why(profile: EmailServerProfile, amaras: Client) -> None:
    address = reverse("profile-delete", args=[profile.pk])

    told = amaras.get(address)

    assert "Head office cannot be deleted" in says(told)
    assert "3 mailboxes use this profile" in says(told)
    assert f'href="{reverse("profile-deactivate", args=[profile.pk])}"' in told.content.decode()
    assert address not in page(amaras, profile).content.decode()
    assert amaras.post(address).status_code == 422
    assert EmailServerProfile.objects.filter(pk=profile.pk).exists()


def test_one_that_nobody_uses_is_deleted(profile: EmailServerProfile, amaras: Client) -> None:
    branch = EmailServerProfile.objects.create(**profile_values(name="Branch", owner=profile.owner))
    address = reverse("profile-delete", args=[branch.pk])

    assert address in page(amaras, branch).content.decode()
    assert "The profile Branch with its server locations" in says(amaras.get(address))
    done = amaras.post(address, follow=True)

    assert "Branch is deleted." in says(done)
    assert not EmailServerProfile.objects.filter(pk=branch.pk).exists()


def test_all_its_mailboxes_are_tested_by_one_button(profile: EmailServerProfile, amaras: Client) -> None:
    html = page(amaras, profile).content.decode()
    form = re.search(r'<form id="test-all".*?</form>', html, re.S)
    assert form is not None
    sent = dict(re.findall(r'type="hidden" name="(\w+)" value="(\w*)"', form[0]))
    sent.pop("csrfmiddlewaretoken", None)

    done = amaras.post(reverse("bulk-request"), sent | {"command": "test"})

    assert done.status_code == 302
    followed = amaras.get(done.url)
    assert all(name in says(followed) for name in ("Collection 1", "Support", "Returns"))


def queries(browser: Client, address: str) -> int:
    with CaptureQueriesContext(
        connection,
    ) as asked:
        assert browser.get(address).status_code == 200
    return len(asked)


def test_the_list_asks_as_often_for_many_as_for_one(profile: EmailServerProfile, amaras: Client) -> None:
    address = reverse("profile-list")
    amaras.get(address)
    before = queries(amaras, address)
    values = [profile_values(name=f"Branch {number:04}", owner=profile.owner) for number in range(1000)]
    EmailServerProfile.objects.bulk_create(EmailServerProfile(**one) for one in values)

    assert queries(amaras, address) == before
    for parameters in ("?sort=used", "?sort=name&page=3", "?state=unused", "?q=branch+099"):
        assert queries(amaras, address + parameters) <= before + 1
    listed = amaras.get(address)
    assert "1 to 50 of 1001" in says(listed)
    assert len(listed.content) < 120_000


def names(browser: Client, parameters: str) -> list[str]:
    return [one.name for one in browser.get(f"{reverse('profile-list')}?{parameters}").context["page"]]


def test_the_list_is_searched_filtered_and_ordered(profile: EmailServerProfile, amaras: Client) -> None:
    values: dict[str, dict[str, Any]] = {
        "Archive": {"is_active": False, "description": "Old mail"},
        "branch": {"incoming_host": "imap.contoso.com", "incoming_security": "tls", "outgoing_host": ""},
    }
    for name, own in values.items():
        EmailServerProfile.objects.create(**profile_values(name=name, owner=profile.owner) | own)

    assert names(amaras, "") == ["branch", "Head office", "Archive"]
    assert names(amaras, "sort=name") == ["Archive", "branch", "Head office"]
    assert names(amaras, "sort=used") == ["Head office", "Archive", "branch"]
    assert names(amaras, "sort=changed")[0] == "branch"
    assert names(amaras, "state=inactive") == ["Archive"]
    assert names(amaras, "state=unencrypted") == ["Head office", "Archive"]
    assert names(amaras, "state=unused") == ["branch", "Archive"]
    assert names(amaras, "q=old+mail") == names(amaras, "q=OLD") == ["Archive"]
    assert names(amaras, "q=imap.contoso") == ["branch"]
    assert names(amaras, "q=%00&state=none-such&page=nine") == ["branch", "Head office", "Archive"]


def test_the_list_tells_how_the_mailboxes_fare(profile: EmailServerProfile, amaras: Client) -> None:
    row = says(amaras.get(reverse("profile-list"))).split("Credentials Specified by a User or Queue")[1]

    assert row.startswith(" 3 1 1 Active")
