"""Test & Enable against real servers: every step can fail, each at its own place, with cause, advice and words."""

from __future__ import annotations

import socket
import threading
import time
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext
from pytest_django import Settings

from emailprofiles.models import EmailServerProfile
from mailboxes import configtest
from mailboxes.models import Alert, ConfigurationTest, Mailbox, TestStep
from mailboxes.standing import Office as Snapshot
from mailboxes.standing import first_unmet, standing
from mailboxes.sync import leases
from mailboxes.sync.worker import run_test
from tests.servers import EXPIRED, GOOD, NO_PLAINTEXT, UNTRUSTED, WRONG_NAME, free_port

from .conftest import Office, letter

pytestmark = pytest.mark.django_db(transaction=True)

FAILURES: dict[str, tuple[dict[str, Any], str, str]] = {
    "a misspelt host": ({"incoming_host": "imap.nosuch.invalid"}, "name resolved", "spelling"),
    "a closed port": ({"incoming_port": "closed"}, "port reached", "port number"),
    "TLS against a plain port": ({"incoming_security": "tls", "incoming_port": "plain"}, "TLS", "STARTTLS"),
    "an expired certificate": ({"incoming_security": "tls", "incoming_host": EXPIRED}, "TLS", "renew"),
    "a certificate for another name": (
        {"incoming_security": "tls", "incoming_host": WRONG_NAME},
        "TLS",
        "name that stands in the certificate",
    ),
    "an unknown authority": ({"incoming_security": "tls", "incoming_host": UNTRUSTED}, "TLS", "TLS_CA_FILE"),
    "a server that wants encryption": ({"incoming_host": NO_PLAINTEXT}, "signed in", "STARTTLS or SSL/TLS"),
    "a missing folder": ({"incoming_folder": "Nowhere"}, "folder opened", "folder to read"),
}


def climbed(mailbox: Mailbox) -> dict[str, configtest.Ladder]:
    configtest.run(ConfigurationTest.request(mailbox, None))
    fresh = Mailbox.objects.select_related("server_profile").get(pk=mailbox.pk)
    return {ladder.direction: ladder for ladder in configtest.ladders(fresh)}


def pointed(office: Office, changes: dict[str, Any]) -> Mailbox:
    """The forward mailbox, its profile changed and its password typed again."""
    ports = {"closed": free_port(), "plain": office.dovecot.port}
    profile = EmailServerProfile.objects.get(pk=office.profile.pk)
    if changes.get("incoming_security", "none") != "none":
        profile.incoming_port = office.dovecot.tls_port
    for name, value in changes.items():
        setattr(profile, name, ports.get(value, value) if name == "incoming_port" else value)
    profile.unencrypted_confirmed = True
    profile.full_clean()
    profile.save()
    mailbox = Mailbox.objects.get(pk=office.forward.pk)
    mailbox.password = "correct horse"
    mailbox.save()
    return mailbox


@pytest.mark.parametrize("name", FAILURES)
def test_each_mistake_fails_at_its_own_step_and_runs_once_put_right(
    office: Office, name: str, settings: Settings
) -> None:
    settings.TLS_CA_FILE = office.dovecot.certificates.ca_file
    changes, step, advice = FAILURES[name]
    mailbox = pointed(office, changes)
    ladder = climbed(mailbox)["incoming"]
    assert ladder.status == "failure"
    (failed,) = [rung for rung in ladder.rungs if rung.state == "failed"]
    assert failed.name == step
    assert advice in failed.advice
    assert failed.cause
    assert failed.what_we_do
    after = ladder.rungs[ladder.rungs.index(failed) + 1 :]
    assert {rung.state for rung in after} <= {"not_reached"}
    assert "correct horse" not in str(ladder)

    right = {"incoming_host": GOOD, "incoming_security": "none", "incoming_folder": "INBOX"}
    mailbox = pointed(office, right | {"incoming_port": "plain"})
    assert climbed(mailbox)["incoming"].status == "success"
    mailbox = Mailbox.objects.get(pk=mailbox.pk)
    assert first_unmet(mailbox, "incoming", Snapshot.read()) is None
    assert standing(mailbox, "incoming", Snapshot.read()).word == "Working"


def test_a_wrong_password_is_told_in_the_servers_own_words(office: Office) -> None:
    office.forward.password = "wrong staple"
    office.forward.save()
    ladder = climbed(office.forward)["incoming"]
    (failed,) = [rung for rung in ladder.rungs if rung.state == "failed"]
    assert failed.name == "signed in"
    assert "AUTHENTICATIONFAILED" in failed.server_words
    assert "wrong staple" not in str(ladder)


@pytest.mark.parametrize("security", ["tls", "starttls"])
def test_over_tls_the_ladder_says_what_it_saw(office: Office, security: str, settings: Settings) -> None:
    settings.TLS_CA_FILE = office.dovecot.certificates.ca_file
    office.arrives(letter("Seen"))
    port = "plain" if security == "starttls" else office.dovecot.tls_port
    ladder = climbed(pointed(office, {"incoming_security": security, "incoming_port": port}))["incoming"]
    seen = {rung.name: rung.seen for rung in ladder.rungs}
    assert ladder.status == "success", ladder
    assert "TLS 1.3" in seen["TLS"]
    assert "1 message" in seen["folder opened"]
    assert "UIDPLUS" in seen["may delete"]


def test_a_user_who_receives_through_the_forward_mailbox_asks_whether_one_runs(office: Office) -> None:
    noah = office.user("noah")
    assert climbed(noah.mailbox)["incoming"].status == "success"
    office.forward.is_active = False
    office.forward.save()
    ladder = climbed(noah.mailbox)["incoming"]
    assert [rung.state for rung in ladder.rungs] == ["passed", "passed", "failed"]
    assert "no active forward mailbox" in ladder.rungs[-1].cause


def test_a_change_makes_the_result_not_run_again(office: Office) -> None:
    assert office.forward.incoming_email_status == "success"
    office.forward.username = "another"
    office.forward.password = "typed again"
    office.forward.save()
    mailbox = Mailbox.objects.get(pk=office.forward.pk)
    assert mailbox.incoming_email_status == "not_run"
    assert standing(mailbox, "incoming", Snapshot.read()).word == "Out of date"
    assert office.synchronize().passes == 0


def test_a_passed_test_resolves_the_alert(office: Office) -> None:
    office.dovecot.add_user(office.account, "changed")

    time.sleep(1.2)  # Dovecot looks at its password file once a second
    assert office.again().failed == 1
    alert = Alert.objects.get(resolved_at=None)
    assert "Receiving for Collection 1 stopped" in alert.title
    mailbox = Mailbox.objects.get(pk=office.forward.pk)
    assert standing(mailbox, "incoming", Snapshot.read()).word == "Needs attention"
    mailbox.password = "changed"
    mailbox.save()
    assert climbed(mailbox)["incoming"].status == "success"
    assert not Alert.objects.filter(resolved_at=None).exists()


def test_the_command_tests_without_an_engine(office: Office, capsys: pytest.CaptureFixture[str]) -> None:
    call_command("test_mailbox", "forwardmailbox@contoso.com")
    said = capsys.readouterr().out
    assert "incoming: success" in said
    assert "may delete" in said
    office.forward.password = "wrong staple"
    office.forward.save()
    with pytest.raises(SystemExit) as ended:
        call_command("test_mailbox", "forwardmailbox@contoso.com", "--json")
    assert ended.value.code == 1
    assert "wrong staple" not in capsys.readouterr().out


def test_a_step_that_takes_long_leaves_none_before_it_unseen(office: Office) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # it accepts, and never greets
        EmailServerProfile.objects.filter(pk=office.profile.pk).update(
            incoming_port=silent.getsockname()[1], timeout_seconds=5
        )
        test = leases.own_test(office.forward, leases.this_process())
        assert test is not None
        runner = threading.Thread(target=_run_and_close, args=(test,))
        runner.start()
        time.sleep(2)
        seen = list(TestStep.objects.filter(test=test).values_list("name", "state"))
        test.refresh_from_db()
        assert test.finished_at is None
        runner.join(20)
    assert seen == [(name, "passed") for name in ("settings complete", "name resolved", "port reached")]
    last = TestStep.objects.filter(test=test, state="failed").get()
    assert (last.name, last.number) == ("greeting and capabilities", 4)


def _run_and_close(test: ConfigurationTest) -> None:
    try:
        run_test(test, lambda: False)
    finally:
        connection.close()


def test_steps_that_are_quick_are_written_together(office: Office) -> None:
    with CaptureQueriesContext(connection) as queries:
        configtest.run(ConfigurationTest.request(office.forward, None))
    written = [query for query in queries if 'INSERT INTO "mailboxes_teststep"' in query["sql"]]
    assert len(written) == 1
    assert TestStep.objects.filter(test__requested_by=None, state="passed").count() >= 8
