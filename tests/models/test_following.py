"""What follows from a change: mailboxes from their users and queues, versions and approvals from an edit."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.contrib.auth.models import Permission
from django.core.management import call_command
from django.db.models import ProtectedError
from django.utils import timezone

from emailprofiles import models as profile_models
from emailprofiles.models import EmailServerProfile
from mailboxes.models import (
    Approval,
    Delivery,
    Direction,
    EmailConfigurationSettings,
    Kind,
    Mailbox,
    Message,
    Queue,
    SyncState,
    TestStatus,
    User,
)
from mailboxes.models import mailbox as mailbox_models
from mailboxes.roles import is_last_administrator
from tests.conftest import Office, profile_values


def fresh(mailbox: Mailbox) -> Mailbox:
    return Mailbox.objects.get(pk=mailbox.pk)


class TestCreation:
    def test_a_user_comes_with_a_mailbox(self, amara: User) -> None:
        mailbox = amara.mailbox
        assert (mailbox.name, mailbox.owner, mailbox.email_address) == (
            "Amara Okafor",
            amara,
            "amara@contoso.com",
        )
        assert (mailbox.kind, mailbox.regarding, mailbox.approval) == (Kind.USER, amara, Approval.PENDING)
        assert (mailbox.incoming_method, mailbox.outgoing_method) == ("forward", "none")
        assert set(mailbox.states.values_list("direction", flat=True)) == set(Direction.values)
        mailbox.full_clean()

    def test_so_does_a_queue(self, office: Office) -> None:
        mailbox = office.support.mailbox
        assert (mailbox.kind, mailbox.owner, mailbox.name) == (Kind.QUEUE, office.amara, "Support")

    def test_the_first_user_of_an_empty_database(self, db: None) -> None:
        assert not EmailConfigurationSettings.objects.exists()
        call_command(
            "createsuperuser", username="amara", email="amara@contoso.com", interactive=False, verbosity=0
        )
        assert User.objects.get().mailbox.incoming_method == "forward"

    @pytest.mark.parametrize(
        ("profile", "methods"),
        [
            (None, ("none", "none", "none")),
            ({}, ("server_side", "server_side", "none")),
            ({"incoming_host": ""}, ("none", "server_side", "none")),
            ({"outgoing_host": ""}, ("server_side", "none", "none")),
        ],
    )
    def test_default_methods_are_clipped_to_the_default_profile(
        self, amara: User, profile: dict[str, Any] | None, methods: tuple[str, str, str]
    ) -> None:
        defaults(incoming="server_side", outgoing="server_side")
        # As it stood before the last transport for calendars went; nobody can choose it now.
        EmailConfigurationSettings.objects.update(default_act_method="server_side")
        if profile is not None:
            EmailServerProfile.objects.create(**profile_values(owner=amara, is_default=True) | profile)
        bram = User.objects.create_user("bram", "bram@contoso.com")
        made = bram.mailbox
        assert (made.incoming_method, made.outgoing_method, made.act_method) == methods
        assert (made.server_profile is None) == (profile is None)

    def test_and_to_what_a_queue_may_do(self, amara: User) -> None:
        defaults(incoming="outlook", outgoing="outlook", act="outlook")
        queue = Queue.objects.create(name="Support", email_address="support@contoso.com", owner=amara).mailbox
        user = User.objects.create_user("bram", "bram@contoso.com").mailbox
        assert (queue.incoming_method, queue.outgoing_method, queue.act_method) == ("none", "none", "none")
        assert (user.incoming_method, user.outgoing_method, user.act_method) == (("outlook",) * 3)


def defaults(**methods: str) -> None:
    record = EmailConfigurationSettings.load()
    for direction, method in methods.items():
        setattr(record, f"default_{direction}_method", method)
    record.full_clean()
    record.save()


class TestAddress:
    def test_an_edit_at_the_user_shows_at_the_mailbox(self, amara: User) -> None:
        amara.email = "okafor@contoso.com"
        amara.save()
        assert fresh(amara.mailbox).email_address == "okafor@contoso.com"

    def test_and_the_other_way_round(self, office: Office) -> None:
        mailbox = Mailbox.objects.get(queue=office.support)
        mailbox.email_address = "help@contoso.com"
        mailbox.save()
        office.support.refresh_from_db()
        assert office.support.email_address == "help@contoso.com"

    def test_both_or_neither_change(self, office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
        def fails(*args: object) -> None:
            raise RuntimeError

        monkeypatch.setattr(Queue, "keep_address", fails)
        mailbox = Mailbox.objects.get(queue=office.support)
        mailbox.email_address = "help@contoso.com"
        with pytest.raises(RuntimeError):
            mailbox.save()
        assert fresh(mailbox).email_address == "support@contoso.com"

    def test_what_a_save_does_not_write_changes_nowhere(self, amara: User) -> None:
        mailbox = fresh(amara.mailbox)
        amara.email = mailbox.email_address = "okafor@contoso.com"
        amara.save(update_fields=["last_login"])
        amara.save(update_fields=["is_active"])
        mailbox.save(update_fields=["name"])
        assert User.objects.get().email == fresh(mailbox).email_address == "amara@contoso.com"
        assert fresh(mailbox).connection_version == 1

    @pytest.mark.parametrize("at_the_user", [True, False])
    def test_a_changed_address_waits_for_approval_again(self, amara: User, at_the_user: bool) -> None:
        mailbox = fresh(amara.mailbox)
        before = timezone.now()
        mailbox.approval, mailbox.approval_by, mailbox.approval_at = "approved", amara, before
        mailbox.save()
        if at_the_user:
            amara.email = "okafor@contoso.com"
            amara.save()
        else:
            mailbox.email_address = "okafor@contoso.com"
            mailbox.save()
        mailbox = fresh(mailbox)
        assert (mailbox.approval, mailbox.approval_by) == (Approval.PENDING, None)
        assert mailbox.approval_at is not None
        assert mailbox.approval_at > before

    def test_another_spelling_of_the_same_address_does_not(self, amara: User) -> None:
        mailbox = fresh(amara.mailbox)
        mailbox.approval = Approval.APPROVED
        mailbox.save()
        mailbox.email_address = "Amara@contoso.com"
        mailbox.save()
        assert fresh(mailbox).approval == Approval.APPROVED
        assert User.objects.get().email == "Amara@contoso.com"

    def test_a_forward_mailbox_stays_without_approval(self, office: Office) -> None:
        office.collection.email_address = "other@contoso.com"
        office.collection.save()
        assert fresh(office.collection).approval == Approval.EMPTY


class TestDeactivation:
    def test_the_mailbox_follows_and_does_not_come_back_by_itself(self, office: Office) -> None:
        for active, expected in ((False, False), (True, False)):
            office.support.is_active = active
            office.support.save()
            assert Mailbox.objects.get(queue=office.support).is_active is expected

    @pytest.mark.parametrize("record", ["amara", "profile", "support"])
    def test_what_is_in_use_cannot_be_deleted(self, office: Office, record: str) -> None:
        with pytest.raises(ProtectedError):
            getattr(office, record).delete()

    def test_a_mailbox_with_mail_cannot_be_deleted(self, office: Office) -> None:
        message = Message.objects.create(
            mailbox=office.collection,
            remote_id="1",
            received_at=timezone.now(),
            size=1,
            raw_sha256="0" * 64,
        )
        Delivery.objects.create(
            message=message, mailbox=office.support.mailbox, rule="redirected", evidence="x"
        )
        for mailbox in (office.collection, office.support.mailbox):
            with pytest.raises(ProtectedError):
                mailbox.delete()


CHANGES_OF_A_MAILBOX: dict[str, Any] = {
    "email_address": "other@contoso.com",
    "delete_emails_after_processing": True,
    "allow_credentials": False,
    "username": "other",
    "password": "Rapunzel 24",
    "server_profile_id": None,
    "incoming_method": "none",
    "outgoing_method": "none",
    "act_method": "outlook",
}
CHANGES_OF_A_PROFILE: dict[str, Any] = {
    "incoming_host": "localhost",
    "incoming_port": 144,
    "incoming_security": "tls",
    "outgoing_host": "localhost",
    "outgoing_port": 26,
    "outgoing_security": "tls",
    "server_type": "pop3_smtp",
    "authenticate_using": "profile",
    "username": "postmaster",
    "password": "Rapunzel 24",
    "same_sign_in_for_outgoing": False,
    "outgoing_username": "postmaster",
    "outgoing_password": "Rapunzel 24",
    "incoming_folder": "Copies",
    "caldav_url": "https://cal.contoso.com/",
    "carddav_url": "https://card.contoso.com/",
}


class TestVersions:
    @pytest.mark.parametrize("field", mailbox_models.CONNECTION_FIELDS)
    def test_the_mailbox_counts_what_a_test_depends_on(self, office: Office, field: str) -> None:
        mailbox = self.mailbox_that_can_change(office, field)
        setattr(mailbox, field, CHANGES_OF_A_MAILBOX[field])
        if field in ("username", "server_profile_id"):
            mailbox.password = "Feldsalat 23"
        before = fresh(mailbox).connection_version
        mailbox.save()
        assert fresh(mailbox).connection_version == before + 1

    def mailbox_that_can_change(self, office: Office, field: str) -> Mailbox:
        mailbox = office.amara.mailbox if field in ("outgoing_method", "act_method") else office.collection
        if field == "outgoing_method":
            mailbox.server_profile, mailbox.outgoing_method = office.profile, "server_side"
        if field == "server_profile_id":
            mailbox.incoming_method = "none"
        mailbox.save()
        return fresh(mailbox)

    def test_and_nothing_else(self, office: Office) -> None:
        mailbox = fresh(office.collection)
        mailbox.name, mailbox.owner = "Another name", User.objects.create_user("bram", "bram@contoso.com")
        mailbox.full_clean()
        mailbox.save()
        assert fresh(mailbox).connection_version == 1

    def test_a_save_of_one_column_counts_it(self, office: Office) -> None:
        office.collection.incoming_method = "none"
        office.collection.save(update_fields=["incoming_method"])
        office.profile.incoming_host = "localhost"
        office.profile.save(update_fields=["incoming_host"])
        office.profile.refresh_from_db()
        assert fresh(office.collection).connection_version == 2
        assert (office.profile.connection_version, office.profile.location_version) == (2, 2)

    def test_a_save_without_the_password_does_not_touch_it(self, office: Office) -> None:
        EmailServerProfile.objects.filter(pk=office.profile.pk).update(location_version=7)
        mailbox = Mailbox.objects.defer("password").get(pk=office.collection.pk)
        mailbox.name = "Another name"
        mailbox.save()
        stored = fresh(mailbox)
        assert (stored.connection_version, stored.credentials_location_version) == (1, 1)
        assert stored.password.reveal() == "Feldsalat 23"

    @pytest.mark.parametrize("field", profile_models.CONNECTION_FIELDS)
    def test_the_profile_counts_in_the_same_way(
        self, amara: User, field: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(profile_models, "CROSS_ROW_RULES", ())  # here only the counting is looked at
        values = {"username": "office", "password": "Feldsalat 23"} if field == "authenticate_using" else {}
        profile = EmailServerProfile.objects.create(**profile_values(owner=amara, **values))
        setattr(profile, field, CHANGES_OF_A_PROFILE[field])
        profile.save()
        profile.refresh_from_db()
        moved = field in profile_models.LOCATION_FIELDS
        assert (profile.connection_version, profile.location_version) == (2, 1 + moved)

    def test_and_ignores_the_rest(self, office: Office) -> None:
        profile = office.profile
        profile.description, profile.timeout_seconds, profile.messages_per_cycle = "x", 5, 7
        profile.full_clean()
        profile.save()
        profile.refresh_from_db()
        assert (profile.connection_version, profile.location_version) == (1, 1)

    def test_a_test_vouches_until_either_version_grows(self, office: Office) -> None:
        state = office.collection.state(Direction.INCOMING)
        SyncState.objects.filter(pk=state.pk).update(
            test_status=TestStatus.SUCCESS, tested_mailbox_version=1, tested_profile_version=1
        )
        assert fresh(office.collection).incoming_email_status == TestStatus.SUCCESS
        office.profile.incoming_folder = "Copies"
        office.profile.save()
        assert fresh(office.collection).incoming_email_status == TestStatus.NOT_RUN

    def test_credentials_typed_anew_belong_to_the_new_location(self, office: Office) -> None:
        office.profile.incoming_host = "localhost"
        office.profile.save()
        mailbox = fresh(office.collection)
        assert mailbox.credentials_location_version == 1
        mailbox.password = "Feldsalat 23"
        mailbox.save()
        assert fresh(mailbox).credentials_location_version == 2


GUARDED = {"email", "email_address", "owner", "owner_id"} | {
    *mailbox_models.CONNECTION_FIELDS,
    *profile_models.CONNECTION_FIELDS,
}


def bulk_updates(path: Path) -> Iterator[tuple[int, str]]:
    """Line and column of each `.update(column=…)` and `.bulk_update(…, ["column"])` in a file."""
    for call in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Attribute):
            continue
        if call.func.attr in ("update", "aupdate"):
            yield from ((call.lineno, keyword.arg or "") for keyword in call.keywords)
        if call.func.attr in ("bulk_update", "abulk_update"):
            words = (node for node in ast.walk(call) if isinstance(node, ast.Constant))
            yield from ((call.lineno, str(word.value)) for word in words)


def test_no_bulk_update_passes_by_what_save_keeps_in_step() -> None:
    found = [
        f"{path.relative_to(settings.BASE_DIR)}:{line} {column}"
        for package in ("mailboxes", "emailprofiles")
        for path in sorted((settings.BASE_DIR / package).rglob("*.py"))
        for line, column in bulk_updates(path)
        if column in GUARDED
    ]
    assert found == []


def test_that_search_finds_one(tmp_path: Path) -> None:
    sample = tmp_path / "sample.py"
    sample.write_text('User.objects.update(email="x")\nQueue.objects.bulk_update(queues, ["owner"])\n')
    assert list(bulk_updates(sample)) == [(1, "email"), (2, "owner")]


def test_the_changes_above_cover_all_that_is_counted() -> None:
    assert set(CHANGES_OF_A_MAILBOX) == set(mailbox_models.CONNECTION_FIELDS)
    assert set(CHANGES_OF_A_PROFILE) == set(profile_models.CONNECTION_FIELDS)


class TestTheLastAdministrator:
    def test_is_known_by_group_by_own_permission_and_as_superuser(self, amara: User) -> None:
        assert is_last_administrator(amara)
        hanna = User.objects.create_user("hanna", "hanna@contoso.com")
        assert not is_last_administrator(hanna)
        hanna.user_permissions.add(Permission.objects.get(codename="administer_email"))
        assert not is_last_administrator(amara)
        hanna.user_permissions.clear()
        User.objects.filter(pk=hanna.pk).update(is_superuser=True)
        assert not is_last_administrator(amara)
        User.objects.filter(pk=hanna.pk).update(is_active=False)
        assert is_last_administrator(amara)
        assert not is_last_administrator(User(username="nobody"))
