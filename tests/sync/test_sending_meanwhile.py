"""What people do while a pass has their message in hand, and messages that are not as they should be."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta

import pytest
from django.core.exceptions import ValidationError
from django.db import connection, transaction
from django.db.models import F

from emailprofiles.models import EmailServerProfile
from mailboxes import clock, comeback, outbox
from mailboxes.answers import Status
from mailboxes.models import (
    Alert,
    OutgoingMessage,
    OutgoingOriginal,
    OutgoingRecipient,
    ServerCircuit,
    SyncState,
)
from mailboxes.sync import sending
from mailboxes.writing import File, Person
from tests.postbox import Postbox

from .sending import Sender, of, people, subjects

pytestmark = pytest.mark.django_db(transaction=True)


@dataclass
class Interrupted(Postbox):
    """Lets somebody act once, when a verb is heard for the first time, before it is answered."""

    acts: dict[str, Callable[[], object]] = field(default_factory=dict)

    def reply(self, said: str) -> bytes:
        if act := self.acts.pop(said.partition(" ")[0], None):
            try:
                act()
            finally:
                connection.close()
        return super().reply(said)


@pytest.fixture
def postbox() -> Interrupted:
    return Interrupted()


@pytest.mark.parametrize("reply", [b"250 ok\r\n", b"450 4.2.0 greylisted\r\n", b"550 5.1.1 no such user\r\n"])
def test_taken_back_while_it_is_offered_it_stays_a_draft(
    sender: Sender, postbox: Interrupted, reply: bytes
) -> None:
    message = sender.write()
    postbox.says["RCPT"] = reply
    postbox.acts["RCPT"] = lambda: outbox.cancel(message)
    sender.run()
    assert of(message).state == "draft"
    assert people(message) == {"boris@example.org": "draft"}
    del postbox.says["RCPT"]
    sender.later()
    assert postbox.taken == []


def test_taken_back_while_it_is_offered_and_the_server_goes_away_it_stays_a_draft(
    sender: Sender, postbox: Interrupted
) -> None:
    message = sender.write()
    postbox.says["RSET"] = b""
    postbox.acts["RCPT"] = lambda: outbox.cancel(message)
    sender.run()
    assert of(message).state == "draft"
    assert people(message) == {"boris@example.org": "draft"}


def test_rewritten_while_it_is_offered_only_the_new_letter_leaves(
    sender: Sender, postbox: Interrupted
) -> None:
    message = sender.write(subject="To the wrong one")

    def rewrite() -> None:
        outbox.cancel(message)
        draft = of(message)
        draft.subject = "To the right one"
        outbox.save_draft(draft, {"to": [Person("", "ines@example.org")]})
        outbox.queue(draft)

    postbox.acts["RCPT"] = rewrite
    sender.run()
    sender.later()
    assert subjects(postbox.taken) == ["To the right one"]
    assert people(message) == {"ines@example.org": "sent"}
    assert of(message).state == "sent"


def test_who_found_no_room_beside_the_others_is_not_uncertain_when_they_are(
    sender: Sender, postbox: Interrupted
) -> None:
    postbox.says["RCPT ines@example.org"] = b"452 4.5.3 too many recipients\r\n"
    postbox.says["."] = b""
    message = sender.write("boris@example.org", "ines@example.org")
    sender.run()
    assert people(message) == {"boris@example.org": "uncertain", "ines@example.org": "queued"}
    postbox.says.clear()
    outbox.say_it_arrived(of(message), sender.amara)
    sender.later()
    assert people(message) == {"boris@example.org": "sent", "ines@example.org": "sent"}
    assert sum("ines" in line for line in postbox.heard) == 2


def test_a_few_who_are_always_asked_to_wait_hold_up_nobody_else(sender: Sender, postbox: Interrupted) -> None:
    full = [f"full{n}@example.org" for n in range(sending.LATER_IN_A_ROW + 1)]
    postbox.says |= {f"RCPT {address}": b"452 4.2.2 mailbox full\r\n" for address in full}
    for address in full:
        sender.write(address)
    good = sender.write("boris@example.org")
    for _ in range(3):
        sender.later()
    assert of(good).state == "sent"


def test_recipients_are_the_same_however_their_domain_or_name_is_cased(
    sender: Sender, postbox: Interrupted
) -> None:
    postbox.says["RCPT"] = b"450 4.2.2 mailbox full\r\n"
    sender.write("Boris@example.org")
    second = sender.write("boris@example.org")
    sender.run()
    assert of(second).attempts == 0
    assert "the order is kept" in of(second).why


def test_a_message_without_its_original_fails_and_the_others_leave(
    sender: Sender, postbox: Interrupted
) -> None:
    first, second = sender.write(), sender.write("ines@example.org")
    OutgoingOriginal.objects.filter(message=first).delete()
    sender.run()
    assert (of(first).state, of(second).state) == ("failed", "sent")
    assert "original" in of(first).why
    assert SyncState.objects.get(mailbox=sender.mailbox, direction="outgoing").failures == 0


@pytest.mark.parametrize("state", ["queued", "sending", "deferred"])
def test_a_message_for_nobody_keeps_no_engine_busy(sender: Sender, postbox: Interrupted, state: str) -> None:
    message, other = sender.write(), sender.write("ines@example.org")
    OutgoingRecipient.objects.filter(message=message).delete()
    OutgoingMessage.objects.filter(pk=message.pk).update(state=state)
    sender.run()
    assert (of(message).state, of(other).state) == ("failed", "sent")
    assert sender.later().passes == 0


def test_only_one_message_at_a_time_lies_in_memory(sender: Sender, postbox: Interrupted) -> None:
    EmailServerProfile.objects.update(messages_per_cycle=100)
    postbox.offers = ("PIPELINING",)
    postbox.says["."] = b"554 5.7.1 no\r\n"  # so that the postbox keeps nothing
    for _ in range(20):
        sender.write(files=[File("plan.bin", "application/octet-stream", b"\0" * 1_000_000)])
    OutgoingMessage.objects.update(text="x" * 500_000)
    tracemalloc.start()
    try:
        sender.run()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert sender.count() == {"failed": 20}
    assert peak < 20_000_000


def test_what_is_queued_is_what_its_headers_say_though_it_is_changed_in_another_window(
    sender: Sender, monkeypatch: pytest.MonkeyPatch
) -> None:
    draft = outbox.save_draft(
        OutgoingMessage(mailbox=sender.mailbox, written_by=sender.amara, subject="Offer"),
        {"to": [Person("", "boris@example.org")]},
    )
    check = outbox.check

    def slowly(*args: object) -> None:
        outbox.save_draft(of(draft), {"to": [Person("", "ines@example.org")]})
        check(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(outbox, "check", slowly)
    with pytest.raises(ValidationError, match="meanwhile"):
        outbox.queue(of(draft))
    assert of(draft).state == "draft"
    monkeypatch.undo()
    outbox.queue(of(draft))
    assert b"To: ines@example.org" in of(draft).raw


def test_what_nobody_wrote_is_not_a_draft_when_it_is_cancelled(sender: Sender) -> None:
    message = outbox.send(
        sender.mailbox, to=[Person("", "boris@example.org")], subject="By itself", text="x", is_automatic=True
    )
    outbox.cancel(message)
    assert of(message).state == "failed"
    assert people(message) == {"boris@example.org": "failed"}


@pytest.mark.parametrize("reply", [b"450 4.2.2 full\r\n", b"550 5.1.1 no such user\r\n"])
def test_what_was_sent_stays_sent_when_the_next_one_is_refused(
    sender: Sender, postbox: Interrupted, reply: bytes
) -> None:
    first = sender.write()
    sender.write("ines@example.org")
    postbox.says["RCPT ines@example.org"] = reply
    assert sender.run().sent == 1
    assert of(first).state == "sent"


@pytest.mark.parametrize("reply", [b"450 4.2.2 full\r\n", b"550 5.1.1 no such user\r\n"])
def test_who_got_it_stays_sent_when_who_found_no_room_is_refused_alone(
    sender: Sender, postbox: Interrupted, reply: bytes
) -> None:
    postbox.says["RCPT ines@example.org"] = b"452 4.5.3 too many recipients\r\n"
    message = sender.write("boris@example.org", "ines@example.org")
    postbox.acts["DATA"] = lambda: postbox.says.update({"RCPT ines@example.org": reply})
    sender.run()
    assert people(message)["boris@example.org"] == "sent"
    assert people(message)["ines@example.org"] in ("deferred", "failed")


def test_a_pass_that_asked_no_server_does_not_say_that_it_answers_again(
    sender: Sender, postbox: Interrupted
) -> None:
    message = sender.write()
    OutgoingRecipient.objects.update(state="sending")
    OutgoingMessage.objects.update(state="sending")
    ServerCircuit.objects.create(
        profile=sender.profile, direction="outgoing", failures=3, open_until=clock.now(), reason="It is down."
    )
    SyncState.objects.filter(direction="outgoing").update(failures=3)
    sender.run()
    assert of(message).state == "uncertain"
    assert postbox.sessions == 0
    assert ServerCircuit.objects.get().failures == 3
    assert SyncState.objects.get(mailbox=sender.mailbox, direction="outgoing").failures == 3


def test_the_alert_on_a_storm_ends_an_hour_after_it(sender: Sender) -> None:
    for _ in range(outbox.AUTOMATIC_TO_ONE):
        sender.write("robot@example.org", is_automatic=True)
    with pytest.raises(ValidationError, match="within an hour"):
        sender.write("robot@example.org", is_automatic=True)
    OutgoingMessage.objects.update(queued_at=F("queued_at") - timedelta(minutes=30))
    outbox.watch_storms()
    assert not Alert.objects.get().resolved_at
    OutgoingMessage.objects.update(queued_at=F("queued_at") - timedelta(minutes=31))
    outbox.watch_storms()
    assert Alert.objects.get().resolved_at


def test_what_a_report_says_of_one_while_another_is_sent_is_kept(
    sender: Sender, postbox: Interrupted
) -> None:
    postbox.says["RCPT ines@example.org"] = b"450 4.2.0 later\r\n"
    message = sender.write("boris@example.org", "ines@example.org")
    sender.run()
    del postbox.says["RCPT ines@example.org"]

    def comes_back() -> None:
        with transaction.atomic():
            locked = OutgoingMessage.objects.select_for_update().get(pk=message.pk)
            comeback._settle(locked, [Status("boris@example.org", "failed", "5.1.1", "User unknown")])
            OutgoingMessage.objects.filter(pk=message.pk).update(why="It came back")

    postbox.acts["DATA"] = comes_back
    sender.later()
    assert people(message) == {"boris@example.org": "bounced", "ines@example.org": "sent"}
    assert (of(message).state, of(message).why) == ("bounced", "It came back")


def test_why_it_failed_is_of_who_does_not_have_it(sender: Sender, postbox: Interrupted) -> None:
    postbox.says["RCPT ines@example.org"] = b"550 5.1.1 no such user\r\n"
    postbox.says["RCPT boris@example.org"] = b"450 4.2.0 greylisted\r\n"
    message = sender.write("ines@example.org", "boris@example.org")
    sender.run()
    assert "greylisted" in of(message).server_words
    del postbox.says["RCPT boris@example.org"]
    sender.later()
    stored = of(message)
    assert people(message) == {"ines@example.org": "failed", "boris@example.org": "sent"}
    assert stored.state == "failed"
    assert "ines@example.org" in stored.why
    assert "no such user" in stored.why
    assert stored.server_words == ""


def test_why_it_failed_is_that_it_was_cancelled(sender: Sender, postbox: Interrupted) -> None:
    postbox.says["RCPT ines@example.org"] = b"450 4.2.0 greylisted\r\n"
    message = sender.write("ines@example.org", "boris@example.org")
    sender.run()
    outbox.cancel(message)
    assert (of(message).state, "Cancelled" in of(message).why) == ("failed", True)
