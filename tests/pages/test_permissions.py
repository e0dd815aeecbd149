"""Who may open what: every address × every role × own and other record × looking and changing, in one table."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import pytest
from django.apps import apps
from django.http import HttpResponse
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver, reverse
from django.utils import timezone

from emailprofiles.models import EmailServerProfile
from mailboxes import bulk, outbox
from mailboxes.models import (
    Alert,
    Command,
    ConfigurationTest,
    Mailbox,
    OutgoingFile,
    OutgoingMessage,
    Queue,
    User,
)
from mailboxes.roles import Role, set_role
from mailboxes.writing import File, Person
from tests.conftest import Office, new_amara, new_office, profile_values
from tests.standing import standing

from .letters import attached, delivered

ROLES = {"a": "administrator", "p": "approver", "s": "staff", "u": "user", "n": "anonymous"}
EVERYONE, SIGNED_IN, LOOKERS = "apsun", "apsu", "aps"


@dataclass(frozen=True)
class Row:
    """Letters of the roles that may look (GET) and change (POST); "-" where the address has no such method.

    `record` names what the address is about; `closed` is the answer to who may not: 403 before anything is
    looked up, 404 where people see only what is theirs, 302 where the answer is the list of what is theirs.
    """

    get: str
    post: str
    record: str = ""
    closed: int = 403


TABLE = {
    "home": Row(SIGNED_IN, SIGNED_IN),
    # the door
    "login": Row(EVERYONE, EVERYONE),
    "logout": Row("-", EVERYONE),
    "sign_in_link": Row(EVERYONE, EVERYONE, "token"),
    "password_forgotten": Row(EVERYONE, EVERYONE),
    "password_forgotten_sent": Row(EVERYONE, "-"),
    "setup": Row(EVERYONE, EVERYONE, "token"),
    # everyone's own
    "password_change": Row(SIGNED_IN, SIGNED_IN),
    "sessions": Row(SIGNED_IN, "-"),
    "sessions_end_others": Row("-", SIGNED_IN),
    "session_end": Row("-", "", "other session", closed=302),
    "set-theme": Row("-", SIGNED_IN),
    "me": Row(SIGNED_IN, SIGNED_IN),
    "my-mailbox": Row(SIGNED_IN, SIGNED_IN),
    "my-mailbox-results": Row(SIGNED_IN, "-"),
    "own-queues": Row(SIGNED_IN, "-"),
    "own-queues-join": Row("-", "", "private queue", closed=404),
    "own-queues-leave": Row("-", "", "private queue", closed=404),
    "help": Row(SIGNED_IN, "-"),
    "help-topic": Row(SIGNED_IN, "-", "topic"),
    # mailboxes
    "settings-home": Row(LOOKERS, "-"),
    "mailbox-list": Row(LOOKERS, "-"),
    "mailbox-new": Row("a", "a"),
    "mailbox-new-methods": Row("-", "a"),
    "people-search": Row("a", "-"),
    "profile-search": Row("a", "-"),
    "target-search": Row("a", "-"),
    "mailbox-edit": Row(LOOKERS, "a", "mailbox"),
    "mailbox-methods": Row("-", "a", "mailbox"),
    "mailbox-test": Row("-", "a", "mailbox"),
    "mailbox-history": Row(LOOKERS, "-", "mailbox"),
    "mailbox-test-run": Row(LOOKERS, "-", "test"),
    "mailbox-results": Row(LOOKERS, "-", "mailbox"),
    "mailbox-approve": Row("-", "ap", "mailbox"),
    "mailbox-reject": Row("-", "ap", "mailbox"),
    "mailbox-activate": Row("-", "a", "mailbox"),
    "mailbox-deactivate": Row("-", "a", "mailbox"),
    "mailbox-ledger": Row(LOOKERS, "-", "mailbox"),
    "mailbox-reconcile": Row("-", "a", "mailbox"),
    "mailbox-collect": Row("-", "a", "mailbox"),
    "bulk-request": Row("-", "ap"),
    "bulk-list": Row(LOOKERS, "-"),
    "bulk-command": Row(LOOKERS, "-", "command"),
    "bulk-progress": Row(LOOKERS, "-", "command"),
    "bulk-stop": Row("-", "ap", "command"),
    # profiles
    "profile-list": Row("as", "-"),
    "profile-new": Row("a", "a"),
    "profile-edit": Row("as", "a", "profile"),
    "profile-history": Row("as", "-", "profile"),
    "profile-confirm": Row("-", "a", "profile"),
    "profile-preview": Row("-", "a", "profile"),
    "profile-activate": Row("-", "a", "profile"),
    "profile-deactivate": Row("a", "a", "profile"),
    "profile-default": Row("-", "a", "profile"),
    "profile-delete": Row("a", "a", "profile"),
    # people
    "queue-list": Row("a", "-"),
    "queue-new": Row("a", "a"),
    "queue-edit": Row("a", "a", "queue"),
    "queue-history": Row("a", "-", "queue"),
    "queue-activate": Row("a", "a", "queue"),
    "queue-deactivate": Row("a", "a", "queue"),
    "queue-delete": Row("a", "a", "queue"),
    "user-list": Row("a", "-"),
    "user-new": Row("a", "a"),
    "user-edit": Row("a", "a", "user"),
    "user-history": Row("a", "-", "user"),
    "user-link": Row("-", "a", "user"),
    "user-end-sessions": Row("-", "a", "user"),
    "user-hand-over": Row("a", "a", "user"),
    "user-activate": Row("a", "a", "user"),
    "user-deactivate": Row("a", "a", "user"),
    "user-delete": Row("a", "a", "user"),
    "routing-simulator": Row("a", "a"),
    "configuration": Row("a", "a"),
    "configuration-history": Row("a", "-"),
    # mail
    "message-list": Row(SIGNED_IN, "-"),
    "message": Row("a", "-", "message", closed=404),
    "message-raw": Row("a", "-", "message", closed=404),
    "message-html": Row("a", "-", "message", closed=404),
    "attachment": Row("a", "-", "attachment", closed=404),
    "outbox-list": Row(SIGNED_IN, "-"),
    "outbox-new": Row(SIGNED_IN, SIGNED_IN),
    "recipient-search": Row(SIGNED_IN, "-"),
    "outbox-many": Row("-", SIGNED_IN),
    "outbox-message": Row("a", "-", "outgoing", closed=404),
    "outbox-raw": Row("a", "-", "outgoing", closed=404),
    "outbox-file": Row("a", "-", "outgoing file", closed=404),
    "outbox-now": Row("-", "a", "outgoing", closed=404),
    "outbox-again": Row("-", "a", "outgoing", closed=404),
    "outbox-arrived": Row("-", "a", "outgoing", closed=404),
    "outbox-cancel": Row("-", "a", "outgoing", closed=404),
    "outbox-edit": Row("", "", "draft", closed=404),
    "outbox-delete": Row("-", "", "draft", closed=404),
    "quarantine": Row("as", "-"),
    "quarantine-retry": Row("-", "a", "message"),
    "quarantine-discard": Row("a", "a", "message"),
    "quarantine-put-back": Row("-", "a", "message"),
    "quarantine-many": Row("-", "a"),
    "message-source": Row("a", "-", "message", closed=404),
    "quarantine-deliver": Row("a", "a", "message"),
    "alert-list": Row("as", "-"),
}


def named(patterns: list[Any]) -> Iterator[str]:
    for pattern in patterns:
        if isinstance(pattern, URLResolver):
            yield from named(pattern.url_patterns)
        elif isinstance(pattern, URLPattern):
            yield str(pattern.name)


def test_every_address_stands_in_the_table() -> None:
    """Two addresses of one name, or one without a name, would hide behind another's row."""
    assert sorted(named(get_resolver().url_patterns)) == sorted(TABLE)


@dataclass
class House:
    """Amara's office with one person of each role, and a letter that reached none of them."""

    office: Office
    browsers: dict[str, Client]
    records: dict[str, tuple[Any, ...]]

    def address(self, name: str, *, missing: bool = False) -> str:
        arguments = self.records[TABLE[name].record]
        return reverse(name, args=_missing(arguments) if missing else arguments)


def _missing(arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    """The same kind of address for a record that does not exist."""
    others = {int: 999_999, uuid.UUID: uuid.uuid4(), str: "no-such-thing"}
    return tuple(others[type(argument)] for argument in arguments)


@pytest.fixture(scope="module")
def standing_house(django_db_setup: None, django_db_blocker: Any) -> Iterator[House]:
    with standing(django_db_blocker):
        yield new_house()


@pytest.fixture
def house(standing_house: House, db: None) -> House:
    """A house in which nothing has happened yet."""
    return deepcopy(standing_house)


def new_house() -> House:
    office = new_office(new_amara())
    browsers = {letter: Client() for letter in ROLES}
    for letter, role in ROLES.items():
        if role != "anonymous":
            person = User.objects.create_user(role, f"{role}@contoso.com", first_name=role.title())
            set_role(person, Role(role))
            browsers[letter].force_login(person)
    letter = delivered(office.collection, office.support.mailbox)
    attached(letter, "a.txt", "text/plain", b"a")
    Alert.objects.create(
        cause="x", title="Stopped", why="w", what_we_do="d", what_you_can_do="c", mailbox=office.collection
    )
    test = ConfigurationTest.objects.create(mailbox=office.collection, finished_at=timezone.now())
    written, carried, draft = written_by_amara(office)
    elsewhere = Client()
    elsewhere.force_login(office.amara)
    return House(
        office,
        browsers,
        {
            "": (),
            "token": ("no-such-token",),
            "topic": ("approval",),
            "mailbox": (office.support.mailbox.pk,),
            "test": (office.collection.pk, test.pk),
            "profile": (office.profile.pk,),
            "queue": (office.support.pk,),
            "private queue": (office.support.pk,),
            "user": (office.amara.pk,),
            "message": (letter.pk,),
            "attachment": (letter.pk, 1),
            "command": (bulk.request(Command.APPROVE, Mailbox.objects.all(), office.amara).pk,),
            "other session": (session_of(office.amara),),
            "outgoing": (written.pk,),
            "outgoing file": (written.pk, carried.pk),
            "draft": (draft.pk,),
        },
    )


def written_by_amara(office: Office) -> tuple[OutgoingMessage, OutgoingFile, OutgoingMessage]:
    """A message of the queue Support that waits, the file it carries, and a draft of hers."""
    office.support.mailbox.server_profile, office.support.mailbox.outgoing_method = (
        office.profile,
        "server_side",
    )
    office.support.mailbox.save()
    mailbox = Mailbox.objects.get(pk=office.support.mailbox.pk)
    to, files = [Person("", "boris@example.org")], [File("a.txt", "text/plain", b"a")]
    written = outbox.send(mailbox, to=to, subject="Offer", text="Hello", files=files, by=office.amara)
    draft = outbox.save_draft(OutgoingMessage(mailbox=mailbox, written_by=office.amara), {"to": to})
    return written, written.files.get(), draft


def session_of(user: User) -> uuid.UUID:
    return apps.get_model("mailboxes", "Session").objects.get(user=user).reference


NOT_RECORDS = {"mailboxes.Session", "auditlog.LogEntry"}


def everything() -> dict[str, list[dict[str, Any]]]:
    """All rows of all records."""
    models = [
        m
        for app in ("mailboxes", "emailprofiles", "auth")
        for m in apps.get_app_config(app).get_models()
        if m._meta.managed
    ]
    return {
        model._meta.label: list(model._default_manager.order_by("pk").values())
        for model in models
        if model._meta.label not in NOT_RECORDS
    }


def is_door(response: HttpResponse) -> bool:
    return response.status_code == 302 and response["Location"].startswith("/sign-in/?next=")


def body(response: HttpResponse, address: str) -> str:
    """The page without what differs at each load, and without its own address."""
    text = re.sub(r'name="csrfmiddlewaretoken" value="[^"]*"', "", response.content.decode())
    return text.replace(address, "")


def refused(response: HttpResponse, letter: str, row: Row) -> bool:
    return is_door(response) if letter == "n" else response.status_code == row.closed


Ask = Callable[[Client, str], HttpResponse]
LOOK: Ask = lambda browser, address: browser.get(address)  # noqa: E731
CHANGE: Ask = lambda browser, address: browser.post(address, {})  # noqa: E731


@pytest.mark.parametrize("name", [name for name, row in TABLE.items() if row.get != "-"])
def test_who_may_look(house: House, name: str) -> None:
    row = TABLE[name]
    for letter, browser in house.browsers.items():
        response = LOOK(browser, house.address(name))
        if letter in row.get:
            opened = response.status_code in (200, 302) and not is_door(response)
            # A token that was never issued opens nothing, for anybody.
            assert opened or row.record == "token", (ROLES[letter], response.status_code)
        else:
            assert refused(response, letter, row), (ROLES[letter], response.status_code)


@pytest.mark.parametrize("name", [name for name, row in TABLE.items() if row.post != "-"])
def test_who_may_not_change_changes_nothing(house: House, name: str) -> None:
    row = TABLE[name]
    before = everything()
    for letter, browser in house.browsers.items():
        if letter not in row.post:
            response = CHANGE(browser, house.address(name))
            assert refused(response, letter, row), (ROLES[letter], response.status_code)
    assert everything() == before


@pytest.mark.parametrize("name", [name for name, row in TABLE.items() if row.post not in ("-", "")])
def test_who_may_change_is_heard(house: House, name: str) -> None:
    row = TABLE[name]
    for letter in row.post:
        response = CHANGE(house.browsers[letter], house.address(name))
        heard = response.status_code in (200, 302, 422) and not is_door(response)
        assert heard or row.record == "token", (ROLES[letter], response.status_code)


@pytest.mark.parametrize("name", [name for name, row in TABLE.items() if "-" in (row.get, row.post)])
def test_an_address_answers_to_its_own_methods_only(house: House, name: str) -> None:
    ask = LOOK if TABLE[name].get == "-" else CHANGE
    for letter, browser in house.browsers.items():
        response = ask(browser, house.address(name))
        assert response.status_code in (403, 404, 405) or is_door(response), (
            ROLES[letter],
            response.status_code,
        )


@pytest.mark.parametrize("ask", [LOOK, CHANGE], ids=["look", "change"])
@pytest.mark.parametrize(
    "name", [name for name, row in TABLE.items() if row.record not in ("", "token", "topic")]
)
def test_who_may_not_see_a_record_does_not_learn_whether_it_exists(house: House, name: str, ask: Ask) -> None:
    row = TABLE[name]
    may = row.get if ask is LOOK else row.post
    for letter, browser in house.browsers.items():
        if letter not in may:
            there, nowhere = house.address(name), house.address(name, missing=True)
            answers = [ask(browser, address) for address in (there, nowhere)]
            assert answers[0].status_code == answers[1].status_code, ROLES[letter]
            assert body(answers[0], there) == body(answers[1], nowhere), ROLES[letter]


@pytest.mark.parametrize("name", [name for name, row in TABLE.items() if EVERYONE not in (row.get, row.post)])
def test_who_was_deactivated_while_signed_in_is_out_at_once(house: House, name: str) -> None:
    User.objects.filter(username__in=ROLES.values()).update(is_active=False)
    before, row = everything(), TABLE[name]
    for letter, browser in house.browsers.items():
        for ask, may in ((LOOK, row.get), (CHANGE, row.post)):
            assert may == "-" or is_door(ask(browser, house.address(name))), ROLES[letter]
    assert everything() == before


# ── Own records ─────────────────────────────────────────────────────────────────────────────


def records_of(person: User) -> dict[str, tuple[Any, ...]]:
    """One of each kind of record that is this person's own; where people see only their own there are others."""
    queue = Queue.objects.create(
        name=f"Press {person}", email_address=f"press-{person.pk}@contoso.com", owner=person
    )
    profile = EmailServerProfile.objects.create(**profile_values(owner=person, name=f"Of {person}"))
    test = ConfigurationTest.objects.create(
        mailbox=person.mailbox, requested_by=person, finished_at=timezone.now()
    )
    return {
        "mailbox": (person.mailbox.pk,),
        "test": (person.mailbox.pk, test.pk),
        "profile": (profile.pk,),
        "queue": (queue.pk,),
        "user": (person.pk,),
        "command": (bulk.request(Command.TEST, Mailbox.objects.filter(pk=person.mailbox.pk), person).pk,),
    }


OWNED = ("mailbox", "test", "profile", "queue", "user", "command")


@pytest.mark.parametrize("name", [name for name, row in TABLE.items() if row.record in OWNED])
def test_that_a_record_is_ones_own_opens_nothing_more(house: House, name: str) -> None:
    row = TABLE[name]
    for letter in "psu":
        house.records |= records_of(User.objects.get(username=ROLES[letter]))
        before = everything()
        for ask, may in ((LOOK, row.get), (CHANGE, row.post)):
            if may != "-" and letter not in may:
                response = ask(house.browsers[letter], house.address(name))
                assert refused(response, letter, row), (ROLES[letter], response.status_code)
        assert everything() == before


@pytest.mark.parametrize("name", ["message", "message-raw", "message-html", "attachment"])
@pytest.mark.parametrize("letter", ["u", "s", "p"])
@pytest.mark.parametrize("whose", ["the own mailbox", "a queue one is a member of", "a queue one owns"])
def test_own_mail_and_that_of_own_queues_is_open(house: House, name: str, letter: str, whose: str) -> None:
    person = User.objects.get(username=ROLES[letter])
    queue = Queue.objects.create(
        name="Returns", email_address="returns@contoso.com", owner=house.office.amara
    )
    queue.members.add(person)
    owned = Queue.objects.create(name="Press", email_address="press@contoso.com", owner=person)
    reached = {
        "the own mailbox": Mailbox.objects.get(user=person),
        "a queue one is a member of": queue.mailbox,
        "a queue one owns": owned.mailbox,
    }[whose]
    own = delivered(house.office.collection, reached, 2)
    attached(own, "b.txt", "text/plain", b"b")
    house.records |= {"message": (own.pk,), "attachment": (own.pk, 1)}
    for other, browser in house.browsers.items():
        status = LOOK(browser, house.address(name)).status_code
        assert (status == 200) is (other in ("a", letter)), ROLES[other]


@pytest.mark.parametrize("letter", ["u", "s", "p", "a"])
def test_an_own_session_can_be_ended_and_nobody_elses(house: House, letter: str) -> None:
    person = User.objects.get(username=ROLES[letter])
    house.records["other session"] = (session_of(person),)
    for other in "uspa":
        if other != letter:
            CHANGE(house.browsers[other], house.address("session_end"))
            assert session_of(person) == house.records["other session"][0]
    assert CHANGE(house.browsers[letter], house.address("session_end")).status_code == 302
    assert is_door(LOOK(house.browsers[letter], reverse("home")))
