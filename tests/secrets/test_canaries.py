"""Canaries are planted where secrets go in; then everything that comes out of a working office is searched for them."""

from __future__ import annotations

import base64
import io
import logging
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from django.core.management import call_command
from django.db import connection
from django.db.models import Model
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver, reverse

from emailprofiles.models import EmailServerProfile
from mailboxes.models import ConfigurationTest, Mailbox, Message, Queue, TestStep, User
from mailboxes.sync.worker import run_test
from tests.sync.conftest import Office, letter
from tests.sync.conftest import office as working_office

pytestmark = pytest.mark.django_db(transaction=True)

office = working_office

MAILBOX, PROFILE, OUTGOING, PERSON = (
    f"canary-{name}-Zwiebel§7" for name in ("mailbox", "profile", "out", "person")
)


def shapes(secret: str) -> Iterator[str]:
    """A secret as it may come out: plain, escaped for HTML or JSON, in base64 alone or after a user name."""
    yield secret
    yield secret.replace("§", "&sect;")
    yield secret.replace("§", "\\u00a7")
    for before in ("", "\0noah\0"):
        yield base64.b64encode((before + secret).encode()).decode().rstrip("=")[:-2]


def holds_no_canary(said: str, where: str) -> None:
    for secret in (MAILBOX, PROFILE, OUTGOING, PERSON):
        for shape in shapes(secret):
            assert shape not in said, where


@pytest.fixture
def planted(office: Office, caplog: pytest.LogCaptureFixture) -> Office:
    """An office with canaries in every place for a secret, where things work, and where they fail."""
    caplog.set_level(logging.DEBUG)
    noah = office.user("noah")
    noah.set_password(PERSON)
    noah.save()
    office.dovecot.add_user("noah", "another password")
    profile = EmailServerProfile(
        name="Service", owner=office.amara, incoming_host="127.0.0.1", incoming_port=office.dovecot.port
    )
    profile.incoming_security = "none"
    profile.authenticate_using = "profile"
    profile.username, profile.password = "service", PROFILE
    profile.same_sign_in_for_outgoing = False
    profile.outgoing_username, profile.outgoing_password = "sender", OUTGOING
    profile.outgoing_host, profile.outgoing_security = "127.0.0.1", "none"
    profile.full_clean()
    profile.save()
    queue = office.queue("support", incoming_method="server_side", server_profile=profile)
    office.forward.password = MAILBOX
    office.forward.save()
    for mailbox in (office.forward, queue.mailbox, noah.mailbox):
        run_test(ConfigurationTest.request(mailbox, office.amara), lambda: False)
    return office


def pages() -> Iterator[str]:
    """Every page that is read, for every record that exists."""
    pks = {pk for model in (Mailbox, User, Queue, EmailServerProfile, Message) for pk in primary_keys(model)}
    for pattern in _patterns(get_resolver().url_patterns):
        names = set(pattern.pattern.converters)
        if names == {"pk"}:
            yield from (reverse(pattern.name, args=[pk]) for pk in sorted(pks))
        elif not names:
            yield reverse(pattern.name)


def primary_keys(model: type[Model]) -> Iterable[int]:
    return model._default_manager.values_list("pk", flat=True)


def _patterns(found: list[URLPattern | URLResolver]) -> Iterator[URLPattern]:
    for pattern in found:
        if isinstance(pattern, URLResolver):
            yield from _patterns(pattern.url_patterns)
        else:
            yield pattern


def test_no_page_shows_a_secret(planted: Office) -> None:
    client = Client()
    client.force_login(planted.amara)
    shown = 0
    for address in pages():
        answer = client.get(address)
        said = b"".join(answer) if answer.streaming else answer.content
        holds_no_canary(said.decode(errors="replace"), address)
        shown += answer.status_code == 200
    assert shown > 20


def test_a_refused_form_does_not_give_the_password_back(planted: Office) -> None:
    client = Client()
    client.force_login(planted.amara)
    for address in (reverse("mailbox-edit", args=[planted.forward.pk]), reverse("mailbox-new")):
        typed = {
            "name": "",
            "password": MAILBOX,
            "username": "x",
            "allow_credentials": "True",
            "then": "stay",
        }
        answer = client.post(address, typed)
        assert answer.status_code == 200
        holds_no_canary(answer.content.decode(), address)


def test_no_log_line_step_or_alert_holds_a_secret(
    planted: Office, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    planted.again()
    logged = [record.getMessage() for phase in ("setup", "call") for record in caplog.get_records(phase)]
    assert logged
    holds_no_canary("\n".join(logged), "log")
    steps = TestStep.objects.values_list("seen", "cause", "server_words")
    assert TestStep.objects.filter(state="failed", server_words__gt="").exists()
    holds_no_canary(str(list(steps)), "steps")
    holds_no_canary("".join(capsys.readouterr()), "output")


def test_no_command_prints_a_secret(planted: Office, capsys: pytest.CaptureFixture[str]) -> None:
    for command in (
        ["test_mailbox", planted.forward.email_address],
        ["test_mailbox", planted.forward.email_address, "--json"],
        ["synchronize", "--once"],
    ):
        with suppress(SystemExit):
            call_command(*command)
    everything = io.StringIO()
    call_command("dumpdata", stdout=everything)
    assert "Collection 1" in everything.getvalue()
    holds_no_canary("".join(capsys.readouterr()) + everything.getvalue(), "commands")


def test_no_file_of_the_database_holds_a_secret_in_clear(planted: Office) -> None:
    planted.arrives(letter("Hello", Delivered_To="noah@contoso.com"))
    planted.again()
    database = Path(connection.settings_dict["NAME"])
    for path in database.parent.glob(f"{database.name}*"):
        # Read by another process: closing the file here would drop the locks that SQLite holds on it.
        octets = subprocess.run(["cat", str(path)], capture_output=True, check=True).stdout
        holds_no_canary(octets.decode("utf-8", errors="replace"), path.name)


def test_records_print_without_their_secrets(planted: Office) -> None:
    records = [*Mailbox.objects.all(), *Message.objects.all(), planted.profile]
    for record in records:
        holds_no_canary(f"{record!r} {record} {vars(record)!r}", repr(record))
