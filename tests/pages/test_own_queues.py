"""Queues as everyone sees them: own ones, public ones to join, and private ones that do not exist for others."""

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from mailboxes.models import Message, Queue, User
from mailboxes.roles import Role
from tests.conftest import Office
from tests.pages.letters import delivered

PAGE = reverse("own-queues")


@pytest.fixture
def priya(office: Office) -> User:
    return User.objects.create_user("priya", "priya@contoso.com", first_name="Priya", last_name="Raman")


@pytest.fixture
def priyas(priya: User) -> Client:
    client = Client()
    client.force_login(priya)
    return client


@pytest.fixture
def press(office: Office) -> Queue:
    return Queue.objects.create(
        name="Press", email_address="press@contoso.com", owner=office.amara, is_private=False
    )


def text(response: Any) -> str:
    assert response.status_code == 200
    page: str = response.content.decode()
    return page.partition("<main")[2]


def test_a_new_queue_is_private_unless_somebody_opens_it(office: Office, amaras: Client) -> None:
    assert office.support.is_private
    form = amaras.get(reverse("queue-new")).context["form"]
    assert form["is_private"].value() == "True"


def test_a_public_queue_is_found_and_joined_by_everyone(priyas: Client, priya: User, press: Queue) -> None:
    letter = delivered(press.mailbox, press.mailbox)
    page = text(priyas.get(PAGE))
    assert "Join Press" in page
    assert reverse("message-list") not in page
    assert not Message.objects.visible_to(priya).exists()

    page = text(priyas.post(reverse("own-queues-join", args=[press.pk]), follow=True))

    assert "You are a member of Press" in page
    assert "Leave Press" in page
    assert f"?mailbox={press.mailbox.pk}" in page
    assert list(Message.objects.visible_to(priya)) == [letter]
    assert priyas.get(reverse("message", args=[letter.pk])).status_code == 200


def test_who_leaves_sees_its_messages_no_more(priyas: Client, priya: User, press: Queue) -> None:
    letter = delivered(press.mailbox, press.mailbox)
    press.members.add(priya)

    page = text(priyas.post(reverse("own-queues-leave", args=[press.pk]), follow=True))

    assert "You have left Press" in page
    assert priyas.get(reverse("message", args=[letter.pk])).status_code == 404


def test_a_private_queue_does_not_exist_for_others(priyas: Client, priya: User, office: Office) -> None:
    assert "Support" not in text(priyas.get(PAGE))
    for number in (office.support.pk, 99999):
        for name in ("own-queues-join", "own-queues-leave"):
            assert priyas.post(reverse(name, args=[number])).status_code == 404
    assert not office.support.members.exists()


def test_members_and_owners_see_their_private_queues(
    priyas: Client, priya: User, office: Office, amaras: Client
) -> None:
    office.support.members.add(priya)

    assert "Leave Support" in text(priyas.get(PAGE))
    page = text(amaras.get(PAGE))
    assert "Owner" in page
    assert "Join Support" not in page
    assert "Leave Support" not in page


def test_an_inactive_queue_cannot_be_joined(priyas: Client, press: Queue) -> None:
    press.is_active = False
    press.save()

    assert "Press" not in text(priyas.get(PAGE))
    assert priyas.post(reverse("own-queues-join", args=[press.pk])).status_code == 404


@pytest.mark.parametrize("role", [role.value for role in Role])
def test_everyone_who_signed_in_has_the_page(role: str, browser_of: Callable[[str], Client]) -> None:
    page = browser_of(role).get(PAGE)
    assert page.status_code == 200
    assert f'href="{PAGE}" aria-current="page"' in page.content.decode()


def test_nobody_joins_by_a_link_or_unknown(client: Client, priyas: Client, press: Queue) -> None:
    address = reverse("own-queues-join", args=[press.pk])
    assert priyas.get(address).status_code == 405
    assert client.post(address).status_code == 302
    assert client.get(PAGE).status_code == 302
    assert not press.members.exists()


def test_the_list_searches_turns_pages_and_asks_no_more_for_more_rows(
    priyas: Client, priya: User, office: Office, django_assert_max_num_queries: Callable
) -> None:
    def add(numbers: range) -> None:
        for number in numbers:
            name = f"Queue {number:02}"
            values = {"name": name, "email_address": f"q{number}@contoso.com", "is_private": False}
            Queue.objects.create(owner=office.amara, **values)

    add(range(2))
    with django_assert_max_num_queries(40) as few:
        priyas.get(PAGE)
    add(range(2, 55))
    with django_assert_max_num_queries(40) as many:
        page = priyas.get(PAGE)

    assert len(many) == len(few)
    assert len(page.context["rows"]) == 50
    assert len(priyas.get(PAGE, {"page": 2}).context["rows"]) == 5
    found = priyas.get(PAGE, {"q": "queue 07"}).context["rows"]
    assert [row.queue.name for row in found] == ["Queue 07"]
    assert "No queue matches" in text(priyas.get(PAGE, {"q": "nothing"}))


def test_without_any_queue_the_page_says_who_makes_them(priyas: Client) -> None:
    assert "No queue for you yet" in text(priyas.get(PAGE))
