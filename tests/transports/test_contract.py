"""The promises of `seam.py`: one suite that every incoming transport passes, at real servers."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from time import monotonic

import pytest

from emailprofiles.errors import CapabilityMissing, ConnectionLost, SettingsIncomplete, SignInRefused
from emailprofiles.transports import IncomingTransport
from emailprofiles.transports.imap import Imap
from emailprofiles.transports.memory import HERE, MemoryServer
from emailprofiles.transports.pop3 import Pop3
from emailprofiles.wire import UNDELIVERABLE, Disposal, Password, Security, StepName
from tests.maildrop import Maildrop
from tests.servers import Dovecot, needs
from tests.transports.conftest import SECRET

WITH_TLS = (Security.TLS, Security.STARTTLS)


class Desk(ABC):
    """Amara's mailbox at a server, and how to open it by one transport; `has_folders` beside the INBOX."""

    has_folders = True
    securities = tuple(Security)

    @abstractmethod
    def transport(self, password: str = SECRET, security: Security = Security.NONE) -> IncomingTransport: ...

    @abstractmethod
    def receives(self, *raws: bytes) -> None: ...

    @abstractmethod
    def raws(self, folder: str = "INBOX") -> list[bytes]: ...

    def arrives(self, raw: bytes) -> None:
        """As `receives`, by the server's own hand, which tells those who listen."""
        self.receives(raw)

    def opened(self) -> IncomingTransport:
        transport = self.transport()
        transport.connect()
        transport.open()
        return transport


@dataclass
class AtDovecot(Desk):
    kind: type[IncomingTransport]
    dovecot: Dovecot
    amara: str

    def __post_init__(self) -> None:
        self.has_folders = self.kind is Imap

    def transport(self, password: str = SECRET, security: Security = Security.NONE) -> IncomingTransport:
        make = self.dovecot.endpoint if self.has_folders else self.dovecot.pop3_endpoint
        return self.kind(make(security), Password(self.amara, password))

    def receives(self, *raws: bytes) -> None:
        self.dovecot.append_many(self.amara, raws)

    def arrives(self, raw: bytes) -> None:
        self.dovecot.append(self.amara, raw)

    def raws(self, folder: str = "INBOX") -> list[bytes]:
        return [message.raw for message in self.dovecot.messages(self.amara, folder)]


@dataclass
class InMemory(Desk):
    has_folders: bool

    def __post_init__(self) -> None:
        self.server = MemoryServer({"amara": SECRET}, lasting_order=self.has_folders)

    def transport(self, password: str = SECRET, security: Security = Security.NONE) -> IncomingTransport:
        return self.server.transport(Password("amara", password), endpoint=replace(HERE, security=security))

    def receives(self, *raws: bytes) -> None:
        for raw in raws:
            self.server.receive("amara", raw)

    def raws(self, folder: str = "INBOX") -> list[bytes]:
        return [message.raw for message in self.server.folders["amara"][folder].messages]


@dataclass
class WithoutNames(Desk):
    """POP3 at its poorest: no UIDL, or one that says nothing, no TOP, no capabilities, no encryption."""

    by_number: str = ""

    def __post_init__(self) -> None:
        self.has_folders, self.securities = False, (Security.NONE,)
        lacks = ("TOP", "CAPA") if self.by_number else ("UIDL", "TOP", "CAPA")
        self.drop = Maildrop([], lacks, self.by_number)

    def transport(self, password: str = SECRET, security: Security = Security.NONE) -> IncomingTransport:
        self.drop.says = {} if password == SECRET else {"PASS": b"-ERR no\r\n"}
        return Pop3(self.server.endpoint(), Password("amara", password))

    def receives(self, *raws: bytes) -> None:
        self.drop.messages += [("", raw) for raw in raws]

    def raws(self, folder: str = "INBOX") -> list[bytes]:
        return [raw for _, raw in self.drop.messages]


POOR = {"pop3 without names": "", "pop3 by number": "%d"}


@pytest.fixture(params=["imap", "pop3", "memory", "memory without order", *POOR])
def desk(request: pytest.FixtureRequest, dovecot: Dovecot, amara: str) -> Iterator[Desk]:
    kind = request.param
    if kind == "pop3":
        needs("pop3")
    if kind in POOR:
        poor = WithoutNames(POOR[kind])
        with poor.drop.serve() as poor.server:
            yield poor
    elif kind.startswith("memory"):
        yield InMemory(kind == "memory")
    else:
        yield AtDovecot(Imap if kind == "imap" else Pop3, dovecot, amara)


def letters(count: int) -> list[bytes]:
    return [
        b"Received: from a by b; Sun, 3 Feb 2019 14:30:00 +0200\r\nSubject: letter %d\r\n\r\nDear all,\r\n"
        % n
        for n in range(1, count + 1)
    ]


def ids(transport: IncomingTransport, after: str | None = None, limit: int = 1000) -> list[str]:
    return [one.remote_id for one in transport.listed(after, limit)]


def test_the_steps_come_in_their_order(desk: Desk) -> None:
    for security in desk.securities:
        with desk.transport(security=security) as transport:
            names = [step.name for step in transport.connect_steps()]
        tls = [StepName.TLS] if security in WITH_TLS else []
        assert names == [StepName.NAME, StepName.PORT, *tls, StepName.GREETING, StepName.SIGNED_IN]


def test_a_wrong_password_is_refused_at_its_step(desk: Desk) -> None:
    with desk.transport("wrong") as transport, pytest.raises(SignInRefused) as raised:
        transport.connect()
    assert raised.value.step is StepName.SIGNED_IN


@pytest.mark.parametrize("disposal", [Disposal.DELETE, Disposal.MARK_READ])
@pytest.mark.parametrize("count", [0, 2])
def test_a_folder_is_tried_without_a_change(desk: Desk, disposal: Disposal, count: int) -> None:
    desk.receives(*letters(count))
    with desk.transport() as transport:
        transport.connect()
        steps = list(transport.open_steps(disposal))
    assert [step.name for step in steps] == [StepName.FOLDER, StepName.MAY_DELETE, StepName.MESSAGE]
    assert f"{count} messages" in steps[0].seen
    assert desk.raws() == letters(count)


def test_what_is_listed_goes_on_after_an_id_and_keeps_the_limit(desk: Desk) -> None:
    desk.receives(*letters(5))
    with desk.opened() as transport:
        every = ids(transport)
        assert len(set(every)) == 5
        assert transport.identities(None, 1000) == every
        assert ids(transport, None, 2) == every[:2]
        assert ids(transport, every[1], 2) == transport.identities(every[1], 2) == every[2:4]
        assert ids(transport, every[-1]) == []
        assert [one.size for one in transport.listed(None, 9)] == list(map(len, letters(5)))


def test_messages_come_octet_by_octet_in_the_order_asked_for(desk: Desk) -> None:
    raws = [
        b"Subject: dots\r\n\r\n.\r\n..\r\n...three\r\n.x\r\n\r\n.\r\n",
        b"Subject: eight bits \xe4\xf6\r\n\r\n\xff\xfe \x80\r\n",
        b"Subject: a long line\r\n\r\n" + b"x" * 300_000 + b"\r\n",
        b"Subject: looks like POP3\r\n\r\n+OK\r\n-ERR\r\n. \r\n",
        b"Subject: header alone\r\n\r\n",
    ]
    desk.receives(*raws)
    with desk.opened() as transport:
        every = ids(transport)
        back = [*reversed(every)]
        assert [message.raw for message in transport.fetch(every)] == raws
        assert [message.remote_id for message in transport.fetch([*back, "77"])] == back
        assert list(transport.fetch([])) == []
    assert desk.raws() == raws


def test_headers_come_alone_with_the_line_that_ends_them(desk: Desk) -> None:
    desk.receives(*letters(2))
    with desk.opened() as transport:
        headers = list(transport.fetch_headers(ids(transport)))
    assert [one.raw for one in headers] == [raw.removesuffix(b"Dear all,\r\n") for raw in letters(2)]
    assert all(one.received_at and one.received_at.tzinfo for one in headers)


def test_opening_again_shows_what_came_since(desk: Desk) -> None:
    desk.receives(*letters(1))
    with desk.opened() as transport:
        before = ids(transport)
        generation = transport.open().generation
        desk.receives(*letters(2)[1:])
        folder = transport.open()
        assert (folder.messages, folder.generation) == (2, generation)
        assert ids(transport)[:1] == before
        assert len(ids(transport)) == 2


def test_exactly_these_are_deleted_and_asking_again_finds_them_vanished(desk: Desk) -> None:
    desk.receives(*letters(5))
    with desk.opened() as transport:
        every = ids(transport)
        answer = transport.dispose([every[0], every[3], "77"], Disposal.DELETE)
        assert (sorted(answer.done), answer.vanished) == (sorted([every[0], every[3]]), ("77",))
        again = transport.dispose(every[:2], Disposal.DELETE)
        assert (again.done, again.vanished) == ((every[1],), (every[0],))
        assert [message.raw for message in transport.fetch([every[2]])] == [letters(5)[2]]
        assert transport.dispose([], Disposal.DELETE).done == ()
    assert desk.raws() == [letters(5)[2], letters(5)[4]]


def test_what_is_marked_as_read_stays(desk: Desk) -> None:
    desk.receives(*letters(2))
    with desk.opened() as transport:
        every = ids(transport)
        answer = transport.dispose([every[0], "77"], Disposal.MARK_READ)
    assert (answer.done, answer.vanished) == ((every[0],), ("77",))
    assert desk.raws() == letters(2)


def test_what_is_put_aside_lies_in_the_folder_for_it(desk: Desk) -> None:
    desk.receives(*letters(3))
    with desk.opened() as transport:
        every = ids(transport)
        if not desk.has_folders:
            with pytest.raises(CapabilityMissing):
                transport.dispose(every[:1], Disposal.PUT_ASIDE)
            assert desk.raws() == letters(3)
            return
        assert transport.dispose(every[:1], Disposal.PUT_ASIDE).done == (every[0],)
        assert transport.dispose(every[:2], Disposal.PUT_ASIDE).vanished == (every[0],)
    assert desk.raws() == letters(3)[2:]
    assert desk.raws(UNDELIVERABLE) == letters(3)[:2]


SENT = b"Message-ID: <7@contoso.com>\r\nReferences: <6@contoso.com>\r\nSubject: sent\r\n\r\nHello\r\n"


def test_a_copy_is_kept_once_in_a_folder_that_is_made_for_it(desk: Desk) -> None:
    with desk.transport() as transport:
        transport.connect()
        if not desk.has_folders:
            with pytest.raises(CapabilityMissing):
                transport.keep_copy("Sent", SENT, "<7@contoso.com>")
            return
        assert transport.keep_copy("Sent", SENT.replace(b"\r\n", b"\n"), "7@contoso.com")
        assert not transport.keep_copy("Sent", SENT, "<7@contoso.com>")
        assert desk.raws("Sent") == [SENT]
        for other in (b"6", b"77", b"17"):
            another = SENT.replace(b"<7@", b"<%b@" % other)
            assert transport.keep_copy("Sent", another, f"<{other.decode()}@contoso.com>")
    assert len(desk.raws("Sent")) == 4
    assert desk.raws() == []


def test_no_copy_is_kept_where_it_would_be_collected(desk: Desk) -> None:
    with desk.opened() as transport:
        if not desk.has_folders:
            return
        with pytest.raises(SettingsIncomplete):
            transport.keep_copy("Inbox", SENT, "<7@contoso.com>")
    assert desk.raws() == []


def test_a_copy_leaves_the_folder_that_was_open_and_it_may_be_opened_again(desk: Desk) -> None:
    if not desk.has_folders:
        return
    desk.receives(*letters(2))
    with desk.opened() as transport:
        first, _second = ids(transport)
        assert transport.keep_copy("Sent", SENT, "<7@contoso.com>")
        asked: list[Callable[[], object]] = [
            lambda: transport.listed(None, 10),
            lambda: transport.identities(None, 10),
            lambda: list(transport.fetch([first])),
            lambda: list(transport.fetch_headers([first])),
            lambda: transport.dispose([first], Disposal.DELETE),
            lambda: transport.dispose([first], Disposal.PUT_ASIDE),
            lambda: transport.watch(0.1),
        ]
        for ask in asked:
            with pytest.raises(ConnectionLost):
                ask()
        transport.open()
        assert [message.raw for message in transport.fetch([first])] == letters(2)[:1]
        assert transport.dispose([first], Disposal.DELETE).done == (first,)
    assert desk.raws() == letters(2)[1:]
    assert desk.raws("Sent") == [SENT]


def test_a_watch_tells_what_arrives_before_and_during_it_and_nothing_else(desk: Desk) -> None:
    desk.receives(*letters(1))
    with desk.opened() as transport:
        if not desk.has_folders:
            with pytest.raises(CapabilityMissing):
                transport.watch(0.1)
            return
        assert not transport.watch(0.2)
        desk.arrives(letters(1)[0])
        assert transport.watch(5)
        assert not transport.watch(0.2)
        arriving = threading.Timer(0.3, desk.arrives, letters(1))
        arriving.start()
        began = monotonic()
        assert transport.watch(10)
        assert monotonic() - began < 5
        arriving.join()
        transport.open()
        assert len(ids(transport)) == 3


@pytest.mark.parametrize("security", WITH_TLS)
def test_a_watch_inside_tls_tells_the_same(dovecot: Dovecot, amara: str, security: Security) -> None:
    with Imap(dovecot.endpoint(security), Password(amara, SECRET)) as transport:
        transport.connect()
        transport.open()
        arriving = threading.Timer(0.3, dovecot.append, (amara, letters(1)[0]))
        arriving.start()
        assert transport.watch(10)
        arriving.join()
        assert not transport.watch(0.2)
        assert len(ids(transport)) == 1


def test_a_closed_transport_says_so_and_may_be_closed_again(desk: Desk) -> None:
    transport = desk.opened()
    transport.close()
    transport.close()
    with pytest.raises(ConnectionLost):
        transport.open()
