"""IMAP servers that no well-made server is: silent, dripping, lying, echoing."""

from __future__ import annotations

import logging
import socket
import time
import traceback
from collections.abc import Callable

import pytest

from emailprofiles import network
from emailprofiles.errors import (
    CapabilityMissing,
    EncryptionRequired,
    MailError,
    NoGreeting,
    NotThisProtocol,
    ProtocolError,
    ServerBusy,
    SignInRefused,
    StartTlsRefused,
    TimedOut,
)
from emailprofiles.transports.imap import Imap
from emailprofiles.wire import Disposal, Password, Security, StepName
from tests.servers import Certificates, Dovecot, Scripted

PASSWORD = 'Tr0ub4dor"&\\3é'
AMARA = Password("amara", PASSWORD)
CAPABILITIES = "IMAP4rev1 AUTH=PLAIN SASL-IR UIDPLUS UNSELECT"

Answers = dict[str, str | bytes]


def imap_server(
    answers: Answers, capabilities: str = CAPABILITIES, greeting: bytes = b"* OK hello\r\n"
) -> Scripted:
    """An IMAP server that answers each command by its name: untagged lines, then a tagged OK.

    A text that begins with NO, BAD or OK is the tagged answer itself; {line} in it is the command.
    """
    everything: Answers = {"CAPABILITY": f"* CAPABILITY {capabilities}\r\n".encode(), **answers}

    def play(connection: socket.socket) -> None:
        connection.sendall(greeting)
        with connection.makefile("rb") as lines:
            for line in lines:
                connection.sendall(answer(line, everything))

    return Scripted(play)


def answer(line: bytes, answers: Answers) -> bytes:
    tag, *words = line.split()
    name = b" ".join(words[: 2 if words[0] == b"UID" else 1]).decode()
    said = answers.get(name, b"")
    if isinstance(said, str):
        return tag + b" " + said.replace("{line}", line.decode().strip()).encode() + b"\r\n"
    return said + tag + b" OK done\r\n"


SELECTED = b"* 3 EXISTS\r\n* FLAGS (\\Seen \\Deleted)\r\n* OK [UIDVALIDITY 7] x\r\n* OK [UIDNEXT 11] x\r\n"


def opened(server: Scripted, timeout: float = 2) -> Imap:
    imap = Imap(server.endpoint(timeout=timeout), AMARA)
    imap.connect()
    imap.open()
    return imap


def failure(server: Scripted, security: Security = Security.NONE, ca_file: str = "") -> MailError:
    with (
        Imap(server.endpoint(security, timeout=1, ca_file=ca_file), AMARA) as imap,
        pytest.raises(MailError) as raised,
    ):
        imap.connect()
    return raised.value


# --- before the sign-in ---


@pytest.mark.parametrize(
    ("play", "error"),
    [
        (lambda connection: time.sleep(3), NoGreeting),
        (lambda connection: None, NoGreeting),
        (lambda connection: connection.sendall(b"220 mail.contoso.com ESMTP\r\n"), NotThisProtocol),
        (lambda connection: connection.sendall(b"+OK POP3 ready\r\n"), NotThisProtocol),
        (lambda connection: connection.sendall(b"\x15\x03\x01\x00\x02\x02\x0a"), NotThisProtocol),
        (lambda connection: connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n"), NotThisProtocol),
        (lambda connection: connection.sendall(b"* BYE Too many connections\r\n"), ServerBusy),
    ],
)
def test_what_is_no_imap_greeting_is_told_apart(
    play: Callable[[socket.socket], None], error: type[MailError]
) -> None:
    with Scripted(play) as server:
        raised = failure(server)
    assert type(raised) is error
    assert raised.step is StepName.GREETING


def test_a_plain_client_at_a_tls_port_is_advised_to_use_tls(dovecot: Dovecot) -> None:
    endpoint = dovecot.endpoint(timeout=1)
    wrong = type(endpoint)(endpoint.host, dovecot.tls_port, Security.NONE, 1)
    with Imap(wrong, AMARA) as imap, pytest.raises(NoGreeting) as raised:
        imap.connect()
    assert "SSL/TLS" in raised.value.advice


def test_a_greeting_that_drips_runs_out_of_time() -> None:
    def drip(connection: socket.socket) -> None:
        connection.sendall(b"* OK ")
        while True:
            connection.sendall(b".")
            time.sleep(0.05)

    started = time.monotonic()
    with Scripted(drip) as server:
        assert type(failure(server)) is TimedOut
    assert time.monotonic() - started < 3


@pytest.mark.parametrize("security", [Security.NONE, Security.STARTTLS])
def test_a_mailbox_that_is_open_before_the_sign_in_is_refused(security: Security) -> None:
    with imap_server({}, greeting=b"* PREAUTH welcome, amara\r\n") as server:
        raised = failure(server, security)
    assert type(raised) is NotThisProtocol
    assert "PREAUTH" in str(raised)


def test_starttls_is_required_not_hoped_for() -> None:
    with imap_server({}) as server:
        raised = failure(server, Security.STARTTLS)
    assert type(raised) is StartTlsRefused
    assert raised.step is StepName.TLS


def test_a_refused_starttls_ends_the_session() -> None:
    with imap_server({"STARTTLS": "NO not today"}, "IMAP4rev1 STARTTLS") as server:
        raised = failure(server, Security.STARTTLS)
    assert type(raised) is StartTlsRefused
    assert raised.server_words == "not today"


def test_what_was_slipped_in_before_encryption_is_forgotten(certificates: Certificates) -> None:
    heard: list[bytes] = []
    context = certificates.server_context()

    def play(connection: socket.socket) -> None:
        connection.sendall(b"* OK hello\r\n")
        tag = connection.recv(1000).split()[0]
        connection.sendall(b"* CAPABILITY IMAP4rev1 STARTTLS\r\n" + tag + b" OK done\r\n")
        tag = connection.recv(1000).split()[0]
        connection.sendall(tag + b" OK go\r\n* CAPABILITY IMAP4rev1 AUTH=PLAIN SASL-IR EVIL\r\n")
        with context.wrap_socket(connection, server_side=True) as tls:
            tag = tls.recv(1000).split()[0]
            tls.sendall(b"* CAPABILITY IMAP4rev1 LOGINDISABLED\r\n" + tag + b" OK done\r\n")
            heard.append(tls.recv(1000))

    with Scripted(play) as server:
        raised = failure(server, Security.STARTTLS, certificates.ca_file)
    assert type(raised) is CapabilityMissing
    assert all(b"AUTHENTICATE" not in line and b"LOGIN" not in line.split()[1:2] for line in heard)


def test_no_password_is_sent_in_the_clear_where_the_server_forbids_it() -> None:
    with imap_server({}, "IMAP4rev1 LOGINDISABLED AUTH=PLAIN STARTTLS") as server:
        assert type(failure(server)) is EncryptionRequired


# --- the sign-in ---


@pytest.mark.parametrize("capabilities", [CAPABILITIES, "IMAP4rev1", "IMAP4rev1 AUTH=PLAIN"])
@pytest.mark.parametrize(
    "echo", ["NO wrong: {line}", "BAD wrong: {line}", 'NO [AUTHENTICATIONFAILED] Tr0ub4dor"&\\3é']
)
def test_a_server_that_echoes_the_password_does_not_get_it_into_any_text(
    capabilities: str, echo: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    continued: Answers = {"AUTHENTICATE": echo, "LOGIN": echo}
    with imap_server(continued, capabilities) as server:
        raised = failure(server)
    texts = [
        *traceback.format_exception(raised),
        raised.server_words,
        repr(raised),
        repr(raised.__cause__),
        repr(AMARA),
        caplog.text,
    ]
    blobs = ("AGFtYXJhAF", "VHIwdWI0ZG9y")  # how PLAIN and a bare base64 of the password begin
    for text in texts:
        assert "ub4dor" not in text
        assert not any(blob in text for blob in blobs)


@pytest.mark.parametrize("capabilities", [CAPABILITIES, "IMAP4rev1"])
def test_a_wrong_password_is_a_wrong_password_by_either_way(capabilities: str) -> None:
    no = "NO [AUTHENTICATIONFAILED] Invalid credentials (Failure)"
    with imap_server({"AUTHENTICATE": no, "LOGIN": no}, capabilities) as server:
        raised = failure(server)
    assert type(raised) is SignInRefused
    assert raised.server_words == "[AUTHENTICATIONFAILED] Invalid credentials (Failure)"


def test_a_service_account_needs_authenticate_plain() -> None:
    with (
        imap_server({}, "IMAP4rev1") as server,
        Imap(server.endpoint(), Password("service", PASSWORD, "amara")) as imap,
        pytest.raises(CapabilityMissing),
    ):
        imap.connect()


# --- in the folder ---


@pytest.mark.parametrize(
    "fetched",
    [
        b"* 1 FETCH (BODY[] {5}\r\nfalse INTERNALDATE NIL)\r\n",  # names no UID: must not count as UID 1
        b"* 1 FETCH (UID 99 BODY[] {5}\r\nfalse)\r\n",  # not asked for
        b"* 1 FETCH (UID 1 BODY[] NIL)\r\n",
        b"* 1 FETCH (UID 1 FLAGS (\\Seen))\r\n",
        b"* 1 FETCH (UID 99 BODY[] {5}\r\nfalse)\r\n* 1 EXPUNGE\r\n* 1 FETCH (UID 1 FLAGS ())\r\n",
        b"",
    ],
)
def test_no_body_is_ever_taken_for_another_messages(fetched: bytes) -> None:
    with imap_server({"SELECT": SELECTED, "UID FETCH": fetched}) as server, opened(server) as imap:
        assert list(imap.fetch(["1"])) == []


@pytest.mark.parametrize(
    ("body", "raw"), [(b"{0}\r\n", b""), (b'""', b""), (b'"a \\"quoted\\" \\\\ body"', b'a "quoted" \\ body')]
)
def test_bodies_come_in_any_shape(body: bytes, raw: bytes) -> None:
    fetched = b"* 1 FETCH (UID 1 BODY[] " + body + b' INTERNALDATE "99-Foo-2019 12:00:00 +0000")\r\n'
    with imap_server({"SELECT": SELECTED, "UID FETCH": fetched}) as server, opened(server) as imap:
        (message,) = imap.fetch(["1"])
    assert message.raw == raw
    assert message.received_at is None


def test_a_no_about_some_messages_leaves_the_others() -> None:
    def play(connection: socket.socket) -> None:
        connection.sendall(b"* OK hello\r\n")
        with connection.makefile("rb") as lines:
            for line in lines:
                reply = answer(line, {"CAPABILITY": b"* CAPABILITY IMAP4rev1\r\n", "SELECT": SELECTED})
                if b"FETCH" in line:
                    tag = line.split()[0]
                    reply = (
                        b"* 1 FETCH (UID 1 BODY[] {4}\r\nwell)\r\n"
                        + tag
                        + b" NO [EXPUNGEISSUED] some are gone\r\n"
                    )
                connection.sendall(reply)

    with Scripted(play) as server, opened(server) as imap:
        assert [message.raw for message in imap.fetch(["1", "2"])] == [b"well"]


def test_a_busy_server_is_not_an_empty_folder() -> None:
    with (
        imap_server({"SELECT": SELECTED, "UID FETCH": "NO [UNAVAILABLE] backend is away"}) as server,
        opened(server) as imap,
        pytest.raises(ServerBusy),
    ):
        list(imap.fetch(["1"]))


@pytest.mark.parametrize(
    "fetched",
    [
        b"* 1 FETCH (UID 1 BODY[] {999999999999}\r\n",
        b"* 1 FETCH (" + b"(" * 5000 + b"\r\n",
        b"* 1 FETCH (UID one BODY[] two three)\r\n",
        b"* 1 FETCH (UID 1 BODY[\r\n",
        b"* 1 FETCH gone\r\n",
        b"* 1 FETCH\r\n",
        b"* 1 FETCH ((UID) 1)\r\n",
        b"nonsense\r\n",
    ],
)
def test_an_answer_made_to_break_parsers_is_an_error_of_the_protocol(fetched: bytes) -> None:
    with (
        imap_server({"SELECT": SELECTED, "UID FETCH": fetched}) as server,
        opened(server) as imap,
        pytest.raises(ProtocolError),
    ):
        list(imap.fetch(["1"]))


@pytest.mark.parametrize(
    "searched",
    [b"* SEARCH one two\r\n", b"* SEARCH 1\r\n* SEARCH 2\r\n", b"* SEARCH " + b"1 " * 9_000_000 + b"\r\n"],
)
def test_a_search_that_cannot_be_read_is_an_error_of_the_protocol(searched: bytes) -> None:
    with (
        imap_server({"SELECT": SELECTED, "UID SEARCH": searched}) as server,
        opened(server) as imap,
        pytest.raises(ProtocolError),
    ):
        imap.listed(None, 10)


def test_a_large_announcement_is_not_believed_into_memory() -> None:
    announced = f"* 1 FETCH (UID 1 BODY[] {{{network.OCTETS_PER_COMMAND + 1}}}\r\n".encode()
    with imap_server({"SELECT": SELECTED, "UID FETCH": announced}) as server, opened(server) as imap:
        started = time.monotonic()
        with pytest.raises(ProtocolError):
            list(imap.fetch(["1"]))
        assert time.monotonic() - started < 1


def test_a_folder_without_a_generation_cannot_be_collected_from() -> None:
    with imap_server({"SELECT": b"* 3 EXISTS\r\n"}) as server, pytest.raises(CapabilityMissing):
        opened(server)


def test_what_the_server_does_not_confirm_is_not_done() -> None:
    answers: Answers = {"SELECT": SELECTED, "UID SEARCH": b"* SEARCH 1 2\r\n"}
    with imap_server(answers) as server, opened(server) as imap:
        disposed = imap.dispose(["1", "2", "3"], Disposal.DELETE)
    assert (disposed.done, disposed.vanished) == ((), ("3",))


def test_only_uids_are_spoken_of_and_nothing_is_closed_or_expunged_at_large() -> None:
    heard: list[bytes] = []

    def play(connection: socket.socket) -> None:
        connection.sendall(b"* OK hello\r\n")
        with connection.makefile("rb") as lines:
            for line in lines:
                heard.append(line.split(b" ", 1)[1].strip())
                capability = f"* CAPABILITY {CAPABILITIES}\r\n".encode()
                connection.sendall(
                    answer(
                        line,
                        {"CAPABILITY": capability, "SELECT": SELECTED, "UID SEARCH": b"* SEARCH 4 5 7\r\n"},
                    )
                )

    with Scripted(play) as server:
        with opened(server) as imap:
            imap.listed("3", 10)
            list(imap.fetch(["4", "5", "7"]))
            imap.dispose(["4", "5", "7"], Disposal.DELETE)
        time.sleep(0.1)
    assert heard[3:] == [
        b'SELECT "INBOX"',
        b"UID SEARCH UID 4:*",
        b"UID FETCH 4:5,7 (UID RFC822.SIZE INTERNALDATE)",
        b"UID FETCH 4:5,7 (UID INTERNALDATE BODY.PEEK[])",
        b"UID SEARCH UID 4:5,7",
        b"UID STORE 4:5,7 +FLAGS.SILENT (\\Deleted)",
        b"UID EXPUNGE 4:5,7",
        b"UID SEARCH UID 4:5,7",
        b"LOGOUT",
    ]


def test_leaving_a_silent_server_is_quick_and_quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("emailprofiles.transports.imap.SECONDS_TO_LEAVE", 0.3)

    def play(connection: socket.socket) -> None:
        connection.sendall(b"* OK hello\r\n")
        with connection.makefile("rb") as lines:
            for line in lines:
                if b"LOGOUT" not in line:
                    connection.sendall(
                        answer(line, {"CAPABILITY": b"* CAPABILITY IMAP4rev1\r\n", "SELECT": SELECTED})
                    )

    with Scripted(play) as server:
        imap = opened(server)
        started = time.monotonic()
        imap.close()
        assert time.monotonic() - started < 1


# --- while it is waited for mail ---


def idling(says: Callable[[socket.socket, bytes], None]) -> Scripted:
    """A server that is well-made until IDLE, where it `says(connection, tag)` something of its own."""
    usual: Answers = {"CAPABILITY": f"* CAPABILITY {CAPABILITIES} IDLE\r\n".encode(), "SELECT": SELECTED}

    def play(connection: socket.socket) -> None:
        connection.sendall(b"* OK hello\r\n")
        with connection.makefile("rb") as lines:
            for line in lines:
                if line.split()[1:] == [b"IDLE"]:
                    says(connection, line.split()[0])
                elif line != b"DONE\r\n":
                    connection.sendall(answer(line, usual))

    return Scripted(play)


@pytest.mark.parametrize(
    ("says", "error"),
    [
        (lambda connection, tag: connection.sendall(tag + b" NO not today\r\n"), MailError),
        (lambda connection, tag: connection.sendall(tag + b" BAD what\r\n"), MailError),
        (lambda connection, tag: connection.sendall(tag + b" OK done\r\n"), MailError),
        (lambda connection, tag: connection.sendall(b"* BYE going down\r\n"), MailError),
        (lambda connection, tag: connection.close(), MailError),
        (lambda connection, tag: None, TimedOut),
        (lambda connection, tag: connection.sendall(b"+ idling\r\n* BYE going down\r\n"), MailError),
        (lambda connection, tag: connection.sendall(b"+ idling\r\n* 4"), TimedOut),
        (lambda connection, tag: connection.sendall(b"+ idling\r\n"), TimedOut),  # and deaf to DONE
        (
            lambda connection, tag: connection.sendall(b"+ idling\r\n" + b"* OK still here " * 3_000_000),
            MailError,
        ),
    ],
)
def test_a_server_that_idles_otherwise_than_agreed_is_left_in_time(
    says: Callable[[socket.socket, bytes], None], error: type[MailError]
) -> None:
    with idling(says) as server, opened(server, timeout=1) as imap:
        began = time.monotonic()
        with pytest.raises(error):
            imap.watch(0.5)
        assert time.monotonic() - began < 8


def test_a_watch_that_is_stopped_ends_in_the_middle(dovecot: Dovecot) -> None:
    dovecot.add_user("stopped", PASSWORD)
    with Imap(dovecot.endpoint(), Password("stopped", PASSWORD)) as imap:
        imap.connect()
        imap.open()
        began = time.monotonic()
        assert not imap.watch(60, lambda: time.monotonic() - began > 0.2)
        assert time.monotonic() - began < 10
