"""Copies of what was sent: kept once, whatever becomes of the connection, in a folder of any name."""

from __future__ import annotations

import re
import socket
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest

from emailprofiles.errors import (
    ConnectionLost,
    FolderMissing,
    FolderReadOnly,
    MailError,
    MessageTooLarge,
    NetworkError,
    SettingsIncomplete,
    TryLater,
)
from emailprofiles.transports.imap import AT_ONCE, Imap
from emailprofiles.wire import Endpoint, Password, Security
from tests.faults.proxy import Cut, Line, Proxy
from tests.servers import GOOD, Certificates, Dovecot, Scripted
from tests.transports.conftest import SECRET

ID = "<7.sent@contoso.com>"
RAW = (
    f"From: amara@contoso.com\r\nMessage-ID: {ID}\r\nSubject: Gr\u00fc\u00dfe\r\n\r\n.\r\nHello\r\n".encode()
)


@contextmanager
def connected(endpoint: Endpoint, user: str, folder: str = "INBOX") -> Iterator[Imap]:
    with Imap(endpoint, Password(user, SECRET), folder) as imap:
        imap.connect()
        yield imap


@pytest.fixture
def proxy(dovecot: Dovecot) -> Iterator[Proxy]:
    with Proxy(GOOD, dovecot.port) as proxy:
        yield proxy


# --- at a real server ---


@pytest.mark.parametrize("security", list(Security))
@pytest.mark.parametrize("octets", [0, max(AT_ONCE.values())], ids=["small", "large"])
def test_a_copy_is_what_was_sent_read_and_of_now(
    dovecot: Dovecot, amara: str, security: Security, octets: int
) -> None:
    raw = RAW + b"x" * 70 + b"\r\n" + (b"y" * 70 + b"\r\n") * (octets // 72 + 1)
    with connected(dovecot.endpoint(security), amara) as imap:
        assert imap.keep_copy("Sent", raw, ID)
        assert not imap.keep_copy("Sent", raw, ID)
    [kept] = dovecot.messages(amara, "Sent")
    assert kept.raw == raw
    assert "\\Seen" in kept.flags
    assert abs(kept.received_at - datetime.now(UTC)) < timedelta(minutes=1)


@pytest.mark.parametrize("ending", [b"\n", b"\r", b"\r\n"])
def test_lines_end_as_the_server_wants_them(dovecot: Dovecot, amara: str, ending: bytes) -> None:
    with connected(dovecot.endpoint(), amara) as imap:
        assert imap.keep_copy("Sent", RAW.replace(b"\r\n", ending).removesuffix(ending), ID)
    assert [kept.raw for kept in dovecot.messages(amara, "Sent")] == [RAW]


@pytest.mark.parametrize(
    "folder", ["Gesendete Grüße", "Ablage/Gesendet", 'A "quoted" one', "送信済み", "100% & more", "x" * 100]
)
def test_a_folder_of_any_name_is_made_and_subscribed(dovecot: Dovecot, amara: str, folder: str) -> None:
    with connected(dovecot.endpoint(), amara) as imap:
        assert imap.keep_copy(folder, RAW, ID)
    with connected(dovecot.endpoint(), amara) as again:
        assert not again.keep_copy(folder, RAW, ID)
    assert [kept.raw for kept in dovecot.messages(amara, folder)] == [RAW]
    with dovecot.client(amara) as client:
        assert folder in [name for _flags, _separator, name in client.list_sub_folders()]


@pytest.mark.parametrize(
    "message_id", ["<a(b)%c*@contoso.com>", '<"a \\" b"@contoso.com>', "<a{5}@[192.0.2.1]>"]
)
def test_a_copy_is_found_whatever_its_name(dovecot: Dovecot, amara: str, message_id: str) -> None:
    raw = RAW.replace(ID.encode(), message_id.encode())
    with connected(dovecot.endpoint(), amara) as imap:
        assert imap.keep_copy("Sent", raw, message_id)
        assert not imap.keep_copy("Sent", raw, message_id)
    assert len(dovecot.messages(amara, "Sent")) == 1


def test_what_the_server_put_there_by_itself_is_not_put_there_again(dovecot: Dovecot, amara: str) -> None:
    dovecot.make_folder(amara, "Sent")
    with connected(dovecot.endpoint(), amara) as imap:
        dovecot.append(amara, RAW, "Sent")
        assert not imap.keep_copy("Sent", RAW, ID)
    assert len(dovecot.messages(amara, "Sent")) == 1


def test_a_copy_that_only_somebody_else_answered_is_none(dovecot: Dovecot, amara: str) -> None:
    """A reply names the message in other fields of its header."""
    dovecot.make_folder(amara, "Sent")
    dovecot.append(
        amara, b"In-Reply-To: %b\r\nReferences: %b\r\n\r\nThanks\r\n" % (2 * (ID.encode(),)), "Sent"
    )
    with connected(dovecot.endpoint(), amara) as imap:
        assert imap.keep_copy("Sent", RAW, ID)


def test_a_folder_that_may_only_be_read_says_so(dovecot: Dovecot, amara: str) -> None:
    dovecot.make_folder(amara, "Sent", rights="lr")
    with connected(dovecot.endpoint(), amara) as imap:
        with pytest.raises(FolderReadOnly):
            imap.keep_copy("Sent", RAW, ID)
        assert imap.keep_copy("Sent elsewhere", RAW, ID), "the connection goes on"
    dovecot.set_rights(amara, "Sent", "lri")
    with connected(dovecot.endpoint(), amara) as imap:
        assert imap.keep_copy("Sent", RAW, ID)


@pytest.mark.parametrize("folder", ["", "a//b", "/"])
def test_a_folder_that_cannot_be_made_is_missing(dovecot: Dovecot, amara: str, folder: str) -> None:
    with connected(dovecot.endpoint(), amara) as imap:
        with pytest.raises(FolderMissing):
            imap.keep_copy(folder, RAW, ID)
        assert imap.keep_copy("Sent", RAW, ID)


@pytest.mark.parametrize(
    ("folder", "message_id"), [("Sent\r\nA1 DELETE INBOX", ID), ("Sent", "<7\r\nA1 DELETE INBOX@x>")]
)
def test_nothing_that_ends_a_command_is_said(proxy: Proxy, amara: str, folder: str, message_id: str) -> None:
    with (
        connected(Endpoint(GOOD, proxy.port, Security.NONE), amara) as imap,
        pytest.raises(SettingsIncomplete),
    ):
        imap.keep_copy(folder, RAW, message_id)
    assert not any(b"DELETE" in command for command in proxy.commands)


QUOTA = """
protocol imap {
  mail_plugins = acl imap_acl quota
}
plugin {
  quota = maildir:User quota
  quota_rule = *:storage=100K
  quota_max_mail_size = 50K
}
"""


def test_a_full_mailbox_and_a_message_that_is_too_large_are_told_apart(certificates: Certificates) -> None:
    with Dovecot(certificates, QUOTA) as dovecot:
        dovecot.add_user("amara", SECRET)
        with connected(dovecot.endpoint(), "amara") as imap:
            with pytest.raises(MessageTooLarge):
                imap.keep_copy("Sent", RAW + b"x" * 60_000, ID)
            for n in range(3):
                raw = RAW.replace(ID.encode(), b"<%d@contoso.com>" % n) + b"x" * 40_000
                if n < 2:
                    assert imap.keep_copy("Sent", raw, f"<{n}@contoso.com>")
            with pytest.raises(TryLater):
                imap.keep_copy("Sent", raw, "<2@contoso.com>")
        assert len(dovecot.messages("amara", "Sent")) == 2


# --- on bad days ---


def reply_is_lost(line: Line) -> bytes | None:
    if line.command == "APPEND" and line.ends:
        raise Cut
    return None


def reply_is_late(line: Line) -> bytes | None:
    if line.command == "APPEND" and line.ends:
        time.sleep(4.5)
    return None


def command_is_lost(line: Line) -> bytes | None:
    if line.command == "APPEND":
        raise Cut
    return None


def message_is_cut(line: Line) -> bytes | None:
    if line.command == "APPEND" and b"APPEND" not in line.raw:
        raise Cut(line.raw[: len(line.raw) // 2])
    return None


@pytest.mark.parametrize("literal", [b" LITERAL+", b" NOTHING"], ids=["at once", "when asked for"])
@pytest.mark.parametrize("fault", [reply_is_lost, reply_is_late, command_is_lost, message_is_cut])
def test_a_copy_is_kept_once_however_the_connection_ends(
    dovecot: Dovecot, proxy: Proxy, amara: str, fault: Callable[[Line], bytes | None], literal: bytes
) -> None:
    was_kept = fault in (reply_is_lost, reply_is_late)
    proxy.edit(rb" LITERAL\+", literal)
    (proxy.says if was_kept else proxy.hears).append(fault)
    endpoint = Endpoint(GOOD, proxy.port, Security.NONE, timeout=3)  # a busy machine is slow to greet
    with connected(endpoint, amara) as imap, pytest.raises(NetworkError) as raised:
        imap.keep_copy("Sent", RAW, ID)
    assert_tells_no_password(raised.value)
    proxy.behave()
    assert len(dovecot.messages(amara, "Sent")) == was_kept
    with connected(endpoint, amara) as again:
        assert again.keep_copy("Sent", RAW, ID) is not was_kept
        assert not again.keep_copy("Sent", RAW, ID)
    assert [kept.raw for kept in dovecot.messages(amara, "Sent")] == [RAW]


@pytest.mark.parametrize("command", ["NAMESPACE", "EXAMINE", "CREATE", "SUBSCRIBE", "UID SEARCH"])
def test_any_other_command_may_get_lost_as_well(
    dovecot: Dovecot, proxy: Proxy, amara: str, command: str
) -> None:
    endpoint = Endpoint(GOOD, proxy.port, Security.NONE, timeout=1)
    for lose in (proxy.lose_command, proxy.lose_reply):
        lose(command)
        with connected(endpoint, amara) as imap, suppress(ConnectionLost):
            imap.keep_copy("Sent", RAW, ID)
        assert proxy.struck or command in ("CREATE", "SUBSCRIBE")
        proxy.behave()
    with connected(endpoint, amara) as imap:
        imap.keep_copy("Sent", RAW, ID)
    assert [kept.raw for kept in dovecot.messages(amara, "Sent")] == [RAW]


def assert_tells_no_password(error: MailError) -> None:
    told = [*traceback.format_exception(error), repr(error), error.server_words, repr(error.__cause__)]
    assert not any(SECRET in text for text in told)


# --- servers that are made for it ---


@dataclass
class Server:
    """`says` answers a command by its first words, each answer once and the last one again; else it is done.

    An answer is what is said before the tagged line, or all of that line if it begins with NO. `heard` are the
    commands without their tags, and messages that came.
    """

    capabilities: str = "IMAP4rev1 AUTH=PLAIN SASL-IR"
    says: dict[str, list[str]] = field(default_factory=dict)
    heard: list[str] = field(default_factory=list)

    def play(self, connection: socket.socket) -> None:
        connection.sendall(b"* OK hello\r\n")
        with connection.makefile("rb") as lines:
            for line in lines:
                tag, _, command = line.decode().strip().partition(" ")
                self.heard.append(command)
                said = self.answer(command)
                literal = re.search(r"\{(\d+)(\+?)\}$", command)
                if literal and not (said.startswith("NO") and not literal[2]):
                    connection.sendall(b"" if literal[2] else b"+ go ahead\r\n")
                    self.heard.append((lines.read(int(literal[1])) + lines.readline()).decode())
                end = f"{tag} {said}\r\n" if said.startswith("NO") else f"{said}{tag} OK done\r\n"
                connection.sendall(end.encode())

    def answer(self, command: str) -> str:
        if command == "CAPABILITY":
            return f"* CAPABILITY {self.capabilities}\r\n"
        known = next((name for name in self.says if command.startswith(name)), "")
        answers = self.says.get(known) or [""]
        return answers.pop(0) if len(answers) > 1 else answers[0]

    def keeps(self, folder: str = "Sent", raw: bytes = RAW, password: str = SECRET) -> bool:
        with (
            Scripted(self.play) as server,
            Imap(server.endpoint(), Password("amara", password)) as imap,
        ):
            imap.connect()
            self.heard.clear()
            return imap.keep_copy(folder, raw, ID)

    @property
    def commands(self) -> list[str]:
        """The first words of what was heard, without messages."""
        verbs = ("NAMESPACE", "EXAMINE", "CREATE", "SUBSCRIBE", "UID SEARCH", "APPEND")
        return [verb for line in self.heard for verb in verbs if line.startswith(verb)]


@pytest.mark.parametrize(
    ("folder", "place"),
    [
        ("Sent", "INBOX.Sent"),
        ("INBOX.Sent", "INBOX.Sent"),
        ("Inbox.Sent", "Inbox.Sent"),
        ("Inbox-like", "INBOX.Inbox-like"),
        ("shared.Sent", "shared.Sent"),
        ("Grüße", "INBOX.Gr&APwA3w-e"),
    ],
)
def test_a_folder_lies_where_the_account_keeps_its_folders(folder: str, place: str) -> None:
    namespaces = '* NAMESPACE (("INBOX." ".")) (("user." ".")) (("shared." "."))\r\n'
    server = Server("IMAP4rev1 AUTH=PLAIN SASL-IR NAMESPACE", {"NAMESPACE": [namespaces]})
    assert server.keeps(folder)
    assert f'EXAMINE "{place}"' in server.heard
    assert any(line.startswith(f'APPEND "{place}" (\\Seen) {{') for line in server.heard)


def test_the_folder_that_is_read_is_known_by_its_whole_name() -> None:
    namespaces = '* NAMESPACE (("INBOX." ".")) NIL NIL\r\n'
    server = Server("IMAP4rev1 AUTH=PLAIN SASL-IR NAMESPACE", {"NAMESPACE": [namespaces]})
    with (
        Scripted(server.play) as scripted,
        connected(scripted.endpoint(), "amara", "INBOX.Sent") as imap,
        pytest.raises(SettingsIncomplete),
    ):
        imap.keep_copy("Sent", RAW, ID)
    assert not any(line.startswith("APPEND") for line in server.heard)


def test_a_folder_that_vanishes_is_made_again() -> None:
    server = Server(says={"APPEND": ["NO [TRYCREATE] No such mailbox", ""]})
    assert server.keeps()
    assert server.commands == ["EXAMINE", "UID SEARCH", "APPEND", "CREATE", "SUBSCRIBE", "APPEND"]


def test_a_folder_that_somebody_else_makes_meanwhile_is_taken() -> None:
    server = Server(
        says={
            "EXAMINE": ["NO [NONEXISTENT] Unknown Mailbox", ""],
            "CREATE": ["NO [ALREADYEXISTS] Mailbox already exists"],
            "SUBSCRIBE": ["NO not here"],
            "UID SEARCH": ["* SEARCH 4\r\n"],
        }
    )
    assert not server.keeps()
    assert server.commands == ["EXAMINE", "CREATE", "SUBSCRIBE", "EXAMINE", "UID SEARCH"]


@pytest.mark.parametrize(
    ("words", "error"),
    [
        ("NO [NOPERM] Permission denied", FolderMissing),
        ("NO [CANNOT] Invalid mailbox name", FolderMissing),
        ("NO [LIMIT] Too many mailboxes", TryLater),
    ],
)
def test_why_a_folder_cannot_be_made_is_told_in_the_words_of_the_server(
    words: str, error: type[MailError]
) -> None:
    server = Server(says={"EXAMINE": ["NO [NONEXISTENT] Unknown Mailbox"], "CREATE": [words]})
    with pytest.raises(error) as raised:
        server.keeps()
    assert raised.value.server_words == words.removeprefix("NO ")


LARGE = RAW + b"x" * (max(AT_ONCE.values()) - len(RAW))
SMALL = RAW + b"x" * (min(AT_ONCE.values()) - len(RAW))


@pytest.mark.parametrize(
    ("offered", "raw", "at_once"),
    [
        ("", RAW, False),
        ("LITERAL-", SMALL[2:], True),
        ("LITERAL-", SMALL + b"x", False),
        ("LITERAL+", LARGE[2:], True),
        ("LITERAL+", LARGE + b"x", False),
    ],
)
def test_only_so_much_is_sent_before_the_server_has_agreed(offered: str, raw: bytes, at_once: bool) -> None:
    server = Server(f"IMAP4rev1 AUTH=PLAIN SASL-IR {offered}")
    assert server.keeps(raw=raw)
    [append] = [line for line in server.heard if line.startswith("APPEND")]
    assert append.endswith("+}") is at_once


def test_a_large_message_that_is_refused_does_not_travel() -> None:
    server = Server("IMAP4rev1 AUTH=PLAIN SASL-IR LITERAL+", {"APPEND": ["NO [TOOBIG] No"]})
    with pytest.raises(MessageTooLarge):
        server.keeps(raw=LARGE + b"x")
    assert max(map(len, server.heard)) < 200


def test_a_message_beyond_what_the_server_announces_is_not_offered() -> None:
    server = Server(f"IMAP4rev1 AUTH=PLAIN SASL-IR APPENDLIMIT={len(RAW) - 1}")
    with pytest.raises(MessageTooLarge):
        server.keeps()
    assert server.commands == []
    assert Server(f"IMAP4rev1 AUTH=PLAIN SASL-IR APPENDLIMIT={len(RAW)}").keeps()


@pytest.mark.parametrize("command", ["EXAMINE", "CREATE", "UID SEARCH", "APPEND"])
def test_a_server_that_echoes_the_password_does_not_get_it_into_any_text(command: str) -> None:
    says = {"EXAMINE": ["NO [NONEXISTENT] x", ""]} | {command: [f"NO your password is {SECRET}"]}
    with pytest.raises(MailError) as raised:
        Server(says=says).keeps()
    assert "your password is ***" in raised.value.server_words
    assert_tells_no_password(raised.value)
