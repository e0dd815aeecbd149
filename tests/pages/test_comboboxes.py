"""Comboboxes without script: a search field whose answer is picked from; and what the script asks for."""

from __future__ import annotations

import re
from collections.abc import Callable
from html import unescape
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from emailprofiles.forms.combobox import OFFERED
from emailprofiles.models import EmailServerProfile
from mailboxes.models import Mailbox, Message, Queue, User
from tests.conftest import Office, profile_values

from .letters import collected
from .test_mailboxes import edit_values, new_values
from .test_people import queue_values

SEARCHES = ["people-search", "profile-search", "target-search"]


@pytest.fixture
def hannas(office: Office) -> list[User]:
    """Two of the same name, and one whose name only begins like theirs."""
    names = [("Hanna", "Brandt"), ("Hanna", "Brandt"), ("Hannah", "Lindqvist")]
    return [
        User.objects.create_user(
            f"hb{number}", f"hanna{number}@contoso.com", first_name=first, last_name=last
        )
        for number, (first, last) in enumerate(names)
    ]


def options(response: Any) -> list[str]:
    """The texts of the options, in their order."""
    assert response.status_code == 200
    return [unescape(text) for text in re.findall(r'data-text="([^"]*)"', response.content.decode())]


def says(response: Any) -> str:
    [sentence] = re.findall(r'data-says="([^"]*)"', response.content.decode())
    return str(sentence)


def search(client: Client, page: str, typed: str) -> Any:
    return client.get(reverse(page), {"q": typed})


def radios(shown: str, name: str) -> dict[str, str]:
    """The radio buttons of one group: what stands beside each → its value."""
    found = re.findall(rf'name="{name}" value="([^"]*)"><span>(.*?)</span>', shown)
    return {unescape(re.sub("<.*?>", "", beside)): unescape(value) for value, beside in found}


# ── What the script asks for ────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("where", SEARCHES)
@pytest.mark.parametrize(
    ("role", "status"),
    [("anonymous", 302), ("user", 403), ("approver", 403), ("staff", 403), ("administrator", 200)],
)
def test_only_who_may_choose_may_search(
    where: str, role: str, status: int, browser_of: Callable[[str], Client]
) -> None:
    assert search(browser_of(role), where, "a").status_code == status


def test_people_are_found_by_each_word_in_any_order(hannas: list[User], amaras: Client) -> None:
    assert options(search(amaras, "people-search", "lindqvist han")) == [
        "Hannah Lindqvist <hanna2@contoso.com>"
    ]
    assert len(options(search(amaras, "people-search", "HANNA"))) == 3
    assert options(search(amaras, "people-search", "hb1")) == ["Hanna Brandt <hanna1@contoso.com>"]
    assert options(search(amaras, "people-search", "qvist")) == ["Hannah Lindqvist <hanna2@contoso.com>"]
    assert options(search(amaras, "people-search", "Amara Okafor <amara@contoso.com>")) == [
        "Amara Okafor <amara@contoso.com>"
    ]


def test_a_name_with_an_accent_is_found_in_small_letters(office: Office, amaras: Client) -> None:
    User.objects.create_user("emile", "emile@contoso.com", first_name="Émile", last_name="Ødegård")
    for typed in ("émi", "ÉMI", "ødeg"):
        assert options(search(amaras, "people-search", typed)) == ["Émile Ødegård <emile@contoso.com>"]


def test_who_is_deactivated_is_not_found(hannas: list[User], amaras: Client) -> None:
    User.objects.filter(username="hb2").update(is_active=False)
    answer = search(amaras, "people-search", "lindqvist")
    assert (options(answer), says(answer)) == ([], "No people found.")


def test_the_number_found_is_said_in_words(hannas: list[User], amaras: Client) -> None:
    assert says(search(amaras, "people-search", "hanna")) == "3 people found."
    assert says(search(amaras, "people-search", "lindqvist")) == "1 person found."
    assert says(search(amaras, "profile-search", "")) == "1 profile found."
    User.objects.bulk_create(
        User(username=f"b{number}", email=f"b{number}@contoso.com", first_name="Bram") for number in range(25)
    )
    many = search(amaras, "people-search", "bram")
    assert len(options(many)) == OFFERED
    assert says(many) == "The first 20 people. Type more of a name to find others."


def test_profiles_are_offered_with_their_server_and_inactive_ones_are_not(
    office: Office, amaras: Client
) -> None:
    EmailServerProfile.objects.create(
        **profile_values(name="Branch", owner=office.amara, incoming_host="imap.branch.example")
        | {"incoming_security": "tls"}
    )
    EmailServerProfile.objects.create(**profile_values(name="Old", owner=office.amara, is_active=False))
    answer = search(amaras, "profile-search", "")
    assert options(answer) == ["Branch", "Head office"]
    assert "imap.branch.example, 127.0.0.1" in answer.content.decode()
    assert options(search(amaras, "profile-search", "imap.br")) == ["Branch"]


def test_targets_are_users_and_queues_and_no_forward_mailbox(office: Office, amaras: Client) -> None:
    answer = search(amaras, "target-search", "")
    assert options(answer) == ["Amara Okafor <amara@contoso.com>", "Support <support@contoso.com>"]
    assert "Queue, support@contoso.com" in answer.content.decode()
    assert options(search(amaras, "target-search", "forwardmailbox")) == []


@pytest.mark.parametrize("where", SEARCHES)
@pytest.mark.parametrize(
    "typed", ["\0", "%", "_", "'; --", "<script>", "a" * 20_000, " ".join("a" * 500), "\U0010ffff"]
)
def test_whatever_is_typed_is_answered(where: str, typed: str, amaras: Client) -> None:
    answer = search(amaras, where, typed)
    assert answer.status_code == 200
    assert "<script>" not in answer.content.decode()


def test_names_are_escaped(office: Office, amaras: Client) -> None:
    User.objects.create_user("bram", "bram@contoso.com", first_name='"><b>Bram')
    shown = search(amaras, "people-search", "bram").content.decode()
    assert "<b>" not in shown
    assert options(search(amaras, "people-search", "bram")) == ['"><b>Bram <bram@contoso.com>']


# ── A hundred thousand ──────────────────────────────────────────────────────────────────────

MANY = 100_000


@pytest.fixture
def crowd(office: Office) -> None:
    first = ("Bram", "Hanna", "Noah", "Priya")
    User.objects.bulk_create(
        (
            User(
                username=f"u{number:06}",
                email=f"person{number:06}@contoso.com",
                first_name=first[number % 4],
                last_name=f"Number{number}",
            )
            for number in range(MANY)
        ),
        batch_size=5_000,
    )


def rows_read(queries: CaptureQueriesContext) -> list[int]:
    """How many users each query of a search gave back."""
    with connection.cursor() as cursor:
        counts = []
        for query in queries:
            if "mailboxes_user" in query["sql"] and "LIMIT 21" in query["sql"]:
                cursor.execute(query["sql"])
                counts.append(len(cursor.fetchall()))
    return counts


def plan(sql: str) -> str:
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN QUERY PLAN {sql}")
        return " ".join(str(row[-1]) for row in cursor.fetchall())


def test_among_a_hundred_thousand_people_a_search_is_a_few_short_queries(
    crowd: None, office: Office, amaras: Client
) -> None:
    numbers = set()
    for typed in ("", "b", "bram", "hanna number99", "person0999", "u0", "nobody at all"):
        with CaptureQueriesContext(connection) as queries:
            answer = search(amaras, "people-search", typed)
        assert len(options(answer)) <= OFFERED
        assert len(answer.content) < 10_000
        assert max(rows_read(queries)) <= OFFERED + 1
        numbers.add(len(queries))
        if typed and connection.vendor == "sqlite":
            plans = [plan(query["sql"]) for query in queries if "LOWER" in query["sql"]]
            assert len(plans) == 4
            assert all(told.startswith("SEARCH mailboxes_user USING INDEX user_") for told in plans), plans
    assert max(numbers) <= 10  # session, person, permissions, one for each column, one more
    for page in ("mailbox-new", "queue-new", "profile-new"):
        shown = amaras.get(reverse(page)).content.decode()
        assert "Number1" not in shown
        assert len(shown) < 60_000


# ── Without script ──────────────────────────────────────────────────────────────────────────


def test_two_of_one_name_are_asked_about_and_everything_typed_is_kept(
    hannas: list[User], office: Office, amaras: Client
) -> None:
    typed = new_values(office, owner="hanna brandt", name="Übergabe")
    answer = amaras.post("/mailboxes/new/", typed)
    shown = answer.content.decode()
    assert answer.context["form"].errors["owner"] == [
        "Several active users are called hanna brandt. Pick one below, or type a name, a user name or an "
        "email address."
    ]
    assert 'value="hanna brandt"' in shown
    assert 'value="Übergabe"' in shown
    choices = radios(shown, "owner-pick-0")
    assert list(choices) == ["Hanna Brandt hanna0@contoso.com", "Hanna Brandt hanna1@contoso.com"]
    assert not Mailbox.objects.filter(name="Übergabe").exists()

    picked = typed | {"owner-pick-0": choices["Hanna Brandt hanna1@contoso.com"]}
    assert amaras.post("/mailboxes/new/", picked).status_code == 302
    assert Mailbox.objects.get(name="Übergabe").owner == hannas[1]


def test_a_pick_counts_for_the_text_it_was_offered_for(
    hannas: list[User], office: Office, amaras: Client
) -> None:
    typed = new_values(office, owner="hanna brandt")
    choices = radios(amaras.post("/mailboxes/new/", typed).content.decode(), "owner-pick-0")
    other = typed | {"owner-pick-0": next(iter(choices.values())), "owner": "amara"}
    assert amaras.post("/mailboxes/new/", other).status_code == 302
    assert Mailbox.objects.get(name="Collection 2").owner == office.amara


def test_the_part_of_a_name_finds_and_nothing_found_offers_nothing(
    hannas: list[User], office: Office, amaras: Client
) -> None:
    answer = amaras.post("/mailboxes/new/", new_values(office, owner="lindq"))
    assert list(radios(answer.content.decode(), "owner-pick-0")) == ["Hannah Lindqvist hanna2@contoso.com"]
    answer = amaras.post("/mailboxes/new/", new_values(office, owner="Gregor Samsa"))
    assert answer.context["form"].errors["owner"] == [
        "No active user is called Gregor Samsa. Type a name, a user name or an email address."
    ]
    assert radios(answer.content.decode(), "owner-pick-0") == {}


@pytest.mark.parametrize(
    "pick", ["", "[", "1", "[1, 2]", '["amara"]', "[" * 100_000, '["amara", "nobody"]', "\0"]
)
def test_a_pick_that_nobody_offered_picks_nobody(office: Office, amaras: Client, pick: str) -> None:
    values = new_values(office, owner="amara") | {"owner-pick-0": pick}
    answer = amaras.post("/mailboxes/new/", values)
    if pick == '["amara", "nobody"]':
        assert "No active user is called nobody" in answer.content.decode()
    else:
        assert answer.status_code == 302


def test_a_profile_that_is_not_active_any_more_stays_where_it_is(office: Office, amaras: Client) -> None:
    box = office.collection
    EmailServerProfile.objects.filter(pk=office.profile.pk).update(is_active=False)
    assert amaras.post(f"/mailboxes/{box.pk}/", edit_values(box, name="Collection A")).status_code == 302
    stored = Mailbox.objects.get(pk=box.pk)
    assert (stored.name, stored.server_profile) == ("Collection A", office.profile)

    support = office.support.mailbox
    answer = amaras.post(f"/mailboxes/{support.pk}/", edit_values(support, server_profile="Head office"))
    assert answer.context["form"].errors["server_profile"] == [
        "No active profile is called Head office. Choose one of the active profiles."
    ]


def test_each_line_of_the_members_is_asked_about(hannas: list[User], office: Office, amaras: Client) -> None:
    typed = queue_values(members="amara\nhanna brandt\nGregor Samsa\nlindq")
    answer = amaras.post(reverse("queue-new"), typed)
    shown = answer.content.decode()
    assert len(answer.context["form"].errors["members"]) == 3
    assert "amara\nhanna brandt\nGregor Samsa\nlindq" in shown
    picks = {
        "members-pick-0": radios(shown, "members-pick-0")["Hanna Brandt hanna0@contoso.com"],
        "members-pick-1": radios(shown, "members-pick-1")["Hannah Lindqvist hanna2@contoso.com"],
    }
    answer = amaras.post(reverse("queue-new"), typed | picks)
    assert len(answer.context["form"].errors["members"]) == 1
    kept = answer.context["form"]["members"].value()
    assert kept.splitlines() == [
        "amara",
        "Hanna Brandt <hanna0@contoso.com>",
        "Gregor Samsa",
        "Hannah Lindqvist <hanna2@contoso.com>",
    ]
    amaras.post(reverse("queue-new"), typed | {"members": kept.replace("Gregor Samsa\n", "")})
    members = Queue.objects.get(name="Invoices").members.all()
    assert set(members) == {office.amara, hannas[0], hannas[2]}


def test_too_many_members_are_refused_at_once(office: Office, amaras: Client) -> None:
    answer = amaras.post(reverse("queue-new"), queue_values(members="nobody\n" * 1001))
    assert answer.context["form"].errors["members"] == ["1001 lines are too many: type at most 1000."]


def test_a_message_is_delivered_to_whom_is_picked(office: Office, amaras: Client) -> None:
    second = Queue.objects.create(name="Support", email_address="second@contoso.com", owner=office.amara)
    Mailbox.objects.filter(queue=second).update(approval="approved", incoming_method="forward")
    message: Message = collected(
        office.collection, 2, state="quarantined", reason="no_recipient_matched", explanation="Nobody."
    )
    address = reverse("quarantine-deliver", args=[message.pk])
    shown = amaras.post(address, {"target": "support"}).content.decode()
    assert "Several mailboxes are called support. Pick one below" in shown
    choices = radios(shown, "target-pick-0")
    assert list(choices) == ["Support Queue, support@contoso.com", "Support Queue, second@contoso.com"]
    amaras.post(address, {"target": "support", "target-pick-0": choices["Support Queue, second@contoso.com"]})
    message.refresh_from_db()
    assert [row.mailbox.email_address for row in message.deliveries.all()] == ["second@contoso.com"]
