"""The outgoing ladder against a real SMTP server, and against some that are none."""

from __future__ import annotations

import logging
import socket
import time
import traceback
from collections.abc import Callable
from dataclasses import replace

import pytest

from emailprofiles.errors import (
    CapabilityMissing,
    CertificateExpired,
    CertificateUntrusted,
    CertificateWrongName,
    ClientRefused,
    ConnectionLost,
    EncryptionRequired,
    MailError,
    NameNotResolved,
    NoGreeting,
    NotThisProtocol,
    NotTls,
    PortClosed,
    RecipientRefused,
    SenderRefused,
    ServerBusy,
    SettingsIncomplete,
    SignInRefused,
    StartTlsRefused,
    TimedOut,
    TryLater,
)
from emailprofiles.transports import TRANSPORTS
from emailprofiles.transports.smtp import Smtp
from emailprofiles.wire import Anonymous, Credentials, Endpoint, Password, Security, Step, StepName
from tests.servers import Certificates, Scripted, SmtpSink, free_port

pytestmark = pytest.mark.filterwarnings("ignore:Requiring AUTH while not requiring TLS")

AMARA, BORIS = "amara@contoso.com", "boris@contoso.com"
SECRET = 'Tr0ub4dor"&\\3é'
SIGN_IN = Password("amara", SECRET)
NOBODY = Anonymous()


def climb(
    endpoint: Endpoint, credentials: Credentials = NOBODY, sender: str = AMARA, recipient: str = BORIS
) -> tuple[list[Step], MailError | None]:
    steps: list[Step] = []
    with Smtp(endpoint, credentials) as smtp:
        try:
            for step in smtp.connect_steps():
                steps.append(step)
            for step in smtp.envelope_steps(sender, recipient):
                steps.append(step)
        except MailError as error:
            return steps, error
    return steps, None


def test_the_registry_finds_it() -> None:
    assert TRANSPORTS["outgoing"]["smtp"] is Smtp


def test_all_steps_without_sign_in_and_nothing_is_sent(smtp_sink: SmtpSink) -> None:
    steps, error = climb(smtp_sink.endpoint())
    assert error is None
    assert [step.name for step in steps] == [
        StepName.NAME,
        StepName.PORT,
        StepName.GREETING,
        StepName.SENDER,
        StepName.RECIPIENT,
    ]
    assert steps[2].seen.startswith("sink.example ")
    assert [step.seen for step in steps[3:]] == [AMARA, BORIS]
    assert smtp_sink.commands[1:] == [f"MAIL {AMARA}", f"RCPT {BORIS}", "RSET", "QUIT"]
    assert smtp_sink.received == []


@pytest.mark.parametrize("security", [Security.TLS, Security.STARTTLS])
def test_all_steps_with_encryption_and_sign_in(certificates: Certificates, security: Security) -> None:
    with SmtpSink(security, certificates.server_context(), {"amara": SECRET}) as sink:
        steps, error = climb(sink.endpoint(ca_file=certificates.ca_file), SIGN_IN)
    assert error is None
    assert [step.name for step in steps[2:5]] == [StepName.TLS, StepName.GREETING, StepName.SIGNED_IN]
    assert steps[2].seen == "TLS 1.3, certificate from Contoso CA, expires 1 Jan 3000"
    assert "auth" in steps[3].seen
    assert steps[4].seen == "amara"


def test_sign_in_in_the_clear_where_the_server_allows_it() -> None:
    with SmtpSink(people={"amara": SECRET}) as sink:
        assert climb(sink.endpoint(), SIGN_IN)[1] is None


@pytest.mark.parametrize(
    ("certificate", "error"),
    [
        ("expired", CertificateExpired),
        ("wrong-name", CertificateWrongName),
        ("untrusted", CertificateUntrusted),
    ],
)
@pytest.mark.parametrize("security", [Security.TLS, Security.STARTTLS])
def test_a_bad_certificate_fails_at_tls(
    certificates: Certificates, security: Security, certificate: str, error: type[MailError]
) -> None:
    with SmtpSink(security, certificates.server_context(certificate)) as sink:
        steps, failure = climb(replace(sink.endpoint(ca_file=certificates.ca_file), host="localhost"))
    assert type(failure) is error
    assert failure.step is StepName.TLS
    assert steps[-1].name is StepName.PORT


@pytest.mark.parametrize(
    ("change", "step", "error"),
    [
        (lambda e: replace(e, host="nosuch.invalid"), StepName.NAME, NameNotResolved),
        (lambda e: replace(e, port=free_port()), StepName.PORT, PortClosed),
        (lambda e: replace(e, security=Security.TLS), StepName.TLS, NotTls),
        (lambda e: replace(e, security=Security.STARTTLS), StepName.TLS, StartTlsRefused),
    ],
)
def test_a_wrong_endpoint_fails_at_its_step(
    smtp_sink: SmtpSink, change: Callable[[Endpoint], Endpoint], step: StepName, error: type[MailError]
) -> None:
    _steps, failure = climb(change(smtp_sink.endpoint()))
    assert type(failure) is error
    assert failure.step is step


def test_a_wrong_password_is_refused_with_the_servers_words(certificates: Certificates) -> None:
    with SmtpSink(Security.TLS, certificates.server_context(), {"amara": SECRET}) as sink:
        _steps, error = climb(sink.endpoint(ca_file=certificates.ca_file), Password("amara", "wrong"))
    assert type(error) is SignInRefused
    assert error.step is StepName.SIGNED_IN
    assert error.server_words.startswith("535 ")


@pytest.mark.parametrize(
    ("refusal", "error"),
    [
        ("454 4.7.0 Too many login attempts, please try again later", ServerBusy),
        ("421 4.3.2 The maximum number of concurrent connections has been exceeded", ServerBusy),
        ("534 5.7.9 Application-specific password required", SignInRefused),
        ("535 5.7.8 Username and Password not accepted", SignInRefused),
        ("538 5.7.11 Encryption required for requested authentication mechanism", EncryptionRequired),
        ("530 5.7.0 Must issue a STARTTLS command first", EncryptionRequired),
    ],
)
def test_refusals_at_the_sign_in(refusal: str, error: type[MailError]) -> None:
    with SmtpSink(people={"amara": SECRET}) as sink:
        sink.refuse["AUTH"] = refusal
        _steps, failure = climb(sink.endpoint(), SIGN_IN)
    assert type(failure) is error
    assert failure.server_words == refusal


@pytest.mark.parametrize(
    ("verb", "refusal", "step", "error"),
    [
        (
            "MAIL",
            "550 5.7.60 Client does not have permissions to send as this sender",
            StepName.SENDER,
            SenderRefused,
        ),
        ("MAIL", "451 4.7.1 Greylisted", StepName.SENDER, TryLater),
        ("MAIL", "421 4.7.0 Too many connections", StepName.SENDER, ServerBusy),
        ("MAIL", "530 5.7.0 Authentication required", StepName.SENDER, SignInRefused),
        ("RCPT", "550 5.1.1 No such person", StepName.RECIPIENT, RecipientRefused),
        ("RCPT", "554 5.7.1 Relay access denied", StepName.RECIPIENT, RecipientRefused),
        ("RCPT", "450 4.2.0 Greylisted", StepName.RECIPIENT, TryLater),
    ],
)
def test_refusals_of_the_envelope(
    smtp_sink: SmtpSink, verb: str, refusal: str, step: StepName, error: type[MailError]
) -> None:
    smtp_sink.refuse[verb] = refusal
    _steps, failure = climb(smtp_sink.endpoint())
    assert type(failure) is error
    assert failure.step is step
    assert failure.server_words == refusal
    assert "RSET" in smtp_sink.commands


def test_addresses_with_any_letters_where_the_server_takes_them(smtp_sink: SmtpSink) -> None:
    assert climb(smtp_sink.endpoint(), recipient="møller@contoso.com")[1] is None
    assert any("SMTPUTF8" in command for command in smtp_sink.commands)


def test_addresses_with_any_letters_where_it_does_not() -> None:
    with SmtpSink(smtputf8=False) as sink:
        _steps, failure = climb(sink.endpoint(), sender="møller@contoso.com")
        assert type(failure) is CapabilityMissing
        assert climb(sink.endpoint(), recipient="boris@bücher.example")[1] is None
    assert "RCPT boris@xn--bcher-kva.example" in sink.commands


@pytest.mark.parametrize(
    "bad", ["", "boris", "@contoso.com", "a@b\r\nDATA", "a@b> SIZE=1", "a b@c", "a@b..c"]
)
def test_what_is_no_address_is_not_sent(smtp_sink: SmtpSink, bad: str) -> None:
    for step, (sender, recipient) in ((StepName.SENDER, (bad, BORIS)), (StepName.RECIPIENT, (AMARA, bad))):
        _steps, failure = climb(smtp_sink.endpoint(), sender=sender, recipient=recipient)
        assert type(failure) is SettingsIncomplete
        assert failure.step is step
    assert "DATA" not in smtp_sink.commands


# --- servers that misbehave ---


def scripted(answers: dict[str, str], banner: bytes = b"220 mail.example ESMTP\r\n") -> Scripted:
    """An SMTP server that answers by verb; {line} is what it was told."""

    def play(connection: socket.socket) -> None:
        connection.sendall(banner)
        with connection.makefile("rb") as lines:
            for line in lines:
                said = line.decode().strip()
                reply = answers.get(said.split()[0].upper(), answers.get("*", "250 OK"))
                connection.sendall(reply.replace("{line}", said).encode() + b"\r\n")

    return Scripted(play)


@pytest.mark.parametrize(
    ("banner", "error"),
    [
        (b"", NoGreeting),
        (b"* OK IMAP ready\r\n", NotThisProtocol),
        (b"\x15\x03\x01\x00\x02\x02\x0a\r\n", NotThisProtocol),
        (b"220 " + b"x" * 20_000 + b"\r\n", NotThisProtocol),
        (b"421 4.3.2 Too many concurrent connections\r\n", ServerBusy),
        (b"554 5.7.1 Your address is on a list\r\n", ClientRefused),
    ],
)
def test_what_is_no_welcome_is_told_apart(banner: bytes, error: type[MailError]) -> None:
    with scripted({}, banner) as server:
        _steps, failure = climb(server.endpoint(timeout=1))
    assert type(failure) is error
    assert failure.step is StepName.GREETING


def test_a_reply_that_drips_runs_out_of_time() -> None:
    def drip(connection: socket.socket) -> None:
        connection.sendall(b"220 hello\r\n")
        while True:
            connection.sendall(b"250-x\r\n")
            time.sleep(0.05)

    started = time.monotonic()
    with Scripted(drip) as server:
        _steps, failure = climb(server.endpoint(timeout=0.5))
    assert type(failure) is TimedOut
    assert time.monotonic() - started < 3


def test_a_reply_without_end_is_not_taken_into_memory() -> None:
    def flood(connection: socket.socket) -> None:
        connection.sendall(b"220 hello\r\n")
        while True:
            connection.sendall(b"250-x\r\n" * 10_000)

    with Scripted(flood) as server:
        _steps, failure = climb(server.endpoint(timeout=5))
    assert failure is not None
    assert failure.step is StepName.GREETING


def test_what_was_slipped_in_before_encryption_is_forgotten(certificates: Certificates) -> None:
    context, heard = certificates.server_context(), list[bytes]()

    def play(connection: socket.socket) -> None:
        connection.sendall(b"220 hello\r\n")
        connection.recv(1000)
        connection.sendall(b"250-hello\r\n250 STARTTLS\r\n")
        connection.recv(1000)
        connection.sendall(b"220 go\r\n250-evil\r\n250 AUTH PLAIN\r\n")
        with context.wrap_socket(connection, server_side=True) as tls:
            tls.recv(1000)
            tls.sendall(b"250 honest\r\n")
            heard.append(tls.recv(1000))

    with Scripted(play) as server:
        _steps, failure = climb(server.endpoint(Security.STARTTLS, ca_file=certificates.ca_file), SIGN_IN)
    assert type(failure) is CapabilityMissing
    assert not any(b"AUTH" in line for line in heard)


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN"])
@pytest.mark.parametrize("echo", ["535 you said {line}", f"535 you said {SECRET}", "nonsense {line}"])
def test_a_server_that_echoes_the_password_does_not_get_it_into_any_text(
    mechanism: str, echo: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    answers = {
        "EHLO": f"250-hello\r\n250 AUTH {mechanism}",
        "AUTH": echo if mechanism == "PLAIN" else "334 VXNlcg==",
        "YW1HCMEH": "334 UA==",
        "*": echo,
    }
    with scripted(answers) as server:
        _steps, failure = climb(server.endpoint(), SIGN_IN)
    assert failure is not None
    for text in (
        *traceback.format_exception(failure),
        failure.server_words,
        repr(failure.__cause__),
        caplog.text,
    ):
        assert "ub4dor" not in text
        assert not any(blob in text for blob in ("AGFtYXJhAF", "VHIwdWI0ZG9y"))


def test_a_connection_that_breaks_off_is_lost() -> None:
    def play(connection: socket.socket) -> None:
        connection.sendall(b"220 hello\r\n")
        connection.recv(1000)

    with Scripted(play) as server:
        _steps, failure = climb(server.endpoint())
    assert type(failure) is ConnectionLost
