"""The past in the browser: what happened lately, all of it, earlier tests, and what preceded a failure."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from html import unescape
from typing import Any

import pytest
import time_machine
from django import forms
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from emailprofiles.errors import SignInRefused
from emailprofiles.forms import ProfileForm
from emailprofiles.history import acting, label_of
from mailboxes import alerts
from mailboxes.forms.mailbox import MailboxForm
from mailboxes.forms.people import QueueForm, UserForm
from mailboxes.forms.settings import SettingsForm
from mailboxes.models import (
    ConfigurationTest,
    Delivery,
    Direction,
    EmailConfigurationSettings,
    Mailbox,
    Message,
    Queue,
    SyncState,
    TestStep,
    User,
)
from mailboxes.roles import Role, set_role
from tests.conftest import Office

MORNING = datetime(2026, 11, 24, 9, 0, tzinfo=UTC)


def at(minutes: int) -> time_machine.travel:
    """So many minutes after nine."""
    return time_machine.travel(MORNING + timedelta(minutes=minutes), tick=False)


def text_of(response: Any) -> str:
    """What a reader reads, without markup."""
    assert response.status_code == 200
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", response.content.decode())).split())


def lines(html: str) -> list[str]:
    """The lines of the lists of the past on a page, without their times."""
    lists = re.findall(r'<ol class="times.*?</ol>', html, re.S)
    found = re.findall(r"</time><div>(.*?)</div></li>", "".join(lists), re.S)
    return [
        " ".join(unescape(re.sub(r"<[^>]+>", " ", line)).split()).replace(" ,", ",").replace(" :", ":")
        for line in found
    ]


def page_of(browser: Client, name: str, *args: int) -> str:
    response = browser.get(reverse(name, args=args))
    assert response.status_code == 200
    return response.content.decode()


def copies(mailbox: Mailbox, count: int, when: datetime, **values: Any) -> list[Message]:
    """Messages that were collected at one moment."""
    first = Message.objects.count()
    return Message.objects.bulk_create(
        Message(
            mailbox=mailbox,
            remote_id=str(first + number),
            received_at=when,
            collected_at=when,
            size=3,
            raw_sha256="0" * 64,
            **{"state": "delivered"} | values,
        )
        for number in range(count)
    )


def finished_test(mailbox: Mailbox, by: User | None, **results: bool) -> ConfigurationTest:
    """A finished test with one step for each direction named."""
    test = ConfigurationTest.objects.create(
        mailbox=mailbox, requested_by=by, requested_at=timezone.now(), finished_at=timezone.now()
    )
    for direction, passed in results.items():
        said = (
            {"state": "passed"} if passed else {"state": "failed", "cause": "The server refused the sign-in."}
        )
        TestStep.objects.create(test=test, direction=direction, number=1, name="signed in", **said)
    SyncState.objects.filter(mailbox=mailbox, direction__in=results).update(
        tested_mailbox_version=Mailbox.objects.get(pk=mailbox.pk).connection_version,
        tested_profile_version=Mailbox.objects.get(pk=mailbox.pk).profile_version,
    )
    for direction, passed in results.items():
        status = "success" if passed else "failure"
        SyncState.objects.filter(mailbox=mailbox, direction=direction).update(test_status=status)
    return test


@pytest.fixture
def hanna(office: Office) -> User:
    hanna = User.objects.create_user("hanna", "hanna@contoso.com", first_name="Hanna", last_name="Brandt")
    set_role(hanna, Role.APPROVER)
    return hanna


def change(record: Any, by: User, **values: Any) -> None:
    fresh = type(record).objects.get(pk=record.pk)
    for name, value in values.items():
        setattr(fresh, name, value)
    with acting(by):
        fresh.save()


# ── Lately, and all of it ───────────────────────────────────────────────────────────────────


class TestRecent:
    def test_everything_newest_first(self, amaras: Client, hanna: User, office: Office) -> None:
        box = office.collection
        with at(1):
            copies(box, 3, timezone.now())
            copies(box, 1, timezone.now(), state="quarantined", reason="no_recipient_matched")
        with at(70):
            change(box, hanna, username="svc-support", password="Feldsalat 24")
        with at(71):
            change(box, hanna, name="Collection one")
        with at(72):
            finished_test(box, office.amara, incoming=False)
        with at(73):
            alerts.direction_stopped(box, Direction.INCOMING, SignInRefused())
        with at(74):
            alerts.resolve(alerts.direction_cause(box.pk, Direction.INCOMING), "A test passed.")
        with at(75):
            seen = lines(page_of(amaras, "mailbox-edit", box.pk))
        assert seen[:5] == [
            "Alert closed: Receiving for Collection 1 stopped. A test passed.",
            "Alert opened: Receiving for Collection 1 stopped",
            "Test & Enable by Amara Okafor: incoming failed",
            "Name changed by Hanna Brandt from Collection 1 to Collection one",
            "Password, User Name changed by Hanna Brandt",
        ]
        assert sorted(seen[5:7]) == [
            "Collected 4, routed 3, since 09:00",
            "Quarantined 1: no recipient matched",
        ]

    def test_what_came_by_way_of_a_forward_mailbox(self, amaras: Client, office: Office) -> None:
        with at(5):
            for message in copies(office.collection, 2, timezone.now()):
                Delivery.objects.create(
                    message=message, mailbox=office.support.mailbox, rule="redirected", evidence="x"
                )
        with at(6):
            seen = lines(page_of(amaras, "mailbox-edit", office.support.mailbox.pk))
        assert seen[0] == "Received 2 by way of a forward mailbox, since 09:00"

    def test_it_is_short_and_leads_to_all(self, amaras: Client, hanna: User, office: Office) -> None:
        for number in range(12):
            change(office.collection, hanna, name=f"Collection {number}")
        html = page_of(amaras, "mailbox-edit", office.collection.pk)
        assert len(lines(html)) == 8
        assert reverse("mailbox-history", args=[office.collection.pk]) in html

    def test_alerts_are_for_who_may_see_them(
        self, browser_of: Callable[[str], Client], office: Office
    ) -> None:
        alerts.direction_stopped(office.collection, Direction.INCOMING, SignInRefused())
        for name in ("mailbox-edit", "mailbox-history"):
            assert "Alert opened" in page_of(browser_of("staff"), name, office.collection.pk)
            User.objects.filter(username="staff").update(
                username=f"staff {name}", email=f"{name}@contoso.com"
            )
            Mailbox.objects.filter(email_address="staff@contoso.com").update(
                email_address=f"{name}@contoso.com"
            )
        assert "Alert opened" not in page_of(browser_of("approver"), "mailbox-history", office.collection.pk)


class TestAllOfIt:
    def test_page_after_page_nothing_twice_and_nothing_lost(
        self, amaras: Client, hanna: User, office: Office, django_assert_max_num_queries: Any
    ) -> None:
        for number in range(60):
            with at(number * 7):
                change(office.collection, hanna, name=f"Name {number}")
                copies(office.collection, 2, timezone.now())
        address, seen = reverse("mailbox-history", args=[office.collection.pk]), []
        query: str | None = ""
        while query is not None:
            with at(500), django_assert_max_num_queries(30):
                html = amaras.get(address + query).content.decode()
            seen += lines(html)
            older = re.search(r'<a href="(\?[^"]*before=[^"]*)" rel="next">', html)
            query = unescape(older[1]) if older else None
        assert [line for line in seen if "Name changed" in line] == [
            f"Name changed by Hanna Brandt from Name {number - 1} to Name {number}"
            for number in range(59, 0, -1)
        ] + ["Name changed by Hanna Brandt from Collection 1 to Name 0"]
        collected = [int(found[1]) for line in seen if (found := re.match(r"Collected (\d+)", line))]
        assert (len(collected), sum(collected)) == (7, 120)

    def test_an_hour_with_very_much_mail_is_counted_exactly(self, amaras: Client, office: Office) -> None:
        for minutes, count in ((0, 7), (60, 900), (121, 1205)):
            with at(minutes):
                copies(office.collection, count, timezone.now())
        with at(122):
            copies(office.collection, 4, timezone.now(), state="quarantined", reason="no_recipient_matched")
        with at(123):
            address = reverse("mailbox-history", args=[office.collection.pk])
            first = amaras.get(address, {"kind": "mail"}).content.decode()
            older = re.search(r'<a href="(\?[^"]*before=[^"]*)" rel="next">', first)
            assert older
            second = amaras.get(address + unescape(older[1])).content.decode()
        assert sorted(lines(first)) == [
            "Collected 1209, routed 1205, until 12:00",
            "Quarantined 4: no recipient matched",
        ]
        assert lines(second) == [
            "Collected 900, routed 900, until 11:00",
            "Collected 7, routed 7, until 10:00",
        ]

    def test_one_kind_alone(self, amaras: Client, hanna: User, office: Office) -> None:
        change(office.collection, hanna, name="Collection one")
        finished_test(office.collection, None, incoming=True)
        address = reverse("mailbox-history", args=[office.collection.pk])
        assert lines(amaras.get(address, {"kind": "tests"}).content.decode()) == [
            "Test & Enable: incoming passed"
        ]
        assert len(lines(amaras.get(address, {"kind": "changes"}).content.decode())) == 2
        assert lines(amaras.get(address, {"kind": "alerts"}).content.decode()) == []

    @pytest.mark.parametrize("before", ["nonsense", "2026-13-41T00:00:00Z", "2026-11-24", "9" * 400])
    def test_a_broken_address_shows_the_newest(self, amaras: Client, office: Office, before: str) -> None:
        for name, args in (
            ("mailbox-history", [office.collection.pk]),
            ("profile-history", [office.profile.pk]),
        ):
            assert amaras.get(reverse(name, args=args), {"before": before}).status_code == 200

    def test_the_changes_of_a_profile_page_after_page(
        self, amaras: Client, hanna: User, office: Office
    ) -> None:
        for number in range(60):
            change(office.profile, hanna, timeout_seconds=number + 31)
        address = reverse("profile-history", args=[office.profile.pk])
        first = amaras.get(address).content.decode()
        older = re.search(r'<a href="(\?[^"]*before=[^"]*)" rel="next">', first)
        assert older
        seen = lines(first) + lines(amaras.get(address + unescape(older[1])).content.decode())
        assert len(seen) == 61
        assert seen[0] == "Timeout in Seconds changed by Hanna Brandt from 89 to 90"
        assert seen[-1].startswith("Created")


@pytest.mark.parametrize("role", ["administrator", "approver", "staff", "user", "anonymous"])
def test_who_sees_which_history(browser_of: Callable[[str], Client], office: Office, role: str) -> None:
    test = finished_test(office.collection, None, incoming=True)
    browser = browser_of(role)
    sees = {"administrator": "mpuqc", "approver": "m", "staff": "mp", "user": "", "anonymous": ""}[role]
    pages = {
        "m": [
            reverse("mailbox-history", args=[office.collection.pk]),
            reverse("mailbox-test-run", args=[office.collection.pk, test.pk]),
        ],
        "p": [reverse("profile-history", args=[office.profile.pk])],
        "u": [reverse("user-history", args=[office.amara.pk])],
        "q": [reverse("queue-history", args=[office.support.pk])],
        "c": [reverse("configuration-history")],
    }
    for kind, addresses in pages.items():
        for address in addresses:
            refused = 302 if role == "anonymous" else 403
            assert browser.get(address).status_code == (200 if kind in sees else refused)
            assert browser.get(re.sub(r"\d+", "987654", address)).status_code == (
                404 if kind in sees and kind != "c" else 200 if kind in sees else refused
            )


@pytest.mark.parametrize("page", ["profile-edit", "user-edit", "queue-edit", "configuration"])
def test_changes_stand_on_the_page_of_each_record(
    amaras: Client, hanna: User, office: Office, page: str
) -> None:
    records: dict[str, tuple[Any, dict[str, Any], str]] = {
        "profile-edit": (
            office.profile,
            {"outgoing_security": "starttls"},
            "Outgoing Security from None to STARTTLS",
        ),
        "user-edit": (office.amara, {"last_name": "Berg"}, "Last name from Okafor to Berg"),
        "queue-edit": (office.support, {"description": "First"}, "Description from nothing to First"),
        "configuration": (
            EmailConfigurationSettings.load(),
            {"default_incoming_method": "none"},
            "Default Incoming Email from Forward Mailbox to None",
        ),
    }
    record, values, sentence = records[page]
    change(record, hanna, **values)
    args = [] if page == "configuration" else [record.pk]
    assert lines(page_of(amaras, page, *args))[0] == f"{sentence}, Hanna Brandt"


def test_no_page_of_the_past_shows_a_secret(amaras: Client, hanna: User, office: Office) -> None:
    change(office.collection, hanna, password="Kanarienvogel 9")
    change(office.profile, hanna, password="Kanarienvogel 9")
    amara = User.objects.get(pk=office.amara.pk)
    amara.set_password("Kanarienvogel 9")
    amara.save()
    sealed = [
        str.__str__(type(one)._default_manager.get(pk=one.pk).__dict__["password"])
        for one in (office.collection, office.profile, amara)
    ]
    amaras.force_login(amara)
    for name, args in (
        ("mailbox-history", [office.collection.pk]),
        ("mailbox-edit", [office.collection.pk]),
        ("profile-history", [office.profile.pk]),
        ("user-history", [office.amara.pk]),
    ):
        html = page_of(amaras, name, *args)
        assert "Kanarienvogel" not in html
        assert not [secret for secret in sealed if secret and secret in html]


@pytest.mark.parametrize("form", [MailboxForm, ProfileForm, UserForm, QueueForm, SettingsForm])
def test_a_field_is_called_as_on_its_form(db: None, form: type[forms.ModelForm[Any]]) -> None:
    """Where one label stands twice on a form (Security), the history says which."""
    model = form._meta.model
    for name in form._meta.fields or ():
        label = label_of(model, name)
        shown = str(form.base_fields[name].label)
        assert label.lower().endswith(shown.lower()) or shown.lower().endswith(label.lower()), name


# ── Earlier tests, and what preceded a failure ──────────────────────────────────────────────


class TestEarlierTests:
    def test_each_with_when_by_whom_and_its_results(self, amaras: Client, office: Office) -> None:
        with at(0):
            first = finished_test(office.collection, office.amara, incoming=True)
        with at(60):
            finished_test(office.collection, None, incoming=False)
        with at(61):
            html = page_of(amaras, "mailbox-edit", office.collection.pk)
        earlier = html[html.index("Earlier tests") :]
        row = " ".join(
            re.sub(r"<[^>]+>", " ", earlier[earlier.index("<tbody>") : earlier.index("</tbody>")]).split()
        )
        assert row == "24 Nov 2026, 09:00 Amara Okafor Success Not Run Not Run"
        assert reverse("mailbox-test-run", args=[office.collection.pk, first.pk]) in earlier

    def test_a_single_test_has_none_before_it(self, amaras: Client, office: Office) -> None:
        finished_test(office.collection, office.amara, incoming=True)
        assert "Earlier tests" not in page_of(amaras, "mailbox-edit", office.collection.pk)

    def test_its_ladder_stays_as_it_was(self, amaras: Client, office: Office) -> None:
        old = finished_test(office.collection, office.amara, incoming=False)
        finished_test(office.collection, office.amara, incoming=True)
        seen = text_of(amaras.get(reverse("mailbox-test-run", args=[office.collection.pk, old.pk])))
        assert "The server refused the sign-in." in seen
        assert "Test again" not in seen

    def test_a_test_belongs_to_its_mailbox(self, amaras: Client, office: Office) -> None:
        test = finished_test(office.collection, office.amara, incoming=True)
        address = reverse("mailbox-test-run", args=[office.support.mailbox.pk, test.pk])
        assert amaras.get(address).status_code == 404


class TestWhatPreceded:
    def seen(self, browser: Client, office: Office) -> str:
        return text_of(browser.get(reverse("mailbox-edit", args=[office.collection.pk])))

    def test_the_change_between_the_last_success_and_the_failure(
        self, amaras: Client, hanna: User, office: Office
    ) -> None:
        with at(0):
            change(office.collection, hanna, delete_emails_after_processing=True)
            finished_test(office.collection, office.amara, incoming=True)
        with at(28):
            SyncState.objects.filter(mailbox=office.collection, direction="incoming").update(
                last_success_at=timezone.now()
            )
        with at(31):
            change(office.collection, hanna, password="Feldsalat 24")
        with at(40):
            finished_test(office.collection, office.amara, incoming=False)
        with at(50):
            change(office.collection, hanna, name="Later")
            assert (
                "Cause The server refused the sign-in. It worked until 09:28; the password was changed by "
                "Hanna Brandt at 09:31. What" in self.seen(amaras, office)
            )

    def test_a_change_of_the_profile_without_its_values(
        self, amaras: Client, hanna: User, office: Office
    ) -> None:
        with at(0):
            finished_test(office.collection, office.amara, incoming=True)
        with at(31):
            change(office.profile, hanna, incoming_port=10144, outgoing_port=10026, name="Main office")
        with at(32):
            change(office.collection, hanna, delete_emails_after_processing=True)
        with at(40):
            finished_test(office.collection, office.amara, incoming=False)
            seen = self.seen(amaras, office)
        assert (
            "It worked until 09:00; Delete Emails After Processing was changed from No to Yes by Hanna Brandt at "
            "09:32, Incoming Port of Main office was changed by Hanna Brandt at 09:31." in seen
        )

    def test_nothing_is_said_when_nothing_was_changed(
        self, amaras: Client, hanna: User, office: Office
    ) -> None:
        with at(0):
            finished_test(office.collection, office.amara, incoming=True)
        with at(10):
            change(office.collection, hanna, name="Another name")
            change(office.profile, hanna, outgoing_port=10026)
        with at(40):
            finished_test(office.collection, office.amara, incoming=False)
            assert "It worked until" not in self.seen(amaras, office)

    def test_the_alert_of_a_direction_that_stopped_says_it_too(
        self, amaras: Client, hanna: User, office: Office
    ) -> None:
        with at(0):
            finished_test(office.collection, office.amara, incoming=True)
        with at(31):
            change(office.collection, hanna, password="Feldsalat 24")
        with at(40):
            alerts.direction_stopped(office.collection, Direction.INCOMING, SignInRefused())
            seen = self.seen(amaras, office)
        sentence = (
            "It worked until 09:00; the password was changed by Hanna Brandt at 09:31. Nothing more is tried"
        )
        assert sentence in seen

    def test_nor_when_it_never_worked(self, amaras: Client, hanna: User, office: Office) -> None:
        with at(0):
            finished_test(office.collection, office.amara, incoming=False)
        with at(10):
            change(office.collection, hanna, password="Feldsalat 24")
        with at(40):
            finished_test(office.collection, office.amara, incoming=False)
            assert "It worked until" not in self.seen(amaras, office)


def test_a_queue_can_be_told_even_when_its_members_are_gone(amaras: Client, office: Office) -> None:
    bram = User.objects.create_user("bram", "bram@contoso.com", first_name="Bram")
    office.support.members.set([bram])
    office.support.members.clear()
    seen = lines(page_of(amaras, "queue-history", office.support.pk))
    assert any("added Bram" in line for line in seen)
    assert Queue.objects.filter(pk=office.support.pk).exists()
