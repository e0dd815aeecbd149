"""Alerts by mail, over a real SMTP server: who is told what, when, how often, and by which of two engines."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from typing import Any

import pytest
import time_machine
from django.conf import LazySettings
from django.db import connection as db
from django.urls import reverse

from emailprofiles.models import EmailServerProfile
from mailboxes import alertmail, alerts
from mailboxes.models import (
    Alert,
    EmailConfigurationSettings,
    EngineProcess,
    Mailbox,
    ServerCircuit,
    SyncState,
    User,
)
from mailboxes.roles import Role, set_role
from mailboxes.sync import worker
from mailboxes.sync.worker import Engine
from tests.conftest import Office, new_amara, new_office
from tests.office_mail import mail_through, mails
from tests.pages.conftest import works
from tests.servers import Scripted, SmtpSink, free_port

START = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)


@pytest.fixture
def office(transactional_db: None) -> Office:
    return new_office(new_amara())


@pytest.fixture
def noah(office: Office) -> User:
    return User.objects.create_user("noah", "noah@contoso.com", first_name="Noah", time_zone="Europe/Berlin")


@pytest.fixture
def sink(smtp_sink: SmtpSink, settings: LazySettings) -> SmtpSink:
    mail_through(smtp_sink, settings)
    return smtp_sink


def alert(owner: User | None, cause: str = "mailbox:1:incoming", **values: object) -> Alert:
    return Alert.objects.create(
        **{
            "cause": cause,
            "owner": owner,
            "title": "Receiving for Collection 1 stopped",
            "why": "The server refused the password.",
            "what_we_do": "Nothing more is tried.",
            "what_you_can_do": "Type the password again.",
            "since": START,
        }
        | values
    )


def look(at: datetime) -> None:
    """One round of an engine at this time."""
    with time_machine.travel(at, tick=False):
        alertmail.Postman(lambda: False).go_round(at)


def over(one: Alert, at: datetime) -> None:
    Alert.objects.filter(pk=one.pk).update(resolved_at=at, resolution="Mail was collected again.")


def told(sink: SmtpSink) -> list[tuple[str, str]]:
    """(to, subject) of each mail, in order."""
    return [(mail["To"], mail["Subject"].removeprefix("Sorting Office: ")) for mail in mails(sink)]


def text_of(mail: EmailMessage) -> str:
    return str(mail.get_content()).replace("\r\n", "\n")


def the_mail(sink: SmtpSink) -> EmailMessage:
    (mail,) = mails(sink)
    return mail


# --- when --------------------------------------------------------------------------------------------------


def test_what_lasts_for_the_grace_time_is_mailed_to_its_owner(noah: User, sink: SmtpSink) -> None:
    one = alert(noah)
    look(START + 14 * MINUTE)
    assert told(sink) == []
    look(START + 15 * MINUTE)
    look(START + 16 * MINUTE)
    assert told(sink) == [("noah@contoso.com", "Receiving for Collection 1 stopped")]
    one.refresh_from_db()
    assert one.mailed_at == START + 15 * MINUTE


def test_what_is_over_before_is_not_mailed_nor_that_it_is_over(noah: User, sink: SmtpSink) -> None:
    over(alert(noah), START + 10 * MINUTE)
    look(START + HOUR)
    assert told(sink) == []


def test_the_grace_time_is_the_settings(noah: User, sink: SmtpSink) -> None:
    EmailConfigurationSettings.load()
    EmailConfigurationSettings.objects.update(alert_mail_grace_minutes=0)
    alert(noah)
    look(START)
    assert len(told(sink)) == 1


def test_what_stays_open_is_mailed_once_a_day(noah: User, sink: SmtpSink) -> None:
    alert(noah)
    first = START + 15 * MINUTE
    for hours in range(50):
        look(first + hours * HOUR)
    assert len(told(sink)) == 3


def test_a_cause_that_comes_back_within_the_day_is_not_mailed_twice(noah: User, sink: SmtpSink) -> None:
    first = START + HOUR
    one = alert(noah)
    look(first)
    over(one, first + HOUR)
    alert(noah, since=first + 2 * HOUR)
    look(first + 5 * HOUR)
    assert len(told(sink)) == 1
    look(first + DAY)
    assert len(told(sink)) == 2


def test_that_it_is_over_is_told_once_when_it_has_been_so_for_as_long(noah: User, sink: SmtpSink) -> None:
    one = alert(noah)
    look(START + HOUR)
    over(one, START + 2 * HOUR)
    look(START + 2 * HOUR + 14 * MINUTE)
    assert len(told(sink)) == 1
    for minutes in (15, 16, 60):
        look(START + 2 * HOUR + minutes * MINUTE)
    assert told(sink)[1:] == [("noah@contoso.com", "Over: Receiving for Collection 1 stopped")]
    text = text_of(mails(sink)[1])
    assert "until Monday 23 November 2026, 12:00 (Europe/Berlin). Mail was collected again." in text


def test_nobody_hears_that_it_is_over_while_it_has_come_back(noah: User, sink: SmtpSink) -> None:
    one = alert(noah)
    look(START + HOUR)
    over(one, START + 2 * HOUR)
    back = alert(noah, since=START + 2 * HOUR + 5 * MINUTE)
    look(START + 3 * HOUR)
    assert len(told(sink)) == 1
    over(back, START + 3 * HOUR)
    look(START + 4 * HOUR)
    assert told(sink)[1:] == [("noah@contoso.com", "Over: Receiving for Collection 1 stopped")]


def test_what_was_over_long_ago_is_no_news(noah: User, sink: SmtpSink) -> None:
    one = alert(noah, mailed_at=START + HOUR)
    over(one, START + 2 * HOUR)
    look(START + 8 * DAY)
    assert told(sink) == []


# --- who and what --------------------------------------------------------------------------------------------


def test_a_letter_says_in_plain_words_what_the_page_says(
    noah: User, sink: SmtpSink, settings: LazySettings
) -> None:
    settings.SITE_URL = "https://office.contoso.com"
    alert(noah, server_words="NO [AUTHENTICATIONFAILED] go away")
    look(START + HOUR)
    mail = the_mail(sink)
    assert mail["Auto-Submitted"] == "auto-generated"
    assert mail["From"] == "Sorting Office <office@contoso.com>"
    assert mail.get_content_type() == "text/plain"
    text = text_of(mail)
    for said in (
        "Receiving for Collection 1 stopped\nSince: Monday 23 November 2026, 10:00 (Europe/Berlin)\n"
        "Why: The server refused the password.\nWhat we do: Nothing more is tried.\n"
        "What you can do: Type the password again.\n",
        "An email administrator can end these mails in Email Configuration Settings, under “Mail alerts",
    ):
        assert said in text
    assert "go away" not in text


@pytest.mark.parametrize(
    ("role", "page", "ends"),
    [
        (
            Role.USER,
            "under My mailbox:\nhttps://office.contoso.com/my-mailbox/\n",
            "An email administrator can",
        ),
        (Role.APPROVER, "under My mailbox:\n", "An email administrator can"),
        (Role.STAFF, "under Alerts:\nhttps://office.contoso.com/alerts/\n", "An email administrator can"),
        (Role.ADMINISTRATOR, "under Alerts:\n", "You can"),
    ],
)
def test_the_link_leads_to_a_page_that_the_person_may_see(
    role: Role, page: str, ends: str, noah: User, sink: SmtpSink, settings: LazySettings
) -> None:
    settings.SITE_URL = "https://office.contoso.com"
    set_role(noah, role)
    alert(noah)
    look(START + HOUR)
    text = text_of(the_mail(sink))
    assert page in text
    assert f"{ends} end these mails" in text
    assert (reverse("configuration") in text) is (role == Role.ADMINISTRATOR)


def test_without_an_address_of_the_site_the_page_is_named(noah: User, sink: SmtpSink) -> None:
    alert(noah)
    look(START + HOUR)
    text = text_of(the_mail(sink))
    assert "see My mailbox in Sorting Office" in text
    assert "http" not in text


def test_all_of_one_owner_stands_in_one_letter_errors_first(
    office: Office, noah: User, sink: SmtpSink
) -> None:
    alert(noah, "w", level="warning", title="Copies stay on the server")
    alert(noah, "e")
    alert(noah, "i", level="information", title="Nothing to do")
    alert(office.amara, "a")
    look(START + HOUR)
    assert sorted(told(sink)) == [
        ("amara@contoso.com", "Receiving for Collection 1 stopped"),
        ("noah@contoso.com", "2 alerts"),
    ]
    text = text_of(next(mail for mail in mails(sink) if mail["To"] == "noah@contoso.com"))
    assert 0 <= text.index("Receiving for") < text.index("Copies stay")
    assert "Nothing to do" not in text


def test_a_letter_about_very_many_tells_the_first_and_counts_the_others(noah: User, sink: SmtpSink) -> None:
    for number in range(alertmail.IN_FULL + 5):
        alert(noah, f"cause {number}")
    look(START + HOUR)
    assert "\n\nAnd 5 more.\n" in text_of(the_mail(sink))
    look(START + 2 * HOUR)
    assert len(told(sink)) == 1


def test_what_nobody_owns_goes_to_the_active_administrators(
    office: Office, noah: User, sink: SmtpSink
) -> None:
    hanna = User.objects.create_user("hanna", "hanna@contoso.com", is_superuser=True)
    User.objects.create_user("gone", "gone@contoso.com", is_superuser=True, is_active=False)
    alert(None, alerts.QUARANTINE, title="30 messages wait in quarantine", level="warning")
    look(START + HOUR)
    assert told(sink) == [(who.email, "30 messages wait in quarantine") for who in (office.amara, hanna)]
    assert "nobody owns what it is about and you administer email here" in text_of(mails(sink)[0])


@pytest.mark.parametrize("change", [{"is_active": False}, {"email": ""}])
def test_who_is_gone_or_has_no_address_gets_nothing(
    change: dict[str, Any], noah: User, sink: SmtpSink
) -> None:
    User.objects.filter(pk=noah.pk).update(**change)
    one = alert(noah)
    look(START + HOUR)
    one.refresh_from_db()
    assert (told(sink), one.mailed_at) == ([], None)


def test_nothing_is_mailed_when_the_settings_say_so(noah: User, sink: SmtpSink) -> None:
    EmailConfigurationSettings.load()
    EmailConfigurationSettings.objects.update(mail_alerts=False)
    alert(noah)
    look(START + HOUR)
    assert told(sink) == []


def test_without_a_mail_server_of_its_own_nothing_is_marked(noah: User) -> None:
    one = alert(noah)
    look(START + HOUR)
    one.refresh_from_db()
    assert one.mailed_at is None


# --- the mail server -------------------------------------------------------------------------------------------


def test_a_mail_server_that_is_away_is_tried_again_after_a_pause(
    noah: User,
    sink: SmtpSink,
    settings: LazySettings,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    one, gone = alert(noah), alert(noah, "gone", title="Gone", mailed_at=START)
    over(gone, START + MINUTE)
    monkeypatch.setattr(alertmail, "PAUSE_SECONDS", 1.5)
    postman = alertmail.Postman(lambda: False)
    settings.EMAIL_PORT = free_port()
    postman.go_round(START + HOUR)
    assert "Alerts could not be mailed, tried again later" in caplog.text
    settings.EMAIL_PORT = sink.port
    postman.go_round(START + HOUR)
    assert told(sink) == []
    time.sleep(1.6)
    postman.go_round(START + HOUR)
    assert told(sink) == [("noah@contoso.com", "Receiving for Collection 1 stopped")]
    assert "This is over:\n- Gone: until" in text_of(the_mail(sink))
    one.refresh_from_db()
    assert one.mailed_at == START + HOUR


def test_a_line_that_breaks_takes_the_mark_back(noah: User, sink: SmtpSink, settings: LazySettings) -> None:
    """The mail server greets, and hangs up at MAIL FROM; a mark of an earlier day stands again."""
    one, earlier = alert(noah), START - 2 * DAY
    Alert.objects.update(mailed_at=earlier)

    def play(connection: Any) -> None:
        connection.sendall(b"220 ready\r\n")
        with connection.makefile("rb") as lines:
            for line in lines:
                if line.upper().startswith(b"MAIL"):
                    marks.append(Alert.objects.get().mailed_at)
                    db.close()
                    return
                connection.sendall(b"250 ok\r\n")

    marks: list[Any] = []
    with Scripted(play) as server:
        settings.EMAIL_PORT = server.port
        look(START + HOUR)
    one.refresh_from_db()
    assert marks == [START + HOUR]
    assert one.mailed_at == earlier
    settings.EMAIL_PORT = sink.port
    look(START + 2 * HOUR)
    assert len(told(sink)) == 1


@pytest.mark.parametrize(
    ("verb", "answer", "again"),
    [
        ("RCPT", "550 5.1.1 No such person", False),
        ("RCPT", "450 4.2.0 Come again", True),
        ("DATA", "554 5.7.1 Not this", False),
        ("DATA", "451 4.3.0 Come again", True),
        ("MAIL", "550 5.7.1 Not from you", True),
    ],
)
def test_what_is_refused_for_good_is_not_tried_again_before_a_day_has_passed(
    verb: str, answer: str, again: bool, noah: User, sink: SmtpSink
) -> None:
    one = alert(noah)
    sink.refuse[verb] = answer
    look(START + HOUR)
    one.refresh_from_db()
    assert (one.mailed_at is None) is again
    sink.refuse.clear()
    look(START + 2 * HOUR)
    assert len(told(sink)) == again


def test_one_who_cannot_be_told_keeps_nobody_else_from_it(office: Office, noah: User, sink: SmtpSink) -> None:
    alert(noah, "first")
    alert(office.amara, "second", since=START + MINUTE)
    sink.refuse["RCPT", "noah@contoso.com"] = "450 4.2.0 Come again"
    look(START + HOUR)
    assert [to for to, _ in told(sink)] == ["amara@contoso.com"]


def test_an_administrator_who_cannot_be_told_does_not_have_the_others_told_twice(
    office: Office, sink: SmtpSink
) -> None:
    User.objects.create_user("hanna", "hanna@contoso.com", is_superuser=True)
    alert(None, alerts.QUARANTINE)
    sink.refuse["RCPT", "hanna@contoso.com"] = "450 4.2.0 Come again"
    look(START + HOUR)
    look(START + 2 * HOUR)
    assert [to for to, _ in told(sink)] == ["amara@contoso.com"]


def test_of_two_engines_one_mails(office: Office, noah: User, sink: SmtpSink) -> None:
    for number in range(20):
        alert(noah, f"open {number}")
        over(alert(noah, f"over {number}", mailed_at=START), START + MINUTE)
    EmailConfigurationSettings.load()
    both_have_looked = threading.Barrier(4)

    def one_engine() -> None:
        try:
            letters = alertmail.due(START + HOUR)
            both_have_looked.wait(10)
            sent.append(alertmail.send(letters, START + HOUR))
        finally:
            db.close()

    sent: list[bool] = []
    engines = [threading.Thread(target=one_engine) for _ in range(4)]
    for engine in engines:
        engine.start()
    for engine in engines:
        engine.join(30)
    assert sent == [True] * 4
    assert told(sink) == [("noah@contoso.com", "20 alerts")]


def test_the_end_of_synchronize_once_tells_what_is_due(noah: User, sink: SmtpSink) -> None:
    alert(noah)
    engine = Engine(1)
    engine.run_once()
    engine.shut_down()
    assert len(told(sink)) == 1


def test_a_slow_mail_server_holds_up_no_heartbeat(
    noah: User, sink: SmtpSink, settings: LazySettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    alert(noah)
    monkeypatch.setattr(worker, "HEARTBEAT_SECONDS", 0.1)
    asked = threading.Event()

    def play(connection: Any) -> None:
        asked.set()
        connection.recv(1024)

    with Scripted(play) as silent:
        settings.EMAIL_PORT, settings.EMAIL_TIMEOUT = silent.port, 4
        engine = Engine(1)
        thread = threading.Thread(target=engine.run)
        thread.start()
        try:
            assert asked.wait(10)
            beats = set()
            for _ in range(200):  # of a busy machine, too
                beats |= set(EngineProcess.objects.values_list("seen_at", flat=True))
                if len(beats) > 3:
                    break
                time.sleep(0.05)
            assert len(beats) > 3
            assert thread.is_alive()
        finally:
            assert engine.shut_down()
            thread.join(10)
    assert Alert.objects.get().mailed_at is None


# --- most mailboxes of a profile ---------------------------------------------------------------------------------


@pytest.fixture
def three(office: Office, noah: User) -> list[Mailbox]:
    """Three mailboxes of Noah's profile, which asks to be told; the fourth one was never tested."""
    EmailServerProfile.objects.filter(pk=office.profile.pk).update(send_alert_email=True, owner=noah)
    untested = User.objects.create_user("untested", "untested@contoso.com")
    works(office, untested.mailbox, status="not_run")
    chosen = [office.collection, office.support.mailbox, office.amara.mailbox]
    for mailbox in chosen:
        works(office, mailbox)
    return chosen


def fails(mailbox: Mailbox, at: datetime, **values: Any) -> None:
    states = SyncState.objects.filter(mailbox=mailbox, direction="incoming")
    why = {"failures": 1, "last_error": "The server refused the password.", "last_run_at": at}
    states.update(**why | {"failing_since": at} | values)


def test_when_most_of_its_mailboxes_failed_within_an_hour_the_owner_is_told_at_once(
    three: list[Mailbox], sink: SmtpSink
) -> None:
    fails(three[0], START)
    look(START + MINUTE)
    assert told(sink) == []
    fails(three[1], START + MINUTE)
    look(START + 2 * MINUTE)
    look(START + 3 * MINUTE)
    assert told(sink) == [("noah@contoso.com", "Most mailboxes of Head office fail")]
    one = Alert.objects.get()
    assert (one.cause, one.level) == (f"most-failing:{three[0].server_profile_id}", "error")
    assert one.why == "2 of 3 mailboxes fail. Most often: The server refused the password."
    assert one.times == 1


def test_a_direction_that_stopped_counts(three: list[Mailbox], sink: SmtpSink) -> None:
    fails(three[0], START, enabled=False)
    fails(three[1], START, failures=0, test_status="failure", enabled=False)
    look(START + MINUTE)
    assert len(told(sink)) == 1


def test_those_that_fail_since_longer_are_no_news_but_keep_it_open(
    three: list[Mailbox], sink: SmtpSink
) -> None:
    fails(three[0], START - 2 * HOUR, enabled=False)
    fails(three[1], START, enabled=False)
    look(START + MINUTE)
    assert not Alert.objects.exists()
    fails(three[0], START, enabled=False)
    look(START + MINUTE)
    look(START + 5 * HOUR)
    assert Alert.objects.get().resolved_at is None
    SyncState.objects.filter(mailbox=three[1]).update(failures=0, enabled=True)
    look(START + 6 * HOUR)
    assert Alert.objects.get().resolution == "No more than half of its mailboxes fail now."
    look(START + 7 * HOUR)
    assert [subject for _, subject in told(sink)] == [
        "Most mailboxes of Head office fail",
        "Over: Most mailboxes of Head office fail",
    ]


def test_a_server_in_trouble_for_longer_than_the_grace_time_counts_as_all(
    office: Office, three: list[Mailbox], noah: User, sink: SmtpSink
) -> None:
    ServerCircuit.objects.create(
        profile=office.profile, open_until=START + HOUR, since=START, reason="Nobody answers."
    )
    alert(noah, alerts.server_cause(office.profile.pk), title="The server is in trouble")
    look(START + 14 * MINUTE)
    assert told(sink) == []
    look(START + 15 * MINUTE)
    assert told(sink) == [("noah@contoso.com", "2 alerts")]
    assert "Its server is in trouble. Nobody answers." in text_of(the_mail(sink))


def test_a_profile_that_does_not_ask_raises_none_and_closes_its_own(
    office: Office, three: list[Mailbox], sink: SmtpSink
) -> None:
    for mailbox in three:
        fails(mailbox, START)
    look(START + MINUTE)
    assert Alert.objects.filter(resolved_at=None).count() == 1
    EmailServerProfile.objects.update(send_alert_email=False)
    look(START + 2 * MINUTE)
    assert Alert.objects.get().resolution == "The profile does not ask for this alert any more."
    look(START + 3 * MINUTE)
    assert Alert.objects.count() == 1


@pytest.mark.parametrize(
    "change", [{"is_active": False}, {"approval": "pending"}, {"connection_version": 99}]
)
def test_mailboxes_that_do_not_run_by_intention_do_not_count(
    change: dict[str, Any], three: list[Mailbox], sink: SmtpSink
) -> None:
    for mailbox in three[1:]:
        fails(mailbox, START)
    Mailbox.objects.filter(pk=three[2].pk).update(**change)
    look(START + MINUTE)
    assert not Alert.objects.exists()
