"""Sending over SMTP: what is said, what the answers mean, and that nobody takes a doubt for a no."""

from __future__ import annotations

import base64
from collections.abc import Callable, Generator
from dataclasses import replace
from typing import Any

import pytest
from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword
from scramp import ScramMechanism

from emailprofiles.errors import (
    CapabilityMissing,
    ConnectionLost,
    EncryptionRequired,
    MailError,
    MessageRefused,
    MessageTooLarge,
    Nature,
    OutcomeUnknown,
    RecipientRefused,
    SenderRefused,
    ServerBusy,
    SignInRefused,
    TryLater,
)
from emailprofiles.transports import sasl, smtp
from emailprofiles.transports.smtp import Smtp
from emailprofiles.transports.smtp_words import transparent, xtext
from emailprofiles.wire import Anonymous, Bearer, Credentials, Endpoint, Envelope, Password, Security
from tests.postbox import Postbox
from tests.servers import Certificates, SmtpSink

pytestmark = pytest.mark.filterwarnings("ignore:Requiring AUTH while not requiring TLS")

AMARA, BORIS, CHIARA = "amara@contoso.com", "boris@contoso.com", "chiara@contoso.com"
LETTER = b"From: amara@contoso.com\r\nSubject: hello\r\n\r\nDear all\r\n"
TO_BOTH = Envelope(AMARA, (BORIS, CHIARA), len(LETTER))


def connected(endpoint: Endpoint, who: Credentials = Anonymous()) -> Smtp:  # noqa: B008
    transport = Smtp(endpoint, who)
    transport.connect()
    return transport


def sends(box: Postbox, envelope: Envelope = TO_BOTH, raw: bytes = LETTER) -> dict[str, MailError | None]:
    """Offer, hand over if anybody was accepted; who was accepted and why the others were not."""
    with box.serve() as server, connected(server.endpoint()) as transport:
        answers = transport.offer(envelope)
        if None in answers.values():
            transport.hand_over(raw)
        return answers


def test_many_messages_leave_over_one_connection(smtp_sink: SmtpSink) -> None:
    with connected(smtp_sink.endpoint()) as transport:
        for number in range(3):
            raw = LETTER.replace(b"hello", b"hello %d" % number)
            assert transport.offer(TO_BOTH) == {BORIS: None, CHIARA: None}
            assert transport.hand_over(raw).startswith("250")
    assert [(one.sender, one.recipients) for one in smtp_sink.received] == [(AMARA, (BORIS, CHIARA))] * 3
    assert [one.raw.splitlines()[1] for one in smtp_sink.received] == [
        b"Subject: hello %d" % n for n in range(3)
    ]
    assert sum(said.startswith("EHLO") for said in smtp_sink.commands) == 1


@pytest.mark.parametrize("pipelining", [True, False])
def test_what_is_said_for_one_message(pipelining: bool) -> None:
    box = Postbox(offers=("PIPELINING",) if pipelining else ())
    assert sends(box) == {BORIS: None, CHIARA: None}
    assert box.heard[1:] == [
        f"MAIL FROM:<{AMARA}>",
        f"RCPT TO:<{BORIS}>",
        f"RCPT TO:<{CHIARA}>",
        "DATA",
        "quit",
    ]
    assert box.taken == [LETTER]


@pytest.mark.parametrize(
    ("written", "arrives"),
    [
        (b"a\nb", b"a\r\nb\r\n"),
        (b"a\rb\r\n", b"a\r\nb\r\n"),
        (b".\r\n", b".\r\n"),
        (b"a\r\n.\r\nMAIL FROM:<x@y>\r\n", b"a\r\n.\r\nMAIL FROM:<x@y>\r\n"),
        (b"..a\n.\n", b"..a\r\n.\r\n"),
        (b"a\n\r\n\r", b"a\r\n\r\n\r\n"),
        (b"", b""),
        (b"a\n.", b"a\r\n.\r\n"),
    ],
)
def test_lines_and_dots_arrive_as_they_were_written(written: bytes, arrives: bytes) -> None:
    box = Postbox()
    sends(box, raw=written)
    assert box.taken == [arrives]


def test_nothing_but_the_last_line_ends_a_message() -> None:
    for raw in (b"\r.\r", b"a\n.\r\nb", b"\n.\n.\n", b".", b"\r\n.\r\n"):
        assert b"\r\n.\r\n" not in b"\r\n" + transparent(raw)
        assert b"\n" not in transparent(raw).replace(b"\r\n", b"")


REFUSED = [
    # said at, answer, what it is, whether the whole message is meant
    ("MAIL", "550 5.7.1 not your address", SenderRefused, True),
    ("MAIL", "451 4.3.0 try again", TryLater, True),
    ("MAIL", "552 5.3.4 too big", MessageTooLarge, True),
    ("MAIL", "530 5.7.0 sign in first", SignInRefused, True),
    ("MAIL", "530 5.7.0 Must issue a STARTTLS command first", EncryptionRequired, True),
    ("MAIL", "421 4.3.2 shutting down", ServerBusy, True),
    ("RCPT", "550 5.1.1 no such person", RecipientRefused, False),
    ("RCPT", "553 5.1.3 bad address", RecipientRefused, False),
    ("RCPT", "450 4.2.0 greylisted", TryLater, False),
    ("RCPT", "454 4.7.1 relay access denied", TryLater, False),
    ("RCPT", "452 4.2.2 mailbox full", TryLater, False),
    ("RCPT", "421 4.7.0 too fast", ServerBusy, True),
    ("DATA", "554 5.5.1 no valid recipients", MessageRefused, True),
    ("DATA", "451 4.3.0 queue file write error", TryLater, True),
    ("DATA", "421 4.3.2 shutting down", ServerBusy, True),
    (".", "554 5.7.1 spam", MessageRefused, True),
    (".", "552 5.3.4 too big", MessageTooLarge, True),
    (".", "451 4.7.0 content filter is away", TryLater, True),
    (".", "421 4.3.2 shutting down", ServerBusy, True),
]


@pytest.mark.parametrize("offers", [("PIPELINING",), ()], ids=["pipelined", "one by one"])
@pytest.mark.parametrize(("verb", "answer", "kind", "of_all"), REFUSED)
def test_a_refusal_at_every_verb(
    verb: str, answer: str, kind: type[MailError], of_all: bool, offers: tuple[str, ...]
) -> None:
    box = Postbox(offers=offers, says={verb: answer.encode() + b"\r\n"})
    if of_all:
        with pytest.raises(kind) as caught:
            sends(box)
        error: MailError | None = caught.value
    else:
        answers = sends(box)
        error = answers[BORIS]
        assert {type(one) for one in answers.values()} == {kind}
    assert type(error) is kind
    assert answer in error.server_words
    assert box.taken == []


@pytest.mark.parametrize("verb", ["MAIL", "RCPT", "DATA", "."])
def test_after_a_refusal_the_same_connection_takes_the_next_message(verb: str) -> None:
    box = Postbox(says={verb: b"451 4.3.0 later\r\n"})
    with box.serve() as server, connected(server.endpoint()) as transport:
        try:
            answers = transport.offer(TO_BOTH)
            if None in answers.values():
                transport.hand_over(LETTER)
        except TryLater:
            pass
        box.says.clear()
        assert transport.offer(TO_BOTH) == {BORIS: None, CHIARA: None}
        transport.hand_over(LETTER)
    assert (box.taken, box.sessions) == ([LETTER], 1)


def test_one_refused_recipient_keeps_the_message_from_nobody_else() -> None:
    box = Postbox(says={f"RCPT {BORIS}": b"550 5.1.1 unknown\r\n"})
    answers = sends(box)
    assert isinstance(answers[BORIS], RecipientRefused)
    assert answers[BORIS].nature is Nature.NEEDS_PERSON
    assert answers[CHIARA] is None
    assert box.taken == [LETTER]


def test_who_finds_no_room_beside_the_others_is_left_for_the_next_time() -> None:
    box = Postbox(says={f"RCPT {CHIARA}": b"452 4.5.3 too many recipients\r\n"})
    assert sends(box) == {BORIS: None}


def test_an_address_that_is_none_is_refused_without_asking() -> None:
    box = Postbox()
    answers = sends(box, Envelope(AMARA, ("boris\r\nRCPT TO:<x@y.z>@contoso.com", CHIARA), 10))
    assert [type(error) for error in answers.values()] == [MessageRefused, type(None)]
    assert not any("x@y.z" in line for line in box.heard)


HANGS_UP = [
    ("MAIL", ConnectionLost),
    ("RCPT", ConnectionLost),
    ("DATA", ConnectionLost),
    (".", OutcomeUnknown),
]


@pytest.mark.parametrize(("verb", "kind"), HANGS_UP)
def test_only_behind_the_last_dot_the_outcome_is_unknown(verb: str, kind: type[MailError]) -> None:
    box = Postbox(says={verb: b""})
    with pytest.raises(kind):
        sends(box)
    assert box.taken == []


def test_a_server_that_took_it_and_hung_up_leaves_the_outcome_unknown() -> None:
    box = Postbox(says={".": b""}, takes_before_hanging_up=True)
    with pytest.raises(OutcomeUnknown) as caught:
        sends(box)
    assert box.taken == [LETTER]
    assert caught.value.advice


def test_a_server_that_never_answers_the_dot(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(smtp, "SECONDS_TO_ACCEPT", 0.5)
    silent = Postbox(says={".": b"250-and so on\r\n"})
    with silent.serve() as server:
        transport = connected(replace(server.endpoint(), timeout=0.5))
        transport.offer(TO_BOTH)
        with pytest.raises(OutcomeUnknown):
            transport.hand_over(LETTER)
        with pytest.raises(ConnectionLost):
            transport.offer(TO_BOTH)
        transport.close()


def test_an_answer_behind_the_dot_that_is_none_counts_as_unknown() -> None:
    box = Postbox(says={".": b"whatever you say\r\n"})
    with pytest.raises(OutcomeUnknown):
        sends(box)


def test_a_connection_that_breaks_in_the_middle_of_the_message_sent_nothing(
    certificates: Certificates,
) -> None:
    def play(connection: Any) -> None:
        connection.sendall(b"220 x\r\n")
        for reply in (b"250 x\r\n", b"250 ok\r\n", b"250 ok\r\n", b"354 go\r\n"):
            connection.recv(1000)
            connection.sendall(reply)
        connection.recv(1000)

    from tests.servers import Scripted

    with Scripted(play) as server:
        transport = connected(server.endpoint())
        transport.offer(Envelope(AMARA, (BORIS,), 10))
        with pytest.raises(ConnectionLost):
            transport.hand_over(b"x" * 30_000_000)
        transport.close()


# --- what the server can ---


def test_the_announced_size_is_asked_first() -> None:
    box = Postbox(offers=("SIZE 1000",))
    sends(box, replace(TO_BOTH, size=1000))
    assert f"MAIL FROM:<{AMARA}> SIZE=1000" in box.heard
    with pytest.raises(MessageTooLarge, match="1,001 octets, where 1,000 are accepted"):
        sends(box, replace(TO_BOTH, size=1001))
    assert not any("SIZE=1001" in line for line in box.heard)


def test_a_server_without_a_limit_is_told_the_size() -> None:
    for offer in ("SIZE 0", "SIZE"):
        box = Postbox(offers=(offer,))
        sends(box, replace(TO_BOTH, size=10**9))
        assert f"MAIL FROM:<{AMARA}> SIZE=1000000000" in box.heard


@pytest.mark.parametrize(
    ("envelope", "needs", "option"),
    [
        (replace(TO_BOTH, is_ascii=False), "8BITMIME", "BODY=8BITMIME"),
        (Envelope(AMARA, ("jürgen@contoso.com",), 9), "SMTPUTF8", "SMTPUTF8"),
    ],
)
def test_what_a_message_needs_is_said_or_the_message_refused(
    envelope: Envelope, needs: str, option: str
) -> None:
    able, unable = Postbox(offers=("8BITMIME", "SMTPUTF8")), Postbox(offers=())
    sends(able, envelope)
    assert f"MAIL FROM:<{AMARA}> {option}" in able.heard
    with pytest.raises(MessageRefused, match=needs):
        sends(unable, envelope)
    assert not any(line.startswith("MAIL") for line in unable.heard)


def test_a_domain_beyond_ascii_needs_nothing_of_the_server() -> None:
    box = Postbox(offers=())
    sends(box, Envelope(AMARA, ("boris@büro.example",), 9))
    assert "RCPT TO:<boris@xn--bro-hoa.example>" in box.heard


def test_delivery_reports_are_asked_for_where_the_server_gives_them() -> None:
    box = Postbox(offers=("DSN",))
    sends(box, Envelope(AMARA, ("a+b@contoso.com",), 9, report_id="k7=1"))
    assert f"MAIL FROM:<{AMARA}> RET=HDRS ENVID=k7+3D1" in box.heard
    assert "RCPT TO:<a+b@contoso.com> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;a+2Bb@contoso.com" in box.heard
    plain = Postbox(offers=())
    sends(plain, replace(TO_BOTH, report_id="k7"))
    assert f"MAIL FROM:<{AMARA}>" in plain.heard


def test_nobody_is_the_sender_of_what_must_not_be_answered() -> None:
    box = Postbox(offers=())
    sends(box, replace(TO_BOTH, sender=""))
    assert "MAIL FROM:<>" in box.heard


def test_xtext() -> None:
    assert xtext("a b+c=d~é") == "a+20b+2Bc+3Dd~+E9"


# --- signing in ---

SECRET = "correct horse"


def scram(name: str, known: str = SECRET, verdict: Callable[[str], bytes] = str.encode) -> Any:
    """An aiosmtpd authenticator for one SCRAM mechanism."""
    stored = ScramMechanism(name).make_auth_info(known)

    async def authenticate(self: Any, server: SMTP, words: list[str]) -> AuthResult:
        there = ScramMechanism(name).make_server(lambda user: stored)
        try:
            there.set_client_first(base64.b64decode(words[1]).decode())
            answer = await server.challenge_auth(there.get_server_first().encode(), encode_to_b64=True)
            there.set_client_final(answer.decode())
        except Exception:
            return AuthResult(success=False, handled=False)
        await server.challenge_auth(verdict(there.get_server_final()), encode_to_b64=True)
        return AuthResult(success=True, auth_data=LoginPassword(b"amara", b""))

    return authenticate


def with_mechanism(monkeypatch: pytest.MonkeyPatch, name: str, authenticate: Any) -> None:
    monkeypatch.setattr(SmtpSink, f"auth_{name.replace('-', '__')}", authenticate, raising=False)


@pytest.fixture
def box(certificates: Certificates) -> Generator[Callable[..., SmtpSink], None, None]:
    started: list[SmtpSink] = []

    def start(security: Security = Security.NONE) -> SmtpSink:
        context = certificates.server_context() if security is not Security.NONE else None
        started.append(SmtpSink(security, context, {"amara": SECRET}))
        return started[-1].__enter__()

    yield start
    for sink in started:
        sink.__exit__(None, None, None)


@pytest.mark.parametrize("name", sasl.SCRAM)
def test_in_the_clear_a_password_is_proven_and_not_said(
    box: Callable[..., SmtpSink], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    with_mechanism(monkeypatch, name, scram(name))
    sink = box()
    with connected(sink.endpoint(), Password("amara", SECRET)) as transport:
        assert transport.offer(TO_BOTH) == {BORIS: None, CHIARA: None}
    assert not any(said.startswith("AUTH") for said in sink.commands)  # neither PLAIN nor LOGIN


def test_a_wrong_password_is_refused_by_scram(
    box: Callable[..., SmtpSink], monkeypatch: pytest.MonkeyPatch
) -> None:
    with_mechanism(monkeypatch, sasl.SCRAM[0], scram(sasl.SCRAM[0], known="another"))
    with pytest.raises(SignInRefused):
        connected(box().endpoint(), Password("amara", SECRET))


def test_a_server_that_does_not_know_the_password_is_found_out(
    box: Callable[..., SmtpSink], monkeypatch: pytest.MonkeyPatch
) -> None:
    lie = base64.b64encode(b"\0" * 32).decode()
    with_mechanism(monkeypatch, sasl.SCRAM[0], scram(sasl.SCRAM[0], verdict=lambda _: f"v={lie}".encode()))
    with pytest.raises(SignInRefused) as caught:
        connected(box().endpoint(), Password("amara", SECRET))
    assert "did not prove" in caught.value.server_words


def test_a_server_that_lets_in_without_a_proof_is_found_out() -> None:
    box = Postbox(offers=("AUTH SCRAM-SHA-256",), says={"AUTH": b"235 welcome\r\n"})
    with box.serve() as server, pytest.raises(SignInRefused):
        connected(server.endpoint(), Password("amara", SECRET))


def test_over_tls_plain_comes_first(
    box: Callable[..., SmtpSink], monkeypatch: pytest.MonkeyPatch, certificates: Certificates
) -> None:
    with_mechanism(monkeypatch, sasl.SCRAM[0], scram(sasl.SCRAM[0]))
    sink = box(Security.TLS)
    connected(sink.endpoint(ca_file=certificates.ca_file), Password("amara", SECRET)).close()
    assert "AUTH PLAIN" in sink.commands


def test_a_token_is_said_as_xoauth2() -> None:
    box = Postbox(offers=("AUTH PLAIN XOAUTH2",), says={"AUTH": b"235 welcome\r\n"})
    with box.serve() as server:
        connected(server.endpoint(), Bearer("amara@contoso.com", "ya29.x")).close()
    said = next(line for line in box.heard if line.startswith("AUTH XOAUTH2 ")).split()[2]
    assert base64.b64decode(said) == b"user=amara@contoso.com\x01auth=Bearer ya29.x\x01\x01"


def test_a_refused_token_is_told_and_never_shown() -> None:
    told = base64.b64encode(b'{"status":"401"}')
    box = Postbox(
        offers=("AUTH XOAUTH2",), says={"AUTH": b"334 " + told + b"\r\n", "": b"535 5.7.8 ya29.x bad\r\n"}
    )
    with box.serve() as server, pytest.raises(SignInRefused) as caught:
        connected(server.endpoint(), Bearer("amara@contoso.com", "ya29.x"))
    assert "ya29" not in f"{caught.value!r} {caught.value.server_words} {Bearer('a', 'ya29.x')!r}"


def test_a_token_needs_a_server_that_takes_tokens() -> None:
    with (
        Postbox(offers=("AUTH PLAIN LOGIN",)).serve() as server,
        pytest.raises(CapabilityMissing, match="XOAUTH2"),
    ):
        connected(server.endpoint(), Bearer("amara", "ya29.x"))


@pytest.mark.parametrize("challenge", [b"334\r\n", b"334 !!!\r\n", b"334 VXNl\r\n"])
def test_a_server_that_goes_on_asking_is_left(challenge: bytes) -> None:
    box = Postbox(offers=("AUTH LOGIN",), says={"AUTH": challenge, "*": b"501 5.7.0 cancelled\r\n"})
    box.says |= {base64.b64encode(word.encode()).decode(): challenge for word in ("amara", SECRET)}
    with box.serve() as server, pytest.raises(SignInRefused):
        connected(server.endpoint(), Password("amara", SECRET))
    assert "*" in box.heard
