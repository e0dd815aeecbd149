"""How a direction stands is told twice, in Python for pages and in SQL for lists: the two never differ."""

from __future__ import annotations

import random
from collections import Counter
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from emailprofiles.models import EmailServerProfile
from mailboxes import configtest
from mailboxes.models import (
    ConfigurationTest,
    Direction,
    EmailConfigurationSettings,
    Mailbox,
    Queue,
    ServerCircuit,
    SyncState,
    User,
    Word,
)
from mailboxes.standing import Office as Snapshot
from mailboxes.standing import needs_attention, not_tested, standing, worded
from mailboxes.views.selection import in_state
from tests.conftest import Office, profile_values

NUMBER = 600

# test status, enabled, version behind, failures, postponed
STATES = [
    ("not_run", False, 0, 0, False),
    ("success", True, 0, 0, False),
    ("success", True, 0, 3, True),
    ("success", True, 0, 3, False),
    ("success", False, 0, 1, False),
    ("success", True, 1, 0, False),
    ("failure", False, 0, 0, False),
    ("failure", False, 1, 0, False),
]


def profiles(office: Office) -> list[EmailServerProfile | None]:
    """None; one that asks each mailbox for credentials, one that has its own, one at rest, one in trouble."""
    own = EmailServerProfile.objects.create(
        **profile_values(
            name="Of its own",
            owner=office.amara,
            authenticate_using="profile",
            username="service",
            password="Feldsalat 23",
            incoming_port=10144,
        )
    )
    resting = EmailServerProfile.objects.create(
        **profile_values(name="Resting", owner=office.amara, is_active=False)
    )
    troubled = EmailServerProfile.objects.create(**profile_values(name="Troubled", owner=office.amara))
    ServerCircuit.objects.create(profile=troubled, open_until=timezone.now(), reason="It does not answer.")
    return [None, office.profile, office.profile, own, resting, troubled]


def methods(dice: random.Random, kind: str, has_profile: bool) -> dict[str, str]:
    """Methods that the row's own rules allow."""
    server = ["server_side"] * 3 if has_profile else []
    if kind == "forward":
        return {"incoming_method": dice.choice(["none", *server])}
    client = ["outlook"] if kind == "user" else []
    return {
        "incoming_method": dice.choice(["none", "forward", *client, *server]),
        "outgoing_method": dice.choice(["none", *client, *server]),
        "act_method": dice.choice(["none", *client, *server]) if kind == "user" else "none",
    }


def credentials(dice: random.Random, profile: EmailServerProfile | None, number: int) -> dict[str, Any]:
    if dice.random() < 0.2:
        return {"allow_credentials": False, "username": "", "password": ""}
    location = None if profile is None or dice.random() < 0.2 else profile.location_version
    return {
        "allow_credentials": True,
        "username": f"account{number}",
        "password": "Postkutsche 7",
        "credentials_location_version": location,
    }


@pytest.fixture
def all_sorts(office: Office) -> None:
    """Mailboxes in every state that the rows can have."""
    dice = random.Random(7)
    chosen = profiles(office)
    people = User.objects.bulk_create(
        User(username=f"u{n}", email=f"u{n}@contoso.com", password="!") for n in range(NUMBER)
    )
    queues = Queue.objects.bulk_create(
        Queue(name=f"q{n}", email_address=f"q{n}@contoso.com", owner=office.amara) for n in range(NUMBER)
    )
    made = []
    for n in range(NUMBER):
        kind, profile = dice.choice(["user", "user", "queue", "forward"]), dice.choice(chosen)
        of = {
            "user": {"user": people[n]},
            "queue": {"queue": queues[n]},
            "forward": {"is_forward_mailbox": True},
        }
        made.append(
            Mailbox(
                name=f"Mailbox {n}",
                owner=office.amara,
                email_address=f"m{n}@contoso.com",
                server_profile=profile,
                approval="empty"
                if kind == "forward"
                else dice.choice(["approved", "approved", "pending", "rejected"]),
                is_active=dice.random() < 0.9,
                connection_version=3,
                **of[kind],
                **methods(dice, kind, profile is not None),
                **credentials(dice, profile, n),
            )
        )
    Mailbox.objects.bulk_create(made)
    SyncState.objects.bulk_create(
        state_of(mailbox, direction, dice) for mailbox in made for direction in Direction.values
    )
    ConfigurationTest.objects.bulk_create(
        ConfigurationTest(mailbox=mailbox, finished_at=dice.choice([None, timezone.now()]))
        for mailbox in dice.sample(made, NUMBER // 10)
    )


def state_of(mailbox: Mailbox, direction: str, dice: random.Random) -> SyncState:
    status, enabled, behind, failures, postponed = dice.choice(STATES)
    late = timedelta(minutes=5 if postponed else -5)
    return SyncState(
        mailbox=mailbox,
        direction=direction,
        test_status=status,
        enabled=enabled,
        tested_mailbox_version=mailbox.connection_version - behind * dice.choice([0, 1]),
        tested_profile_version=max(0, mailbox.profile_version - behind),
        failures=failures,
        next_run_at=timezone.now() + late,
    )


@pytest.mark.parametrize("approval_required", [True, False])
@pytest.mark.parametrize("forward_runs", [True, False])
def test_the_word_is_the_same_in_sql(
    all_sorts: None, office: Office, approval_required: bool, forward_runs: bool
) -> None:
    settings = EmailConfigurationSettings.load()
    settings.require_approval_for_users = settings.require_approval_for_queues = approval_required
    settings.save()
    if not forward_runs:
        Mailbox.objects.filter(is_forward_mailbox=True).update(is_active=False)
    snapshot = Snapshot.read()
    assert snapshot.forward_mailbox_runs is forward_runs
    seen: Counter[str] = Counter()
    mailboxes = Mailbox.objects.select_related("server_profile").prefetch_related("states")
    for direction in Direction:
        for mailbox in worded(mailboxes, direction, snapshot):
            word = Word(getattr(mailbox, f"{direction}_word"))
            assert word.label == standing(mailbox, direction, snapshot).word, (direction, mailbox.__dict__)
            seen[word] += 1
    assert seen.keys() == set(Word)


def words(mailbox: Mailbox, snapshot: Snapshot) -> set[str]:
    return {standing(mailbox, direction, snapshot).word for direction in Direction}


def test_views_and_states_of_the_list_show_what_their_rows_say(all_sorts: None, office: Office) -> None:
    snapshot = Snapshot.read()
    all_of_them = list(Mailbox.objects.select_related("server_profile").prefetch_related("states"))
    for word in Word:
        found = set(in_state(Mailbox.objects.all(), word, snapshot).values_list("pk", flat=True))
        if word == Word.OFF:
            expected = {m.pk for m in all_of_them if words(m, snapshot) == {word.label}}
        else:
            expected = {m.pk for m in all_of_them if word.label in words(m, snapshot)}
        assert found == expected, word
        assert found, word
    ConfigurationTest.objects.update(finished_at=timezone.now())
    snapshot = Snapshot.read()
    urgent = set(Mailbox.objects.filter(needs_attention()).values_list("pk", flat=True))
    assert urgent == {m.pk for m in all_of_them if Word.ATTENTION.label in words(m, snapshot)}


def test_the_view_not_tested_asks_the_tests_alone(all_sorts: None, office: Office) -> None:
    found = set(Mailbox.objects.filter(not_tested()).values_list("pk", flat=True))
    expected = {
        mailbox.pk
        for mailbox in Mailbox.objects.select_related("server_profile").prefetch_related("states")
        if mailbox.is_active
        and any(
            mailbox.method(direction) == "server_side"
            and (
                mailbox.state(direction).test_status == "not_run"
                or not mailbox.state(direction).vouches_for(mailbox)
            )
            for direction in Direction
        )
    }
    assert found == expected
    assert 0 < len(found) < NUMBER


def test_what_can_be_tested_is_the_same_in_sql(all_sorts: None, office: Office) -> None:
    found = set(Mailbox.objects.filter(configtest.something_to_test()).values_list("pk", flat=True))
    expected = {
        mailbox.pk
        for mailbox in Mailbox.objects.select_related("server_profile")
        if any(configtest.plan(mailbox, direction) for direction in Direction)
    }
    assert found == expected
    assert 0 < len(found) < NUMBER
