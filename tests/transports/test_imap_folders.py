"""Folders of any name, of any size, and without room."""

from __future__ import annotations

import re
import socket

import pytest

from emailprofiles.errors import TryLater
from emailprofiles.transports.imap import Imap
from emailprofiles.wire import Disposal, Password
from tests.servers import Dovecot, Scripted
from tests.transports.conftest import Opener

FOLDERS = [
    "Collection Box",
    "INBOX/Sub",
    'A "quoted" one',
    "100% & more",
    "Über/Grüße aus Köln",
    "収集箱",
    "&already-encoded-",
    "[Gmail]/All Mail",
    "(brackets) {5} ~tilde",
    "NIL",
    "x" * 100,
]


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_folder_is_read_whatever_its_name(
    dovecot: Dovecot, amara: str, mailbox: Opener, folder: str
) -> None:
    with dovecot.client(amara) as client:
        client.create_folder(folder)
        client.append(folder, b"Subject: here\r\n\r\nHello\r\n")
    imap = mailbox(folder)
    [one] = imap.listed(None, 10)
    [fetched] = imap.fetch([one.remote_id])
    assert fetched.raw.startswith(b"Subject: here")
    assert imap.dispose([one.remote_id], Disposal.DELETE).done == (one.remote_id,)


class Vast:
    """A folder of 200,000 messages with gaps, and the longest answer that anybody asked it for."""

    messages = 200_000
    step = 3

    def __init__(self) -> None:
        self.longest = 0
        self.searches = 0

    def play(self, connection: socket.socket) -> None:
        connection.sendall(b"* OK hello\r\n")
        with connection.makefile("rb") as lines:
            for line in lines:
                tag, _, command = line.strip().partition(b" ")
                connection.sendall(self.answer(command.upper()) + tag + b" OK done\r\n")

    def answer(self, command: bytes) -> bytes:
        if command == b"CAPABILITY":
            return b"* CAPABILITY IMAP4rev1 AUTH=PLAIN SASL-IR UIDPLUS\r\n"
        if command.startswith(b"SELECT"):
            last = self.messages * self.step
            return (
                b"* %d EXISTS\r\n* OK [UIDVALIDITY 7] x\r\n* OK [UIDNEXT %d] x\r\n"
                b"* FLAGS (\\Seen \\Deleted)\r\n" % (self.messages, last + 1)
            )
        if found := re.match(rb"UID SEARCH UID (\d+):(\d+|\*)", command):
            return self.search(int(found[1]), found[2])
        return b""

    def search(self, low: int, high: bytes) -> bytes:
        last = self.messages * self.step
        top = last if high == b"*" else min(int(high), last)
        first = -(-low // self.step) * self.step
        found = range(first, top + 1, self.step)
        self.searches += 1
        self.longest = max(self.longest, len(found))
        return b"* SEARCH " + b" ".join(b"%d" % uid for uid in found) + b"\r\n"


def test_two_hundred_thousand_messages_are_numbered_in_windows() -> None:
    vast = Vast()
    with (
        Scripted(vast.play) as server,
        Imap(server.endpoint(), Password("amara", "correct horse")) as imap,
    ):
        imap.connect()
        imap.open()
        after, found = None, 0
        while ids := imap.identities(after, 1000):
            found += len(ids)
            after = ids[-1]
    assert found == vast.messages
    assert vast.longest <= 8000
    assert vast.searches < 1000


@pytest.mark.parametrize(
    "words", ["NO [OVERQUOTA] Quota exceeded", "NO Mailbox is full", "NO [LIMIT] Slow down"]
)
def test_a_full_mailbox_is_asked_again_later(words: str) -> None:
    """Marking and moving need room, too (RFC 9208, section 4.1.2); nothing is taken for done."""

    def play(connection: socket.socket) -> None:
        answers = {
            b"CAPABILITY": b"* CAPABILITY IMAP4rev1 AUTH=PLAIN SASL-IR UIDPLUS\r\n",
            b"SELECT": b"* 1 EXISTS\r\n* OK [UIDVALIDITY 7] x\r\n* OK [UIDNEXT 2] x\r\n",
            b"UID SEARCH": b"* SEARCH 1\r\n",
        }
        connection.sendall(b"* OK hello\r\n")
        with connection.makefile("rb") as lines:
            for line in lines:
                tag, _, command = line.strip().partition(b" ")
                said = next((answers[name] for name in answers if command.startswith(name)), b"")
                is_store = command.startswith(b"UID STORE")
                connection.sendall(said + tag + b" " + (words.encode() if is_store else b"OK done") + b"\r\n")

    with Scripted(play) as server, Imap(server.endpoint(), Password("amara", "x")) as imap:
        imap.connect()
        imap.open()
        with pytest.raises(TryLater):
            imap.dispose(["1"], Disposal.DELETE)
