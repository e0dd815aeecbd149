"""Safe first run: the page says what is there and where it would go, and the first pass then does exactly that."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.core.management import call_command
from django.test import Client
from django.utils import timezone

from mailboxes import configtest, connections, survey
from mailboxes.models import ConfigurationTest, Delivery, Mailbox, Message, Survey
from mailboxes.sync import leases
from mailboxes.sync.worker import run_test

from .conftest import Office, letter

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


def mixed(office: Office) -> None:
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
    office.arrives(
        letter("Redirected", X_Original_To="noah@contoso.com"),
        letter("Both", to="noah@contoso.com, support@contoso.com"),
        letter("Waiting", Delivered_To="lena@contoso.com"),
        letter("Nobody", to="stranger@example.org"),
        twice,
        twice,
        attached,
        b"\xff\xfe no header at all",
        letter("Support", Envelope_To="support@contoso.com"),
    )


def untouched(office: Office) -> list[tuple[int, frozenset[str], bytes]]:
    """The server's copies; \\Recent is gone after any look, by IMAP's own rules."""
    return [(kept.uid, kept.flags - {"\\Recent"}, kept.raw) for kept in office.on_server()]


def came_of_it() -> dict[str, int]:
    """What a pass really did, in the words of a survey."""
    counts: dict[str, int] = {}
    for name in Delivery.objects.values_list("mailbox__name", flat=True):
        counts[name] = counts.get(name, 0) + 1
    for message in Message.objects.all():
        if message.state == "quarantined":
            counts[message.reason] = counts.get(message.reason, 0) + 1
        elif not message.deliveries.exists():
            counts[survey.SAME_MAIL] = counts.get(survey.SAME_MAIL, 0) + 1
    return counts


def test_what_a_look_foretells_is_what_the_first_pass_does(office: Office) -> None:
    mixed(never_run(office))
    before = untouched(office)
    found = looked(office.forward)
    assert (found.messages, found.wanted, found.looked_at) == (9, 9, 9)
    assert shares(found) == {
        "Noah": 4,
        "Support": 2,
        "address_pending": 1,
        "no_recipient_matched": 2,
        "same_mail": 1,
    }
    assert untouched(office) == before  # nothing marked, moved or deleted
    assert not Message.objects.exists()
    looked(office.forward, enables=True)
    office.synchronize()
    assert came_of_it() == shares(found)


def test_looking_first_enables_nothing_and_tells_so(office: Office, client: Client) -> None:
    mixed(never_run(office))
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
    assert "each message is deleted on the server after it is delivered here" in shown
    assert "Out of date" not in shown


def test_the_first_test_looks_too_and_later_ones_do_not(office: Office) -> None:
    mixed(never_run(office))
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
    with connections.open_incoming(office.forward) as server:
        server.connect()
        server.open()
        limits = survey.Limits(octets=5_000, listed_at_once=7)
        survey.take(test, office.forward, server, lambda: False, limits)
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
    assert f"The newest {found.looked_at} were looked at" in shown


def test_an_engine_that_stops_leaves_the_look_to_the_next(office: Office) -> None:
    mixed(never_run(office))
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


def test_who_asks_to_enable_while_somebody_looks_gets_both(office: Office) -> None:
    never_run(office)
    test = ConfigurationTest.request(office.forward, None, enables=False)
    assert ConfigurationTest.request(office.forward, office.amara).pk == test.pk
    assert ConfigurationTest.request(office.forward, office.amara, enables=False).pk == test.pk
    configtest.run(test)
    assert office.forward.states.get(direction="incoming").enabled


def test_the_command_looks_without_enabling(office: Office, capsys: pytest.CaptureFixture[str]) -> None:
    mixed(never_run(office))
    call_command("test_mailbox", "forwardmailbox@contoso.com", "--look", "--json")
    (said,) = json.loads(capsys.readouterr().out)
    found: dict[str, Any] = said["what_is_there"]
    assert found["messages"] == 9
    assert {"mailbox": "noah@contoso.com", "messages": 4} in found["would_go_to"]
    assert {"reason": "The address waits for approval", "messages": 1} in found["nobody"]
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
