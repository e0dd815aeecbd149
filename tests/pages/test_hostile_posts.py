"""Whatever is sent by hand, in any field of any form: a sentence or a saved record, never a page that breaks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.db import transaction
from django.test import Client
from django.urls import reverse
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from emailprofiles.forms.shown import as_sent
from mailboxes.models import Mailbox, Message
from tests.conftest import Office

from .letters import collected

PASSWORD = "Postkutsche im Regen"
NEW: dict[str, dict[str, Any]] = {
    "mailbox-new": {
        "name": "Collection 2",
        "email_address": "second@contoso.com",
        "server_profile": "Head office",
        "username": "second",
        "password": PASSWORD,
    },
    "profile-new": {"name": "Branch", "incoming_host": "imap.branch.example"},
    "queue-new": {"name": "Invoices", "email_address": "invoices@contoso.com"},
    "user-new": {
        "username": "hanna",
        "email": "hanna@contoso.com",
        "first_name": "Hanna",
        "new_password": PASSWORD,
    },
}
PAGES = [
    *NEW,
    "mailbox-edit forward",
    "mailbox-edit queue",
    "mailbox-edit user",
    "profile-edit",
    "queue-edit",
    "user-edit",
    "configuration",
    "quarantine-deliver",
]
# Never right, in whichever field they stand.
NEVER = {"NUL": "a\0b", "a NUL alone": "\0"}
HOSTILE = NEVER | {
    "10,000 characters": "x" * 10_000,
    "10,000 words": "é " * 5_000,
    "blanks": " \t ",
    "a number": "-1",
    "a large number": "9" * 400,
    "a list": ["True", "False", "none"],
    "two lines": "a\r\nBcc: eve@example.net",
    "markup": "\"'><script>alert(1)</script>",
    "right to left": "\u202egnp.exe",
}


@pytest.fixture
def addresses(office: Office) -> dict[str, str]:
    """The page of each name in PAGES."""
    waiting: Message = collected(
        office.collection, 7, state="quarantined", reason="no_recipient_matched", explanation="Nobody."
    )
    records = {
        "mailbox-edit forward": office.collection,
        "mailbox-edit queue": office.support.mailbox,
        "mailbox-edit user": office.amara.mailbox,
        "profile-edit": office.profile,
        "queue-edit": office.support,
        "user-edit": office.amara,
        "quarantine-deliver": waiting,
    }
    return {
        name: reverse(name.partition(" ")[0], args=[records[name].pk] if name in records else [])
        for name in PAGES
    }


def untouched(browser: Client, name: str, address: str) -> dict[str, Any]:
    """What the page sends when nobody touches it; a new one with what it needs."""
    form = browser.get(address).context["form"]
    shown = {
        field: as_sent(control, form.initial.get(field, control.initial))
        for field, control in form.fields.items()
        if not control.disabled
    }
    return shown | {"shown": getattr(form, "shown", "")} | NEW.get(name, {})


def fields_of(values: dict[str, Any]) -> Iterator[str]:
    return (field for field in values if field != "shown")


def post(browser: Client, address: str, values: dict[str, Any]) -> Any:
    """The answer; what it may have saved is taken back."""
    with transaction.atomic():
        response = browser.post(address, values)
        transaction.set_rollback(True)
    return response


def says_what_is_wrong(response: Any) -> bool:
    form = response.context["form"]
    return bool(form.errors) and all(sentence for *_, sentence in form.summary)


def test_untouched_pages_are_accepted(amaras: Client, addresses: dict[str, str]) -> None:
    """Else the tests below would prove nothing: each of them changes one field of these."""
    for name, address in addresses.items():
        if name != "quarantine-deliver":
            response = post(amaras, address, untouched(amaras, name, address))
            assert response.status_code == 302, (name, response.context["form"].errors)


@pytest.mark.parametrize("name", PAGES)
def test_a_hostile_value_in_any_field_gets_a_sentence(
    amaras: Client, addresses: dict[str, str], name: str
) -> None:
    values = untouched(amaras, name, addresses[name])
    for field in fields_of(values):
        for what, hostile in HOSTILE.items():
            response = post(amaras, addresses[name], values | {field: hostile})
            assert response.status_code in (200, 302, 422), (field, what)
            if response.status_code != 302:
                assert says_what_is_wrong(response), (field, what)
                assert b"<script>alert" not in response.content
            else:
                assert what not in NEVER, (field, what)


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize("shown", ["", "\0", "x" * 10_000, "a:b:c"])
def test_a_forged_mark_of_what_was_shown_breaks_nothing(
    amaras: Client, addresses: dict[str, str], name: str, shown: str
) -> None:
    values = untouched(amaras, name, addresses[name]) | {"shown": shown}
    assert post(amaras, addresses[name], values).status_code in (200, 302, 422)


@pytest.mark.parametrize("name", ["mailbox-new", "mailbox-edit queue"])
@pytest.mark.parametrize("value", ["\0", "x" * 10_000, "fax", ""])
def test_the_section_that_is_fetched_anew_takes_anything(
    amaras: Client, addresses: dict[str, str], name: str, value: str
) -> None:
    values = untouched(amaras, name, addresses[name])
    page = f"{addresses[name]}methods/"
    for field in fields_of(values):
        assert amaras.post(page, values | {field: value}).status_code == 200


anything = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=300),
    st.sampled_from(["True", "none", "server_side", "Head office", "amara", "1", "0", "\0", "'", "%", "_"]),
    st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=5), max_size=3),
    st.integers().map(str),
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(sent=st.dictionaries(st.sampled_from([*Mailbox._meta.fields]).map(lambda f: f.name), anything))
def test_the_mailbox_form_survives_every_column_in_any_value(
    amaras: Client, addresses: dict[str, str], sent: dict[str, Any]
) -> None:
    box = Mailbox.objects.get(is_forward_mailbox=True)
    response = post(
        amaras, reverse("mailbox-edit", args=[box.pk]), {"name": "Collection A", "shown": ""} | sent
    )
    assert response.status_code in (200, 302)
    stored = Mailbox.objects.get(is_forward_mailbox=True)
    assert (stored.kind, stored.approval, stored.secret_id) == (box.kind, box.approval, box.secret_id)
