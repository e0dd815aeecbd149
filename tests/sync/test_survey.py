"""Safe first run: the page says what is there and where it would go, and the first pass then does exactly that."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.core.management import call_command
from django.test import Client
from django.utils import timezone

from emailprofiles.transports import IncomingTransport
from mailboxes import configtest, connections, survey
from mailboxes.diary import Diary
from mailboxes.models import ConfigurationTest, EmailConfigurationSettings, Mailbox, Message, Survey, TestStep
from mailboxes.sync import errands, leases
from mailboxes.sync.incoming import synchronize
from mailboxes.sync.parser import Parser
from mailboxes.sync.worker import run_test

from .conftest import Office, letter
from .test_crash import environment

pytestmark = pytest.mark.django_db(transaction=True)


def never_run(office: Office) -> Office:
    """As if the forward mailbox had just been saved."""
    office.forward.states.update(enabled=False, test_status="not_run", last_success_at=None)
    ConfigurationTest.objects.all().delete()
    return office


def looked(mailbox: Mailbox, *, enables: bool = False) -> Survey:
    test = ConfigurationTest.request(mailbox, None, enables=enables)
    assert configtest.run(test)["incoming"] == "success", list(test.steps.values("name", "cause"))
    return Survey.objects.get(test=test)


def shares(found: Survey) -> dict[str, int]:
    return {
        share.mailbox.name if share.mailbox else share.reason: share.messages for share in found.shares.all()
    }


def mixed(office: Office) -> list[bytes]:
    """Every way a message can go: redirected, written to two, waiting, to nobody, twice, forwarded, unreadable."""
    office.user("noah")
    office.queue("support")
    office.user("lena", approval="pending")
    twice = letter("Twice", Delivered_To="noah@contoso.com")
    inner = letter("Inner", to="noah@contoso.com")
    attached = (
        b"From: Noah <noah@contoso.com>\r\nTo: forwardmailbox@contoso.com\r\nSubject: Fwd\r\nMessage-ID: <f@c>\r\n"
        b'MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary="b"\r\n\r\n'
        b"--b\r\nContent-Type: message/rfc822\r\n\r\n" + inner + b"\r\n--b--\r\n"
    )
    return [
        letter("Redirected", X_Original_To="noah@contoso.com"),
        letter("Both", to="noah@contoso.com, support@contoso.com"),
        letter("Waiting", Delivered_To="lena@contoso.com"),
        letter("Nobody", to="stranger@example.org"),
        twice,
        twice,
        attached,
        b"\xff\xfe no header at all",
        letter("Support", Envelope_To="support@contoso.com"),
    ]


@contextmanager
def opened(office: Office) -> Iterator[IncomingTransport]:
    with connections.open_incoming(office.forward) as server:
        server.connect()
        server.open()
        yield server


def misbehaving() -> Parser:
    return Parser(target="tests.parsing.targets:misbehave")


def untouched(office: Office) -> list[tuple[int, frozenset[str], bytes]]:
    """The server's copies; \\Recent is gone after any look, by IMAP's own rules."""
    return [(kept.uid, kept.flags - {"\\Recent"}, kept.raw) for kept in office.on_server()]


def became(message: Message) -> list[str]:
    """What a pass really did with one message, in the words of a survey."""
    if message.state == "quarantined":
        return [message.reason]
    return sorted(message.deliveries.values_list("mailbox__name", flat=True)) or [survey.SAME_MAIL]


def test_what_a_look_foretells_is_what_the_first_pass_does_with_each_message(office: Office) -> None:
    never_run(office)
    EmailConfigurationSettings.objects.update(max_message_size_mb=1)
    foretold: list[list[str]] = []
    so_far: Counter[str] = Counter()
    film = letter("A film", Envelope_To="support@contoso.com", body="line\r\n" * 200_000)
    for raw in [*mixed(office), film]:
        office.arrives(raw)
        now = Counter(shares(looked(office.forward)))
        foretold.append(sorted((now - so_far).elements()))
        so_far = now
    assert foretold == [
        ["Noah"],
        ["Noah", "Support"],
        ["address_pending"],
        ["no_recipient_matched"],
        ["Noah"],
        ["same_mail"],
        ["Noah"],
        ["no_recipient_matched"],
        ["Support"],
        ["too_large"],
    ]
    assert not Message.objects.exists()
    looked(office.forward, enables=True)
    office.synchronize()
    assert [became(message) for message in Message.objects.order_by("pk")] == foretold


def test_a_look_touches_nothing_on_the_server(office: Office) -> None:
    office.arrives(*mixed(never_run(office)))
    before = untouched(office)
    found = looked(office.forward)
    assert (found.messages, found.wanted, found.looked_at) == (9, 9, 9)
    assert untouched(office) == before  # nothing marked, moved or deleted


def test_a_message_that_ends_the_parser_cannot_be_read_then_as_now(office: Office) -> None:
    never_run(office).user("noah")
    office.arrives(b"crash", letter("Next", Delivered_To="noah@contoso.com"), b"grow", b"exit")
    test = ConfigurationTest.request(office.forward, None, enables=False)
    with opened(office) as server, misbehaving() as parser:
        survey.take(Diary(test), office.forward, server, lambda: False, parser=parser)
    found = Survey.objects.get(test=test)
    assert found.looked_at == 4
    foretold = shares(found)
    assert foretold == {"unreadable": 3, "Noah": 1}
    assert "1 would go to Noah, 3 to nobody" in survey.sentence(found)
    ConfigurationTest.objects.all().delete()
    lease = leases.seize(office.forward.state("incoming").pk, leases.this_process())
    assert lease is not None
    with misbehaving() as parser:
        (errand,) = errands.read([lease])
        synchronize(errand, parser, lambda: False)
    assert Counter(name for message in Message.objects.all() for name in became(message)) == foretold


def test_looking_first_enables_nothing_and_tells_so(office: Office, client: Client) -> None:
    office.arrives(*mixed(never_run(office)))
    client.force_login(office.amara)
    page = f"/mailboxes/{office.forward.pk}/"
    assert "Look first" in client.get(page).content.decode()
    looked(office.forward)
    state = office.forward.state("incoming")
    assert (state.enabled, state.test_status) == (False, "not_run")
    assert office.forward.mailbox_test_completed_on is None
    assert office.synchronize().passes == 0
    shown = client.get(page).content.decode()
    assert "What is there" in shown
    assert "nothing was enabled, marked or collected" in shown
    assert "No recipient matched; it would wait in quarantine" in shown
    assert "each message is collected, and deleted on the server after it is delivered here" in shown
    assert "Out of date" not in shown


def test_the_first_test_looks_too_and_later_ones_do_not(office: Office) -> None:
    office.arrives(*mixed(never_run(office)))
    found = looked(office.forward, enables=True)
    assert office.forward.states.get(direction="incoming").enabled
    steps = list(found.test.steps.order_by("number").values_list("name", "seen"))
    assert steps[-1][0] == "what is there"
    assert "4 would go to Noah, 2 to" not in steps[-1][1]
    assert "4 would go to Noah, 2 would go to Support, 3 to nobody" in steps[-1][1]
    test = ConfigurationTest.request(office.forward, None)
    configtest.run(test)
    assert not Survey.objects.filter(test=test).exists()
    assert not test.steps.filter(name="what is there").exists()


def test_only_what_came_after_process_email_from_is_counted_as_wanted(office: Office) -> None:
    never_run(office).user("noah")
    for number in range(3):
        old = letter(f"Old {number}", Delivered_To="noah@contoso.com")
        office.dovecot.append(office.account, old, internaldate=datetime(2019, 2, 3, tzinfo=UTC))
    office.arrives(letter("New", Delivered_To="noah@contoso.com"))
    office.profile.process_email_from = timezone.now() - timedelta(days=1)
    office.profile.save()
    found = looked(Mailbox.objects.get(pk=office.forward.pk))
    assert (found.messages, found.wanted) == (4, 1)
    assert survey.sentence(found) == (
        "4 messages, oldest 3 Feb 2019, 1 after Process Email From; 1 would go to Noah"
    )


def test_of_many_only_the_newest_are_read_and_the_page_says_so(office: Office, client: Client) -> None:
    never_run(office).user("noah")
    office.arrives(*(letter("A", Delivered_To="noah@contoso.com", body="x" * 700) for _ in range(20)))
    office.arrives(letter("A giant", Delivered_To="noah@contoso.com", body="y\r\n" * 3000))
    test = ConfigurationTest.request(office.forward, None, enables=False)
    with opened(office) as server:
        limits = survey.Limits(octets=5_000, listed_at_once=7)
        survey.take(Diary(test), office.forward, server, lambda: False, limits)
    found = Survey.objects.get()
    assert found.messages == found.wanted == 21
    assert 0 < found.looked_at < 6
    assert shares(found) == {"Noah": found.looked_at}
    assert (
        f"of the newest {found.looked_at} looked at, {found.looked_at} would go to Noah"
        in survey.sentence(found)
    )
    ConfigurationTest.objects.update(finished_at=timezone.now())
    client.force_login(office.amara)
    shown = client.get(f"/mailboxes/{office.forward.pk}/").content.decode()
    assert f"Of these, the newest {found.looked_at} were looked at" in shown


def test_an_engine_that_stops_leaves_the_look_to_the_next(office: Office) -> None:
    office.arrives(*mixed(never_run(office)))
    test = leases.own_test(office.forward, leases.this_process(), enables=False)
    assert test is not None
    assert run_test(test, lambda: True) is None
    test.refresh_from_db()
    assert test.finished_at is None
    again = leases.claim_test(leases.this_process())
    assert again is not None
    assert again.pk == test.pk
    assert run_test(again, lambda: False) == {"incoming": "success"}
    assert Survey.objects.get(test=test).looked_at == 9


def test_an_engine_that_is_killed_leaves_the_look_to_the_next(office: Office) -> None:
    office.arrives(*mixed(never_run(office)))
    before = untouched(office)
    test = ConfigurationTest.request(office.forward, None, enables=False)
    for place in ("after mailboxes.survey:_begin", "before mailboxes.survey:_store"):
        killed = subprocess.run(
            [sys.executable, "-m", "tests.sync.stopped", place, "1"], env=environment(), check=False
        )
        assert killed.returncode == -9
        assert Survey.objects.get(test=test).shares.count() == 0
    office.synchronize()
    test.refresh_from_db()
    assert test.finished_at is not None
    assert sum(shares(Survey.objects.get(test=test)).values()) == 10  # one of the nine reaches two
    plan = configtest.plan_of(test, Mailbox.objects.get(pk=office.forward.pk), "incoming")
    assert list(test.steps.values_list("name", flat=True)) == plan  # those of the dead are gone
    assert untouched(office) == before
    assert not office.forward.states.get(direction="incoming").enabled


def test_the_page_tells_how_far_the_look_is(office: Office, client: Client) -> None:
    never_run(office).user("noah")
    office.arrives(*(letter(f"Number {n}", Delivered_To="noah@contoso.com") for n in range(90)))
    client.force_login(office.amara)
    test = leases.own_test(office.forward, leases.this_process(), enables=False)
    assert test is not None
    said: list[str] = []

    def seen_meanwhile() -> bool:
        page = client.get(f"/mailboxes/{office.forward.pk}/results/").content.decode()
        said.extend(part for n in (0, 40, 80) if (part := f"90 messages, looked at {n} of 90") in page)
        return False

    run_test(test, seen_meanwhile)
    assert list(dict.fromkeys(said)) == [f"90 messages, looked at {n} of 90" for n in (0, 40, 80)]


def test_a_look_that_takes_too_long_says_what_it_saw(office: Office) -> None:
    never_run(office).user("noah")
    office.arrives(*(letter(f"Number {n}", Delivered_To="noah@contoso.com") for n in range(90)))
    test = ConfigurationTest.request(office.forward, None, enables=False)
    slowly = iter(range(90))

    def slow() -> bool:
        time.sleep(1.2 if next(slowly, 0) == 50 else 0)
        return False

    with opened(office) as server:
        survey.take(Diary(test), office.forward, server, slow, survey.Limits(reading=1.0))
    found = Survey.objects.get(test=test)
    assert 0 < found.looked_at < 90
    assert shares(found) == {"Noah": found.looked_at}
    part = f"of {found.looked_at} of the newest 90 looked at, {found.looked_at} would go to Noah"
    assert part in survey.sentence(found)


def test_a_folder_that_takes_too_long_to_count_is_not_looked_at(office: Office, client: Client) -> None:
    office.arrives(*mixed(never_run(office)))
    test = ConfigurationTest.request(office.forward, None, enables=False)
    limits = survey.Limits(counting=0.5, listed_at_once=2)

    def slow() -> bool:
        time.sleep(0.2)
        return False

    with opened(office) as server:
        survey.take(Diary(test), office.forward, server, slow, limits)
    found = Survey.objects.get(test=test)
    assert (found.looked_at, shares(found)) == (0, {})
    assert 0 < found.messages < 9
    assert survey.sentence(found).startswith(f"More than {found.messages} messages")
    ConfigurationTest.objects.update(finished_at=timezone.now())
    client.force_login(office.amara)
    shown = client.get(f"/mailboxes/{office.forward.pk}/").content.decode()
    assert f"More than {found.messages} messages in INBOX" in shown


def test_a_look_at_a_mailbox_that_ran_tells_what_is_new(office: Office, client: Client) -> None:
    never_run(office).user("noah")
    office.forward.delete_emails_after_processing = False
    office.forward.save()
    office.arrives(*(letter(f"Old {n}", Delivered_To="noah@contoso.com") for n in range(3)))
    looked(office.forward, enables=True)
    office.synchronize()
    office.arrives(letter("New", Delivered_To="noah@contoso.com"))
    found = looked(office.forward)
    assert (found.messages, found.dealt_with, found.wanted, found.looked_at) == (4, 3, 1, 1)
    assert shares(found) == {"Noah": 1}
    assert "3 dealt with by earlier passes; 1 would go to Noah" in survey.sentence(found)
    assert office.forward.states.get(direction="incoming").enabled
    client.force_login(office.amara)
    shown = client.get(f"/mailboxes/{office.forward.pk}/").content.decode()
    assert "3 dealt with by earlier passes" in shown
    assert "marked as read on the server" in shown


def test_a_look_that_another_worker_took_over_writes_nothing_more(office: Office) -> None:
    office.arrives(*mixed(never_run(office)))
    test = leases.own_test(office.forward, leases.this_process(), enables=False)
    assert test is not None
    others: list[ConfigurationTest] = []

    def overtaken() -> bool:
        if not others:
            ConfigurationTest.objects.update(lease_until=timezone.now() - timedelta(seconds=1))
            other = leases.claim_test("elsewhere|-|1|1")
            assert other is not None
            others.append(other)
        return False

    assert run_test(test, overtaken) is None
    assert not TestStep.objects.filter(test=test).exists()
    assert not Survey.objects.exists()
    test.refresh_from_db()
    assert (test.finished_at, test.fence) == (None, others[0].fence)
    state = office.forward.states.get(direction="incoming")
    assert (state.enabled, state.test_status) == (False, "not_run")


def test_a_long_look_stays_in_the_hands_of_its_worker(office: Office) -> None:
    office.arrives(letter("One"))
    never_run(office)
    test = leases.own_test(office.forward, leases.this_process(), enables=False)
    assert test is not None
    waited: list[bool] = []

    def until_renewed() -> bool:
        if not waited:
            almost_over = timezone.now() + timedelta(seconds=15)
            ConfigurationTest.objects.update(lease_until=almost_over)
            while (over := ConfigurationTest.objects.get().lease_until) == almost_over:
                time.sleep(0.2)
            waited.append(over > almost_over)
        return False

    assert run_test(test, until_renewed) == {"incoming": "success"}
    assert waited == [True]


def test_who_asks_to_enable_while_somebody_looks_gets_both(office: Office) -> None:
    never_run(office)
    test = ConfigurationTest.request(office.forward, None, enables=False)
    assert ConfigurationTest.request(office.forward, office.amara).pk == test.pk
    assert ConfigurationTest.request(office.forward, office.amara, enables=False).pk == test.pk
    configtest.run(test)
    assert office.forward.states.get(direction="incoming").enabled


def test_the_command_looks_without_enabling(office: Office, capsys: pytest.CaptureFixture[str]) -> None:
    office.arrives(*mixed(never_run(office)))
    call_command("test_mailbox", "forwardmailbox@contoso.com", "--look", "--json")
    (said,) = json.loads(capsys.readouterr().out)
    found: dict[str, Any] = said["what_is_there"]
    assert found["messages"] == 9
    assert {"mailbox": "noah@contoso.com", "messages": 4} in found["would_go_to"]
    assert {"reason": "The address waits for approval", "messages": 1} in found["nobody"]
    assert sum(share["messages"] for share in found["nobody"]) == 3
    assert found["another_copy"] == 1
    assert not office.forward.states.get(direction="incoming").enabled


def test_the_command_says_where_each_message_would_go(
    office: Office, capsys: pytest.CaptureFixture[str]
) -> None:
    office.arrives(*mixed(never_run(office)))
    call_command("test_mailbox", "forwardmailbox@contoso.com", "--look")
    said = capsys.readouterr().out
    assert "9 messages" in said
    assert "4 would go to noah@contoso.com" in said
    assert "2 to nobody: No recipient matched" in said
    assert not office.forward.states.get(direction="incoming").enabled


def test_a_persons_own_mailbox_would_keep_everything(office: Office) -> None:
    account = f"{office.account}own"
    office.dovecot.add_user(account, "correct horse")
    noah = office.user(
        "noah",
        incoming_method="server_side",
        server_profile=office.profile,
        allow_credentials=True,
        username=account,
        password="correct horse",
    )
    office.dovecot.append_many(account, [letter("To nobody known", to="x@example.org") for _ in range(3)])
    assert shares(looked(noah.mailbox)) == {"Noah": 3}


def test_people_look_first_at_their_own_mailbox(office: Office, client: Client) -> None:
    account = f"{office.account}own"
    office.dovecot.add_user(account, "correct horse")
    noah = office.user("noah", incoming_method="server_side", server_profile=office.profile)
    client.force_login(noah)
    assert "Look first" in client.get("/my-mailbox/").content.decode()
    typed = {"allow_credentials": "True", "username": account, "password": "correct horse", "then": "look"}
    assert client.post("/my-mailbox/", typed).status_code == 302
    office.dovecot.append_many(account, [letter("One"), letter("Two")])
    office.synchronize()
    shown = client.get("/my-mailbox/").content.decode()
    assert "2 messages in INBOX" in shown
    assert "nothing was enabled, marked or collected" in shown
    assert not noah.mailbox.states.get(direction="incoming").enabled
