"""Leases, budgets, back-off and circuits; one thread after another, two engines beside each other."""

from __future__ import annotations

import random
import threading
from datetime import timedelta

import pytest
from django.utils import timezone

from emailprofiles.errors import FolderMissing, PortClosed, ServerBusy, SignInRefused, TryLater
from emailprofiles.models import EmailServerProfile
from emailprofiles.secrets import Sealed
from mailboxes.models import (
    Alert,
    ConfigurationTest,
    Direction,
    EmailConfigurationSettings,
    Mailbox,
    Message,
    ServerCircuit,
    SyncState,
)
from mailboxes.standing import Office as Snapshot
from mailboxes.standing import preconditions
from mailboxes.sync import backoff, leases
from mailboxes.sync.worker import Engine

from .conftest import Office, enable, letter

pytestmark = pytest.mark.django_db(transaction=True)


def state_of(mailbox: Mailbox) -> SyncState:
    return SyncState.objects.get(mailbox=mailbox, direction=Direction.INCOMING)


@pytest.mark.parametrize(
    ("error", "failures", "stop", "circuit"),
    [
        (SignInRefused("amara"), 1, True, False),
        (FolderMissing("Orders"), 1, True, False),
        (TryLater(), 1, False, False),
        (TryLater(), 10, True, False),
        (ServerBusy(), 1, False, True),
        (PortClosed("127.0.0.1 port 143"), 30, False, True),
    ],
)
def test_what_follows_from_a_failure(error: Exception, failures: int, stop: bool, circuit: bool) -> None:
    verdict = backoff.verdict(error, failures, random.Random(1))  # type: ignore[arg-type]
    assert (verdict.stop, verdict.circuit) == (stop, circuit)
    assert timedelta(seconds=10) < verdict.wait <= backoff.LONGEST * 1.25


def test_two_claims_never_take_the_same_mailbox(office: Office) -> None:
    first = leases.claim(4, "here|-|1|1")
    second = leases.claim(4, "there|-|2|2")
    assert [lease.mailbox_id for lease in first] == [office.forward.pk]
    assert second == []


def test_a_lost_lease_writes_nothing(office: Office) -> None:
    (lease,) = leases.claim(1, "there|-|1|1")
    SyncState.objects.filter(pk=lease.state_id).update(lease_until=timezone.now() - timedelta(seconds=1))
    (other,) = leases.claim(1, "elsewhere|-|2|2")
    with pytest.raises(leases.LeaseLost):
        lease.write(cursor_position="7")
    assert not leases.release(lease, failures=9)
    assert leases.release(other, failures=0)
    assert state_of(office.forward).cursor_position == ""


def second_mailbox(office: Office) -> Mailbox:
    office.dovecot.add_user(f"{office.account}b", "correct horse")
    mailbox = Mailbox.new_forward(
        name="Collection 2",
        owner=office.amara,
        email_address="second@contoso.com",
        server_profile=office.profile,
        incoming_method="server_side",
        allow_credentials=True,
        username=f"{office.account}b",
        password="correct horse",
    )
    mailbox.save()
    enable(mailbox)
    return mailbox


def test_a_claim_honours_the_connection_budget_of_the_profile(office: Office) -> None:
    second_mailbox(office)
    EmailServerProfile.objects.filter(pk=office.profile.pk).update(max_concurrent_connections=1)
    assert len(leases.claim(4, "here|-|1|1")) == 1
    assert leases.claim(4, "here|-|1|1") == []


def test_a_server_that_is_down_opens_its_circuit_and_one_mailbox_probes(office: Office) -> None:
    second_mailbox(office)
    office.profile.refresh_from_db()
    port = office.dovecot.port
    EmailServerProfile.objects.filter(pk=office.profile.pk).update(incoming_port=1)
    summary = office.again()
    assert summary.failed >= 1
    assert Alert.objects.filter(resolved_at=None, profile=office.profile).count() == 1
    assert "in trouble" in Alert.objects.get(resolved_at=None).title
    assert all(
        state.enabled for state in SyncState.objects.filter(direction="incoming", test_status="success")
    )
    assert leases.claim(4, "here|-|1|1") == []

    ServerCircuit.objects.update(open_until=timezone.now() - timedelta(seconds=1))
    probes = leases.claim(4, "here|-|1|1")
    assert len(probes) == 1
    leases.release(probes[0])

    EmailServerProfile.objects.filter(pk=office.profile.pk).update(incoming_port=port)
    ServerCircuit.objects.update(open_until=timezone.now() - timedelta(seconds=1))
    SyncState.objects.update(next_run_at=None)
    office.synchronize()
    office.synchronize()
    assert not ServerCircuit.objects.exists()
    assert not Alert.objects.filter(resolved_at=None).exists()


def test_an_engine_runs_tests_beside_its_passes_and_stops_within_seconds(office: Office) -> None:
    engine = Engine(2)
    thread = threading.Thread(target=engine.run)
    thread.start()
    test = ConfigurationTest.request(office.forward, office.amara)
    for _ in range(100):
        test.refresh_from_db()
        if test.finished_at:
            break
        engine.stop.wait(0.1)
    began = timezone.now()
    assert engine.shut_down()
    thread.join(5)
    assert not thread.is_alive()
    assert timezone.now() - began < timedelta(seconds=5)
    assert test.finished_at
    assert test.steps.filter(state="passed").count() == 8


def test_two_engines_share_the_work_and_deliver_everything_once(office: Office) -> None:
    office.user("noah")
    second = second_mailbox(office)
    mails = [letter(f"Number {n}", Delivered_To="noah@contoso.com") for n in range(60)]
    office.arrives(*mails)
    office.dovecot.append_many(second.username, mails)  # the same mail came into both boxes
    engines = [Engine(2), Engine(2)]
    threads = [threading.Thread(target=engine.run_once) for engine in engines]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    for engine in engines:
        engine.shut_down()
    office.again()
    assert Message.objects.filter(state="delivered").count() == 120
    assert office.delivered() == {f"Number {n}": ["Noah"] for n in range(60)}


SHIFTS = [
    {},
    {"mailbox": {"is_active": False}},
    {"mailbox": {"incoming_method": "none"}},
    {"mailbox": {"connection_version": 99}},
    {"mailbox": {"credentials_location_version": 99}},
    {"mailbox": {"allow_credentials": False}},
    {"profile": {"is_active": False}},
    {"profile": {"connection_version": 99}},
    {
        "profile": {"authenticate_using": "profile", "username": "service", "password": Sealed("sealed")},
        "mailbox": {"allow_credentials": False},
    },
    {"state": {"enabled": False}},
    {"state": {"test_status": "failure"}},
    {"state": {"test_status": "not_run"}},
]


@pytest.mark.parametrize("shift", SHIFTS)
@pytest.mark.parametrize("kind", ["forward", "approved", "pending", "rejected", "pending, not required"])
def test_python_and_sql_agree_on_what_runs(
    office: Office, kind: str, shift: dict[str, dict[str, object]]
) -> None:
    mailbox = office.forward
    if kind != "forward":
        office.dovecot.add_user(f"{office.account}q", "correct horse")
        mailbox = office.queue(
            "support",
            incoming_method="server_side",
            server_profile=office.profile,
            allow_credentials=True,
            username=f"{office.account}q",
            password="correct horse",
        ).mailbox
        enable(mailbox)
        Mailbox.objects.filter(pk=mailbox.pk).update(approval=kind.split(",")[0])
        EmailConfigurationSettings.objects.update(require_approval_for_queues="not required" not in kind)
    Mailbox.objects.filter(pk=mailbox.pk).update(**shift.get("mailbox", {}))
    EmailServerProfile.objects.filter(pk=office.profile.pk).update(**shift.get("profile", {}))
    SyncState.objects.filter(mailbox=mailbox, direction="incoming").update(**shift.get("state", {}))
    fresh = Mailbox.objects.select_related("server_profile", "user", "queue").get(pk=mailbox.pk)
    snapshot = Snapshot.read()
    by_python = all(
        need.met
        for need in preconditions(fresh, "incoming", snapshot)
        if need.name not in ("not postponed", "circuit closed")
    )
    approved = EmailConfigurationSettings.load().approved()
    by_sql = SyncState.objects.running(Direction.INCOMING, approved=approved).filter(mailbox=mailbox).exists()
    assert by_python == by_sql
