"""The outbox leaves in order, each message once; refusals at every verb; what asks a person, and what waits."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest
from django.core.exceptions import ValidationError
from django.db.models import F
from django.utils import timezone

from emailprofiles.models import EmailServerProfile
from mailboxes import outbox
from mailboxes.models import (
    Alert,
    ConfigurationTest,
    OutgoingMessage,
    OutgoingRecipient,
    ServerCircuit,
    SyncState,
)
from mailboxes.standing import Office
from mailboxes.sync import leases, sending
from mailboxes.sync.worker import Engine
from mailboxes.writing import Person
from tests.postbox import Postbox
from tests.servers import free_port

from .sending import Sender, of, people, sender_on, subjects

pytestmark = pytest.mark.django_db(transaction=True)


def test_many_messages_leave_in_order_on_one_connection(sender: Sender, postbox: Postbox) -> None:
    for _ in range(120):  # more than two portions
        sender.write()
    summary = sender.run()
    assert summary.sent == 120
    assert subjects(postbox.taken) == [f"Number {n}" for n in range(1, 121)]
    assert postbox.sessions == 1
    assert sender.count() == {"sent": 120}
    one = OutgoingMessage.objects.first()
    assert one is not None
    assert one.finished_at
    assert one.recipients.get().said == "250 2.0.0 Ok: queued as 4711"


def test_the_message_id_is_fixed_before_the_first_attempt(sender: Sender, postbox: Postbox) -> None:
    message = sender.write()
    before = message.message_id
    assert before.endswith("@contoso.com")
    postbox.says["."] = b"451 later\r\n"
    sender.run()
    del postbox.says["."]
    sender.later()
    assert of(message).message_id == before
    assert f"Message-ID: <{before}>".encode() in postbox.taken[0]


def test_messages_per_cycle_let_others_have_their_turn_and_all_leave(
    sender: Sender, postbox: Postbox
) -> None:
    EmailServerProfile.objects.update(messages_per_cycle=3)
    for _ in range(8):
        sender.write()
    assert sender.run().sent == 8
    assert subjects(postbox.taken) == [f"Number {n}" for n in range(1, 9)]
    assert postbox.sessions == 3


def test_bcc_is_in_the_envelope_and_nowhere_else(sender: Sender, postbox: Postbox) -> None:
    sender.write("boris@example.org", bcc=[Person("Secret", "secret@example.org")])
    sender.run()
    assert sum(line.startswith("RCPT TO:<secret@example.org>") for line in postbox.heard) == 1
    assert b"secret@example.org" not in postbox.taken[0].lower()


# --- refusals at every verb ---


@pytest.mark.parametrize(
    ("verb", "reply", "state", "goes_on"),
    [
        ("MAIL", b"451 4.3.0 not now\r\n", "deferred", True),
        ("MAIL", b"550 5.7.1 not you\r\n", "queued", False),
        ("MAIL", b"552 5.3.4 too large\r\n", "failed", True),
        ("RCPT", b"450 4.2.0 greylisted\r\n", "deferred", True),
        ("RCPT", b"550 5.1.1 no such user\r\n", "failed", True),
        ("DATA", b"451 4.3.0 not now\r\n", "deferred", True),
        ("DATA", b"554 5.7.1 spam\r\n", "failed", True),
        (".", b"554 5.7.1 your link to STARTTLS.example is spam\r\n", "failed", True),
        (".", b"451 4.3.0 not now\r\n", "deferred", True),
        (".", b"554 5.7.1 content rejected\r\n", "failed", True),
        (".", b"552 5.2.3 too large\r\n", "failed", True),
    ],
)
def test_a_refusal_at_each_verb(
    sender: Sender, postbox: Postbox, verb: str, reply: bytes, state: str, goes_on: bool
) -> None:
    message = sender.write("boris@example.org")
    postbox.says[verb] = reply
    sender.run()
    stored = of(message)
    assert stored.state == state
    assert postbox.taken == []
    words = reply.decode().strip()
    assert words in f"{stored.server_words} {stored.recipients.get().said}"
    running = SyncState.objects.get(mailbox=sender.mailbox, direction="outgoing")
    assert running.enabled is goes_on
    if state == "deferred":
        assert stored.next_attempt_at
        assert stored.next_attempt_at > timezone.now()
        assert stored.attempts == 1
    if not goes_on:
        assert Alert.objects.get(resolved_at=None).title == "Sending for Amara stopped"
    del postbox.says[verb]
    sender.later()
    assert of(message).state == ("sent" if state == "deferred" else state)


def test_some_recipients_are_accepted_some_later_some_never(sender: Sender, postbox: Postbox) -> None:
    postbox.says["RCPT later@example.org"] = b"450 4.2.2 mailbox full\r\n"
    postbox.says["RCPT never@example.org"] = b"550 5.1.1 unknown\r\n"
    message = sender.write("yes@example.org", "later@example.org", "never@example.org")
    sender.run()
    assert people(message) == {
        "yes@example.org": "sent",
        "later@example.org": "deferred",
        "never@example.org": "failed",
    }
    assert of(message).state == "deferred"
    del postbox.says["RCPT later@example.org"]
    sender.later()
    assert people(message)["later@example.org"] == "sent"
    assert of(message).state == "failed"  # not all have it, and the page says who
    assert [line for line in postbox.heard if "yes@" in line] == ["RCPT TO:<yes@example.org>"]


@pytest.mark.parametrize("reply", [b"550 5.1.1 unknown\r\n", b"450 4.2.0 later\r\n"])
def test_what_is_refused_at_once_takes_nothing_from_the_message_sent_before_it(
    sender: Sender, postbox: Postbox, reply: bytes
) -> None:
    postbox.says["RCPT never@example.org"] = reply
    first = sender.write("yes@example.org")
    sender.write("never@example.org")
    last = sender.write("also@example.org")
    assert sender.run().sent == 2
    assert (of(first).state, of(last).state) == ("sent", "sent")
    assert of(first).recipients.get().said == "250 2.0.0 Ok: queued as 4711"
    sender.later()
    assert sender.count()["uncertain"] == 0


def test_5xx_is_never_tried_again_by_itself_and_a_person_may(sender: Sender, postbox: Postbox) -> None:
    postbox.says["RCPT"] = b"550 5.1.1 unknown\r\n"
    message = sender.write()
    sender.run()
    heard = len(postbox.heard)
    sender.later()
    assert len(postbox.heard) == heard
    del postbox.says["RCPT"]
    outbox.send_again(of(message))
    sender.run()
    assert of(message).state == "sent"


def test_4xx_is_given_up_after_five_days(sender: Sender, postbox: Postbox) -> None:
    postbox.says["RCPT"] = b"450 4.2.0 later\r\n"
    message = sender.write()
    sender.run()
    OutgoingMessage.objects.update(queued_at=F("queued_at") - timedelta(days=5, hours=1))
    sender.later()
    stored = of(message)
    assert stored.state == "failed"
    assert stored.recipients.get().said == "450 4.2.0 later"


def test_the_pauses_grow_are_kept_and_have_a_limit(sender: Sender, postbox: Postbox) -> None:
    postbox.says["RCPT"] = b"450 4.2.0 later\r\n"
    message = sender.write()
    pauses = []
    for _ in range(12):
        sender.later()
        until = of(message).next_attempt_at
        assert until is not None
        pauses.append((until - timezone.now()).total_seconds())
    assert pauses[0] < 20 < pauses[2] < pauses[5] < pauses[8]
    assert max(pauses) <= 3600 * 1.25
    assert of(message).attempts == 12
    assert sender.run().passes == 0  # nothing is due before its time


# --- order ---


def test_order_is_kept_for_a_recipient_who_is_asked_to_wait(sender: Sender, postbox: Postbox) -> None:
    postbox.says["RCPT slow@example.org"] = b"450 4.2.2 mailbox full\r\n"
    first = sender.write("slow@example.org")
    second, other = sender.write("slow@example.org"), sender.write("quick@example.org")
    sender.run()
    assert subjects(postbox.taken) == ["Number 3"]
    assert (of(first).state, of(second).state, of(other).state) == ("deferred", "deferred", "sent")
    assert of(second).attempts == 0
    assert "the order is kept" in of(second).why
    del postbox.says["RCPT slow@example.org"]
    third = sender.write("slow@example.org")
    sender.run()
    assert of(third).state == "deferred"
    sender.later()
    assert subjects(postbox.taken) == ["Number 3", "Number 1", "Number 2", "Number 4"]


def test_a_message_that_is_refused_again_and_again_holds_nobody_for_ever(
    sender: Sender, postbox: Postbox
) -> None:
    message = sender.write("boris@example.org")
    OutgoingMessage.objects.update(
        state="deferred", attempts=sending.HOLDS, next_attempt_at=timezone.now() + timedelta(hours=1)
    )
    OutgoingRecipient.objects.update(state="deferred")
    sender.write("boris@example.org")
    sender.run()
    assert subjects(postbox.taken) == ["Number 2"]
    assert of(message).state == "deferred"


def test_one_held_recipient_does_not_keep_the_others_waiting(sender: Sender, postbox: Postbox) -> None:
    postbox.says["RCPT slow@example.org"] = b"450 4.2.2 mailbox full\r\n"
    sender.write("slow@example.org")
    both = sender.write("slow@example.org", "quick@example.org")
    sender.run()
    assert people(both) == {"slow@example.org": "queued", "quick@example.org": "sent"}
    assert of(both).state == "deferred"
    del postbox.says["RCPT slow@example.org"]
    sender.later()
    assert people(both) == {"slow@example.org": "sent", "quick@example.org": "sent"}
    assert subjects(postbox.taken) == ["Number 2", "Number 1", "Number 2"]


def test_a_server_that_puts_off_everything_is_left_alone_for_a_while(
    sender: Sender, postbox: Postbox
) -> None:
    for n in range(10):
        sender.write(f"r{n}@example.org")
    postbox.says["DATA"] = b"452 4.3.1 no space left\r\n"
    sender.run()
    assert sum(line == "DATA" for line in postbox.heard) == sending.LATER_IN_A_ROW
    assert SyncState.objects.get(mailbox=sender.mailbox, direction="outgoing").failures == 1
    del postbox.says["DATA"]
    sender.later()
    assert sender.count() == {"sent": 10}


# --- servers that are away, or go away ---


def test_ten_thousand_messages_wait_for_a_server_that_is_down_and_leave_in_order_afterwards(
    transactional_db: None,
) -> None:
    many = 10_000
    port = free_port()
    sender = sender_on(port)
    template = sender.write("r0@example.org")
    raw = template.raw
    OutgoingMessage.objects.all().delete()
    began = timezone.now() - timedelta(minutes=1)
    rows = OutgoingMessage.objects.bulk_create(
        OutgoingMessage(
            mailbox=sender.mailbox,
            state="queued",
            subject=f"Number {n}",
            message_id=f"{n}@contoso.com",
            queued_at=began + timedelta(milliseconds=n),
            size=len(raw),
        )
        for n in range(many)
    )
    OutgoingRecipient.objects.bulk_create(
        OutgoingRecipient(message=row, address=f"r{n % 100}@example.org", state="queued")
        for n, row in enumerate(rows)
    )
    from mailboxes.models import OutgoingOriginal

    OutgoingOriginal.objects.bulk_create(
        OutgoingOriginal(message=row, raw=raw.replace(b"Subject: Number 1", f"Subject: Number {n}".encode()))
        for n, row in enumerate(rows)
    )
    summary = sender.run()
    assert (summary.sent, summary.failed) == (0, 1)
    assert sender.count() == {"queued": many}
    assert "outgoing server" in Alert.objects.get(resolved_at=None).title
    postbox = Postbox()
    with postbox.serve() as server:
        EmailServerProfile.objects.update(outgoing_port=server.port)  # the same server, back again
        ServerCircuit.objects.update(open_until=timezone.now())
        sender.later()
    assert sender.count() == {"sent": many}
    order: dict[int, list[int]] = {}
    for subject in subjects(postbox.taken):
        number = int(subject.split()[1])
        order.setdefault(number % 100, []).append(number)
    assert order == {k: list(range(k, many, 100)) for k in range(100)}
    assert not ServerCircuit.objects.exists()
    assert not Alert.objects.filter(resolved_at=None).exists()


def test_a_dead_outgoing_server_is_no_trouble_for_incoming_mail(sender: Sender) -> None:
    EmailServerProfile.objects.update(outgoing_port=free_port())
    sender.write()
    sender.run()
    assert list(ServerCircuit.objects.values_list("direction", flat=True)) == ["outgoing"]
    office = Office.read()
    assert office.circuit(sender.mailbox, "incoming") is None
    assert office.circuit(sender.mailbox, "outgoing") is not None


def test_a_server_that_hangs_up_in_between_loses_nothing(sender: Sender, postbox: Postbox) -> None:
    for _ in range(3):
        sender.write()
    postbox.says["DATA"] = b""
    assert sender.run().failed == 1
    assert sender.count() == {"deferred": 1, "queued": 2}
    del postbox.says["DATA"]
    sender.later()
    assert sorted(subjects(postbox.taken)) == ["Number 1", "Number 2", "Number 3"]


@pytest.mark.parametrize("takes", [True, False])
def test_a_reply_that_is_lost_after_the_dot_asks_a_person(
    sender: Sender, postbox: Postbox, takes: bool
) -> None:
    message = sender.write()
    postbox.says["."], postbox.takes_before_hanging_up = b"", takes
    sender.run()
    del postbox.says["."]
    stored = of(message)
    assert stored.state == "uncertain"
    assert "no answer came" in stored.why
    assert stored.advice
    alert = Alert.objects.get(resolved_at=None, cause__startswith="outbox:uncertain")
    assert "nobody knows whether 1 message was sent" in alert.title
    sender.later()
    assert len(postbox.taken) == takes  # never a second time by itself

    if takes:
        outbox.say_it_arrived(stored, sender.amara)
    else:
        outbox.send_again(stored)
        sender.later()
    assert of(message).state == "sent"
    assert len(postbox.taken) == 1
    alert.refresh_from_db()
    assert alert.resolved_at


def test_the_third_unknown_outcome_in_a_row_stops_the_direction(sender: Sender, postbox: Postbox) -> None:
    for _ in range(5):
        sender.write()
    postbox.says["."] = b""
    for _ in range(6):
        sender.later()
    assert sender.count() == {"uncertain": 3, "queued": 2}
    assert not SyncState.objects.get(mailbox=sender.mailbox, direction="outgoing").enabled


def test_a_sending_server_that_is_busy_for_days_is_asked_again_for_as_long(
    sender: Sender, postbox: Postbox
) -> None:
    message = sender.write()
    postbox.says["MAIL"] = b"421 4.3.2 shutting down\r\n"
    for _ in range(15):
        sender.later()
    assert SyncState.objects.get(mailbox=sender.mailbox, direction="outgoing").enabled
    del postbox.says["MAIL"]
    sender.later()
    assert of(message).state == "sent"


# --- who may send, and when ---


def test_a_mailbox_that_is_not_enabled_says_at_once_why_its_mail_waits(sender: Sender) -> None:
    SyncState.objects.update(enabled=False, test_status="not_run")
    message = sender.write()
    mailbox = type(sender.mailbox).objects.select_related("server_profile").get(pk=sender.mailbox.pk)
    stored = of(message)
    stored.mailbox = mailbox
    assert outbox.why_it_waits(stored, Office.read()) == "Not tested yet."
    assert sender.run().sent == 0
    assert of(message).state == "queued"


def test_a_pass_yields_to_a_test_of_its_mailbox(sender: Sender, postbox: Postbox) -> None:
    for _ in range(5):
        sender.write()
    test = ConfigurationTest.request(sender.mailbox, None)
    ConfigurationTest.objects.filter(pk=test.pk).update(
        lease_holder="there|-|1|1", lease_until=timezone.now() + timedelta(minutes=1)
    )
    assert leases.claim(1, "here|-|1|1") == []
    test.delete()
    assert sender.run().sent == 5


def test_two_engines_send_each_message_once(sender: Sender, postbox: Postbox) -> None:
    for _ in range(60):
        sender.write()
    engines = [Engine(2), Engine(2)]
    threads = [threading.Thread(target=engine.run_once) for engine in engines]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    for engine in engines:
        engine.shut_down()
    assert subjects(postbox.taken) == [f"Number {n}" for n in range(1, 61)]


# --- what people do ---


def test_what_waits_can_be_taken_back_and_is_a_draft_again(sender: Sender, postbox: Postbox) -> None:
    message = sender.write()
    outbox.cancel(message)
    sender.run()
    assert postbox.taken == []
    assert of(message).state == "draft"
    outbox.queue(of(message))
    sender.run()
    assert len(postbox.taken) == 1
    with pytest.raises(ValidationError):
        outbox.cancel(of(message))


def test_what_is_taken_back_while_the_server_is_asked_stays_a_draft(transactional_db: None) -> None:
    class Slow(Postbox):
        def reply(self, said: str) -> bytes:
            if said.startswith("RCPT"):
                outbox.cancel(message)
            return super().reply(said)

    postbox = Slow(says={"RCPT": b"450 4.2.0 later\r\n"})
    with postbox.serve() as server:
        sender = sender_on(server.port)
        message = sender.write()
        sender.run()
        stored = of(message)
        assert (stored.state, stored.why, stored.next_attempt_at) == ("draft", "", None)
        assert people(message) == {"boris@example.org": "draft"}


def test_what_nobody_got_goes_back_to_the_drafts_and_leaves_put_right(
    sender: Sender, postbox: Postbox
) -> None:
    postbox.says["RCPT bors@example.org"] = b"550 5.1.1 unknown\r\n"
    message = sender.write("bors@example.org")
    sender.run()
    outbox.watch_failures()
    outbox.watch_failures()
    alert = Alert.objects.get()
    assert (alert.title, alert.times) == ("Amara: 1 message could not be sent", 1)
    assert "bors@example.org" in alert.why
    outbox.cancel(of(message))
    outbox.watch_failures()
    assert Alert.objects.get().resolved_at
    outbox.save_draft(of(message), {"to": [Person("", "boris@example.org")]})
    outbox.queue(of(message))
    sender.run()
    assert of(message).state == "sent"
    assert people(message) == {"boris@example.org": "sent"}


def test_what_some_have_is_not_taken_back_and_a_failure_is_told_for_a_week(
    sender: Sender, postbox: Postbox
) -> None:
    postbox.says["RCPT never@example.org"] = b"550 5.1.1 unknown\r\n"
    message = sender.write("yes@example.org", "never@example.org")
    sender.run()
    with pytest.raises(ValidationError, match="Some have this message"):
        outbox.cancel(of(message))
    assert of(message).state == "failed"
    outbox.watch_failures()
    assert Alert.objects.get().resolved_at is None
    OutgoingMessage.objects.update(finished_at=F("finished_at") - timedelta(days=8))
    outbox.watch_failures()
    assert Alert.objects.get().resolved_at


def test_what_some_have_already_says_that_it_was_cancelled(sender: Sender, postbox: Postbox) -> None:
    postbox.says["RCPT later@example.org"] = b"450 4.2.0 later\r\n"
    message = sender.write("yes@example.org", "later@example.org")
    sender.run()
    outbox.cancel(message)
    found = of(message)
    assert people(message) == {"yes@example.org": "sent", "later@example.org": "failed"}
    assert (found.state, found.server_words) == ("failed", "")
    assert "Cancelled" in found.why
    assert "by ourselves" not in found.advice


def test_send_now_does_not_wait_for_the_time_of_a_deferred_message(sender: Sender, postbox: Postbox) -> None:
    postbox.says["RCPT"] = b"450 4.2.0 later\r\n"
    message = sender.write()
    sender.run()
    del postbox.says["RCPT"]
    assert outbox.send_now([of(message)]) == 1
    sender.run()
    assert of(message).state == "sent"


def test_mail_that_waits_too_long_raises_one_alert_by_age_not_by_count(sender: Sender) -> None:
    SyncState.objects.update(enabled=False, test_status="not_run")
    for _ in range(5):
        sender.write()
    outbox.watch_age()
    assert not Alert.objects.exists()
    OutgoingMessage.objects.filter(subject="Number 1").update(queued_at=timezone.now() - timedelta(hours=2))
    outbox.watch_age()
    outbox.watch_age()
    alert = Alert.objects.get()
    assert alert.title.startswith("Amara: 1 message waits to be sent, the oldest since ")
    assert alert.why == "Not tested yet."
    assert alert.times == 1
    OutgoingMessage.objects.update(state="draft")
    outbox.watch_age()
    assert Alert.objects.get().resolved_at


def test_automatic_mail_is_marked_and_stopped_when_it_storms(sender: Sender, postbox: Postbox) -> None:
    for _ in range(outbox.AUTOMATIC_TO_ONE):
        sender.write("robot@example.org", is_automatic=True)
    with pytest.raises(ValidationError, match="within an hour"):
        sender.write("robot@example.org", is_automatic=True)
    assert Alert.objects.get().title == "Amara: automatic mail was stopped"
    sender.write("robot@example.org")  # a person may
    sender.run()
    assert sum(b"Auto-Submitted: auto-generated" in raw for raw in postbox.taken) == outbox.AUTOMATIC_TO_ONE
    assert len(postbox.taken) == outbox.AUTOMATIC_TO_ONE + 1


def test_delivery_reports_are_asked_for_where_the_server_can(sender: Sender, postbox: Postbox) -> None:
    message = sender.write(asks_report=True)
    sender.run()
    assert f"ENVID={message.token}" in next(line for line in postbox.heard if line.startswith("MAIL"))


@pytest.mark.parametrize(
    ("offers", "to", "fails"),
    [
        ((), "ünal@example.org", True),
        (("SMTPUTF8", "8BITMIME"), "ünal@example.org", False),
        ((), "a@bücher.example", False),
    ],
)
def test_addresses_beyond_ascii(
    sender: Sender, postbox: Postbox, offers: tuple[str, ...], to: str, fails: bool
) -> None:
    postbox.offers = offers
    message = sender.write(to)
    sender.run()
    assert of(message).state == ("failed" if fails else "sent")
    if fails:
        assert "SMTPUTF8" in of(message).why


def test_the_size_limit_is_asked_first(sender: Sender, postbox: Postbox) -> None:
    postbox.offers = ("SIZE 100",)
    message = sender.write()
    sender.run()
    assert of(message).state == "failed"
    assert "larger than the server accepts" in of(message).why
    assert not any(line.startswith("MAIL") for line in postbox.heard)
