"""The history of changes: who, when, which fields, and never a secret."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from auditlog.models import LogEntry
from django.core.management import call_command
from django.db import connection, models
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from emailprofiles.defaults import make_default
from emailprofiles.history import acting, entries_of, silent
from emailprofiles.models import EmailServerProfile
from mailboxes import lifecycle
from mailboxes.history import Entry, told
from mailboxes.models import (
    EmailConfigurationSettings,
    EngineProcess,
    Mailbox,
    Queue,
    RoutingHeader,
    SyncState,
    User,
)
from mailboxes.roles import Role, set_role
from tests.conftest import Office, profile_values

CANARY = "Kanarienvogel 9"


def history(record: models.Model) -> list[Entry]:
    return told(entries_of(record))


def latest(record: models.Model) -> dict[str, str]:
    """Label → sentence of the newest entry."""
    return {change.label: change.says for change in history(record)[0].changes}


def everything_kept() -> str:
    """All that the history holds, as text."""
    return json.dumps(list(LogEntry.objects.values()), default=str)


@pytest.fixture
def hanna(office: Office) -> User:
    return User.objects.create_user("hanna", "hanna@contoso.com", first_name="Hanna", last_name="Brandt")


class TestWhat:
    def test_labels_instead_of_columns_and_words_instead_of_codes(self, office: Office) -> None:
        box = Mailbox.objects.get(pk=office.collection.pk)
        box.username, box.password, box.incoming_method = "svc", CANARY, "none"
        box.delete_emails_after_processing = True
        box.save()
        assert latest(box) == {
            "User Name": "from forwardmailbox to svc",
            "Password": "changed",
            "Incoming Email": "from Server-Side Synchronization or Email Router to None",
            "Delete Emails After Processing": "from No to Yes",
        }

    def test_records_that_are_referred_to_are_named(self, office: Office, hanna: User) -> None:
        branch = EmailServerProfile.objects.create(**profile_values(name="Branch", owner=hanna))
        box = Mailbox.objects.get(pk=office.support.mailbox.pk)
        box.server_profile = branch
        box.save()
        assert latest(box) == {"Server Profile": "from nothing to Branch"}
        branch.owner = office.amara
        branch.process_email_from = timezone.now().replace(2026, 11, 24, 13, 52)
        branch.save()
        assert latest(branch) == {
            "Owner": "from Hanna Brandt to Amara Okafor",
            "Process Email From": "from nothing to 24 Nov 2026, 13:52",
        }

    def test_a_creation_is_one_entry_and_a_save_without_a_change_none(self, office: Office) -> None:
        [created] = history(office.profile)
        assert created.title == "Created"
        Mailbox.objects.get(pk=office.collection.pk).save()
        EmailServerProfile.objects.get(pk=office.profile.pk).save()
        assert len(history(office.profile)) == len(history(office.collection)) == 1

    def test_what_follows_by_itself_is_not_told(self, office: Office) -> None:
        box = Mailbox.objects.get(pk=office.collection.pk)
        box.delete_emails_after_processing = True
        box.save()
        assert box.connection_version == 2
        assert list(latest(box)) == ["Delete Emails After Processing"]
        User.objects.get(pk=office.amara.pk).save(update_fields=["last_login"])
        assert len(history(office.amara)) == 2  # created, and made an administrator

    def test_an_address_is_told_in_both_its_homes(self, office: Office) -> None:
        office.support.email_address = "help@contoso.com"
        office.support.save()
        said = "from support@contoso.com to help@contoso.com"
        assert latest(office.support) == {"Email address": said}
        box = Mailbox.objects.get(queue=office.support)
        assert latest(box) == {"Email address": said}
        box.email_address = "aid@contoso.com"
        box.save()
        assert latest(office.support) == {"Email address": "from help@contoso.com to aid@contoso.com"}

    def test_members_come_and_go(self, office: Office, hanna: User) -> None:
        office.support.members.set([hanna])
        assert latest(office.support) == {"Members": "added Hanna Brandt"}
        office.support.members.set([office.amara])
        assert {"Members": "added Amara Okafor"} in [
            {change.label: change.says for change in entry.changes} for entry in history(office.support)[:2]
        ]

    def test_a_role_is_one_change_whatever_groups_it_is_made_of(self, office: Office, hanna: User) -> None:
        set_role(hanna, Role.STAFF)
        assert latest(hanna) == {"Role": "from User to Staff"}
        before = LogEntry.objects.count()
        set_role(hanna, Role.STAFF)
        assert LogEntry.objects.count() == before

    def test_routing_headers_are_one_entry(self, office: Office) -> None:
        settings = EmailConfigurationSettings.load()
        RoutingHeader.replace(["X-One", "X-Two"])
        entries = len(history(settings))
        RoutingHeader.replace(["X-Two", "X-One"])
        assert latest(settings) == {"Routing headers": "from X-One, X-Two to X-Two, X-One"}
        RoutingHeader.replace(["X-Two", "X-One"])
        assert len(history(settings)) == entries + 1

    def test_the_default_profile_moves_in_both_histories(self, office: Office) -> None:
        branch = EmailServerProfile.objects.create(**profile_values(name="Branch", owner=office.amara))
        make_default(office.profile)
        assert latest(office.profile) == {"Default for new mailboxes": "from No to Yes"}
        make_default(branch)
        assert latest(office.profile) == {"Default for new mailboxes": "from Yes to No"}
        assert latest(branch) == {"Default for new mailboxes": "from No to Yes"}


class TestSecrets:
    def test_a_new_password_is_told_and_kept_nowhere(self, office: Office) -> None:
        box = Mailbox.objects.get(pk=office.collection.pk)
        box.password = CANARY
        box.save()
        assert latest(box) == {"Password": "changed"}
        profile = EmailServerProfile.objects.get(pk=office.profile.pk)
        profile.outgoing_password = CANARY
        profile.save()
        assert latest(profile) == {"Outgoing Password": "changed"}
        sealed = Mailbox.objects.get(pk=box.pk).__dict__["password"]
        assert CANARY not in everything_kept()
        assert str.__str__(sealed) not in everything_kept()

    def test_the_same_password_read_and_written_is_no_change(self, office: Office) -> None:
        box = Mailbox.objects.get(pk=office.collection.pk)
        box.name = "Collection one"
        box.save()
        assert latest(box) == {"Name": "from Collection 1 to Collection one"}

    def test_of_a_sign_in_password_not_even_the_hash(self, office: Office) -> None:
        amara = User.objects.get(pk=office.amara.pk)
        amara.set_password(CANARY)
        amara.save()
        assert latest(amara) == {"Sign-in password": "changed"}
        assert amara.password[-20:] not in everything_kept()

    def test_a_hash_that_is_renewed_at_sign_in_is_no_change(self, office: Office, settings: Any) -> None:
        settings.PASSWORD_HASHERS = settings.PASSWORD_HASHERS[::-1]
        amara = User.objects.get(pk=office.amara.pk)
        amara.set_password(CANARY)
        amara.save()
        before = (amara.password, len(history(amara)))
        settings.PASSWORD_HASHERS = settings.PASSWORD_HASHERS[::-1]
        assert User.objects.get(pk=amara.pk).check_password(CANARY)
        assert User.objects.get(pk=amara.pk).password != before[0]
        assert len(history(amara)) == before[1]


class TestWho:
    def test_a_person_or_what_ran_instead_of_one(self, office: Office, hanna: User) -> None:
        with acting(hanna):
            lifecycle.deactivate(office.collection)
        assert history(office.collection)[0].who == "Hanna Brandt"
        with acting(hanna, "Activate for a selection"):
            lifecycle.activate(office.collection)
        assert history(office.collection)[0].who == "Hanna Brandt (Activate for a selection)"
        with acting(way="the demo"):
            lifecycle.deactivate(office.collection)
            with acting(way="something within"):
                lifecycle.activate(office.collection)
            lifecycle.deactivate(office.collection)
        assert [entry.who for entry in history(office.collection)[:3]] == [
            "the demo",
            "something within",
            "the demo",
        ]

    def test_a_file_says_its_name(self, amara: User, tmp_path: Path) -> None:
        file = tmp_path / "office.toml"
        file.write_text('[[queue]]\nname = "Sales"\nemail_address = "sales@contoso.com"\nowner = "amara"\n')
        call_command("provision", str(file), stdout=open("/dev/null", "w"))  # noqa: SIM115
        queue = Queue.objects.get(name="Sales")
        assert history(queue)[0].who == history(queue.mailbox)[0].who == "provision office.toml"

    def test_a_person_who_is_gone_has_left_an_address(self, office: Office) -> None:
        bram = User(username="bram", email="bram@contoso.com")
        models.Model.save(bram)
        with acting(bram):
            lifecycle.deactivate(office.collection)
        models.QuerySet(User).filter(pk=bram.pk).delete()
        assert history(office.collection)[0].who == "bram@contoso.com"


class TestDecisions:
    def test_approval_and_activation_are_told(self, office: Office, hanna: User) -> None:
        box = Mailbox.objects.get(queue=office.support)
        lifecycle.approve(box, hanna)
        assert latest(box) == {"Email approval": "from Pending to Approved"}
        lifecycle.reject(box, hanna)
        assert latest(box) == {"Email approval": "from Approved to Rejected"}
        lifecycle.deactivate(box)
        assert latest(box) == {"Active": "from Yes to No"}

    def test_confirmed_credentials_are_told_at_the_profile_and_at_each_mailbox(self, office: Office) -> None:
        office.profile.incoming_host = "imap.contoso.com"
        office.profile.unencrypted_confirmed = True
        office.profile.save()
        with acting(office.amara):
            assert lifecycle.confirm_credentials(office.profile, office.amara) == 1
        servers = "imap.contoso.com, 127.0.0.1"
        assert latest(office.profile) == {"Stored credentials": f"of 1 mailbox confirmed for {servers}"}
        assert latest(office.collection) == {"Stored credentials": f"confirmed for {servers}"}
        assert history(office.collection)[0].who == "Amara Okafor"


def test_the_engine_leaves_no_trace(office: Office) -> None:
    before = LogEntry.objects.count()
    SyncState.objects.filter(mailbox=office.collection).first().save()  # type: ignore[union-attr]
    EngineProcess.objects.create(holder="here", threads=1)
    assert LogEntry.objects.count() == before


def test_a_change_costs_two_queries(office: Office) -> None:
    def queries() -> int:
        box = Mailbox.objects.get(pk=office.collection.pk)
        box.name = f"{box.name}."
        with CaptureQueriesContext(
            connection,
        ) as captured:
            box.save()
        return len(captured)

    queries()
    with silent():
        without = queries()
    assert queries() - without == 2


def test_a_long_history_is_read_in_a_few_queries(office: Office, django_assert_max_num_queries: Any) -> None:
    box = Mailbox.objects.get(pk=office.collection.pk)
    for number in range(30):
        box.name, box.server_profile = f"Collection {number}", office.profile if number % 2 else None
        box.incoming_method, box.outgoing_method = "none", "none"
        box.password = f"Feldsalat {number}"
        box.save()
    with django_assert_max_num_queries(3):
        assert len(history(box)) == 31
