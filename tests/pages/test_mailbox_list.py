"""The list of mailboxes: found, ordered and picked, however many there are."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone
from django.utils.html import escape

from emailprofiles.models import EmailServerProfile
from mailboxes import lifecycle
from mailboxes.models import ConfigurationTest, Mailbox, Queue, SyncState, User
from mailboxes.views.mailbox_list import COLUMNS
from tests.benchmarks.many import fill
from tests.conftest import Office, profile_values

from .conftest import works


def names(response: Any) -> list[str]:
    return [row.mailbox.name for row in response.context["rows"]]


def page(response: Any) -> str:
    assert response.status_code == 200
    return str(response.content.decode())


def hidden(shown: str, name: str) -> list[str]:
    return re.findall(f'type="hidden" name="{name}" value="([^"]*)"', shown)


@pytest.fixture
def six(office: Office) -> list[Mailbox]:
    """Six queues, each first in some order and last in another."""
    other = EmailServerProfile.objects.create(**profile_values(name="Branch", owner=office.amara))
    zoe = User.objects.create_user("zoe", "zoe@contoso.com", first_name="Zoe", last_name="Ahlberg")
    made = []
    for number, letter in enumerate("FEDCBA"):
        owner = zoe if number % 2 else office.amara
        queue = Queue.objects.create(
            name=f"{letter} queue", email_address=f"{'abcdef'[number]}@contoso.com", owner=owner
        )
        Mailbox.objects.filter(queue=queue).update(server_profile=[None, other, office.profile][number % 3])
        moment = timezone.now() - timedelta(days=number)
        SyncState.objects.filter(mailbox__queue=queue, direction="incoming").update(last_success_at=moment)
        made.append(Mailbox.objects.get(queue=queue))
    lifecycle.reject(made[3], office.amara)
    Mailbox.objects.filter(pk=made[1].pk).update(incoming_method="none")
    return made


KEYS: dict[str, Any] = {
    "name": lambda row: row.mailbox.name.lower(),
    "email": lambda row: row.mailbox.email_address.lower(),
    "kind": lambda row: ["user", "queue", "forward"].index(row.mailbox.kind),
    "profile": lambda row: row.mailbox.server_profile.name.lower() if row.mailbox.server_profile else "",
    "owner": lambda row: (row.mailbox.owner.first_name.lower(), row.mailbox.owner.last_name.lower()),
    "success": lambda row: -(row.last_success.timestamp() if row.last_success else 0),
    "status": lambda row: ["rejected", "pending", "approved", "empty"].index(row.mailbox.approval),
}


@pytest.mark.parametrize("column", KEYS)
@pytest.mark.parametrize("reverse", [False, True])
def test_each_column_orders_the_list_both_ways(
    amaras: Client, six: list[Mailbox], column: str, reverse: bool
) -> None:
    response = amaras.get(f"/mailboxes/?sort={'-' * reverse}{column}")
    keys = [KEYS[column](row) for row in response.context["rows"]]
    assert keys == sorted(keys, reverse=reverse)
    assert len(set(map(str, keys))) > 1


@pytest.mark.parametrize("column", ["incoming", "outgoing", "act"])
def test_by_a_direction_the_most_urgent_state_comes_first(
    amaras: Client, office: Office, six: list[Mailbox], column: str
) -> None:
    urgency = [
        "Needs attention", "Waiting", "Out of date", "Testing", "Not tested", "Not set up", "Working", "Switched off",
    ]  # fmt: skip
    ConfigurationTest.request(six[0], office.amara)
    rows = amaras.get(f"/mailboxes/?sort={column}").context["rows"]
    places = [urgency.index(getattr(row, column).word) for row in rows]
    assert places == sorted(places)


@pytest.mark.parametrize("column", COLUMNS)
def test_a_header_says_its_order_and_turns_it_round_and_keeps_the_filters(
    amaras: Client, six: list[Mailbox], column: str
) -> None:
    shown = page(amaras.get(f"/mailboxes/?sort={column}&q=queue&kind=queue"))
    aria = "descending" if column == "success" else "ascending"
    assert re.findall(r'aria-sort="(\w+)"', shown) == [aria]
    assert f"?sort=-{column}&amp;q=queue&amp;kind=queue" in shown
    other = "descending" if aria == "ascending" else "ascending"
    assert f'aria-sort="{other}"' in page(amaras.get(f"/mailboxes/?sort=-{column}"))


def test_the_order_of_a_header_stays_when_filters_are_applied(amaras: Client, six: list[Mailbox]) -> None:
    shown = page(amaras.get("/mailboxes/?sort=-email"))
    assert '<option value="-email" selected>Email address, descending</option>' in shown


def test_the_urgent_ones_lead_over_the_edge_of_a_page(amaras: Client, office: Office) -> None:
    for number in range(120):
        Queue.objects.create(
            name=f"Queue {number:03d}", email_address=f"q{number}@contoso.com", owner=office.amara
        )
    urgent = list(Mailbox.objects.filter(queue__name__gte="Queue 060", queue__name__lt="Queue 120"))
    for mailbox in urgent:
        works(office, mailbox, status="failure")
    seen = [name for number in (1, 2, 3) for name in names(amaras.get(f"/mailboxes/?page={number}"))]
    everyone = list(Mailbox.objects.filter(is_active=True).order_by("name").values_list("name", flat=True))
    first = sorted(mailbox.name for mailbox in urgent)
    assert seen[:60] == first
    assert sorted(seen) == sorted(everyone)
    assert seen[60:] == [name for name in sorted(everyone, key=str.lower) if name not in first]


def test_the_state_and_the_profile_narrow_the_list(
    amaras: Client, office: Office, six: list[Mailbox]
) -> None:
    switched_off = names(amaras.get("/mailboxes/?state=off"))
    assert switched_off == ["E queue"]
    by_key = names(amaras.get(f"/mailboxes/?profile={office.profile.pk}&sort=name"))
    assert by_key == ["A queue", "Collection 1", "D queue"]
    assert names(amaras.get("/mailboxes/?profile=head&sort=name")) == by_key
    assert names(amaras.get("/mailboxes/?profile=999999999999999999999")) == []


def test_very_many_profiles_are_searched_by_name(amaras: Client, office: Office) -> None:
    EmailServerProfile.objects.bulk_create(
        EmailServerProfile(name=f"Server {n}", owner=office.amara, incoming_host=f"mx{n}.contoso.com")
        for n in range(120)
    )
    shown = page(amaras.get(f"/mailboxes/?profile={office.profile.pk}"))
    assert '<input class="input" id="f-profile" name="profile"' in shown
    assert 'value="Head office"' in shown
    assert "Server 77" not in shown


# ── Large ───────────────────────────────────────────────────────────────────────────────────


def queries(client: Client, path: str, counter: Any) -> int:
    with counter(100) as captured:
        assert client.get(path).status_code == 200
    return len(captured)


def test_the_number_of_queries_is_the_same_for_5_and_500(
    client: Client, db: None, django_assert_max_num_queries: Any
) -> None:
    amara = fill(500)
    client.force_login(amara)
    few = list(Mailbox.objects.order_by("pk").values_list("pk", flat=True)[:5])
    paths = ["/mailboxes/", *(f"/mailboxes/?sort={column}" for column in ("name", "incoming", "success"))]
    many = [queries(client, path, django_assert_max_num_queries) for path in paths]
    assert len(names(client.get("/mailboxes/"))) == 50
    Mailbox.objects.exclude(pk__in=few).delete()
    assert [queries(client, path, django_assert_max_num_queries) for path in paths] == many
    assert max(many) <= 24


def test_a_page_of_fifty_is_under_100_kilobytes(client: Client, db: None) -> None:
    client.force_login(fill(120))
    shown = client.get("/mailboxes/?all=1")
    assert len(names(shown)) == 50
    assert len(shown.content) < 100_000


def test_the_costly_counts_stop_at_999(client: Client, db: None) -> None:
    client.force_login(fill(2_400))
    SyncState.objects.update(test_status="not_run")
    counts = {tab.name: tab.shown for tab in client.get("/mailboxes/").context["tabs"]}
    assert counts["untested"] == "999+"
    assert int(counts["active"]) > 2_000
    exact = {tab.name: tab.shown for tab in client.get("/mailboxes/?view=untested").context["tabs"]}
    assert int(exact["untested"]) > 1_000


# ── Picked ──────────────────────────────────────────────────────────────────────────────────


def test_picks_stay_when_the_page_is_turned(amaras: Client, office: Office) -> None:
    for number in range(60):
        Queue.objects.create(
            name=f"Queue {number:02d}", email_address=f"q{number}@contoso.com", owner=office.amara
        )
    there, here = Mailbox.objects.get(name="Queue 58"), Mailbox.objects.get(name="Queue 03")
    shown = page(amaras.get(f"/mailboxes/?sort=name&pick={there.pk}&pick={here.pk}"))
    assert "2 of 63 selected" in shown
    assert hidden(shown, "pick") == [str(there.pk)]
    assert f'name="pick" value="{here.pk}" form="bulk" aria-label="Select Queue 03" checked' in shown
    turned = f"?sort=name&amp;pick={there.pk}&amp;pick={here.pk}&amp;page=2"
    assert turned in shown
    assert "Select Queue 58&quot; checked" not in shown
    assert 'aria-label="Select Queue 58" checked' in page(
        amaras.get(f"/mailboxes/?sort=name&pick={there.pk}&pick={here.pk}&page=2")
    )


def test_without_script_picks_are_kept_by_a_button(
    amaras: Client, office: Office, six: list[Mailbox]
) -> None:
    response = amaras.post(
        "/mailboxes/command/",
        {"command": "keep", "view": "active", "sort": "name", "page": "1", "pick": [six[0].pk, six[1].pk]},
    )
    assert response["Location"] == (
        f"/mailboxes/?view=active&sort=name&page=1&pick={six[0].pk}&pick={six[1].pk}"
    )


def test_all_of_a_view_and_filter_are_selected_by_their_number(amaras: Client, six: list[Mailbox]) -> None:
    shown = page(amaras.get("/mailboxes/?all=1&q=queue"))
    assert "All 6 selected" in shown
    assert hidden(shown, "all") == ["1"]
    assert hidden(shown, "q") == ["queue"]
    assert hidden(shown, "shown") == ["6"]
    assert shown.count("checked disabled") == 7  # nothing can be taken out of "all": Clear ends it


def test_a_whole_page_is_picked_by_its_header_without_script(amaras: Client, six: list[Mailbox]) -> None:
    shown = page(amaras.get("/mailboxes/?q=queue"))
    found = re.search('name="page_picks" value="([^"]+)"', shown)
    assert found is not None
    assert sorted(map(int, found[1].split(","))) == sorted(mailbox.pk for mailbox in six)
    response = amaras.post("/mailboxes/command/", {"command": "approve", "page_picks": found[1]}, follow=True)
    assert response.context["total"] == 6


@pytest.mark.parametrize(
    ("role", "buttons"),
    [
        (
            "administrator",
            ["test", "approve", "reject", "defaults", "deactivate", "collect"],
        ),
        ("approver", ["approve", "reject"]),
        ("staff", []),
    ],
)
def test_everybody_is_offered_what_they_may_command(browser_of: Any, role: str, buttons: list[str]) -> None:
    shown = page(browser_of(role).get("/mailboxes/"))
    assert re.findall('form="bulk" name="command" value="([a-z]+)"', shown) == buttons
    assert ('class="pick"' in shown) is bool(buttons)


def test_a_view_offers_what_can_do_something_there(amaras: Client, office: Office) -> None:
    lifecycle.deactivate(Mailbox.objects.get(queue=office.support))
    offered = {
        view: re.findall(
            'form="bulk" name="command" value="([a-z]+)"', page(amaras.get(f"/mailboxes/?view={view}"))
        )
        for view in ("inactive", "forward")
    }
    assert offered == {
        "inactive": ["approve", "reject", "defaults", "activate"],
        "forward": ["test", "activate", "deactivate", "collect"],
    }


def test_a_name_never_becomes_markup(amaras: Client, office: Office) -> None:
    wicked = '"><script>alert(1)</script>'
    Mailbox.objects.filter(pk=office.collection.pk).update(name=wicked)
    shown = page(amaras.get(f"/mailboxes/?q={wicked}&profile={wicked}"))
    assert wicked not in shown
    assert escape(wicked) in page(amaras.get("/mailboxes/"))
