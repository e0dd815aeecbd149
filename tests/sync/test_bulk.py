"""A command for many mailboxes: carried out by the engine, item by item, once, whoever dies meanwhile."""

from __future__ import annotations

import signal
import threading
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.core.management import call_command
from django.db import connection
from django.utils import timezone

from emailprofiles import history
from emailprofiles.models import EmailServerProfile
from mailboxes import bulk, lifecycle
from mailboxes.models import (
    BulkCommand,
    Command,
    ConfigurationTest,
    Direction,
    EmailConfigurationSettings,
    Mailbox,
    Queue,
    SyncState,
    User,
)
from mailboxes.sync import leases
from mailboxes.sync.worker import Engine, run_test

from .conftest import Office, letter
from .test_crash import start

pytestmark = pytest.mark.django_db(transaction=True)


def queues(office: Office, number: int) -> list[Mailbox]:
    """Queues whose address waits for approval."""
    return [
        Queue.objects.create(
            name=f"Queue {n:02d}", email_address=f"q{n}@contoso.com", owner=office.amara
        ).mailbox
        for n in range(number)
    ]


def readers(office: Office, number: int, wrong: int = 0) -> list[Mailbox]:
    """Queues that are read themselves; the password of the first `wrong` ones is wrong."""
    made = []
    for n, mailbox in enumerate(queues(office, number)):
        account = f"{office.account}q{n}"
        office.dovecot.add_user(account, "correct horse")
        mailbox.server_profile, mailbox.incoming_method = office.profile, "server_side"
        mailbox.allow_credentials, mailbox.username = True, account
        mailbox.password = "wrong" if n < wrong else "correct horse"
        mailbox.save()
        made.append(mailbox)
    return made


def asked(office: Office, command: Command, *mailboxes: Mailbox, **more: Any) -> BulkCommand:
    chosen = Mailbox.objects.filter(pk__in=[mailbox.pk for mailbox in mailboxes])
    return bulk.request(command, chosen, office.amara, **more)


def came_of(command: BulkCommand) -> list[tuple[str, str]]:
    return list(command.items.order_by("mailbox__name").values_list("state", "said"))


def is_finished(command: BulkCommand) -> bool:
    return BulkCommand.objects.get(pk=command.pk).finished_at is not None


# ── Everything but tests ────────────────────────────────────────────────────────────────────


def test_addresses_are_approved_one_by_one_and_each_refusal_has_its_sentence(office: Office) -> None:
    some = queues(office, 3)
    lifecycle.approve(some[2], office.amara)
    decided = Mailbox.objects.get(pk=some[2].pk).approval_at
    command = asked(office, Command.APPROVE, office.forward, *some)
    office.synchronize()
    assert came_of(command) == [
        (
            "refused",
            "A forward mailbox needs no approval; the address of a user or queue is pending, approved or rejected.",
        ),
        ("done", "Approved."),
        ("done", "Approved."),
        ("done", "Was approved already."),
    ]
    assert set(Mailbox.objects.filter(queue__isnull=False).values_list("approval", flat=True)) == {"approved"}
    assert Mailbox.objects.get(pk=some[2].pk).approval_at == decided
    assert is_finished(command)


def test_the_history_names_the_person_and_the_command(office: Office) -> None:
    (mailbox,) = queues(office, 1)
    asked(office, Command.APPROVE, mailbox)
    office.synchronize()
    signed = history.signature(history.entries_of(mailbox)[0])
    assert signed.person_pk == office.amara.pk
    assert "Approve Email for a selection" in signed.who


def test_activate_deactivate_reject_and_collect(office: Office) -> None:
    first, second = queues(office, 2)
    Queue.objects.filter(pk=second.queue_id).update(is_active=False)
    for command, state, said in (
        (Command.DEACTIVATE, "done", "Deactivated."),
        (Command.ACTIVATE, "done", "Active."),
        (Command.REJECT, "done", "Rejected."),
        (Command.COLLECT, "refused", "Not collected: The email address was rejected."),
    ):
        given = asked(office, command, first)
        office.synchronize()
        assert came_of(given) == [(state, said)], command
    lifecycle.deactivate(second)
    given = asked(office, Command.ACTIVATE, second)
    office.synchronize()
    assert came_of(given) == [("refused", "Queue 01 is not active: activate the queue first.")]


def test_collect_now_makes_a_mailbox_due(office: Office) -> None:
    office.user("noah")
    office.synchronize()
    office.arrives(letter("Early", Delivered_To="noah@contoso.com"))
    command = asked(office, Command.COLLECT, office.forward)
    collected = office.synchronize().collected  # by this run, or by the next if this one just ends
    assert came_of(command) == [("done", "Collected as soon as a worker is free.")]
    assert collected + office.synchronize().collected == 1


def test_a_command_of_somebody_who_is_gone_is_refused(office: Office) -> None:
    (mailbox,) = queues(office, 1)
    gone = User.objects.create_user("gone", "gone@contoso.com")
    command = bulk.request(Command.APPROVE, Mailbox.objects.filter(pk=mailbox.pk), gone)
    BulkCommand.objects.filter(pk=command.pk).update(requested_by=None)
    office.synchronize()
    assert came_of(command) == [("refused", "Whoever asked for this is not a user here any more.")]


def test_what_was_stopped_is_left_alone(office: Office) -> None:
    some = queues(office, 3)
    command = asked(office, Command.APPROVE, *some)
    assert bulk.stop(command, office.amara) == 3
    office.synchronize()
    assert [state for state, _ in came_of(command)] == ["stopped"] * 3
    assert not Mailbox.objects.filter(approval="approved", queue__isnull=False).exists()
    assert is_finished(command)


def test_a_stop_in_the_middle_lets_what_is_done_stand(office: Office) -> None:
    some = queues(office, 3)
    command = asked(office, Command.APPROVE, *some)
    claimed = leases.claim_command(leases.this_process())
    assert claimed is not None
    calls = iter([False, True])
    bulk.carry_out(claimed, lambda: next(calls))
    bulk.stop(command, office.amara)
    assert sorted(state for state, _ in came_of(command)) == ["done", "stopped", "stopped"]


@pytest.mark.parametrize(
    ("place", "nth"),
    [
        ("after mailboxes.sync.leases:claim_command", 1),
        ("before mailboxes.lifecycle:approve", 3),
        ("after mailboxes.lifecycle:approve", 3),
        ("before mailboxes.bulk:_say", 4),
        ("after mailboxes.bulk:_say", 4),
        ("before mailboxes.bulk:_finish", 1),
    ],
)
def test_a_killed_engine_repeats_nothing_and_forgets_nothing(office: Office, place: str, nth: int) -> None:
    some = queues(office, 6)
    command = asked(office, Command.APPROVE, *some)
    process = start("-m", "tests.sync.stopped", place, str(nth))
    _, words = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL, words
    assert not is_finished(command)
    approved = set(Mailbox.objects.filter(approval="approved").values_list("pk", "approval_at"))
    assert {item.mailbox_id for item in command.items.filter(state="done")} == {pk for pk, _ in approved}
    office.synchronize()
    assert came_of(command) == [("done", "Approved.")] * 6
    assert is_finished(command)
    assert approved <= set(Mailbox.objects.filter(approval="approved").values_list("pk", "approval_at"))


def test_a_worker_that_lost_its_command_does_nothing_more(office: Office) -> None:
    command = asked(office, Command.APPROVE, *queues(office, 2))
    claimed = leases.claim_command("there|-|1|1")
    assert claimed is not None
    assert leases.claim_command("here|-|1|1") is None
    BulkCommand.objects.update(lease_until=timezone.now())
    assert leases.claim_command("here|-|1|1") is not None
    bulk.carry_out(claimed, lambda: False)
    assert [state for state, _ in came_of(command)] == ["waiting", "waiting"]


def test_the_items_of_a_selection_are_written_in_one_statement(
    office: Office, django_assert_max_num_queries: Any
) -> None:
    queues(office, 30)
    with django_assert_max_num_queries(4):  # begin, command, items, commit
        command = bulk.request(Command.APPROVE, Mailbox.objects.filter(name__icontains="queue"), office.amara)
    assert command.items.filter(state="waiting").count() == 30


# ── Apply Default Email Settings ────────────────────────────────────────────────────────────


@pytest.fixture
def new_server(office: Office) -> EmailServerProfile:
    """The default profile, another server than the mailboxes' own."""
    settings = EmailConfigurationSettings.load()
    settings.default_incoming_method, settings.default_outgoing_method = "server_side", "outlook"
    settings.save()
    return EmailServerProfile.objects.create(
        name="New server",
        owner=office.amara,
        incoming_host="127.0.0.2",
        incoming_port=office.dovecot.port,
        incoming_security="none",
        is_default=True,
    )


def confirmed(sends: bool) -> Any:
    defaults = bulk.default_settings()
    defaults.sends_credentials, defaults.credentials = sends, 1
    return defaults


def test_stored_credentials_stay_where_nobody_confirmed(
    office: Office, new_server: EmailServerProfile
) -> None:
    (mailbox,) = readers(office, 1)
    command = asked(office, Command.DEFAULTS, mailbox, office.forward, defaults=confirmed(False))
    office.synchronize()
    assert came_of(command) == [
        ("refused", "The default settings are those of users and queues: a forward mailbox keeps its own."),
        ("done", "Changed: Server Profile. The stored credentials wait for a confirmation."),
    ]
    stored = Mailbox.objects.get(pk=mailbox.pk)
    assert (stored.server_profile, stored.incoming_method) == (new_server, "server_side")
    assert stored.password.reveal() == "correct horse"
    assert lifecycle.unconfirmed(new_server) == 1
    assert not SyncState.objects.running(
        Direction.INCOMING, approved=EmailConfigurationSettings.load().approved()
    ).filter(mailbox=mailbox)
    assert lifecycle.confirm_credentials(new_server, office.amara) == 1


def test_stored_credentials_go_where_an_administrator_confirmed_and_that_is_in_the_history(
    office: Office, new_server: EmailServerProfile
) -> None:
    (mailbox,) = readers(office, 1)
    command = asked(office, Command.DEFAULTS, mailbox, defaults=confirmed(True))
    office.synchronize()
    assert came_of(command) == [("done", "Changed: Server Profile.")]
    stored = Mailbox.objects.get(pk=mailbox.pk)
    assert stored.credentials_location_version == new_server.location_version
    for record, number in ((new_server, 1), (mailbox, 1)):
        entries = [entry for entry in history.entries_of(record) if "credentials_confirmed" in entry.changes]
        assert entries[0].changes["credentials_confirmed"] == [number, "127.0.0.2"]
        assert history.signature(entries[0]).person_pk == office.amara.pk


def test_a_server_that_moved_after_the_confirmation_gets_nothing(
    office: Office, new_server: EmailServerProfile
) -> None:
    (mailbox,) = readers(office, 1)
    command = asked(office, Command.DEFAULTS, mailbox, defaults=confirmed(True))
    new_server.incoming_host = "127.0.0.3"
    new_server.save()
    office.synchronize()
    assert came_of(command) == [("refused", bulk.DEFAULTS_CHANGED)]
    assert Mailbox.objects.get(pk=mailbox.pk).server_profile == office.profile


def test_defaults_are_clipped_as_for_a_new_mailbox_and_what_has_them_is_left(
    office: Office, new_server: EmailServerProfile
) -> None:
    user, queue = office.user("noah").mailbox, office.queue("support").mailbox
    settings = EmailConfigurationSettings.load()
    for mailbox in (user, queue):
        expected = settings.methods_for(mailbox.kind, new_server)
        given = asked(office, Command.DEFAULTS, mailbox, defaults=confirmed(False))
        again = asked(office, Command.DEFAULTS, mailbox, defaults=confirmed(False))
        office.synchronize()
        stored = Mailbox.objects.get(pk=mailbox.pk)
        assert {name: getattr(stored, name) for name in expected} == expected
        assert came_of(given)[0][0] == "done"
        assert came_of(again) == [("done", "Had these settings already.")]


def test_only_what_was_confirmed_can_be_asked(office: Office) -> None:
    with pytest.raises(ValueError, match="Default settings"):
        asked(office, Command.DEFAULTS, office.forward)
    with pytest.raises(ValueError, match="Default settings"):
        asked(office, Command.APPROVE, office.forward, defaults=confirmed(False))


def test_a_changed_profile_still_wants_the_password_in_every_other_way(
    office: Office, new_server: EmailServerProfile
) -> None:
    mailbox = Mailbox.objects.get(pk=office.forward.pk)
    mailbox.server_profile = new_server
    with pytest.raises(ValidationError, match="type the password again"):
        mailbox.save()
    mailbox.password = "correct horse"
    mailbox.save()
    assert not lifecycle.waits_for_confirmation(mailbox)


# ── Test & Enable ───────────────────────────────────────────────────────────────────────────


def test_twenty_mailboxes_are_tested_against_a_real_server(office: Office) -> None:
    some = readers(office, 20, wrong=4)
    nothing = office.queue("silent", incoming_method="none").mailbox
    command = asked(office, Command.TEST, nothing, *some)
    office.synchronize(threads=4)
    outcome = came_of(command)
    assert [state for state, _ in outcome] == ["refused"] * 4 + ["done"] * 16 + ["refused"]
    assert outcome[0][1].startswith("Incoming: The server refused the sign-in")
    assert outcome[4][1] == "Incoming passed."
    assert outcome[-1][1] == bulk.NOTHING_TO_TEST
    enabled = SyncState.objects.filter(direction="incoming", enabled=True, mailbox__in=[m.pk for m in some])
    assert enabled.count() == 16
    assert ConfigurationTest.objects.filter(mailbox__in=[m.pk for m in some]).count() == 20
    assert is_finished(command)


def test_a_killed_engine_tests_the_rest_and_repeats_what_it_was_at(office: Office) -> None:
    some = readers(office, 5)
    command = asked(office, Command.TEST, *some)
    process = start("-m", "tests.sync.stopped", "after mailboxes.configtest:_Climb._note", "20")
    _, words = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL, words
    under_way = command.items.filter(state="running")
    assert under_way.exists()
    office.synchronize()
    assert [state for state, _ in came_of(command)] == ["done"] * 5
    assert ConfigurationTest.objects.filter(mailbox__in=[m.pk for m in some]).count() == 5


def test_tests_of_many_never_open_more_connections_than_the_profile_allows(office: Office) -> None:
    readers(office, 6)
    EmailServerProfile.objects.filter(pk=office.profile.pk).update(max_concurrent_connections=2)
    asked(office, Command.TEST, *Mailbox.objects.filter(name__startswith="Queue"))
    holder = leases.this_process()
    assert [len(bulk.claim_tests(1, holder)), len(bulk.claim_tests(4, holder))] == [1, 1]
    assert bulk.claim_tests(4, holder) == []
    assert leases.claim(4, holder) == []


def test_a_full_server_does_not_hold_up_the_mailboxes_of_another(office: Office) -> None:
    other = EmailServerProfile.objects.create(
        name="Other",
        owner=office.amara,
        incoming_host="127.0.0.2",
        incoming_port=office.dovecot.port,
        incoming_security="none",
    )
    some = readers(office, 3)
    some[2].server_profile, some[2].password = other, "correct horse"
    some[2].save()
    EmailServerProfile.objects.filter(pk=office.profile.pk).update(max_concurrent_connections=1)
    asked(office, Command.TEST, *some)
    holder = leases.this_process()
    claimed = bulk.claim_tests(3, holder)
    assert [one.test.mailbox_id for one in claimed] == [some[0].pk, some[2].pk]


def test_the_test_of_one_person_never_waits_behind_those_of_many(office: Office) -> None:
    some = readers(office, 4)
    asked(office, Command.TEST, *some)
    holder = leases.this_process()
    assert len(bulk.claim_tests(2, holder)) == 2
    assert leases.claim_test(holder) is None
    own = ConfigurationTest.request(office.forward, office.amara)
    claimed = leases.claim_test(holder)
    assert claimed is not None
    assert claimed.pk == own.pk


def test_a_mailbox_that_a_person_tests_just_now_comes_later(office: Office) -> None:
    first, second = readers(office, 2)
    ConfigurationTest.request(first, office.amara)
    asked(office, Command.TEST, first, second)
    (claimed,) = bulk.claim_tests(1, leases.this_process())
    assert claimed.test.mailbox_id == second.pk


def test_collecting_goes_on_while_many_are_tested(office: Office) -> None:
    office.user("noah")
    office.arrives(letter("Meanwhile", Delivered_To="noah@contoso.com"))
    command = asked(office, Command.TEST, *readers(office, 8, wrong=2))
    engine = Engine(2)
    worker = threading.Thread(target=engine.run)
    worker.start()
    try:
        finished = threading.Event()
        for _ in range(300):
            if is_finished(command) and office.delivered():
                finished.set()
                break
            finished.wait(0.1)
        assert finished.is_set()
        assert engine._pool._max_workers == 5
    finally:
        engine.stop.set()
        worker.join(10)
        engine.shut_down()
        connection.close()
    assert office.delivered() == {"Meanwhile": ["Noah"]}


def test_a_stop_leaves_what_waits_untested(office: Office) -> None:
    command = asked(office, Command.TEST, *readers(office, 3))
    (claimed,) = bulk.claim_tests(1, leases.this_process())
    assert bulk.stop(command, office.amara) == 2
    assert not is_finished(command)  # one is under way
    run_test(claimed.test, lambda: False, claimed.lease)
    bulk.settle()
    assert is_finished(command)
    assert sorted(state for state, _ in came_of(command)) == ["done", "stopped", "stopped"]


def test_synchronize_once_finishes_what_is_open(office: Office, capsys: Any) -> None:
    approve = asked(office, Command.APPROVE, *queues(office, 2))
    call_command("synchronize", "--once")
    assert is_finished(approve)
