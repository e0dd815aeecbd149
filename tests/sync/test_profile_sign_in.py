"""Credentials Specified in Email Server Profile, on a real Dovecot with a master user; and a server that moved."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from emailprofiles.models import EmailServerProfile
from mailboxes import configtest
from mailboxes.models import ConfigurationTest, Mailbox, Message, User
from mailboxes.standing import Office as Snapshot
from mailboxes.standing import first_unmet
from tests.servers import Certificates, Dovecot

from .conftest import Office, enable, letter

_numbers = count(1)

pytestmark = pytest.mark.django_db(transaction=True)


def climbed(mailbox: Mailbox) -> configtest.Ladder:
    """The ladder of incoming mail after a test of its own."""
    configtest.run(ConfigurationTest.request(mailbox, None))
    fresh = Mailbox.objects.select_related("server_profile").get(pk=mailbox.pk)
    return next(one for one in configtest.ladders(fresh) if one.direction == "incoming")


def failure(ladder: configtest.Ladder) -> configtest.Rung:
    assert ladder.status == "failure"
    return next(rung for rung in ladder.rungs if rung.state == "failed")


@pytest.fixture
def service(office: Office) -> EmailServerProfile:
    """The profile of a service account that Dovecot lets into everybody's mailbox."""
    office.dovecot.add_master("service", "of the house")
    profile = EmailServerProfile.objects.create(
        name="Service",
        owner=office.amara,
        incoming_host="127.0.0.1",
        incoming_port=office.dovecot.port,
        incoming_security="none",
        authenticate_using="profile",
        username="service",
        password="of the house",
        timeout_seconds=10,
    )
    return EmailServerProfile.objects.get(pk=profile.pk)


def opened_by(office: Office, profile: EmailServerProfile, name: str, subject: str) -> User:
    """Somebody whose mail the service account reads, with one letter there; `name` gets a number of its own."""
    name = f"{name}{next(_numbers)}"
    office.dovecot.add_user(f"{name}@contoso.com", "known to nobody here")
    office.dovecot.append(f"{name}@contoso.com", letter(subject, to=f"{name}@contoso.com"))
    return office.user(name, incoming_method="server_side", server_profile=profile)


def test_a_service_account_reads_exactly_the_mailbox_it_is_for(
    office: Office, service: EmailServerProfile
) -> None:
    people = [opened_by(office, service, name, f"For {name}") for name in ("noah", "lena")]
    for person in people:
        enable(person.mailbox)

    office.synchronize()

    noah, lena = (person.mailbox.name for person in people)
    assert office.delivered() == {"For noah": [noah], "For lena": [lena]}


def test_the_ladder_says_who_signed_in_for_whom(office: Office, service: EmailServerProfile) -> None:
    noah = opened_by(office, service, "noah", "Hello")

    ladder = climbed(noah.mailbox)

    assert ladder.status == "success"
    seen = {rung.name: rung.seen for rung in ladder.rungs}
    assert seen["signed in"] == f"service for {noah.email}"
    assert seen["folder opened"].startswith("1 message")


def test_an_account_that_may_not_open_the_mailbox_is_told_so(
    office: Office, service: EmailServerProfile
) -> None:
    """The master user is right, and there is no such mailbox on the server."""
    absent = office.user("absent", incoming_method="server_side", server_profile=service)

    failed = failure(climbed(absent.mailbox))

    assert failed.name == "signed in"
    assert "absent@contoso.com" in failed.cause
    assert "allow the service account to open this mailbox" in failed.advice


def test_an_ordinary_account_does_not_open_the_mailbox_of_another(
    office: Office, service: EmailServerProfile
) -> None:
    office.dovecot.add_user("ordinary", "of the house")
    service.username, service.password = "ordinary", "of the house"
    service.save()
    noah = opened_by(office, service, "noah", "Hello")

    failed = failure(climbed(noah.mailbox))

    assert failed.name == "signed in"
    assert f"ordinary for {noah.email}" in failed.cause
    assert "allow the service account to open this mailbox" in failed.advice
    assert "of the house" not in str(failed)


def test_a_wrong_password_of_the_service_account_is_no_matter_of_rights(
    office: Office, service: EmailServerProfile
) -> None:
    service.password = "of another house"
    service.save()
    noah = opened_by(office, service, "noah", "Hello")

    failed = failure(climbed(noah.mailbox))

    assert failed.name == "signed in"
    assert "Check user name and password" in failed.advice
    assert "of another house" not in str(failed)


@pytest.fixture
def new_server(office: Office, certificates: Certificates) -> Iterator[Dovecot]:
    """Where the office moves to: the same account with the same password, and other mail."""
    with Dovecot(certificates) as server:
        server.add_user(office.account, "correct horse")
        yield server


def moved(office: Office, new_server: Dovecot) -> Client:
    """Amara's browser, after she wrote the new server into the profile."""
    browser = Client()
    browser.force_login(office.amara)
    profile = EmailServerProfile.objects.get(pk=office.profile.pk)
    profile.incoming_port = new_server.port
    profile.save()
    return browser


def met(mailbox: Mailbox) -> Any:
    return first_unmet(Mailbox.objects.get(pk=mailbox.pk), "incoming", Snapshot.read())


def test_stored_credentials_reach_a_new_server_only_after_the_confirmation(
    office: Office, new_server: Dovecot
) -> None:
    new_server.append(office.account, letter("At the new server"))
    connections = new_server.log.count("-login:")
    browser = moved(office, new_server)

    office.again()
    failed = failure(climbed(office.forward))

    assert met(office.forward).name == "credentials confirmed"
    assert failed.name == "settings complete"
    assert "nobody has confirmed the stored credentials" in failed.cause
    assert new_server.log.count("-login:") == connections

    version = EmailServerProfile.objects.get(pk=office.profile.pk).location_version
    browser.post(reverse("profile-confirm", args=[office.profile.pk]), {"location_version": version})
    assert met(office.forward).name == "test passed"
    enable(Mailbox.objects.get(pk=office.forward.pk))
    office.user("noah")
    office.again()

    assert met(office.forward) is None
    assert new_server.log.count("-login:") > connections
    assert Message.objects.get().subject == "At the new server"
