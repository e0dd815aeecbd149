"""A forgotten password: the link by mail, over a real SMTP server; and whom to ask where there is no mail."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from datetime import timedelta
from email.message import EmailMessage
from typing import Any

import pytest
import time_machine
from django.conf import LazySettings
from django.core.checks import run_checks
from django.test import Client
from django.utils import timezone

from emailprofiles.wire import Security
from mailboxes import post
from mailboxes.models import SignInEvent, SignInLink, User
from tests.office_mail import mail_through, mails
from tests.servers import Certificates, Scripted, SmtpSink, free_port

OLD, NEW = "Feldsalat und Kresse", "Postkutsche im Regen"


@pytest.fixture
def noah(transactional_db: None) -> User:
    return User.objects.create_user("noah", "noah@contoso.com", OLD, first_name="Noah")


@pytest.fixture
def sink(smtp_sink: SmtpSink, settings: LazySettings) -> SmtpSink:
    mail_through(smtp_sink, settings)
    return smtp_sink


@pytest.fixture(autouse=True)
def _no_post_is_left() -> Iterator[None]:
    """The threads of the post end before the database does."""
    yield
    until(lambda: not posts())


def posts() -> list[Any]:
    return [thread for thread in post.threading.enumerate() if isinstance(thread, post.Dispatch)]


def until(condition: Any) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def ask(email: str = "noah@contoso.com", **meta: str) -> Any:
    answer = Client().post("/password/forgotten/", {"email": email}, **meta)
    until(lambda: not posts())
    return answer


def link_in(mail: EmailMessage) -> str:
    return re.findall(r"\nhttp://testserver(/sign-in/link/\S+/)\s", mail.get_content())[0]


def test_the_sign_in_page_leads_to_the_mail(client: Client, sink: SmtpSink) -> None:
    page = client.get("/sign-in/").content.decode()
    assert 'or use <a href="/password/forgotten/">reset by email</a>' in page


def test_a_link_comes_by_mail_and_works_once(noah: User, sink: SmtpSink) -> None:
    answer = ask("Noah@Contoso.com")
    assert answer.url == "/password/forgotten/sent/"
    assert "a mail with a link is on its way" in Client().get(answer.url).content.decode()
    (mail,) = mails(sink)
    assert mail["To"] == "noah@contoso.com"
    assert mail["From"] == "Sorting Office <office@contoso.com>"
    assert mail["Auto-Submitted"] == "auto-generated"
    assert mail.get_content_type() == "text/plain"
    assert "for the user name noah" in mail.get_content()
    path = link_in(mail)
    answer = Client().post(path, {"password": NEW, "password_again": NEW}, follow=True)
    assert "Your new password is stored" in answer.content.decode()
    assert Client().get(path).status_code == 404
    noah.refresh_from_db()
    assert noah.check_password(NEW)


def test_an_address_that_nobody_has_is_answered_in_the_same_way(noah: User, sink: SmtpSink) -> None:
    known, unknown = ask(), ask("nobody@contoso.com")
    assert (known.status_code, known.url, known.content) == (
        unknown.status_code,
        unknown.url,
        unknown.content,
    )
    assert [mail["To"] for mail in mails(sink)] == ["noah@contoso.com"]


def test_who_may_not_sign_in_gets_no_link(noah: User, sink: SmtpSink) -> None:
    noah.is_active = False
    noah.save()
    assert ask().url == "/password/forgotten/sent/"
    assert mails(sink) == []


def test_within_five_minutes_no_second_mail_is_sent_and_the_first_link_stays(
    noah: User, sink: SmtpSink
) -> None:
    now = timezone.now()
    with time_machine.travel(now):
        ask()
        ask()
        assert len(mails(sink)) == 1
    with time_machine.travel(now + timedelta(minutes=6)):
        assert Client().get(link_in(mails(sink)[0])).status_code == 200
        ask()
        first, second = (link_in(mail) for mail in mails(sink))
        assert Client().get(first).status_code == 404
        assert Client().get(second).status_code == 200


def test_one_address_cannot_ask_for_many(noah: User, sink: SmtpSink) -> None:
    answers = [ask(f"person{number}@contoso.com") for number in range(11)]
    assert [answer.status_code for answer in answers] == [302] * 10 + [429]
    assert "Too many links were asked for" in answers[-1].content.decode()
    assert ask(REMOTE_ADDR="198.51.100.7").status_code == 302
    with time_machine.travel(timezone.now() + timedelta(minutes=61)):
        assert ask().status_code == 302


def test_what_is_no_address_is_named(sink: SmtpSink) -> None:
    answer = ask("noah")
    assert answer.status_code == 422
    assert "Enter a valid email address" in answer.content.decode()


@pytest.mark.parametrize("email", ["noah@contoso.com", "nobody@contoso.com"])
def test_a_mail_server_that_is_away_is_said_to_everyone(
    noah: User, sink: SmtpSink, settings: LazySettings, email: str, caplog: pytest.LogCaptureFixture
) -> None:
    settings.EMAIL_PORT = free_port()
    answer = ask(email)
    assert answer.status_code == 503
    assert "could not be reached, so no mail was sent" in answer.content.decode()
    assert "could not be sent" in caplog.text
    assert not SignInLink.objects.exists()


def test_a_mail_server_that_says_nothing_holds_nobody_up(
    noah: User, sink: SmtpSink, settings: LazySettings
) -> None:
    with Scripted(lambda connection: connection.recv(1024)) as silent:
        settings.EMAIL_PORT, settings.EMAIL_TIMEOUT = silent.port, 1
        began = time.monotonic()
        assert ask().status_code == 503
        assert time.monotonic() - began < 5


def test_a_mail_that_is_refused_goes_to_the_log_and_tells_nobody_anything(
    noah: User, sink: SmtpSink, caplog: pytest.LogCaptureFixture
) -> None:
    sink.refuse["RCPT"] = "550 5.1.1 No such person"
    assert ask().url == "/password/forgotten/sent/"
    assert "A mail of the office could not be sent" in caplog.text
    assert "No such person" in caplog.text


def test_the_certificate_of_a_private_authority_is_verified(
    noah: User, certificates: Certificates, settings: LazySettings
) -> None:
    secured = SmtpSink(Security.STARTTLS, certificates.server_context(), {"office": "Kohlrabi 5"})
    with secured as sink:
        mail_through(sink, settings)
        settings.EMAIL_USE_TLS = True
        settings.EMAIL_HOST_USER, settings.EMAIL_HOST_PASSWORD = "office", "Kohlrabi 5"
        assert ask().status_code == 503
        settings.TLS_CA_FILE = certificates.ca_file
        assert ask().status_code == 302
        assert len(sink.received) == 1


def test_links_lead_to_a_host_of_ours(noah: User, sink: SmtpSink, settings: LazySettings) -> None:
    settings.ALLOWED_HOSTS = ["office.contoso.com"]
    assert ask(HTTP_HOST="evil.example").status_code == 400
    assert ask(HTTP_HOST="office.contoso.com", HTTP_X_FORWARDED_HOST="evil.example").status_code == 302
    assert "http://office.contoso.com/sign-in/link/" in mails(sink)[0].get_content()


def test_links_begin_with_the_address_of_the_site_where_it_is_set(
    noah: User, sink: SmtpSink, settings: LazySettings
) -> None:
    settings.SITE_URL = "https://office.contoso.com"
    ask()
    assert "\nhttps://office.contoso.com/sign-in/link/" in mails(sink)[0].get_content()


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"ALLOWED_HOSTS": ["*"]}, True),
        ({"ALLOWED_HOSTS": [".contoso.com"]}, True),
        ({"ALLOWED_HOSTS": ["office.contoso.com"]}, False),
        ({"ALLOWED_HOSTS": ["*"], "SITE_URL": "https://office.contoso.com"}, False),
        ({"ALLOWED_HOSTS": ["*"], "EMAIL_URL": ""}, False),
    ],
)
def test_who_allows_any_name_and_sends_links_must_say_where_they_lead(
    db: None, settings: LazySettings, changes: dict[str, Any], complaint: bool
) -> None:
    for name, value in ({"EMAIL_URL": "smtp://127.0.0.1"} | changes).items():
        setattr(settings, name, value)
    assert ("sortingoffice.E006" in [found.id for found in run_checks()]) is complaint


@pytest.mark.parametrize(("attempts", "per_address"), [(0, 50), (5, 4)])
def test_a_throttle_that_makes_no_sense_is_named(
    db: None, settings: LazySettings, attempts: int, per_address: int
) -> None:
    settings.SIGN_IN_ATTEMPTS, settings.SIGN_IN_ATTEMPTS_PER_ADDRESS = attempts, per_address
    assert "sortingoffice.E007" in [found.id for found in run_checks()]


def test_without_mail_the_page_says_whom_to_ask(client: Client, db: None) -> None:
    assert (
        "Ask an administrator of this installation: they can make" in client.get("/sign-in/").content.decode()
    )
    for page in (
        client.get("/password/forgotten/"),
        client.post("/password/forgotten/", {"email": "a@b.example"}),
    ):
        assert page.status_code == 200
        assert "Ask an administrator of this installation" in page.content.decode()
        assert "sends no mail of its own" in page.content.decode()


def test_what_an_administrator_does_is_told_by_mail_too(noah: User, sink: SmtpSink) -> None:
    amara = User.objects.create_user("amara", "amara@contoso.com", first_name="Amara", is_superuser=True)
    browser = Client()
    browser.force_login(amara)
    page = browser.post(f"/users/{noah.pk}/sign-in-link/").content.decode()
    until(lambda: not posts())
    assert "now by mail to noah@contoso.com" in page
    (mail,) = mails(sink)
    assert "Amara made a sign-in link. This concerns the user name noah." in mail.get_content()
    assert "sign-in/link" not in mail.get_content()
    assert SignInEvent.objects.get().kind == "link_made"
