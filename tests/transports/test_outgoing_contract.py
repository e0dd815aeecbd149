"""The promises of `seam.py` for sending: one suite that every outgoing transport and the memory twin pass."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from emailprofiles.errors import (
    ConnectionLost,
    MessageRefused,
    MessageTooLarge,
    OutcomeUnknown,
    RecipientRefused,
    SenderRefused,
    SignInRefused,
    TryLater,
)
from emailprofiles.transports import OutgoingTransport
from emailprofiles.transports.memory import MemoryServer
from emailprofiles.transports.smtp import Smtp
from emailprofiles.wire import Anonymous, Credentials, Envelope, Password, StepName
from tests.postbox import Postbox
from tests.servers import Scripted
from tests.transports.conftest import SECRET

AMARA, BORIS, CHIARA = "amara@contoso.com", "boris@contoso.com", "chiara@contoso.com"
LETTER = b"From: amara@contoso.com\r\nSubject: hello\r\n\r\nDear all\r\n.\r\n..\r\nend\r\n"

REFUSALS = {
    ("MAIL", 4): (b"451 later\r\n", TryLater("")),
    ("MAIL", 5): (b"550 not you\r\n", SenderRefused("")),
    ("RCPT", 4): (b"450 later\r\n", TryLater("")),
    ("RCPT", 5): (b"550 unknown\r\n", RecipientRefused("")),
    ("DATA", 4): (b"451 later\r\n", TryLater("")),
    ("DATA", 5): (b"554 spam\r\n", MessageRefused("")),
}


class Counter(ABC):
    """Where mail is handed over, and what was taken there."""

    @abstractmethod
    def transport(self, who: Credentials = Anonymous()) -> OutgoingTransport: ...  # noqa: B008

    @abstractmethod
    def refuses(self, verb: str, digit: int, whom: str = "") -> None: ...

    @abstractmethod
    def relents(self) -> None: ...

    @abstractmethod
    def loses_replies(self) -> None: ...

    @abstractmethod
    def taken(self) -> list[bytes]: ...


@dataclass
class AtPostbox(Counter):
    server: Scripted
    box: Postbox

    def transport(self, who: Credentials = Anonymous()) -> OutgoingTransport:  # noqa: B008
        return Smtp(self.server.endpoint(), who)

    def refuses(self, verb: str, digit: int, whom: str = "") -> None:
        self.box.says[f"{verb} {whom}".strip()] = REFUSALS[verb, digit][0]

    def relents(self) -> None:
        self.box.says.clear()

    def loses_replies(self) -> None:
        self.box.says["."], self.box.takes_before_hanging_up = b"", True

    def taken(self) -> list[bytes]:
        return self.box.taken


@dataclass
class InMemory(Counter):
    server: MemoryServer = field(
        default_factory=lambda: MemoryServer({"amara": SECRET, "boris": "b", "chiara": "c"})
    )

    def transport(self, who: Credentials = Anonymous()) -> OutgoingTransport:  # noqa: B008
        return self.server.outgoing(who)

    def refuses(self, verb: str, digit: int, whom: str = "") -> None:
        self.server.refuses[whom or verb] = REFUSALS[verb, digit][1]

    def relents(self) -> None:
        self.server.refuses.clear()

    def loses_replies(self) -> None:
        self.server.loses_replies = True

    def taken(self) -> list[bytes]:
        return [held.raw for held in self.server.folders["boris"]["INBOX"].messages]


@pytest.fixture(params=["smtp", "memory"])
def counter(request: pytest.FixtureRequest) -> Iterator[Counter]:
    if request.param == "memory":
        yield InMemory()
        return
    box = Postbox(offers=("PIPELINING", "SIZE 1000000", "8BITMIME", "AUTH PLAIN"))
    box.says["AUTH"] = b"235 welcome\r\n"
    with box.serve() as server:
        yield AtPostbox(server, box)


def envelope(*recipients: str, size: int = len(LETTER)) -> Envelope:
    return Envelope(AMARA, recipients or (BORIS,), size)


def names(transport: OutgoingTransport) -> list[StepName]:
    return [step.name for step in transport.connect_steps()]


def test_the_steps_of_connecting_come_in_order(counter: Counter) -> None:
    with counter.transport() as transport:
        assert names(transport) == [StepName.NAME, StepName.PORT, StepName.GREETING]
    with counter.transport(Password("amara", SECRET)) as transport:
        assert names(transport)[-1] == StepName.SIGNED_IN


def test_a_wrong_password_is_refused_at_its_step(counter: Counter) -> None:
    if isinstance(counter, AtPostbox):
        counter.box.says["AUTH"] = b"535 no\r\n"
    with (
        counter.transport(Password("amara", "wrong horse")) as transport,
        pytest.raises(SignInRefused) as caught,
    ):
        transport.connect()
    assert caught.value.step == StepName.SIGNED_IN


def test_asking_for_an_envelope_sends_nothing(counter: Counter) -> None:
    with counter.transport() as transport:
        transport.connect()
        steps = [step.name for step in transport.envelope_steps(AMARA, BORIS)]
        assert steps == [StepName.SENDER, StepName.RECIPIENT]
        transport.offer(envelope())
        transport.hand_over(LETTER)
    assert len(counter.taken()) == 1


def test_many_messages_leave_on_one_connection_as_they_are(counter: Counter) -> None:
    with counter.transport() as transport:
        transport.connect()
        for _ in range(3):
            assert transport.offer(envelope(BORIS, CHIARA)) == {BORIS: None, CHIARA: None}
            assert transport.hand_over(LETTER.replace(b"\r\n", b"\n")).startswith("250")
    assert counter.taken() == [LETTER] * 3


@pytest.mark.parametrize(("digit", "error"), [(4, TryLater), (5, RecipientRefused)])
def test_each_recipient_has_an_answer_of_its_own(
    counter: Counter, digit: int, error: type[Exception]
) -> None:
    counter.refuses("RCPT", digit, CHIARA)
    with counter.transport() as transport:
        transport.connect()
        answers = transport.offer(envelope(BORIS, CHIARA))
        assert answers[BORIS] is None
        assert isinstance(answers[CHIARA], error)
        transport.hand_over(LETTER)
    assert len(counter.taken()) == 1


def test_with_nobody_accepted_the_next_offer_may_come(counter: Counter) -> None:
    counter.refuses("RCPT", 5, BORIS)
    with counter.transport() as transport:
        transport.connect()
        assert isinstance(transport.offer(envelope(BORIS))[BORIS], RecipientRefused)
        counter.relents()
        assert transport.offer(envelope(BORIS)) == {BORIS: None}
        transport.hand_over(LETTER)
    assert len(counter.taken()) == 1


@pytest.mark.parametrize(("digit", "error"), [(4, TryLater), (5, SenderRefused)])
def test_a_refused_sender_ends_the_offer_and_not_the_connection(
    counter: Counter, digit: int, error: type[Exception]
) -> None:
    counter.refuses("MAIL", digit)
    with counter.transport() as transport:
        transport.connect()
        with pytest.raises(error):
            transport.offer(envelope())
        counter.relents()
        transport.offer(envelope())
        transport.hand_over(LETTER)
    assert len(counter.taken()) == 1


@pytest.mark.parametrize(("digit", "error"), [(4, TryLater), (5, MessageRefused)])
def test_a_refused_message_is_not_there_and_the_next_one_goes(
    counter: Counter, digit: int, error: type[Exception]
) -> None:
    counter.refuses("DATA", digit)
    with counter.transport() as transport:
        transport.connect()
        transport.offer(envelope())
        with pytest.raises(error):
            transport.hand_over(LETTER)
        assert counter.taken() == []
        counter.relents()
        transport.offer(envelope())
        transport.hand_over(LETTER)
    assert len(counter.taken()) == 1


def test_what_is_too_large_is_refused_before_it_travels(counter: Counter) -> None:
    with counter.transport() as transport:
        transport.connect()
        with pytest.raises(MessageTooLarge):
            transport.offer(envelope(size=1_000_001))
        assert transport.offer(envelope()) == {BORIS: None}
        transport.withdraw()
    assert counter.taken() == []


def test_what_was_withdrawn_is_not_sent_and_the_next_one_is(counter: Counter) -> None:
    with counter.transport() as transport:
        transport.connect()
        transport.offer(envelope(CHIARA))
        transport.withdraw()
        transport.offer(envelope(BORIS))
        transport.hand_over(LETTER)
    assert len(counter.taken()) == 1


def test_a_lost_reply_is_a_doubt_and_the_connection_is_spent(counter: Counter) -> None:
    counter.loses_replies()
    with counter.transport() as transport:
        transport.connect()
        transport.offer(envelope())
        with pytest.raises(OutcomeUnknown):
            transport.hand_over(LETTER)
        with pytest.raises(ConnectionLost):
            transport.offer(envelope())
    assert len(counter.taken()) == 1


def test_without_a_connection_nothing_is_offered_and_closing_may_be_repeated(counter: Counter) -> None:
    transport = counter.transport()
    with pytest.raises(ConnectionLost):
        transport.offer(envelope())
    transport.close()
    transport.close()
