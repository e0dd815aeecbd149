"""Mail that is collected as soon as it arrives: watches on a real Dovecot that tells of mail (IMAP IDLE)."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from time import monotonic, sleep

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from emailprofiles.models import EmailServerProfile
from mailboxes.models import Direction, Mailbox, Message, SyncState, Watch
from mailboxes.sync import errands, leases, push
from mailboxes.sync.incoming import Tally
from mailboxes.sync.worker import Engine, succeeded
from tests.faults.proxy import Proxy
from tests.servers import GOOD
from tests.sync.conftest import Office, enable, letter


@pytest.fixture
def told(office: Office) -> Office:
    """Whose profile asks for mail as soon as it arrives, and otherwise once a day."""
    office.profile.use_push = True
    office.profile.min_polling_interval_minutes = 1440
    office.profile.full_clean()
    office.profile.save()
    return office


@contextmanager
def at_work(threads: int = 2) -> Iterator[Engine]:
    engine = Engine(threads)
    thread = threading.Thread(target=engine.run)
    thread.start()
    try:
        yield engine
    finally:
        assert engine.shut_down()
        thread.join(5)
        assert not thread.is_alive()


def soon(happened: Callable[[], bool], seconds: float = 15) -> bool:
    end = monotonic() + seconds
    while not (done := happened()) and monotonic() < end:
        sleep(0.02)
    return done


def watched() -> list[str]:
    held = Watch.objects.filter(lease_until__gt=timezone.now()).order_by("mailbox")
    return list(held.values_list("mailbox__name", flat=True))


def incoming(mailbox: Mailbox) -> SyncState:
    return mailbox.states.get(direction=Direction.INCOMING)


def is_quiet(office: Office) -> bool:
    """The pass that begins each watch is over."""
    state = incoming(office.forward)
    begun = state.told_at is not None and state.last_success_at is not None
    return begun and state.last_success_at > state.told_at and state.lease_until is None


def another_mailbox(office: Office) -> Mailbox:
    account = f"{office.account}b"
    office.dovecot.add_user(account, "correct horse")
    second = Mailbox.new_forward(
        name="Collection 2",
        owner=office.amara,
        email_address="second@contoso.com",
        server_profile=office.profile,
        incoming_method="server_side",
        allow_credentials=True,
        username=account,
        password="correct horse",
    )
    second.save()
    enable(second)
    return second


def test_what_arrives_is_collected_at_once_though_the_next_cycle_is_tomorrow(told: Office) -> None:
    told.user("noah")
    with at_work():
        assert soon(lambda: watched() == ["Collection 1"])
        assert soon(lambda: is_quiet(told))
        for number in range(3):
            told.dovecot.append(told.account, letter(f"Number {number}", Delivered_To="noah@contoso.com"))
            assert soon(lambda number=number: f"Number {number}" in told.delivered())  # type: ignore[misc]
        assert soon(lambda: is_quiet(told))
        assert incoming(told.forward).next_run_at > timezone.now() + timedelta(hours=23)
    assert watched() == []
    assert told.on_server() == []


def test_what_lay_there_before_anyone_listened_is_collected(told: Office) -> None:
    told.synchronize()
    told.arrives(letter("Early"))
    with at_work():
        assert soon(lambda: Message.objects.filter(subject="Early").exists())


def test_mail_that_is_told_of_during_a_pass_makes_the_next_one_due_at_once(told: Office) -> None:
    (errand,) = errands.read(leases.claim(1, leases.this_process()))
    push.tell(told.forward)
    succeeded(errand, Tally())
    (again,) = errands.read(leases.claim(1, leases.this_process()))
    succeeded(again, Tally())
    assert leases.claim(1, leases.this_process()) == []


def test_a_server_that_does_not_tell_is_asked_at_the_interval_and_the_page_says_so(
    told: Office, proxy: Proxy
) -> None:
    proxy.edit(rb" IDLE", b"")
    moved_behind(told, proxy)
    told.arrives(letter("Asked for"))
    with at_work():
        assert soon(lambda: Watch.objects.exclude(last_error="").exists())
        assert soon(lambda: Message.objects.filter(subject="Asked for").exists())
    watch = Watch.objects.get()
    assert (
        watch.last_error == "The server lacks something this needs: IDLE, to tell at once that mail arrived."
    )
    assert watch.again_at is not None
    assert watch.again_at > timezone.now() + timedelta(minutes=50)
    assert incoming(told.forward).enabled
    assert push.claim(5, leases.this_process()) == []


@pytest.fixture
def proxy(office: Office) -> Iterator[Proxy]:
    with Proxy(GOOD, office.dovecot.port) as proxy:
        yield proxy


def moved_behind(office: Office, proxy: Proxy) -> None:
    office.profile.incoming_port = proxy.port
    office.profile.save()
    version = {"credentials_location_version": office.profile.location_version}
    Mailbox.objects.filter(pk=office.forward.pk).update(**version)
    office.forward.refresh_from_db()
    enable(office.forward)


def test_a_connection_that_is_lost_is_made_again_later_and_nobody_is_alarmed(
    told: Office, proxy: Proxy
) -> None:
    moved_behind(told, proxy)
    with at_work():
        assert soon(lambda: is_quiet(told))
        proxy.cut_all()
        assert soon(lambda: Watch.objects.filter(failures=1, lease_until=None).exists())
        watch = Watch.objects.get()
        assert watch.again_at is not None
        assert "The connection broke off" in watch.last_error
        Watch.objects.update(again_at=timezone.now())
        told.arrives(letter("Meanwhile"))
        assert soon(lambda: Message.objects.filter(subject="Meanwhile").exists())
    assert Watch.objects.get().failures == 0
    assert incoming(told.forward).failures == 0


def test_waiting_leaves_half_of_the_connections_to_collecting(told: Office) -> None:
    another_mailbox(told)
    EmailServerProfile.objects.filter(pk=told.profile.pk).update(max_concurrent_connections=2)
    assert [mailbox.name for mailbox in push.claim(5, "here|-|1|1")] == ["Collection 1"]
    assert len(leases.claim(5, "here|-|1|1")) == 1
    EmailServerProfile.objects.filter(pk=told.profile.pk).update(max_concurrent_connections=4)
    assert [mailbox.name for mailbox in push.claim(5, "here|-|1|1")] == ["Collection 2"]


def test_no_more_are_watched_than_there_are_seats(told: Office) -> None:
    another_mailbox(told)
    assert len(push.claim(1, "here|-|1|1")) == 1


def test_the_watch_of_an_engine_that_died_is_taken_over_and_no_other(told: Office) -> None:
    assert len(push.claim(5, leases.this_process())) == 1
    assert push.claim(5, "elsewhere|-|1|1") == []
    gone = leases.this_process().split("|")
    Watch.objects.update(lease_holder="|".join([*gone[:2], "4194305", "1"]))
    assert len(push.claim(5, leases.this_process())) == 1
    Watch.objects.update(lease_holder="elsewhere|-|1|1", lease_until=timezone.now() - timedelta(seconds=1))
    assert len(push.claim(5, leases.this_process())) == 1


NOT_WATCHED = {
    "switched off": lambda told: set_profile(told, use_push=False),
    "deactivated": lambda told: Mailbox.objects.update(is_active=False),
    "failing": lambda told: SyncState.objects.update(failures=1),
    "settings changed": lambda told: Mailbox.objects.update(connection_version=99),
    "POP3 now": lambda told: set_profile(told, server_type="pop3_smtp"),
}


def set_profile(office: Office, **values: object) -> None:
    EmailServerProfile.objects.filter(pk=office.profile.pk).update(**values)


@pytest.mark.parametrize("why", NOT_WATCHED)
def test_who_is_not_watched(told: Office, why: str) -> None:
    assert push.watchable().count() == 1
    NOT_WATCHED[why](told)
    assert push.watchable().count() == 0
    assert push.claim(5, leases.this_process()) == []


def test_a_watch_ends_soon_after_it_is_switched_off(told: Office) -> None:
    with at_work():
        assert soon(lambda: is_quiet(told))
        set_profile(told, use_push=False)
        assert soon(lambda: watched() == [])


def test_a_profile_that_allows_one_connection_cannot_wait_for_mail(office: Office) -> None:
    office.profile.use_push, office.profile.max_concurrent_connections = True, 1
    with pytest.raises(Exception, match="allow at least 2"):
        office.profile.full_clean()


WORDS = {
    "yes, the server tells": {"lease_until": timezone.now() + timedelta(days=1)},
    "no: The connection broke off. Asked again at": {
        "last_error": "The connection broke off.",
        "again_at": timezone.now() + timedelta(hours=1),
    },
    "not now: no connection is free, or the engine rests": {},
}


@pytest.mark.parametrize("words", WORDS)
def test_the_mailbox_says_whether_its_server_tells(told: Office, client: Client, words: str) -> None:
    Watch.objects.create(mailbox=told.forward, **WORDS[words])
    client.force_login(told.amara)
    address = reverse("mailbox-edit", args=[told.forward.pk])
    assert words in client.get(address).content.decode()
    set_profile(told, use_push=False)
    assert "As soon as mail arrives" not in client.get(address).content.decode()


def test_the_profile_counts_connections_that_wait(told: Office, client: Client) -> None:
    Watch.objects.create(mailbox=told.forward, lease_until=timezone.now() + timedelta(minutes=1))
    client.force_login(told.amara)
    page = client.get(reverse("profile-edit", args=[told.profile.pk])).content.decode()
    assert "1 of 10 connections" in page
