"""Several FETCH commands under way: what comes of them, however the server answers, and what is left behind."""

from __future__ import annotations

import socket
from contextlib import closing

import pytest

from emailprofiles.errors import MailError, ServerBusy, TimedOut
from emailprofiles.transports import imap
from emailprofiles.transports.imap import Imap
from emailprofiles.wire import Endpoint, Listed, Password, Security
from tests.servers import GOOD, Dovecot, Scripted

AMARA = Password("amara", "correct horse")


def batches(*uids: list[int], size: int = 10) -> list[list[Listed]]:
    return [[Listed(str(uid), size, None) for uid in some] for some in uids]


def told(uid: int, raw: bytes = b"") -> bytes:
    raw = raw or f"Subject: {uid}\r\n\r\n".encode()
    when = b'INTERNALDATE "23-Nov-2026 09:00:00 +0000"'
    return b"* %d FETCH (UID %d %s BODY[] {%d}\r\n%s)\r\n" % (uid, uid, when, len(raw), raw)


class Ahead(Scripted):
    """Waits for so many FETCH commands, notes how many were under way, and answers them all at once."""

    def __init__(self, commands: int, answers: list[bytes]) -> None:
        self.asked: list[bytes] = []
        self.commands, self.answers = commands, answers
        super().__init__(self.play)

    def play(self, connection: socket.socket) -> None:
        connection.sendall(b"* OK hello\r\n")
        with connection.makefile("rb") as lines:
            for line in lines:
                tag, name = line.split()[:2]
                if line.split()[1:3] != [b"UID", b"FETCH"]:
                    connection.sendall(self.usual(name) + tag + b" OK done\r\n")
                    continue
                self.asked.append(line)
                if len(self.asked) == self.commands:
                    tags = [asked.split()[0] for asked in self.asked]
                    for answer in self.answers:
                        for number, tag in enumerate(tags):
                            answer = answer.replace(b"TAG%d" % number, tag)
                        connection.sendall(answer)

    def usual(self, name: bytes) -> bytes:
        return {
            b"CAPABILITY": b"* CAPABILITY IMAP4rev1 AUTH=PLAIN SASL-IR UIDPLUS\r\n",
            b"SELECT": b"* 9 EXISTS\r\n* OK [UIDVALIDITY 1] x\r\n* OK [UIDNEXT 10] x\r\n",
        }.get(name, b"")


def opened(port: int) -> Imap:
    server = Imap(Endpoint("127.0.0.1", port, Security.NONE, timeout=2.0, allow_internal=True), AMARA)
    server.connect()
    server.open()
    return server


def subjects(server: Imap, asked: list[list[Listed]]) -> list[list[str]]:
    return [[one.remote_id for one in some] for some in server.fetch_ahead(asked)]


OK = b"TAG%d OK done\r\n"


@pytest.mark.parametrize(
    ("answers", "came"),
    [
        ([told(1) + told(2) + OK % 0, told(3) + OK % 1, told(4) + OK % 2], [["1", "2"], ["3"], ["4"]]),
        # mixed, as RFC 9051, 5.5 lets a server do
        ([told(4) + told(1) + told(3) + told(2) + OK % 0, OK % 1, OK % 2], [["1", "2"], ["3"], ["4"]]),
        (
            [
                b"* 12 EXISTS\r\n" + told(1) + b"* 7 FETCH (FLAGS (\\Seen))\r\n" + told(2) + OK % 0,
                b"* 2 EXPUNGE\r\n" + told(3) + OK % 1 + b"* 11 EXISTS\r\n",
                told(4) + OK % 2,
            ],
            [["1", "2"], ["3"], ["4"]],
        ),
        # one message is not handed over, another command comes to nothing
        ([told(2) + OK % 0, b"TAG1 NO some messages could not be fetched\r\n", told(4) + OK % 2], [["2"], [], ["4"]]),
    ],
    ids=["in order", "mixed", "among other news", "in part"],
)  # fmt: skip
def test_what_comes_is_told_by_its_uid(answers: list[bytes], came: list[list[str]]) -> None:
    with Ahead(3, answers) as script, closing(opened(script.port)) as server:
        assert subjects(server, batches([1, 2], [3], [4])) == came
        assert len(script.asked) == 3


def test_a_cut_in_the_middle_leaves_what_came_before() -> None:
    with Ahead(2, [told(1) + OK % 0 + told(2)[:30]]) as script, closing(opened(script.port)) as server:
        coming = server.fetch_ahead(batches([1], [2]))
        assert [one.remote_id for one in next(coming)] == ["1"]
        server._reached.shutdown(socket.SHUT_RDWR)
        with pytest.raises(MailError):
            next(coming)


def test_a_server_that_says_to_come_later_is_heard() -> None:
    with (
        Ahead(1, [b"TAG0 NO [UNAVAILABLE] later\r\n"]) as script,
        closing(opened(script.port)) as server,
        pytest.raises(ServerBusy),
    ):
        next(server.fetch_ahead(batches([1])))


def test_no_more_is_under_way_than_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(imap, "AHEAD_OCTETS", 25)
    with Ahead(1, [told(1) + OK % 0]) as script, closing(opened(script.port)) as server:
        coming = server.fetch_ahead(batches([1], [2], [3], size=20))
        next(coming)
        with pytest.raises(TimedOut):  # what is under way is waited for, and not for ever
            coming.close()
        assert len(script.asked) == 2  # the second one once the first had come


@pytest.fixture
def folder(dovecot: Dovecot, request: pytest.FixtureRequest) -> Imap:
    account = f"ahead{abs(hash(request.node.name)) % 10**9}"
    dovecot.add_user(account, "correct horse")
    dovecot.append_many(account, [b"Subject: %d\r\n\r\nx\r\n" % n for n in range(40)])
    who = Password(account, "correct horse")
    server = Imap(Endpoint(GOOD, dovecot.port, Security.NONE, timeout=10.0, allow_internal=True), who)
    server.connect()
    server.open()
    return server


def test_whoever_stops_in_the_middle_leaves_the_connection_in_order(folder: Imap) -> None:
    with closing(folder) as server:
        listed = server.listed(None, 40)
        with closing(server.fetch_ahead([listed[n : n + 5] for n in range(0, 40, 5)])) as coming:
            first = next(coming)
        assert [one.remote_id for one in first] == [one.remote_id for one in listed[:5]]
        assert server.identities(None, 50) == [one.remote_id for one in listed]
        (one,) = server.fetch([listed[7].remote_id])
        assert one.raw == b"Subject: 7\r\n\r\nx\r\n"


def test_all_come_in_order_with_empty_batches_among_them(folder: Imap) -> None:
    with closing(folder) as server:
        listed = server.listed(None, 40)
        asked = [listed[:7], [], listed[7:8], listed[8:40], []]
        came = list(server.fetch_ahead(asked))
    assert [[one.raw for one in some] for some in came] == [
        [b"Subject: %d\r\n\r\nx\r\n" % (int(one.remote_id) - 1) for one in some] for some in asked
    ]
