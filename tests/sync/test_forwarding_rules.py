"""The recipes of the help, as they are printed there, on a real Postfix and a real Dovecot with Sieve."""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from django.template.loader import render_to_string

from mailboxes.handbook import topic
from mailboxes.models import Delivery, Message, MessageState
from tests.mailhost import MailHost, needs_a_mail_host
from tests.servers import Certificates, SmtpSink

from .conftest import Office, letter, office_on

pytestmark = pytest.mark.django_db(transaction=True)

Made = Callable[[dict[str, str]], tuple[MailHost, Office]]
FORWARD = "forwardmailbox@contoso.com"
LIST = "everyone@lists.example.org"
PEOPLE = ("noah@contoso.com", "priya@contoso.com", "support@contoso.com")


def listings() -> dict[str, dict[str, str]]:
    """What the page on forwarding rules tells people to write: recipe → path → text."""
    page = render_to_string("mailboxes/help/forwarding-rules.html", {"topic": topic("forwarding-rules")})
    found: dict[str, dict[str, str]] = {}
    shape = r'<figcaption>(/[^<]+)</figcaption>\s*<pre class="words" id="(\w+)-[\w-]+">(.*?)</pre>'
    for path, recipe, text in re.findall(shape, page, re.DOTALL):
        found.setdefault(recipe, {})[path] = html.unescape(text)
    return found


@pytest.fixture
def office_behind(transactional_db: None, certificates: Certificates) -> Iterator[Made]:
    """Makes the office of Noah, Priya and the queue Support, on a mail host that follows these recipes."""
    needs_a_mail_host()
    with ExitStack() as running:

        def made(files: dict[str, str]) -> tuple[MailHost, Office]:
            host = running.enter_context(MailHost(certificates, files))
            for address in PEOPLE:
                host.dovecot.add_user(address, "correct horse")
            office = office_on(host.dovecot, FORWARD)
            for user in ("noah", "priya"):
                office.user(user)
            office.queue("support")
            return host, office

        yield made


def test_the_sieve_script_leads_to_each_person_even_if_nobody_is_named(office_behind: Made) -> None:
    host, office = office_behind(listings()["sieve"])
    host.takes(letter("For one", to=LIST), "noah@contoso.com")
    host.takes(letter("For two", to=LIST), "priya@contoso.com", "support@contoso.com")
    host.takes(letter("For the box", to=FORWARD), FORWARD)
    host.holds(FORWARD, 4)
    assert len(host.holds("noah@contoso.com", 1)) == 1
    office.synchronize()
    assert office.delivered() == {"For one": ["Noah"], "For two": ["Priya", "Support"]}
    assert set(Delivery.objects.values_list("header", flat=True)) <= {
        "Delivered-To",
        "X-Sieve-Redirected-From",
    }
    assert [kept.raw.count(b"Subject: For the box") for kept in office.on_server()] == [1]


def test_the_postfix_recipe_leads_to_each_person_even_if_nobody_is_named(office_behind: Made) -> None:
    host, office = office_behind(listings()["postfix"])
    host.takes(letter("For one", to=LIST), "noah@contoso.com")
    host.takes(letter("For two", to=LIST), "priya@contoso.com", "support@contoso.com")
    host.holds(FORWARD, 3)
    host.holds("support@contoso.com", 1)
    office.synchronize()
    assert office.delivered() == {"For one": ["Noah"], "For two": ["Priya", "Support"]}
    assert set(Delivery.objects.values_list("header", flat=True)) == {"X-Original-To"}
    assert office.on_server() == []


def test_only_the_forward_mailbox_is_told_for_whom_a_mail_was(office_behind: Made) -> None:
    host, _office = office_behind(listings()["postfix"])
    host.takes(letter("For two", to=LIST), "noah@contoso.com", "priya@contoso.com")
    for person in ("noah@contoso.com", "priya@contoso.com"):
        (kept,) = host.holds(person, 1)
        assert b"X-Original-To" not in kept.raw


def test_the_postfix_recipe_for_a_forward_mailbox_elsewhere(office_behind: Made, smtp_sink: SmtpSink) -> None:
    recipes = listings()["postfix"] | listings()["elsewhere"]
    transport = recipes["/etc/postfix/transport"]
    assert "[mail.example.net]:25" in transport
    transport = transport.replace("[mail.example.net]:25", f"[{smtp_sink.host}]:{smtp_sink.port}")
    host, office = office_behind(recipes | {"/etc/postfix/transport": transport})
    host.takes(letter("For two", to=LIST), "noah@contoso.com", "support@contoso.com")
    smtp_sink.holds(2)
    office.arrives(*(received.raw for received in smtp_sink.received))
    office.synchronize()
    assert office.delivered() == {"For two": ["Noah", "Support"]}


def test_a_blind_copy_by_postfix_says_for_whom_it_was_only_in_to_and_cc(office_behind: Made) -> None:
    blind = {
        "/etc/postfix/main.cf": "recipient_bcc_maps = texthash:/etc/postfix/copies\n",
        "/etc/postfix/copies": f"noah@contoso.com {FORWARD}\n",
    }
    host, office = office_behind(listings()["postfix"] | blind)
    host.takes(letter("Written to Noah", to="noah@contoso.com"), "noah@contoso.com")
    host.takes(letter("Written to a list", to=LIST), "noah@contoso.com")
    host.holds(FORWARD, 2)
    office.synchronize()
    assert office.delivered() == {"Written to Noah": ["Noah"]}
    (waiting,) = Message.objects.filter(state=MessageState.QUARANTINED)
    assert (waiting.subject, waiting.reason_label) == ("Written to a list", "No recipient matched")
