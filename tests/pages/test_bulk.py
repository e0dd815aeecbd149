"""Commands for a selection in the browser: shown before they are done, followed while they are, told afterwards."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from emailprofiles.models import EmailServerProfile
from mailboxes import bulk, lifecycle
from mailboxes.models import (
    BulkCommand,
    BulkCommandItem,
    Command,
    ConfigurationTest,
    EmailConfigurationSettings,
    EngineProcess,
    Mailbox,
    Queue,
    User,
)
from mailboxes.sync import leases
from tests.conftest import Office, profile_values

from .conftest import works

ASK = "/mailboxes/command/"


def page(response: Any) -> str:
    assert response.status_code == 200
    return re.sub(r"\s+", " ", response.content.decode())


@pytest.fixture
def queues(office: Office) -> list[Mailbox]:
    return [
        Queue.objects.create(name=f"Queue {n}", email_address=f"q{n}@contoso.com", owner=office.amara).mailbox
        for n in range(4)
    ]


def carry_out() -> None:
    """What the engine does for commands that need no server."""
    while claimed := leases.claim_command(leases.this_process()):
        bulk.carry_out(claimed, lambda: False)


def picked(*mailboxes: Mailbox, **more: Any) -> dict[str, Any]:
    return {"pick": [mailbox.pk for mailbox in mailboxes], **more}


def confirmation(shown: str) -> dict[str, Any]:
    """What the form of a confirmation page posts."""
    form = shown[shown.index('class="confirm"') :]
    found: dict[str, Any] = {}
    for name, value in re.findall('type="hidden" name="([a-z_]+)" value="([^"]*)"', form):
        found.setdefault(name, []).append(value)
    return found


# ── Asked ───────────────────────────────────────────────────────────────────────────────────


def test_a_command_leads_to_its_page(amaras: Client, office: Office, queues: list[Mailbox]) -> None:
    response = amaras.post(ASK, picked(*queues[:2], command="approve", view="approval", q="Queue"))
    asked = BulkCommand.objects.get()
    assert (asked.command, asked.requested_by) == ("approve", office.amara)
    assert response["Location"] == f"/mailboxes/commands/{asked.pk}/?view=approval&q=Queue"
    assert set(asked.items.values_list("mailbox", "state")) == {(m.pk, "waiting") for m in queues[:2]}
    shown = page(amaras.get(response["Location"]))
    assert "/mailboxes/?view=approval&amp;q=Queue" in shown


def test_all_of_a_profile_can_be_tested(amaras: Client, office: Office, queues: list[Mailbox]) -> None:
    Mailbox.objects.filter(pk=queues[0].pk).update(server_profile=office.profile)
    amaras.post(ASK, {"command": "test", "all": "1", "view": "active", "profile": office.profile.pk})
    asked = set(BulkCommandItem.objects.values_list("mailbox", flat=True))
    assert asked == {queues[0].pk, office.collection.pk}


@pytest.mark.parametrize(
    ("posted", "said"),
    [
        ({"command": "approve"}, "Nothing is selected"),
        ({"command": "approve", "pick": "999999"}, "None of these mailboxes is there any more"),
        ({"command": "approve", "pick": "x"}, "Nothing is selected"),
        ({"command": "burn", "pick": "1"}, "Choose a command"),
    ],
)
def test_what_cannot_be_done_is_said_in_the_list(amaras: Client, posted: dict[str, str], said: str) -> None:
    assert said in page(amaras.post(ASK, posted, follow=True))
    assert not BulkCommand.objects.exists()


@pytest.mark.parametrize("command", Command.values)
@pytest.mark.parametrize("role", ["approver", "staff", "user"])
def test_only_who_may_command_is_heard(
    browser_of: Callable[[str], Client], queues: list[Mailbox], role: str, command: str
) -> None:
    response = browser_of(role).post(ASK, picked(queues[0], command=command))
    may = role == "approver" and command in ("approve", "reject")
    assert (response.status_code == 403) is not may
    assert BulkCommand.objects.exists() is may


# ── Shown first ─────────────────────────────────────────────────────────────────────────────


def test_deactivating_many_says_first_what_stops(
    amaras: Client, office: Office, queues: list[Mailbox]
) -> None:
    works(office, office.collection)
    works(office, queues[0])
    shown = page(amaras.post(ASK, picked(*queues[:3], office.collection, command="deactivate")))
    assert "2 of these 4 mailboxes work now, and stop" in shown
    assert "1 of them is a forward mailbox" in shown
    assert "Collection 1, Queue 0, Queue 1, Queue 2" in shown
    assert not BulkCommand.objects.exists()
    response = amaras.post(ASK, confirmation(shown))
    assert response["Location"].startswith("/mailboxes/commands/")
    carry_out()
    assert Mailbox.objects.filter(is_active=False).count() == 4


def test_one_alone_is_deactivated_at_once(amaras: Client, queues: list[Mailbox]) -> None:
    assert amaras.post(ASK, picked(queues[0], command="deactivate")).status_code == 302
    assert BulkCommand.objects.get().command == "deactivate"


def test_rejecting_many_counts_those_whose_approval_lets_them_work(
    amaras: Client, office: Office, queues: list[Mailbox]
) -> None:
    works(office, queues[0])
    assert "1 of these 2 mailboxes works now, and stops" in page(
        amaras.post(ASK, picked(*queues[:2], command="reject"))
    )
    settings = EmailConfigurationSettings.load()
    settings.require_approval_for_queues = False
    settings.save()
    assert "nothing stops" in page(amaras.post(ASK, picked(*queues[:2], command="reject")))


def test_a_number_that_changed_since_the_list_was_shown_is_shown_again(
    amaras: Client, office: Office, queues: list[Mailbox]
) -> None:
    all_queues = {"command": "approve", "all": "1", "view": "active", "kind": "queue"}
    shown = page(amaras.post(ASK, all_queues | {"shown": "4"}))
    assert "When the list was shown there were 4; now it is 5 mailboxes" in shown
    Queue.objects.create(name="One more", email_address="more@contoso.com", owner=office.amara)
    again = page(amaras.post(ASK, confirmation(shown)))
    assert "there were 5; now it is 6 mailboxes" in again
    assert amaras.post(ASK, confirmation(again)).status_code == 302
    assert BulkCommandItem.objects.count() == 6


# ── Apply Default Email Settings ────────────────────────────────────────────────────────────


@pytest.fixture
def defaults(office: Office) -> EmailServerProfile:
    settings = EmailConfigurationSettings.load()
    settings.default_incoming_method, settings.default_outgoing_method = "server_side", "outlook"
    settings.default_act_method = "outlook"
    settings.save()
    return EmailServerProfile.objects.create(
        **profile_values(
            name="New server",
            owner=office.amara,
            is_default=True,
            incoming_host="127.0.0.9",
            outgoing_host="",
        )
    )


def test_the_defaults_are_shown_field_by_field_before_they_are_applied(
    amaras: Client, office: Office, queues: list[Mailbox], defaults: EmailServerProfile
) -> None:
    noah = User.objects.create_user("noah", "noah@contoso.com", first_name="Noah").mailbox
    works(office, queues[0])
    Mailbox.objects.filter(pk=queues[1].pk).update(server_profile=defaults, incoming_method="server_side")
    shown = page(amaras.post(ASK, picked(*queues[:3], noah, office.collection, command="defaults")))
    table = re.findall(
        r'<tr><td class="title">([^<]*)</td><td>([^<]*)</td><td>([^<]*)</td><td class="num">(\d+)</td></tr>',
        shown,
    )
    assert table == [
        ("Server Profile", "Head office", "New server", "1"),
        ("Server Profile", "None", "New server", "1"),
        ("Incoming Email", "Forward Mailbox", "Server-Side Synchronization or Email Router", "1"),
    ]
    assert "2 mailboxes. 1 of them runs server-side now, and stops until Test &amp; Enable passes" in shown
    assert (
        "2 with the default settings already, and 1 forward mailbox: the defaults are those of users" in shown
    )
    assert (
        "3 mailboxes get None instead of Microsoft Dynamics 365 for Outlook, since a queue has no Outlook"
        in shown
    )
    assert "since only a user has appointments, contacts, and tasks" in shown
    assert "send the stored credentials of 1 mailbox there" in shown
    assert "127.0.0.9, port 10143" in shown


@pytest.mark.parametrize("sends", [True, False])
def test_credentials_go_to_another_server_only_when_that_is_ticked(
    amaras: Client, office: Office, queues: list[Mailbox], defaults: EmailServerProfile, sends: bool
) -> None:
    works(office, queues[0])
    form = confirmation(page(amaras.post(ASK, picked(queues[0], command="defaults"))))
    amaras.post(ASK, form | ({"sends_credentials": "1"} if sends else {}))
    carry_out()
    moved = Mailbox.objects.select_related("server_profile").get(pk=queues[0].pk)
    assert moved.server_profile == defaults
    assert lifecycle.waits_for_confirmation(moved) is not sends
    assert lifecycle.unconfirmed(defaults) == (not sends)


def test_what_is_applied_is_what_was_shown(
    amaras: Client, office: Office, queues: list[Mailbox], defaults: EmailServerProfile
) -> None:
    form = confirmation(page(amaras.post(ASK, picked(queues[0], command="defaults"))))
    settings = EmailConfigurationSettings.load()
    settings.default_incoming_method = "none"
    settings.save()
    shown = page(amaras.post(ASK, form))
    assert "changed since you looked" in shown
    assert not BulkCommand.objects.exists()
    amaras.post(ASK, confirmation(shown))
    carry_out()
    assert Mailbox.objects.get(pk=queues[0].pk).incoming_method == "none"


def test_a_confirmation_cannot_be_forged_by_leaving_out_what_was_seen(
    amaras: Client, office: Office, queues: list[Mailbox], defaults: EmailServerProfile
) -> None:
    works(office, queues[0])
    posted = picked(queues[0], command="defaults", confirmed="1", sends_credentials="1")
    assert "Nothing is done yet" in page(amaras.post(ASK, posted))
    assert not BulkCommand.objects.exists()


def test_one_mailbox_gets_the_defaults_from_its_own_page(
    amaras: Client, office: Office, queues: list[Mailbox], defaults: EmailServerProfile
) -> None:
    address = f"/mailboxes/{queues[0].pk}/"
    opened = page(amaras.get(address))
    assert 'form="defaults"' in opened
    shown = page(amaras.post(ASK, {"command": "defaults", "pick": queues[0].pk, "from": "mailbox"}))
    assert f'href="{address}">Cancel' in shown
    assert 'form="defaults"' not in page(amaras.get(f"/mailboxes/{office.collection.pk}/"))


# ── Followed ────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def asked(office: Office, queues: list[Mailbox]) -> BulkCommand:
    """Three addresses and a forward mailbox to approve, while an engine is at work."""
    EngineProcess.objects.create(holder="here|-|1|1", threads=1)
    chosen = Mailbox.objects.filter(pk__in=[office.collection.pk, *(m.pk for m in queues[:3])])
    return bulk.request(Command.APPROVE, chosen, office.amara)


def address(asked: BulkCommand) -> str:
    return f"/mailboxes/commands/{asked.pk}/"


def test_the_page_tells_how_far_it_is_and_is_asked_again_until_the_end(
    amaras: Client, asked: BulkCommand
) -> None:
    shown = page(amaras.get(address(asked)))
    assert "Asked by Amara Okafor" in shown
    assert "0 of 4" in shown
    assert f'hx-get="{address(asked)}progress/' in shown
    assert ">Reload</a>" in shown
    assert ">Stop</button>" in shown
    carry_out()
    after = page(amaras.get(address(asked)))
    assert "4 of 4" in after
    assert "hx-get" not in after
    assert ">Stop</button>" not in after
    part = page(amaras.get(f"{address(asked)}progress/"))
    assert "Finished: Done 3. Refused 1." in part
    assert "<html" not in part


def test_the_refused_come_first_with_their_sentence_and_a_link(
    amaras: Client, office: Office, asked: BulkCommand
) -> None:
    carry_out()
    response = amaras.get(address(asked))
    states = [item.state for item, _ in response.context["items"]]
    assert states == ["refused", "done", "done", "done"]
    shown = page(response)
    assert "A forward mailbox needs no approval" in shown
    assert f'<a href="/mailboxes/{office.collection.pk}/">Collection 1</a>' in shown
    only = amaras.get(f"{address(asked)}?only=done")
    assert [item.state for item, _ in only.context["items"]] == ["done"] * 3


def test_pages_of_a_long_command_hang_together(amaras: Client, office: Office) -> None:
    for n in range(120):
        Queue.objects.create(name=f"Queue {n}", email_address=f"q{n}@contoso.com", owner=office.amara)
    long = bulk.request(Command.APPROVE, Mailbox.objects.all(), office.amara)
    for state, start, stop in (("refused", 0, 30), ("done", 30, 85)):
        keys = list(long.items.order_by("pk").values_list("pk", flat=True)[start:stop])
        long.items.filter(pk__in=keys).update(state=state)
    seen = [
        (item.state, item.pk)
        for number in (1, 2, 3)
        for item, _ in amaras.get(f"{address(long)}?page={number}").context["items"]
    ]
    assert [state for state, _ in seen] == ["refused"] * 30 + ["done"] * 55 + ["waiting"] * (len(seen) - 85)
    assert len(set(seen)) == long.items.count() == len(seen)


def test_without_an_engine_the_page_says_so(amaras: Client, asked: BulkCommand) -> None:
    EngineProcess.objects.update(seen_at=timezone.now() - EngineProcess.SILENCE * 2)
    assert "Engine not running since" in page(amaras.get(address(asked)))
    assert "begins by itself when an engine is started" in page(amaras.get(f"{address(asked)}progress/"))


def test_what_waits_can_be_stopped(amaras: Client, asked: BulkCommand) -> None:
    shown = page(amaras.post(f"{address(asked)}stop/", follow=True))
    assert "Stopped: 4 mailboxes left as they were." in shown
    assert "by Amara Okafor" in shown
    carry_out()
    assert not Mailbox.objects.filter(approval="approved").exists()
    assert "Nothing was waiting any more" in page(amaras.post(f"{address(asked)}stop/", follow=True))


def test_an_approver_does_not_stop_what_an_administrator_commands(
    browser_of: Callable[[str], Client], office: Office, queues: list[Mailbox]
) -> None:
    asked = bulk.request(Command.COLLECT, Mailbox.objects.all(), office.amara)
    approver = browser_of("approver")
    assert ">Stop</button>" not in page(approver.get(address(asked)))
    assert approver.post(f"{address(asked)}stop/").status_code == 403
    assert asked.items.filter(state="waiting").count() == asked.items.count()


def test_the_recent_commands_are_listed_with_what_came_of_them(
    amaras: Client, asked: BulkCommand, django_assert_max_num_queries: Any
) -> None:
    carry_out()
    for _ in range(5):
        bulk.request(Command.COLLECT, Mailbox.objects.all(), User.objects.get(username="amara"))
    with django_assert_max_num_queries(18):
        shown = page(amaras.get("/mailboxes/commands/"))
    assert "Done 3 Refused 1" in shown
    assert shown.count("Not begun") == 5
    assert f'href="{address(asked)}"' in shown
    assert "/mailboxes/commands/" in page(amaras.get("/mailboxes/"))


def test_what_came_of_tests_is_told_in_their_words(amaras: Client, office: Office) -> None:
    asked = bulk.request(Command.TEST, Mailbox.objects.filter(pk=office.collection.pk), office.amara)
    test = ConfigurationTest.request(office.collection, office.amara)
    asked.items.update(state="running", test=test)
    BulkCommand.objects.update(started_at=timezone.now())
    assert "Testing" in page(amaras.get(address(asked)))
    test.steps.create(
        direction="incoming", number=1, name="name resolved", state="failed", cause="No such host."
    )
    ConfigurationTest.objects.update(finished_at=timezone.now())
    bulk.settle()
    shown = page(amaras.get(address(asked)))
    assert "Incoming: No such host." in shown
    assert "Failed" in shown
    assert f"/mailboxes/{office.collection.pk}/#results" in shown
