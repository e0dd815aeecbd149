"""POP3 servers that Dovecot is not: without UIDL or TOP, with names used twice, dripping, lying, injecting."""

from __future__ import annotations

import logging
import socket
import time
import traceback
from collections.abc import Callable

import pytest

from emailprofiles.errors import (
    CapabilityMissing,
    CertificateExpired,
    CertificateUntrusted,
    CertificateWrongName,
    EncryptionRequired,
    FolderReadOnly,
    MailError,
    NoGreeting,
    NotThisProtocol,
    ProtocolError,
    ServerBusy,
    SettingsIncomplete,
    SignInRefused,
    StartTlsRefused,
    TimedOut,
    TryLater,
)
from emailprofiles.transports import pop3 as pop3_module
from emailprofiles.transports.pop3 import Pop3, received_at
from emailprofiles.wire import Disposal, Password, Security, StepName
from tests.maildrop import Maildrop
from tests.servers import EXPIRED, UNTRUSTED, WRONG_NAME, Certificates, Dovecot, Scripted, needs

PASSWORD = "Tr0ub4dor é 3"
AMARA = Password("amara", PASSWORD)


def opened(server: Scripted) -> Pop3:
    pop3 = Pop3(server.endpoint(), AMARA)
    pop3.connect()
    pop3.open()
    return pop3


def ids(pop3: Pop3) -> list[str]:
    return pop3.identities(None, 1000)


def failure(server: Scripted, security: Security = Security.NONE, ca_file: str = "") -> MailError:
    with (
        Pop3(server.endpoint(security, timeout=1, ca_file=ca_file), AMARA) as pop3,
        pytest.raises(MailError) as raised,
    ):
        pop3.connect()
    return raised.value


def letter(number: int, body: bytes = b"Dear all,\r\n") -> bytes:
    return b"Subject: letter %d\r\n\r\n%s" % (number, body)


# --- what a message is called ---


def test_messages_of_the_same_name_are_told_apart_and_the_first_is_not_deleted_before_its_heir() -> None:
    drop = Maildrop([("x", letter(1)), ("x", letter(2)), ("x#2", letter(3))])
    with drop.serve() as server, opened(server) as pop3:
        assert ids(pop3) == ["x", "x#3", "x#2"]
        assert [one.raw for one in pop3.fetch(ids(pop3))] == [letter(1), letter(2), letter(3)]
        kept = pop3.dispose(["x"], Disposal.DELETE)
        assert (kept.done, kept.vanished) == ((), ())
        assert len(drop.messages) == 3
        assert set(pop3.dispose(["x", "x#3"], Disposal.DELETE).done) == {"x", "x#3"}
    assert drop.messages == [("x#2", letter(3))]


@pytest.mark.parametrize("without", [("UIDL",), ("UIDL", "TOP"), ("UIDL", "TOP", "CAPA")])
def test_without_uidl_a_message_is_known_by_what_it_is(without: tuple[str, ...]) -> None:
    same = letter(2)
    drop = Maildrop([("", letter(1)), ("", same), ("", same)], without)
    with drop.serve() as server:
        with opened(server) as pop3:
            first, second, third = ids(pop3)
            assert third == f"{second}#2"
            assert [one.raw for one in pop3.fetch_headers([first])] == [b"Subject: letter 1\r\n\r\n"]
            generation = pop3.open().generation
        drop.messages.insert(0, ("", letter(4)))
        with opened(server) as pop3:
            assert ids(pop3)[1:] == [first, second, third]
            assert pop3.dispose([first], Disposal.DELETE).done == (first,)
            assert pop3.open().generation == generation != ""
    assert [raw for _, raw in drop.messages] == [letter(4), same, same]


RECEIVED = b"Received: from a by b; Sun, 3 Feb 2019 14:30:00 +0200\r\n"


@pytest.mark.parametrize("form", ["%d", "%03d", "msg%d", "<%d>"])
def test_a_uidl_that_is_but_the_number_says_nothing(form: str) -> None:
    same_size = [RECEIVED + letter(n) for n in range(1, 4)]
    drop = Maildrop([("", raw) for raw in same_size], by_number=form)
    with drop.serve() as server, opened(server) as pop3:
        first, second, third = ids(pop3)
        assert pop3.dispose([first], Disposal.DELETE).done == (first,)
        drop.messages.insert(0, ("", RECEIVED + letter(4)))
        generation = pop3.open().generation
        assert ids(pop3)[1:] == [second, third]
        assert first not in ids(pop3)
    assert generation == ""
    assert not any(line.startswith(b"RETR") for line in drop.heard)


def test_names_that_last_and_begin_like_numbers_are_the_same_for_the_whole_visit() -> None:
    """The server deletes the first and not the second, which is number 1 then and bears a "2"."""
    drop = Maildrop([(f"{n}", RECEIVED + letter(n)) for n in range(1, 4)])
    with drop.serve() as server, opened(server) as pop3:
        first, second, third = ids(pop3)
        drop.messages = drop.messages[1:]
        drop.says["DELE"] = b"-ERR no\r\n"
        pop3.open()
        assert ids(pop3) == [second, third]
    with drop.serve() as server, opened(server) as pop3:
        assert ids(pop3) == ["2", "3"]
    assert first not in (second, third)


def test_what_has_no_received_line_is_known_by_all_of_it_and_what_is_refused_by_its_size() -> None:
    drop = Maildrop([("", b"\r\nbody 1\r\n"), ("", b"\r\nbody 2\r\n")], ("UIDL",))
    with drop.serve() as server:
        with opened(server) as pop3:
            first, second = ids(pop3)
            assert not second.startswith(first)
        drop.says["TOP"] = drop.says["RETR"] = b"-ERR no such thing\r\n"
        with opened(server) as pop3:
            assert ids(pop3) == ["unread:10", "unread:10#2"]
            assert list(pop3.fetch(ids(pop3))) == []


def test_names_that_the_standard_does_not_allow_are_names_all_the_same() -> None:
    drop = Maildrop([("y" * 200, letter(1)), ("\xfc", letter(2)), ("", letter(3)), ("a b", letter(4))])
    with drop.serve() as server, opened(server) as pop3:
        names = ids(pop3)
    assert len(set(names)) == 4
    assert all(name.isascii() and len(name) < 100 for name in names)


def test_names_that_the_server_has_no_time_for_now_are_not_replaced_by_others() -> None:
    drop = Maildrop([("x", letter(1))], says={"UIDL": b"-ERR [SYS/TEMP] later\r\n"})
    with drop.serve() as server, pytest.raises(ServerBusy):
        opened(server)
    drop.says["UIDL"] = b"-ERR no\r\n"  # though its capabilities say UIDL
    with drop.serve() as server, pytest.raises(ProtocolError):
        opened(server)


@pytest.mark.parametrize(
    ("header", "seen"),
    [
        (b"Received: from a by b; Sun, 3 Feb 2019 14:30:00 +0200\r\nReceived: x; 1 Jan 2001 00:00 +0000", "2019-02-03T12:30:00+00:00"),
        (b"Received: from a\r\n\tby b (a;b);\r\n Sun, 3 Feb 2019 14:30:00 -0000", "2019-02-03T14:30:00+00:00"),
        (b"Received: from a by b", None),
        (b"Received: by b; 99 Foo 2019", None),
        (b"Received: by b; Sun, 3 Feb 2019 14:30:00 +9999", None),
        (b"Subject: none\r\n\r\nReceived: by b; Sun, 3 Feb 2019 14:30:00 +0200", None),
        (b"", None),
    ],
)  # fmt: skip
def test_the_time_is_that_of_the_topmost_received_line(header: bytes, seen: str | None) -> None:
    found = received_at(header + b"\r\n\r\n")
    assert (found.isoformat() if found else None) == seen


# --- deleting ---


def test_deletions_come_true_in_portions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pop3_module, "DELETIONS_PER_SESSION", 2)
    drop = Maildrop([(f"m{n + 7}", letter(n)) for n in range(5)])
    with drop.serve() as server, opened(server) as pop3:
        assert len(pop3.dispose([f"m{n + 7}" for n in range(5)], Disposal.DELETE).done) == 5
    assert drop.messages == []
    assert [line for line in drop.heard if line[:4] in (b"DELE", b"QUIT")][:3] == [
        b"DELE 5\r\n",
        b"DELE 4\r\n",
        b"QUIT\r\n",
    ]


def test_after_a_farewell_that_is_lost_the_server_itself_is_asked() -> None:
    drop = Maildrop([("a", letter(1)), ("b", letter(2))], says={"QUIT": b"?"})
    with drop.serve() as server, opened(server) as pop3:
        assert pop3.dispose(["a"], Disposal.DELETE).done == ("a",)
        assert [one.raw for one in pop3.fetch(["b"])] == [letter(2)]


@pytest.mark.parametrize(
    ("refusal", "error"),
    [(b"-ERR maildrop is read-only\r\n", FolderReadOnly), (b"-ERR no\r\n", ProtocolError)],
)
def test_a_server_that_deletes_nothing_says_so(refusal: bytes, error: type[MailError]) -> None:
    drop = Maildrop([("a", letter(1))], says={"DELE": refusal})
    with drop.serve() as server, opened(server) as pop3, pytest.raises(error):
        pop3.dispose(["a"], Disposal.DELETE)
    assert len(drop.messages) == 1


# --- before and at the sign-in ---


@pytest.mark.parametrize(
    ("play", "error"),
    [
        (lambda connection: time.sleep(3), NoGreeting),
        (lambda connection: None, NoGreeting),
        (lambda connection: connection.sendall(b"220 mail.contoso.com ESMTP\r\n"), NotThisProtocol),
        (lambda connection: connection.sendall(b"* OK IMAP ready\r\n"), NotThisProtocol),
        (lambda connection: connection.sendall(b"\x15\x03\x01\x00\x02\x02\x0a"), NotThisProtocol),
        (lambda connection: connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n"), NotThisProtocol),
        (lambda connection: connection.sendall(b"-ERR too many connections\r\n"), ServerBusy),
        (lambda connection: connection.sendall(b"+OK" + b"x" * 20_000), NotThisProtocol),
    ],
)
def test_what_is_no_pop3_greeting_is_told_apart(
    play: Callable[[socket.socket], None], error: type[MailError]
) -> None:
    with Scripted(play) as server:
        raised = failure(server)
    assert (type(raised), raised.step) == (error, StepName.GREETING)


@pytest.mark.parametrize(
    ("words", "error"),
    [
        ("[AUTH] wrong", SignInRefused),
        ("wrong", SignInRefused),
        ("[IN-USE] another session", TryLater),
        ("[LOGIN-DELAY] minimum time between mail checks", TryLater),
        ("[SYS/TEMP] the disk is full", ServerBusy),
        ("[SYS/PERM] the disk is gone", TryLater),
        ("[AUTH] Plaintext authentication disallowed on non-secure connections", EncryptionRequired),
    ],
)
def test_each_refusal_of_a_sign_in_has_its_meaning(words: str, error: type[MailError]) -> None:
    drop = Maildrop([], says={"PASS": f"-ERR {words}\r\n".encode()})
    with drop.serve() as server:
        raised = failure(server)
    assert (type(raised), raised.step, raised.server_words) == (error, StepName.SIGNED_IN, words)


def test_a_server_that_echoes_the_password_does_not_get_it_into_any_text(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    drop = Maildrop([], says={"PASS": f"-ERR {PASSWORD}\r\n".encode()})
    with drop.serve() as server:
        raised = failure(server)
    texts = [*traceback.format_exception(raised), raised.server_words, repr(raised.__cause__), caplog.text]
    assert not any("ub4dor" in text for text in texts)


@pytest.mark.parametrize("sign_in", [Password("amara\r\nDELE 1", "x"), Password("amara", "x\nDELE 1")])
def test_a_line_break_never_becomes_a_command(sign_in: Password) -> None:
    drop = Maildrop([])
    with drop.serve() as server, Pop3(server.endpoint(), sign_in) as pop3, pytest.raises(SettingsIncomplete):
        pop3.connect()
    assert b"DELE" not in b"".join(drop.heard)


@pytest.mark.parametrize(
    ("capabilities", "error"), [(b"STLS", EncryptionRequired), (b"SASL XOAUTH2", CapabilityMissing)]
)
def test_no_password_is_sent_where_the_server_takes_none(capabilities: bytes, error: type[MailError]) -> None:
    drop = Maildrop([], says={"CAPA": b"+OK\r\n" + capabilities + b"\r\n.\r\n"})
    with drop.serve() as server:
        assert type(failure(server)) is error
    assert [line for line in drop.heard if not line.startswith((b"CAPA", b"QUIT"))] == []


@pytest.mark.parametrize(
    "says", [{}, {"STLS": b"-ERR not today\r\n"}, {"CAPA": b"-ERR ?\r\n", "STLS": b"-ERR\r\n"}]
)
def test_encryption_is_required_not_hoped_for(says: dict[str, bytes]) -> None:
    drop = Maildrop([], says=says)
    with drop.serve() as server:
        raised = failure(server, Security.STARTTLS)
    assert (type(raised), raised.step) == (StartTlsRefused, StepName.TLS)
    assert not any(line.startswith((b"USER", b"PASS", b"AUTH")) for line in drop.heard)


def test_what_was_slipped_in_before_encryption_is_forgotten(certificates: Certificates) -> None:
    heard: list[bytes] = []
    context = certificates.server_context()

    def play(connection: socket.socket) -> None:
        connection.sendall(b"+OK\r\n")
        connection.recv(1000)
        connection.sendall(b"+OK\r\nSTLS\r\n.\r\n")
        connection.recv(1000)
        connection.sendall(b"+OK go\r\n+OK\r\nUSER\r\nSASL PLAIN\r\n.\r\n+OK\r\n+OK\r\n")
        with context.wrap_socket(connection, server_side=True) as tls:
            heard.append(tls.recv(1000))
            tls.sendall(b"+OK\r\nSASL XOAUTH2\r\n.\r\n")
            heard.append(tls.recv(1000))

    with Scripted(play) as server:
        raised = failure(server, Security.STARTTLS, certificates.ca_file)
    assert type(raised) is CapabilityMissing
    assert not any(line.startswith((b"USER", b"PASS", b"AUTH")) for line in heard)


@pytest.mark.parametrize("security", [Security.TLS, Security.STARTTLS])
@pytest.mark.parametrize(
    ("host", "error"),
    [(EXPIRED, CertificateExpired), (WRONG_NAME, CertificateWrongName), (UNTRUSTED, CertificateUntrusted)],
)
def test_a_wrong_certificate_ends_it_before_the_sign_in(
    dovecot: Dovecot, security: Security, host: str, error: type[MailError]
) -> None:
    needs("pop3")
    with Pop3(dovecot.pop3_endpoint(security, host), AMARA) as pop3, pytest.raises(error) as raised:
        pop3.connect()
    assert raised.value.step is StepName.TLS


# --- answers that are none ---


@pytest.mark.parametrize(
    "says",
    [
        {"LIST": b"+OK\r\none two\r\n.\r\n"},
        {"LIST": b"+OK\r\n" + b"9" * 5000 + b" 1\r\n.\r\n"},
        {"LIST": b"nonsense\r\n"},
        {"UIDL": b"+OK\r\n\r\n.\r\n"},
        {"LIST": b"+OK\r\n1 2\r\n.\r\n+OK more than was asked for\r\n"},
        {"CAPA": b"+OK\r\n" + b"x" * 2_000_000},
    ],
)
def test_an_answer_made_to_break_parsers_is_an_error_of_the_protocol(says: dict[str, bytes]) -> None:
    drop = Maildrop([("a", letter(1))], says=says)
    with drop.serve() as server, pytest.raises(ProtocolError):
        opened(server)


def test_a_size_that_lies_is_believed_by_nobody() -> None:
    drop = Maildrop([("a", letter(1))], says={"LIST": b"+OK\r\n1 " + b"9" * 40 + b"\r\n.\r\n"})
    with drop.serve() as server, opened(server) as pop3:
        assert [one.size for one in pop3.listed(None, 9)] == [0]
        assert [one.raw for one in pop3.fetch(["a"])] == [letter(1)]


def test_a_message_that_is_not_handed_over_leaves_the_others() -> None:
    drop = Maildrop([("a", letter(1)), ("b", letter(2))], says={})
    drop.reply = lambda name, words, here, deleted, real=drop.reply: (  # type: ignore[method-assign]
        b"-ERR broken\r\n" if (name, words) == ("RETR", ["1"]) else real(name, words, here, deleted)
    )
    with drop.serve() as server, opened(server) as pop3:
        assert [one.remote_id for one in pop3.fetch(["a", "b"])] == ["b"]


def test_a_bare_line_feed_and_a_dot_end_nothing() -> None:
    raw = letter(1, b"one\n.\ntwo\n.\r\nthree\r\n\rfour\r\n")
    drop = Maildrop([("a", raw), ("b", letter(2))])
    with drop.serve() as server, opened(server) as pop3:
        assert [one.raw for one in pop3.fetch(["a", "b"])] == [raw, letter(2)]


def test_a_body_that_drips_runs_out_of_time() -> None:
    def drip(connection: socket.socket) -> None:
        connection.sendall(b"+OK\r\n")
        connection.recv(1000)
        connection.sendall(b"+OK\r\n")
        while True:
            connection.sendall(b".")
            time.sleep(0.05)

    started = time.monotonic()
    with Scripted(drip) as server:
        assert type(failure(server)) is TimedOut
    assert time.monotonic() - started < 3
