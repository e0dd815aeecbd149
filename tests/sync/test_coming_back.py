"""What comes back is tied to what was sent; reports settle it; *Replies only* keeps everything else away."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from mailboxes import alerts, outbox, quarantine
from mailboxes.models import (
    Alert,
    Answer,
    Delivery,
    EmailConfigurationSettings,
    Mailbox,
    Message,
    OutgoingMessage,
    OutgoingRecipient,
    Queue,
    User,
)
from mailboxes.parsing import parse
from mailboxes.sync import errands, ingest
from mailboxes.sync.resume import deliver_to
from mailboxes.writing import Person

from .conftest import Office, enable, letter

pytestmark = pytest.mark.django_db(transaction=True)


def sent(office: Office, mailbox: Mailbox, *to: str, state: str = "sent", **more: Any) -> OutgoingMessage:
    """A message of this mailbox as it stands after the server took it."""
    Mailbox.objects.filter(pk=mailbox.pk).update(outgoing_method="server_side", server_profile=office.profile)
    people = [Person("", one) for one in to or ("ines@example.org",)]
    message = outbox.send(
        Mailbox.objects.get(pk=mailbox.pk), to=people, subject="Our offer", text="Hello", **more
    )
    message.recipients.update(state=state, said="250 Ok")
    outbox.follow(message)
    return message


def own(office: Office, mailbox: Mailbox, account: str) -> Mailbox:
    """This mailbox is opened itself, on an account of its own."""
    office.dovecot.add_user(account, "correct horse")
    opened = office.opened(
        mailbox,
        incoming_method="server_side",
        server_profile=office.profile,
        allow_credentials=True,
        username=account,
        password="correct horse",
    )
    enable(opened)
    return opened


def replies_only(one: User | Queue) -> None:
    one.incoming_filter = "replies"
    one.full_clean()
    one.save()


def report(message: OutgoingMessage, *groups: str, envelope: str = "", message_id: str = "") -> bytes:
    """As Postfix writes it (RFC 3464); each group is about one recipient."""
    about = "\r\n\r\n".join(groups)
    known = f"Original-Envelope-Id: {envelope}\r\n" if envelope else ""
    returned = f"Message-ID: <{message_id}>\r\n" if message_id else ""
    sender = message.mailbox.email_address
    return (
        f"Return-Path: <>\r\nDelivered-To: {sender}\r\nFrom: MAILER-DAEMON@mx.contoso.com\r\nTo: {sender}\r\n"
        f"Subject: Undelivered\r\nMessage-ID: <{abs(hash((about, known, returned)))}@mx.contoso.com>\r\n"
        "MIME-Version: 1.0\r\n"
        'Content-Type: multipart/report; report-type=delivery-status; boundary="b"\r\n\r\n'
        "--b\r\nContent-Type: text/plain\r\n\r\nSorry\r\n"
        f"--b\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; mx\r\n{known}\r\n{about}\r\n"
        f"--b\r\nContent-Type: text/rfc822-headers\r\n\r\n{returned}Subject: Our offer\r\n\r\n--b--\r\n"
    ).encode()


def about(address: str, action: str = "failed", status: str = "5.1.1", said: str = "no such user") -> str:
    return (
        f"Final-Recipient: rfc822; {address}\r\nAction: {action}\r\nStatus: {status}\r\n"
        f"Diagnostic-Code: smtp; {said}"
    )


def arrives(office: Office, *messages: bytes) -> None:
    office.arrives(*messages)
    office.again()


def tied() -> dict[str, tuple[int, str]]:
    return {a.message.subject: (a.outgoing_id, a.known_by) for a in Answer.objects.select_related("message")}


def recipients(message: OutgoingMessage) -> dict[str, tuple[str, str]]:
    rows = OutgoingRecipient.objects.filter(message=message)
    return {one.address: (one.state, one.said) for one in rows}


@pytest.fixture
def support(office: Office) -> Queue:
    return office.queue("support")


def of(message: OutgoingMessage) -> OutgoingMessage:
    return OutgoingMessage.objects.get(pk=message.pk)


# --- how it is tied ---


def test_an_answer_is_tied_by_each_of_its_marks(office: Office, support: Queue) -> None:
    first, second = sent(office, support.mailbox), sent(office, support.mailbox)
    here = "support@contoso.com"
    arrives(
        office,
        letter("direct", to=here, In_Reply_To=f"<{first.message_id}>", References=f"<{second.message_id}>"),
        letter("thread", to=here, In_Reply_To="<x@y>", References=f"<{second.message_id}> <x@y>"),
        letter(f"Re: Our offer [#{first.token}]", to=here),
        letter("plus", to=f"support+so-{second.token.upper()}@contoso.com"),
        letter("new", to=here),
    )
    assert tied() == {
        "direct": (first.pk, "In-Reply-To"),
        "thread": (second.pk, "References"),
        f"Re: Our offer [#{first.token}]": (first.pk, "token in the subject"),
        "plus": (second.pk, "token in the address"),
    }
    assert len(office.delivered()) == 5
    assert not Answer.objects.filter(is_report=True).exists()


def test_what_names_no_mail_of_ours_ties_nothing(office: Office, support: Queue) -> None:
    ours = sent(office, support.mailbox)
    draft = outbox.save_draft(OutgoingMessage(mailbox=support.mailbox), {})
    arrives(
        office,
        letter("guessed", to="support@contoso.com", In_Reply_To="<0@contoso.com> <> <@>"),
        letter("part", to="support@contoso.com", In_Reply_To=f"<{ours.message_id[:-1]}>"),
        letter(f"[#{'a' * 20}] [#{draft.token}]", to="support@contoso.com"),
    )
    assert tied() == {}
    assert len(office.delivered()) == 3


def test_our_own_mail_that_is_collected_here_does_not_answer_itself(office: Office, support: Queue) -> None:
    EmailConfigurationSettings.objects.update(track_by_token="subject")
    office.user("noah")
    ours = sent(office, support.mailbox, "noah@contoso.com")
    arrives(office, ours.raw)
    assert tied() == {}
    assert office.delivered() == {f"Our offer [#{ours.token}]": ["Noah"]}


def test_a_message_tried_again_is_tied_anew_and_once(office: Office, support: Queue) -> None:
    ours = sent(office, support.mailbox)
    arrives(office, letter("Whose", to="x@example.net", In_Reply_To=f"<{ours.message_id}>"))
    message = Message.objects.get()
    assert message.state == "quarantined"
    (outcome,) = quarantine.all_again([message])
    assert not outcome.has_left
    deliver_to(message, support.mailbox, office.amara)
    assert tied() == {"Whose": (ours.pk, "In-Reply-To")}


def test_as_many_queries_however_many_messages_and_none_before_anything_is_sent(
    office: Office, support: Queue
) -> None:
    def asked(number: int) -> list[str]:
        read = [
            (Message(mailbox=office.forward), parse(letter(f"[#{token}] {n}", In_Reply_To=f"<{n}@x>")))
            for n in range(number)
        ]
        sorter = ingest.Sorter(office.forward)
        with CaptureQueriesContext(connection) as queries:
            sorter.decide(read)
        return [query["sql"] for query in queries]

    token = "a" * 20
    assert len(asked(3)) == 2
    sent(office, support.mailbox)
    assert len(asked(1)) == len(asked(50)) == 4
    assert sum("outgoingmessage" in sql for sql in asked(50)) == 2


# --- reports ---


def test_a_report_settles_each_recipient_that_it_names(office: Office, support: Queue) -> None:
    ours = sent(office, support.mailbox, "ben@fabrikam.com", "ava@fabrikam.com", "kim@fabrikam.com")
    arrives(
        office,
        report(
            ours,
            about("Ben@Fabrikam.com"),
            about("ava@fabrikam.com", "delayed", "4.4.1", "connection timed out"),
            about("kim@fabrikam.com", "relayed", "2.0.0", "250 ok"),
            about("stranger@fabrikam.com"),
            envelope=ours.token,
        ),
    )
    assert tied() == {"Undelivered": (ours.pk, "delivery report")}
    assert recipients(ours) == {
        "ben@fabrikam.com": ("bounced", "5.1.1 no such user"),
        "ava@fabrikam.com": ("sent", "Delayed: 4.4.1 connection timed out"),
        "kim@fabrikam.com": ("sent", "250 Ok"),
    }
    assert ours.recipients.get(confirmed_at__isnull=False).address == "kim@fabrikam.com"
    message = of(ours)
    assert message.state == "bounced"
    assert message.why == (
        "It came back: ben@fabrikam.com could not be reached. The server said: 5.1.1 no such user"
    )
    assert "Check how the address is written" in message.advice
    assert not Alert.objects.exists()
    assert office.delivered() == {"Undelivered": ["Support"]}  # as mail, as ever


@pytest.mark.parametrize("mark", ["envelope", "message_id"])
def test_a_report_settles_what_was_uncertain(office: Office, support: Queue, mark: str) -> None:
    arrived = sent(office, support.mailbox, "ben@fabrikam.com", state="uncertain")
    bounced = sent(office, support.mailbox, "ava@fabrikam.com", state="uncertain")
    alerts.outbox_uncertain(support.mailbox)
    assert Alert.objects.filter(resolved_at=None).count() == 1
    named = "token" if mark == "envelope" else "message_id"
    arrives(
        office,
        report(arrived, about("ben@fabrikam.com", "delivered"), **{mark: getattr(arrived, named)}),
        report(bounced, about("ava@fabrikam.com"), **{mark: getattr(bounced, named)}),
    )
    assert [of(arrived).state, of(bounced).state] == ["sent", "bounced"]
    assert of(arrived).recipients.get().confirmed_at
    assert not Alert.objects.filter(resolved_at=None).exists()


def test_a_report_is_believed_of_nobody_else_and_of_nothing_that_waits(
    office: Office, support: Queue
) -> None:
    ours = sent(office, support.mailbox, "ben@fabrikam.com")
    other = sent(office, support.mailbox, "ava@fabrikam.com")
    waits = sent(office, support.mailbox, "kim@fabrikam.com", state="queued")
    arrives(
        office,
        report(ours, about("ava@fabrikam.com"), about("kim@fabrikam.com"), envelope=ours.token),
        report(ours, about("ben@fabrikam.com"), envelope="a" * 20),
        report(ours, about("ben@fabrikam.com"), message_id="guessed@contoso.com"),
        report(ours, about("", "failed"), about("ben@fabrikam.com", "", ""), envelope=ours.token),
        report(waits, about("kim@fabrikam.com"), envelope=waits.token),
    )
    assert [of(one).state for one in (ours, other, waits)] == ["sent", "sent", "queued"]
    assert Message.objects.count() == 5


def test_a_copy_of_a_report_does_not_undo_that_it_was_sent_again(office: Office, support: Queue) -> None:
    ours = sent(office, support.mailbox, "ben@fabrikam.com")
    bounce = report(ours, about("ben@fabrikam.com"), envelope=ours.token)
    arrives(office, bounce)
    assert of(ours).state == "bounced"
    outbox.send_again(ours)
    ours.recipients.update(state="sent")
    outbox.follow(of(ours))
    arrives(office, bounce)
    assert Message.objects.count() == 2
    assert of(ours).state == "sent"


def test_a_bounce_of_exim_names_its_recipients_in_a_field(office: Office, support: Queue) -> None:
    ours = sent(office, support.mailbox, "ben@fabrikam.com", "ava@fabrikam.com")
    fields = {"References": f"<{ours.message_id}>", "Delivered_To": "support@contoso.com"}
    arrives(office, letter("By a person", X_Failed_Recipients="ben@fabrikam.com", **fields))
    assert of(ours).state == "sent"
    arrives(office, letter("Failed", X_Failed_Recipients="ben@fabrikam.com", **fields, Return_Path="<>"))
    assert {address: state for address, (state, _) in recipients(ours).items()} == {
        "ben@fabrikam.com": "bounced",
        "ava@fabrikam.com": "sent",
    }
    assert Answer.objects.get(message__subject="Failed").is_report


def test_nothing_automatic_answers_a_machine(office: Office, support: Queue) -> None:
    arrives(
        office,
        letter("Away", to="support@contoso.com", Auto_Submitted="auto-replied"),
        letter("A question", to="support@contoso.com"),
    )
    away, question = (Message.objects.get(subject=subject) for subject in ("Away", "A question"))
    with pytest.raises(ValidationError, match="its Auto-Submitted says auto-replied"):
        sent(office, support.mailbox, answers=away, is_automatic=True)
    assert sent(office, support.mailbox, answers=question, is_automatic=True).state == "sent"
    assert sent(office, support.mailbox, answers=away).state == "sent"  # a person may


# --- replies only ---


def test_who_takes_replies_only_gets_answers_to_own_messages_and_nothing_else(
    office: Office, support: Queue
) -> None:
    noah = office.user("noah")
    replies_only(support)
    ours, theirs = sent(office, support.mailbox), sent(office, noah.mailbox)
    both = "support@contoso.com, noah@contoso.com"
    arrives(
        office,
        letter("new", to="support@contoso.com"),
        letter("new to both", to=both),
        letter("answers Noah", to=both, In_Reply_To=f"<{theirs.message_id}>"),
        letter("answers", to=both, In_Reply_To=f"<{ours.message_id}>"),
        letter(
            "answers both",
            to=both,
            In_Reply_To=f"<{theirs.message_id}>",
            References=f"<{ours.message_id}> <{theirs.message_id}>",
        ),
        report(ours, about("ines@example.org"), envelope=ours.token),
    )
    assert office.delivered() == {
        "new to both": ["Noah"],
        "answers Noah": ["Noah"],
        "answers": ["Noah", "Support"],
        "answers both": ["Noah", "Support"],
        "Undelivered": ["Support"],
    }
    kept_out = Message.objects.get(subject="new")
    assert (kept_out.state, kept_out.reason, kept_out.discarded_by) == ("discarded", "not_a_reply", None)
    assert kept_out.discarded_at
    assert "Support takes Replies only (Convert incoming email to activities)" in kept_out.discard_reason
    assert "Support takes Replies only" in Message.objects.get(subject="new to both").considered
    assert office.on_server() == []  # disposed of as what is delivered


def test_nobody_who_waits_is_passed_over_for_one_who_takes_replies_only(
    office: Office, support: Queue
) -> None:
    replies_only(support)
    noah = office.user("noah", approval="pending")
    arrives(office, letter("new", to="support@contoso.com, noah@contoso.com"))
    message = Message.objects.get()
    assert (message.state, message.reason) == ("quarantined", "address_pending")
    assert message.waiting_for == noah.mailbox


@pytest.mark.parametrize("kind", ["user", "queue"])
def test_in_an_own_mailbox_the_copy_stays_untouched(office: Office, kind: str) -> None:
    one = office.user("noah") if kind == "user" else office.queue("noah")
    account = f"{office.account}own"
    mailbox = own(office, one.mailbox, account)
    replies_only(one)
    ours = sent(office, mailbox)
    office.dovecot.append_many(
        account, [letter("private"), letter("answers", In_Reply_To=f"<{ours.message_id}>")]
    )
    mailbox.states.update(next_run_at=None)
    office.synchronize()
    office.synchronize()
    assert office.delivered() == {"answers": ["Noah"]}
    message = Message.objects.get(subject="private")
    assert (message.state, message.reason, message.disposed_at) == ("discarded", "not_a_reply", None)
    assert Message.objects.get(subject="answers").disposed_at
    assert seen_flags(office, account) == [False, True]
    state = mailbox.states.get(direction="incoming")
    left = dict(errands._left([state], EmailConfigurationSettings.load()))
    assert list(left[errands.Left.COPIES]) == []


def seen_flags(office: Office, account: str) -> list[bool]:
    return ["\\Seen" in str(one.flags) for one in office.dovecot.messages(account)]


def test_what_was_kept_out_can_be_put_back_and_delivered_by_hand(
    office: Office, support: Queue, client: Client
) -> None:
    replies_only(support)
    arrives(office, letter("new", to="support@contoso.com"))
    message = Message.objects.get()
    client.force_login(office.amara)
    assert "Support takes Replies only" in client.get(reverse("message", args=[message.pk])).content.decode()
    quarantine.put_back(message)
    office.again()
    message.refresh_from_db()
    assert (message.state, message.discard_reason) == ("quarantined", "")  # no engine takes it away again
    (outcome,) = quarantine.all_again([message])
    assert outcome.has_left
    assert outcome.sentence.startswith("It was discarded by itself.")
    message.refresh_from_db()
    quarantine.put_back(message)
    deliver_to(message, support.mailbox, office.amara)
    assert office.delivered() == {"new": ["Support"]}
    message.refresh_from_db()
    assert (message.state, message.reason) == ("delivered", "")


def test_with_all_messages_again_what_is_tried_again_is_delivered(office: Office, support: Queue) -> None:
    replies_only(support)
    arrives(office, letter("new", to="support@contoso.com"))
    message = Message.objects.get()
    Queue.objects.update(incoming_filter="all")
    quarantine.put_back(message)
    quarantine.all_again([message])
    assert Delivery.objects.get().mailbox == support.mailbox


# --- the conversation ---


def test_a_conversation_shows_what_its_viewer_may_see(office: Office, support: Queue, client: Client) -> None:
    noah, hanna = office.user("noah"), office.user("hanna")
    support.members.add(noah)
    question = letter("A question", to="support@contoso.com, hanna@contoso.com")
    arrives(office, question)
    asked = Message.objects.get()
    ours = sent(office, support.mailbox, answers=asked)
    arrives(
        office,
        letter("Thanks", to="support@contoso.com", In_Reply_To=f"<{ours.message_id}>"),
        letter("Another", to="support@contoso.com"),
    )
    thanks = Message.objects.get(subject="Thanks")
    more = sent(office, support.mailbox, answers=thanks)
    assert more.conversation == ours.conversation

    client.force_login(noah)
    page = client.get(reverse("message", args=[thanks.pk]))
    turns = page.context["conversation"]
    assert [(turn.subject, turn.is_ours, turn.is_this) for turn in turns if not turn.is_ours] == [
        ("A question", False, False),
        ("Thanks", False, True),
    ]
    assert [turn.pk for turn in turns if turn.is_ours] == [ours.pk, more.pk]
    assert 'id="h-conversation"' in page.content.decode()
    assert "known by: In-Reply-To" in page.content.decode()

    client.force_login(hanna)  # the question is hers, too; Support's answers are not
    page = client.get(reverse("message", args=[asked.pk]))
    assert [turn.subject for turn in page.context["conversation"]] == ["A question"]
    assert 'id="h-conversation"' not in page.content.decode()


def test_the_page_of_a_report_says_what_it_is_about(office: Office, support: Queue, client: Client) -> None:
    ours = sent(office, support.mailbox, "ben@fabrikam.com")
    arrives(
        office,
        report(ours, about("ben@fabrikam.com"), envelope=ours.token),
        letter("Away", to="support@contoso.com", Auto_Submitted="auto-replied"),
    )
    client.force_login(office.amara)
    page, away = (
        client.get(reverse("message", args=[Message.objects.get(subject=subject).pk])).content.decode()
        for subject in ("Undelivered", "Away")
    )
    assert f'A delivery report on <a href="/outbox/{ours.pk}/">' in page
    assert "Automatic mail: its Auto-Submitted says auto-replied." in away


def test_what_fails_after_it_was_handed_on_did_not_arrive(office: Office, support: Queue) -> None:
    ours = sent(office, support.mailbox, "kim@fabrikam.com")
    arrives(
        office, report(ours, about("kim@fabrikam.com", "relayed", "2.0.0", "250 ok"), envelope=ours.token)
    )
    assert ours.recipients.get().confirmed_at
    arrives(office, report(ours, about("kim@fabrikam.com"), envelope=ours.token))
    assert (ours.recipients.get().state, ours.recipients.get().confirmed_at) == ("bounced", None)
