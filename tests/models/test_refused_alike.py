"""Each rule of a mailbox is refused by the page, by a provisioning file and by the database: one rule, one sentence.

The page is sent by hand where its form would not offer the choice. A rule that has no row here fails the test.
"""

from __future__ import annotations

import html
import tomllib
from dataclasses import dataclass, field
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.test import Client

from emailprofiles.models import EmailServerProfile
from emailprofiles.secrets import Sealed
from mailboxes import provision
from mailboxes.models import Mailbox, Queue, User
from mailboxes.models.mailbox import CROSS_ROW_RULES, ROW_RULES
from tests.conftest import Office, profile_values

KEYS = {"incoming_method": "incoming", "outgoing_method": "outgoing", "act_method": "act"}


@dataclass(frozen=True)
class Broken:
    """How a rule is broken: by which mailbox, with which values; `at` is the field that says so.

    `page` and `file` are left out (None) where neither has a word for the combination at all: then the database and
    the model alone hold it.
    """

    kind: str
    at: str
    says: str
    page: dict[str, Any] | None = None
    file: str | None = None
    columns: dict[str, Any] = field(default_factory=dict)


NOT_SAID = None  # neither the page nor a file has a word for it

TABLE: dict[str, Broken] = {
    "mailbox_incoming_method_is_known": Broken(
        "queue",
        "incoming_method",
        "is not a valid choice",
        {"incoming_method": "fax"},
        'incoming = "fax"',
        {"incoming_method": "fax"},
    ),
    "mailbox_outgoing_method_is_known": Broken(
        "queue",
        "outgoing_method",
        "is not a valid choice",
        {"outgoing_method": "fax"},
        'outgoing = "fax"',
        {"outgoing_method": "fax"},
    ),
    "mailbox_act_method_is_known": Broken(
        "user",
        "act_method",
        "is not a valid choice",
        {"act_method": "fax"},
        'act = "fax"',
        {"act_method": "fax"},
    ),
    "mailbox_approval_is_known": Broken("queue", "approval", "", NOT_SAID, NOT_SAID, {"approval": "perhaps"}),
    "mailbox_regards_one": Broken("both", "user", "", NOT_SAID, NOT_SAID),
    "mailbox_forward_has_empty_regarding": Broken(
        "queue",
        "is_forward_mailbox",
        "",
        NOT_SAID,
        NOT_SAID,
        {"is_forward_mailbox": True, "approval": "empty"},
    ),
    "mailbox_delete_not_for_users": Broken(
        "user",
        "delete_emails_after_processing",
        "Only a forward mailbox or a queue's mailbox can delete",
        {"delete_emails_after_processing": "True"},
        "delete_emails_after_processing = true",
        {"delete_emails_after_processing": True},
    ),
    "mailbox_forward_receives_server_side": Broken(
        "forward",
        "incoming_method",
        "read by server-side synchronization or not at all",
        {"incoming_method": "outlook"},
        'incoming = "outlook"',
        {"incoming_method": "outlook"},
    ),
    "mailbox_forward_sends_nothing": Broken(
        "forward",
        "outgoing_method",
        "For a forward mailbox only None is allowed",
        {"outgoing_method": "server_side"},
        'outgoing = "server_side"',
        {"outgoing_method": "server_side"},
    ),
    "mailbox_queue_receives_without_outlook": Broken(
        "queue",
        "incoming_method",
        "A queue has no Outlook of its own",
        {"incoming_method": "outlook"},
        'incoming = "outlook"',
        {"incoming_method": "outlook"},
    ),
    "mailbox_queue_sends_without_outlook": Broken(
        "queue",
        "outgoing_method",
        "A queue has no Outlook of its own",
        {"outgoing_method": "outlook"},
        'outgoing = "outlook"',
        {"outgoing_method": "outlook"},
    ),
    "mailbox_act_only_for_users": Broken(
        "queue",
        "act_method",
        "Only a user has appointments, contacts, and tasks",
        {"act_method": "outlook"},
        'act = "outlook"',
        {"act_method": "outlook"},
    ),
    "mailbox_server_side_has_a_profile": Broken(
        "queue",
        "server_profile",
        "Server-side synchronization needs to know the server",
        {"incoming_method": "server_side", "server_profile": ""},
        'incoming = "server_side"',
        {"incoming_method": "server_side", "server_profile": None},
    ),
    "mailbox_username_present": Broken(
        "queue",
        "username",
        "Type the user name that the mail server expects",
        {"allow_credentials": "True", "username": "", "password": "Feldsalat 23"},
        'credentials = { password = "Feldsalat 23" }',
        {"allow_credentials": True, "username": "", "password": Sealed("sealed")},
    ),
    "mailbox_password_present": Broken(
        "queue",
        "password",
        "Type the password that belongs to this user name",
        {"allow_credentials": "True", "username": "support", "password": ""},
        'credentials = { username = "support" }',
        {"allow_credentials": True, "username": "support"},
    ),
    "mailbox_approval_fits_kind": Broken(
        "forward",
        "approval",
        "A forward mailbox needs no approval",
        NOT_SAID,
        NOT_SAID,
        {"approval": "approved"},
    ),
    "mailbox_name_present": Broken("forward", "name", "This field", {"name": ""}, 'name = ""', {"name": ""}),
    "mailbox_address_present": Broken(
        "forward", "email_address", "This field", {"email_address": ""}, NOT_SAID, {"email_address": ""}
    ),
    # Rules across rows.
    "_credentials_are_speakable": Broken(
        "queue",
        "username",
        "This contains a line break or a NUL. Type it on one line.",
        {"allow_credentials": "True", "username": "support\r\nZ9 LOGOUT", "password": "Feldsalat 23"},
        'credentials = { username = "support\\r\\nZ9 LOGOUT", password = "Feldsalat 23" }',
    ),
    "_address_is_free": Broken(
        "forward",
        "email_address",
        "already belongs to the queue mailbox Support",
        {"email_address": "support@contoso.com"},
        'email_address = "support@contoso.com"',
    ),
    "_additional_addresses_are_free": Broken("user", "is_active", "", NOT_SAID, NOT_SAID),
    "_regarding_is_active": Broken("resting queue", "is_active", "", NOT_SAID, NOT_SAID),
    "_regarding_is_fixed": Broken("forward", "is_forward_mailbox", "", NOT_SAID, NOT_SAID),
    "_owner_follows_regarding": Broken("queue", "owner", "", NOT_SAID, NOT_SAID),
    "_profile_serves": Broken(
        "queue",
        "outgoing_method",
        "The profile Reading only has no outgoing server",
        {"outgoing_method": "server_side", "server_profile": "Reading only"},
        'outgoing = "server_side"\nprofile = "Reading only"',
    ),
    "_credentials_typed_again": Broken(
        "forward",
        "password",
        "The user name or the server profile changed: type the password again",
        {"username": "another"},
        NOT_SAID,
    ),
    "_server_mailbox_is_free": Broken(
        "queue",
        "username",
        "The mailbox Collection 1 already reads INBOX of forwardmailbox",
        {
            "incoming_method": "server_side",
            "server_profile": "Head office",
            "allow_credentials": "True",
            "username": "forwardmailbox",
            "password": "Feldsalat 23",
        },
        'incoming = "server_side"\nprofile = "Head office"\n'
        'credentials = { username = "forwardmailbox", password = "Feldsalat 23" }',
    ),
}
ROWS = {rule.name: rule for rule in ROW_RULES}
ACROSS = {rule.__name__ for rule in CROSS_ROW_RULES}
ON_PAGES = [name for name, broken in TABLE.items() if broken.page is not None]
IN_FILES = [name for name, broken in TABLE.items() if broken.file is not None]


def test_every_rule_has_its_row() -> None:
    assert set(TABLE) == set(ROWS) | ACROSS


def test_what_neither_page_nor_file_can_say_is_said_here() -> None:
    """Approval has its own commands; Regarding, owner and kind are no fields; an inactive queue hides its mailbox."""
    silent = {name for name, broken in TABLE.items() if broken.page is broken.file is None}
    assert silent == {
        "mailbox_approval_is_known",
        "mailbox_approval_fits_kind",
        "mailbox_regards_one",
        "mailbox_forward_has_empty_regarding",
        "_additional_addresses_are_free",
        "_regarding_is_active",
        "_regarding_is_fixed",
        "_owner_follows_regarding",
    }


@pytest.fixture
def house(office: Office) -> Office:
    EmailServerProfile.objects.create(
        **profile_values(name="Reading only", owner=office.amara, outgoing_host="", incoming_host="127.0.0.2")
    )
    User.objects.create_user("bram", "bram@contoso.com", first_name="Bram")
    return office


def box(office: Office, kind: str) -> Mailbox:
    return {
        "forward": office.collection,
        "queue": office.support.mailbox,
        "user": Mailbox.objects.get(user__username="bram"),
    }[kind]


def sent(mailbox: Mailbox, **changes: Any) -> dict[str, Any]:
    """What the page of this mailbox sends back untouched, and `changes`."""
    untouched = {
        "name": mailbox.name,
        "email_address": mailbox.email_address,
        "allow_credentials": str(mailbox.allow_credentials),
        "username": mailbox.username,
        "server_profile": mailbox.server_profile.name if mailbox.server_profile else "",
        "incoming_method": mailbox.incoming_method,
        "outgoing_method": mailbox.outgoing_method,
        "act_method": mailbox.act_method,
        "delete_emails_after_processing": str(mailbox.delete_emails_after_processing),
    }
    if mailbox.is_forward_mailbox:
        untouched["owner"] = mailbox.owner.email
    return untouched | changes


@pytest.mark.parametrize("name", ON_PAGES)
def test_the_page_says_it_at_the_field_and_nothing_is_saved(house: Office, name: str) -> None:
    broken = TABLE[name]
    mailbox, browser = box(house, broken.kind), Client()
    browser.force_login(house.amara)
    address = f"/mailboxes/{mailbox.pk}/"
    shown = browser.get(address).context["form"].shown
    before = Mailbox.objects.filter(pk=mailbox.pk).values().get()
    response = browser.post(address, sent(mailbox, shown=shown, **(broken.page or {})))
    form = response.context["form"]
    assert any(broken.says in sentence for sentence in form.errors.get(broken.at, [])), dict(form.errors)
    assert broken.says in html.unescape(response.content.decode()).replace("’", "'")
    assert Mailbox.objects.filter(pk=mailbox.pk).values().get() == before


HEADS = {
    "forward": '[[forward_mailbox]]\nname = "Collection 1"\nemail_address = "forwardmailbox@contoso.com"\n',
    "queue": '[[queue]]\nname = "Support"\nemail_address = "support@contoso.com"\n[queue.mailbox]\n',
    "user": '[[user]]\nusername = "bram"\nemail_address = "bram@contoso.com"\n[user.mailbox]\n',
}


def written(broken: Broken) -> str:
    """The file that breaks the rule; a key that it sets stands once."""
    key = str(broken.file).partition(" ")[0]
    head = "\n".join(line for line in HEADS[broken.kind].splitlines() if not line.startswith(f"{key} ="))
    return f"{head}\n{broken.file}\n"


@pytest.mark.parametrize("name", IN_FILES)
def test_a_file_says_the_same_at_its_key_and_nothing_is_written(house: Office, name: str) -> None:
    broken = TABLE[name]
    before = list(Mailbox.objects.order_by("pk").values())
    report = provision.apply(tomllib.loads(written(broken)), env={})
    said = "\n".join(str(line) for line in report.lines)
    assert broken.says in said, said
    assert KEYS.get(broken.at, broken.at.removeprefix("server_")) in said
    assert not report.is_written
    assert list(Mailbox.objects.order_by("pk").values()) == before


@pytest.mark.parametrize("name", ROWS)
def test_the_database_refuses_it_whoever_writes(house: Office, name: str) -> None:
    broken = TABLE[name]
    rows, columns = _row(house, broken)
    with (
        pytest.raises(IntegrityError, match=name),
        transaction.atomic(),
    ):
        rows.update(**columns)


def _row(house: Office, broken: Broken) -> tuple[Any, dict[str, Any]]:
    if broken.kind != "both":
        return Mailbox.objects.filter(pk=box(house, broken.kind).pk), broken.columns
    [alone] = Queue.objects.bulk_create(
        [Queue(name="Press", email_address="p@contoso.com", owner=house.amara)]
    )
    return Mailbox.objects.filter(user__username="bram"), {"queue": alone}


@pytest.mark.parametrize("poison", ["\r\n", "\n", "\r", "\0"])
@pytest.mark.parametrize(
    "place", ["boris{}@contoso.com", "boris@contoso.com{}Z9 LOGOUT", "boris@contoso.com{}"]
)
def test_an_address_is_one_line(office: Office, place: str, poison: str) -> None:
    office.collection.email_address = place.format(poison)
    with pytest.raises(ValidationError) as raised:
        office.collection.full_clean()
    assert "email_address" in raised.value.message_dict
