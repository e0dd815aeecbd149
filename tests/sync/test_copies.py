"""Copies of what was sent: one in the folder of the server for each message, and never in the way of mail."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from datetime import timedelta
from itertools import count

import pytest
from django.db.models import F
from django.utils import timezone

from emailprofiles.models import EmailServerProfile
from mailboxes import outbox
from mailboxes.models import Alert, OutgoingMessage, ServerCircuit, SyncState
from mailboxes.parsing import parse
from mailboxes.sync import copies
from mailboxes.writing import Person
from tests.faults.proxy import Line, Proxy
from tests.postbox import Postbox
from tests.servers import GOOD, Dovecot, free_port

from .sending import Sender, moved_on, passed, sender_on
from .test_crash import start

pytestmark = pytest.mark.django_db(transaction=True)

_numbers = count(1)
FOLDER = "Gesendete Grüße"


@pytest.fixture
def postbox() -> Postbox:
    return Postbox(
        offers=("PIPELINING", "SIZE 1000000", "8BITMIME", "AUTH PLAIN"),
        says={"AUTH": b"235 2.7.0 welcome\r\n"},
    )


@pytest.fixture
def account(dovecot: Dovecot) -> str:
    name = f"sends{next(_numbers)}"
    dovecot.add_user(name, "correct horse")
    return name


@pytest.fixture
def sender(transactional_db: None, postbox: Postbox, dovecot: Dovecot, account: str) -> Iterator[Sender]:
    with postbox.serve() as server:
        yield keeping(sender_on(server.port), account, dovecot.port)


def keeping(sender: Sender, account: str, port: int) -> Sender:
    """Amara signs in to both servers, and wants copies."""
    profile, mailbox = sender.profile, sender.mailbox
    profile.authenticate_using = "mailbox"
    profile.incoming_host, profile.incoming_port, profile.incoming_security = GOOD, port, "none"
    profile.sent_folder = FOLDER
    profile.save()
    mailbox.server_profile, mailbox.allow_credentials = profile, True
    mailbox.username, mailbox.password = account, "correct horse"
    mailbox.save()
    passed(mailbox)
    return sender


def kept(dovecot: Dovecot, account: str) -> list[str]:
    """The subjects of what lies in the folder."""
    with dovecot.client(account) as client:
        if not client.folder_exists(FOLDER):
            return []
    return [parse(one.raw).subject for one in dovecot.messages(account, FOLDER)]


def wanted() -> dict[str, bool]:
    return dict(OutgoingMessage.objects.order_by("pk").values_list("subject", "copy_wanted"))


def alert() -> Alert | None:
    return Alert.objects.filter(cause__startswith="outbox:copies:", resolved_at=None).first()


def moved(port: int) -> None:
    """The incoming server listens elsewhere now, and is the same."""
    EmailServerProfile.objects.update(incoming_port=port)


def test_what_was_sent_lies_in_the_folder_as_it_was_sent(
    sender: Sender, postbox: Postbox, dovecot: Dovecot, account: str
) -> None:
    for subject in ("Grüße", "Second"):
        sender.write(subject=subject, bcc=[Person("Secret", "secret@example.org")])
    sender.run()
    assert kept(dovecot, account) == ["Grüße", "Second"]
    copies_there = dovecot.messages(account, FOLDER)
    assert [one.raw for one in copies_there] == postbox.taken == [one.raw for one in _messages()]
    assert all("\\Seen" in one.flags for one in copies_there)
    assert wanted() == {"Grüße": False, "Second": False}
    assert all(one.copied_at for one in _messages())
    assert sender.run().passes == 0


def _messages() -> list[OutgoingMessage]:
    return list(OutgoingMessage.objects.order_by("pk"))


def test_all_copies_of_a_pass_take_one_connection_once_the_other_is_closed(
    sender: Sender, postbox: Postbox, dovecot: Dovecot, account: str
) -> None:
    last_words: list[str] = []

    def note(line: Line) -> None:
        last_words.append(postbox.heard[-1].upper())

    with Proxy(GOOD, dovecot.port) as proxy:
        moved(proxy.port)
        proxy.hears.append(note)
        for _ in range(5):
            sender.write()
        sender.run()
        assert sum(b"AUTHENTICATE" in said for said in proxy.commands) == 1
    assert len(kept(dovecot, account)) == 5
    assert set(last_words) == {"QUIT"}
    assert postbox.sessions == 1


def test_without_a_folder_nobody_asks_the_other_server(sender: Sender, postbox: Postbox) -> None:
    EmailServerProfile.objects.update(sent_folder="", incoming_port=free_port())
    sender.mailbox.refresh_from_db()
    assert not sender.write().copy_wanted
    sender.run()
    assert sender.count() == {"sent": 1}
    assert alert() is None


def test_there_is_a_copy_when_some_got_it_and_none_when_nobody_did(
    sender: Sender, postbox: Postbox, dovecot: Dovecot, account: str
) -> None:
    postbox.says["RCPT never@example.org"] = b"550 5.1.1 unknown\r\n"
    sender.write("never@example.org", "yes@example.org", subject="Some")
    nobody = sender.write("never@example.org", subject="Nobody")
    sender.run()
    assert sender.states() == {"Some": "failed", "Nobody": "failed"}
    assert kept(dovecot, account) == ["Some"]
    assert wanted() == {"Some": False, "Nobody": False}
    del postbox.says["RCPT never@example.org"]
    for message in _messages():
        outbox.send_again(message)
    sender.run()
    assert sender.count() == {"sent": 2}
    assert kept(dovecot, account) == ["Some", "Nobody"]
    nobody.refresh_from_db()
    assert nobody.copied_at


def test_of_an_uncertain_message_there_is_a_copy_once_somebody_said_that_it_arrived(
    sender: Sender, postbox: Postbox, dovecot: Dovecot, account: str
) -> None:
    message = sender.write()
    postbox.says["."] = b""
    sender.run()
    del postbox.says["."]
    sender.later()
    assert sender.count() == {"uncertain": 1}
    assert kept(dovecot, account) == []
    SyncState.objects.update(failures=0)
    message.refresh_from_db()
    outbox.say_it_arrived(message, sender.amara)
    sender.later()
    assert kept(dovecot, account) == ["Number 1"]
    assert postbox.taken == []


# --- a server that keeps nothing, for now or for good ---


def test_mail_leaves_while_the_folder_cannot_be_reached_and_its_copies_follow(
    sender: Sender, postbox: Postbox, dovecot: Dovecot, account: str
) -> None:
    moved(free_port())
    sender.write()
    summary = sender.run()
    assert (summary.sent, summary.failed) == (1, 0)
    state = SyncState.objects.get(mailbox=sender.mailbox, direction="outgoing")
    assert (state.failures, state.last_error, state.enabled) == (0, "", True)
    told = alert()
    assert told is not None
    assert (told.title, told.level) == ("Amara: copies of sent mail cannot be kept", "warning")
    assert "Nothing answers" in told.why
    assert sender.run().passes == 0  # not before its time

    sender.write()  # does not ask again either, and is sent at once
    moved(dovecot.port)
    assert sender.run().sent == 1
    assert wanted() == {"Number 1": True, "Number 2": True}

    with moved_on(minutes=2):
        assert sender.run().passes == 1
    assert kept(dovecot, account) == ["Number 1", "Number 2"]
    assert alert() is None
    assert postbox.sessions == 2  # the last pass had nothing to send
    assert len(postbox.taken) == 2


def test_the_pauses_grow_up_to_an_hour_and_after_three_days_a_copy_is_given_up(sender: Sender) -> None:
    moved(free_port())
    message = sender.write()
    pauses = []
    for minutes in (0, 2, 10, 50, 24 * 60, 71 * 60):
        with moved_on(minutes=minutes):
            sender.run()
            message.refresh_from_db()
            assert message.next_attempt_at
            pauses.append((message.next_attempt_at - timezone.now()).total_seconds() / 60)
    assert [round(pause) for pause in pauses] == [1, 2, 10, 50, 60, 60]
    told = alert()
    assert told is not None
    assert told.times == 6
    with moved_on(days=3, minutes=5):
        sender.run()
        message.refresh_from_db()
        assert (message.copy_wanted, message.copied_at, message.next_attempt_at) == (False, None, None)
        assert sender.run().passes == 0
    assert sender.count() == {"sent": 1}


@pytest.mark.parametrize("rights", ["lr", "l"])
def test_a_folder_that_may_not_be_written_to_is_a_warning_in_words_about_sent_mail(
    sender: Sender, dovecot: Dovecot, account: str, rights: str
) -> None:
    dovecot.make_folder(account, "Sent", rights)
    EmailServerProfile.objects.update(sent_folder="Sent")
    sender.write()
    assert sender.run().failed == 0
    told = alert()
    assert told is not None
    assert "folder for copies of sent mail" in told.what_you_can_do
    assert wanted() == {"Number 1": True}


def test_one_copy_that_is_refused_does_not_keep_the_others_out(
    sender: Sender, dovecot: Dovecot, account: str
) -> None:
    def refuse(line: Line) -> bytes | None:
        if (line.command, line.nth, line.ends) == ("APPEND", 2, True):
            return line.raw.split()[0] + b" NO Not this one\r\n"
        return None

    with Proxy(GOOD, dovecot.port) as proxy:
        moved(proxy.port)
        proxy.says.append(refuse)
        for _ in range(3):
            sender.write()
        sender.run()
        assert wanted() == {"Number 1": False, "Number 2": True, "Number 3": False}
        told = alert()
        assert told is not None
        assert "Not this one" in told.server_words
        sender.later()
    assert sorted(kept(dovecot, account)) == ["Number 1", "Number 2", "Number 3"]
    assert wanted()["Number 2"] is False
    assert alert() is None


def test_a_server_that_refuses_every_copy_is_not_asked_for_all_of_them(
    sender: Sender, dovecot: Dovecot, account: str
) -> None:
    with Proxy(GOOD, dovecot.port) as proxy:
        moved(proxy.port)
        proxy.edit(rb"^(\w+) OK (\[APPENDUID|Append).*", rb"\1 NO [OVERQUOTA] Full\r")
        for _ in range(6):
            sender.write()
        assert sender.run().sent == 6
        assert sum(b"APPEND" in said for said in proxy.commands) == copies.REFUSED_IN_A_ROW
    assert set(wanted().values()) == {True}
    assert not OutgoingMessage.objects.filter(next_attempt_at=None).exists()


def test_one_that_is_too_large_for_the_server_is_given_up_at_once(
    sender: Sender, dovecot: Dovecot, account: str
) -> None:
    with Proxy(GOOD, dovecot.port) as proxy:
        moved(proxy.port)
        proxy.edit(rb"(CAPABILITY IMAP4rev1)", rb"\1 APPENDLIMIT=2000")
        sender.write(subject="Large", html="<p>" + "much " * 1000 + "</p>")
        sender.write(subject="Small")
        sender.run()
    assert wanted() == {"Large": False, "Small": False}
    assert kept(dovecot, account) == ["Small"]
    told = alert()
    assert told is not None
    assert "2,000 are accepted" in told.why


def test_copies_are_not_wanted_any_more_when_the_profile_names_no_folder(sender: Sender) -> None:
    moved(free_port())
    sender.write()
    sender.run()
    assert alert()
    EmailServerProfile.objects.update(sent_folder="")
    sender.later()
    assert wanted() == {"Number 1": False}
    assert alert() is None


def test_an_error_of_ours_does_not_stop_the_mail(sender: Sender, monkeypatch: pytest.MonkeyPatch) -> None:
    from emailprofiles.transports.imap import Imap

    monkeypatch.setattr(Imap, "_holds", lambda *_: 1 / 0)
    sender.write()
    summary = sender.run()
    assert (summary.sent, summary.failed) == (1, 0)
    assert wanted() == {"Number 1": True}
    assert alert()


def test_a_pass_with_nothing_but_copies_says_nothing_of_the_outgoing_server(
    sender: Sender, postbox: Postbox, dovecot: Dovecot, account: str
) -> None:
    incoming = dovecot.port
    moved(free_port())
    sender.write()
    sender.run()
    moved(incoming)
    EmailServerProfile.objects.update(outgoing_port=free_port())
    sender.write()
    assert sender.run().failed == 1
    OutgoingMessage.objects.filter(subject="Number 2").update(
        state="deferred", next_attempt_at=timezone.now() + timedelta(days=1)
    )
    OutgoingMessage.objects.filter(subject="Number 1").update(next_attempt_at=None)
    ServerCircuit.objects.update(open_until=timezone.now())
    SyncState.objects.update(next_run_at=None)
    sender.run()
    assert kept(dovecot, account) == ["Number 1"]
    assert ServerCircuit.objects.filter(direction="outgoing").exists()


# --- turns, and sudden ends ---


def test_mail_that_is_queued_meanwhile_does_not_wait_for_copies(
    sender: Sender, postbox: Postbox, dovecot: Dovecot, account: str
) -> None:
    moved(free_port())
    for _ in range(4):
        sender.write()
    sender.run()
    order: list[str] = []

    def queue(line: Line) -> None:
        if line.command == "APPEND" and line.nth == 2 and not order:
            order.append("queued")
            sender.write(subject="Meanwhile")

    with Proxy(GOOD, dovecot.port) as proxy:
        moved(proxy.port)
        proxy.hears.append(queue)
        OutgoingMessage.objects.update(next_attempt_at=None)
        sender.run()
        assert len(kept(dovecot, account)) == 2
        sender.run()
    assert sender.count() == {"sent": 5}
    assert kept(dovecot, account) == ["Number 1", "Number 2", "Number 3", "Number 4", "Meanwhile"]
    assert postbox.sessions == 2


def test_messages_per_cycle_is_the_measure_of_copies_too(
    sender: Sender, dovecot: Dovecot, account: str
) -> None:
    moved(free_port())
    for _ in range(5):
        sender.write()
    sender.run()
    EmailServerProfile.objects.update(messages_per_cycle=2)
    moved(dovecot.port)
    OutgoingMessage.objects.update(next_attempt_at=None)
    assert sender.run().passes == 3
    assert len(kept(dovecot, account)) == 5


IMAP = "emailprofiles.transports.imap:Imap"


@pytest.mark.parametrize(
    ("place", "nth"),
    [
        ("before mailboxes.sync.copies:keep", 1),
        (f"before {IMAP}.keep_copy", 2),
        (f"after {IMAP}._keep", 2),
        (f"after {IMAP}.keep_copy", 3),
        ("before mailboxes.sync.copies:Keeping.write", 1),
        ("after mailboxes.sync.copies:Keeping.write", 2),
        ("after mailboxes.sync.copies:keep", 1),
    ],
)
def test_stopped_at_one_point_there_is_one_copy_of_each_message(
    sender: Sender, postbox: Postbox, dovecot: Dovecot, account: str, place: str, nth: int
) -> None:
    for _ in range(4):
        sender.write()
    process = start("-m", "tests.sync.stopped", place, str(nth))
    _, words = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL, words
    sender.later()
    assert kept(dovecot, account) == ["Number 1", "Number 2", "Number 3", "Number 4"]
    assert set(wanted().values()) == {False}
    assert len(postbox.taken) == 4
    assert alert() is None


@pytest.mark.parametrize("command", ["APPEND", "UID SEARCH", "EXAMINE"])
def test_a_reply_that_is_lost_leaves_one_copy(
    sender: Sender, dovecot: Dovecot, account: str, command: str
) -> None:
    with Proxy(GOOD, dovecot.port) as proxy:
        moved(proxy.port)
        proxy.lose_reply(command, 2)
        for _ in range(3):
            sender.write()
        sender.run()
        assert proxy.struck
        assert alert()
        sender.later()
    assert kept(dovecot, account) == ["Number 1", "Number 2", "Number 3"]
    assert alert() is None


def test_what_is_noted_is_noted_only_by_who_holds_the_mailbox(
    sender: Sender, dovecot: Dovecot, account: str
) -> None:
    def take_over(line: Line) -> None:
        if line.command == "APPEND" and line.nth == 1:
            states = SyncState.objects.filter(direction="outgoing")
            states.update(fence=F("fence") + 1, next_run_at=timezone.now() + timedelta(hours=1))

    with Proxy(GOOD, dovecot.port) as proxy:
        moved(proxy.port)
        proxy.hears.append(take_over)
        sender.write()
        sender.write()
        sender.run()
    assert kept(dovecot, account) == ["Number 1"]
    assert wanted() == {"Number 1": True, "Number 2": True}
    SyncState.objects.update(lease_until=None)
    moved(dovecot.port)
    sender.later()
    assert kept(dovecot, account) == ["Number 1", "Number 2"]
