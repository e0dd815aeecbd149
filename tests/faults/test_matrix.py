"""One fault a row, against a real Dovecot: the status is true in the cycle it happens in, and the next undisturbed
cycles bring everything to where it belongs, once.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

import pytest
import time_machine
from django.utils import timezone

from mailboxes.models import Alert, ServerCircuit
from mailboxes.sync.ledger import reconcile_soon
from mailboxes.sync.worker import Summary
from tests.faults.conftest import undisturbed
from tests.faults.invariant import ELSEWHERE, Sent, fill, holds, state_of
from tests.faults.proxy import Cut, Line, Proxy
from tests.sync.conftest import Office, enable

pytestmark = pytest.mark.django_db(transaction=True)


class Outcome(StrEnum):
    """What the office says at the end of the cycle in which it happened."""

    FINE = "collected, nothing to tell"
    TOLD = "collected, and what is not accounted for is told"
    LATER = "failed, comes again by itself"
    CIRCUIT = "the server is in trouble, and is told"
    STOPPED = "stopped until a person tests again, and told"


def status(office: Office, summary: Summary) -> Outcome:
    """What the office says, each of its words at one with the others."""
    state = state_of(office)
    told = Alert.objects.filter(resolved_at=None).exists()
    circuit = ServerCircuit.objects.filter(open_until__gt=timezone.now()).first()
    assert (summary.failed > 0) == bool(circuit or state.last_error)
    if circuit:
        assert (told, state.enabled, bool(circuit.reason)) == (True, True, True)
        return Outcome.CIRCUIT
    assert bool(state.last_error) == (state.failures > 0) == (state.failing_since is not None)
    if not state.enabled:
        assert told
        assert state.last_error
        return Outcome.STOPPED
    assert state.next_run_at is not None
    if state.failures:
        assert not told
        return Outcome.LATER
    return Outcome.TOLD if told else Outcome.FINE


GoWrong = Callable[[Proxy, Office, Sent], None]


@dataclass(frozen=True)
class Fault:
    name: str
    outcome: Outcome
    go_wrong: GoWrong

    def __str__(self) -> str:
        return self.name


def at(command: str, act: Callable[[], None], nth: int = 1) -> Callable[[Line], bytes | None]:
    """Do something before the reply to a command is passed on."""

    def once(line: Line) -> bytes | None:
        if (line.command, line.nth, line.ends) != (command, nth, True):
            return None
        act()
        return line.raw

    return once


BEFORE_IT_IS_OPEN = ("CAPABILITY", "AUTHENTICATE", "SELECT", "MYRIGHTS")
IN_THE_OPEN_FOLDER = [
    ("UID SEARCH", 1, "what is there"),
    ("UID FETCH", 1, "the sizes"),
    ("UID FETCH", 2, "the messages"),
    ("UID SEARCH", 2, "before deleting"),
    ("UID STORE", 1, "mark as deleted"),
    ("UID EXPUNGE", 1, "delete"),
    ("UID SEARCH", 3, "after deleting"),
    ("UID SEARCH", 4, "the end of the list"),
    ("UID SEARCH", 6, "reconciliation"),
]
FAREWELL = ("LOGOUT",)


def losses() -> list[Fault]:
    """The reply to each kind of command is lost; the command itself is."""
    places = [
        *((command, 1, "", Outcome.CIRCUIT) for command in BEFORE_IT_IS_OPEN),
        *((command, nth, f" ({why})", Outcome.LATER) for command, nth, why in IN_THE_OPEN_FOLDER),
        *((command, 1, "", Outcome.FINE) for command in FAREWELL),
    ]
    found = []
    for command, nth, why, outcome in places:
        found.append(Fault(f"reply to {command} lost{why}", outcome, losing_reply(command, nth)))
        found.append(Fault(f"{command} itself lost{why}", outcome, losing_command(command, nth)))
    return found


def losing_reply(command: str, nth: int) -> GoWrong:
    def go_wrong(proxy: Proxy, office: Office, sent: Sent) -> None:
        if command == "CAPABILITY":
            greets_in_few_words(proxy)
        proxy.lose_reply(command, nth)

    return go_wrong


def losing_command(command: str, nth: int) -> GoWrong:
    def go_wrong(proxy: Proxy, office: Office, sent: Sent) -> None:
        if command == "CAPABILITY":
            greets_in_few_words(proxy)
        proxy.lose_command(command, nth)

    return go_wrong


def greets_in_few_words(proxy: Proxy) -> None:
    """The greeting names no capabilities: they are asked for."""
    proxy.edit(rb"^\* OK \[CAPABILITY [^\]]*\]", b"* OK")


def sign_in_by_login(lose: Callable[[Proxy], None]) -> GoWrong:
    """The server offers no AUTHENTICATE PLAIN."""

    def go_wrong(proxy: Proxy, office: Office, sent: Sent) -> None:
        proxy.edit(rb" AUTH=PLAIN", b"")
        lose(proxy)

    return go_wrong


def cut_in(command: str, nth: int, share: float) -> GoWrong:
    return lambda proxy, office, sent: proxy.cut_within(command, share, nth)


def cut_at_the_first_octet(proxy: Proxy, office: Office, sent: Sent) -> None:
    proxy.says.append(cut_after_one)


def cut_after_one(line: Line) -> bytes | None:
    raise Cut(line.raw[:1])


def stall(command: str, nth: int = 1) -> GoWrong:
    return lambda proxy, office, sent: proxy.stall(command, 1.3, nth)


def drip(command: str, every: float) -> GoWrong:
    return lambda proxy, office, sent: proxy.drip(command, every)


def reads(pattern: bytes, replacement: bytes | Callable[[re.Match[bytes]], bytes]) -> GoWrong:
    return lambda proxy, office, sent: proxy.edit(pattern, replacement)


def neither_way_to_delete(proxy: Proxy, office: Office, sent: Sent) -> None:
    proxy.edit(rb" (UIDPLUS|MOVE)(?=[ \r\]])", b"")


def numbered_anew(proxy: Proxy, office: Office, sent: Sent) -> None:
    """Another UIDVALIDITY at each sign-in; the first pass is cut before it deletes, so that there is a second."""
    numbers = iter(range(100, 200))
    proxy.edit(rb"\[UIDVALIDITY \d+\]", lambda _: b"[UIDVALIDITY %d]" % next(numbers))
    proxy.lose_command("UID STORE")


def somebody_else(command: str, nth: int) -> GoWrong:
    """A second client moves two messages away and deletes a third during the pass."""

    def go_wrong(proxy: Proxy, office: Office, sent: Sent) -> None:
        sent.taken += ["Number 1", "Number 2", "Number 4"]

        def act() -> None:
            with office.dovecot.client(office.account, "INBOX") as client:
                uids = {subject: client.search(["SUBJECT", subject]) for subject in sent.taken}
                client.move([*uids["Number 1"], *uids["Number 2"]], ELSEWHERE)
                client.add_flags(uids["Number 4"], [rb"\Deleted"])
                client.uid_expunge(uids["Number 4"])

        proxy.says.append(at(command, act, nth))

    return go_wrong


def all_connections_end(command: str, nth: int) -> GoWrong:
    """The server is restarted."""

    def go_wrong(proxy: Proxy, office: Office, sent: Sent) -> None:
        proxy.says.append(at(command, proxy.cut_all, nth))

    return go_wrong


def the_server_says_goodbye(proxy: Proxy, office: Office, sent: Sent) -> None:
    def goodbye(line: Line) -> bytes | None:
        if (line.command, line.nth) != ("UID FETCH", 2):
            return None
        raise Cut(b"* BYE Server shutting down.\r\n")

    proxy.says.append(goodbye)


MATRIX = [
    *losses(),
    Fault("LOGIN itself lost", Outcome.CIRCUIT, sign_in_by_login(lambda p: p.lose_command("LOGIN"))),
    Fault("reply to LOGIN lost", Outcome.CIRCUIT, sign_in_by_login(lambda p: p.lose_reply("LOGIN"))),
    Fault("cut in the middle of a literal", Outcome.LATER, cut_in("UID FETCH", 2, 0.6)),
    Fault("cut one octet before the end of a message", Outcome.LATER, cut_in("UID FETCH", 2, 0.995)),
    Fault("cut in the middle of a size", Outcome.LATER, cut_in("UID FETCH", 1, 0.5)),
    Fault("cut in the middle of a search", Outcome.LATER, cut_in("UID SEARCH", 1, 0.7)),
    Fault("cut in the middle of the search after deleting", Outcome.LATER, cut_in("UID SEARCH", 3, 0.5)),
    Fault("cut at the first octet", Outcome.CIRCUIT, cut_at_the_first_octet),
    Fault("silence at the sign-in", Outcome.CIRCUIT, stall("AUTHENTICATE")),
    Fault("silence before the messages", Outcome.LATER, stall("UID FETCH", 2)),
    Fault("silence after STORE", Outcome.LATER, stall("UID STORE")),
    Fault("silence after EXPUNGE", Outcome.LATER, stall("UID EXPUNGE")),
    Fault("messages octet by octet, slower than the deadline", Outcome.LATER, drip("UID FETCH", 0.02)),
    Fault("a search octet by octet, within the deadline", Outcome.FINE, drip("UID SEARCH", 0.001)),
    Fault("no UIDPLUS", Outcome.FINE, reads(rb" UIDPLUS", b"")),
    Fault("neither UIDPLUS nor MOVE", Outcome.STOPPED, neither_way_to_delete),
    Fault("no ACL", Outcome.FINE, reads(rb" ACL", b"")),
    Fault("sizes announced as 0", Outcome.FINE, reads(rb"RFC822.SIZE \d+", b"RFC822.SIZE 0")),
    Fault("sizes announced as 3", Outcome.FINE, reads(rb"RFC822.SIZE \d+", b"RFC822.SIZE 3")),
    Fault("sizes announced 1,000 times", Outcome.FINE, reads(rb"(RFC822.SIZE \d+)", rb"\g<1>000")),
    Fault("sizes that are no numbers", Outcome.FINE, reads(rb"RFC822.SIZE \d+", b"RFC822.SIZE NIL")),
    Fault("no sizes", Outcome.FINE, reads(rb"RFC822.SIZE \d+ ", b"")),
    Fault("a literal of 10^12 octets", Outcome.LATER, reads(rb"BODY\[\] \{\d+\}", b"BODY[] {1000000000000}")),
    Fault("a literal longer than the answer", Outcome.LATER, reads(rb"BODY\[\] \{\d+\}", b"BODY[] {90000}")),
    Fault("UIDs that nobody asked for", Outcome.TOLD, reads(rb"FETCH \(UID 3 ", b"FETCH (UID 4000 ")),
    Fault("UIDVALIDITY is another at each sign-in", Outcome.LATER, numbered_anew),
    Fault("somebody moves and deletes before the list", Outcome.FINE, somebody_else("SELECT", 1)),
    Fault("somebody moves and deletes before the sizes", Outcome.FINE, somebody_else("UID SEARCH", 1)),
    Fault("somebody moves and deletes before the messages", Outcome.FINE, somebody_else("UID FETCH", 1)),
    Fault("somebody moves and deletes before we delete", Outcome.FINE, somebody_else("UID FETCH", 2)),
    Fault("somebody moves and deletes before STORE", Outcome.FINE, somebody_else("UID SEARCH", 2)),
    Fault("somebody moves and deletes before EXPUNGE", Outcome.FINE, somebody_else("UID STORE", 1)),
    Fault("the server restarts before the messages", Outcome.LATER, all_connections_end("UID FETCH", 1)),
    Fault("the server restarts before EXPUNGE", Outcome.LATER, all_connections_end("UID STORE", 1)),
    Fault("BYE in place of the messages", Outcome.LATER, the_server_says_goodbye),
]


@pytest.mark.parametrize("fault", MATRIX, ids=str)
def test_nothing_lost_nothing_twice_nothing_of_others_touched(
    office: Office, proxy: Proxy, fault: Fault
) -> None:
    sent = fill(office)
    fault.go_wrong(proxy, office, sent)
    assert status(office, office.synchronize()) == fault.outcome
    proxy.behave()
    if fault.outcome is Outcome.STOPPED:
        enable(office.forward)
    if fault.outcome is Outcome.TOLD:
        reconcile_soon(office.forward)  # or a day later
    undisturbed(office, proxy)
    assert proxy.struck > 0
    holds(office, sent)


def test_the_same_fault_cycle_after_cycle_loses_nothing(office: Office, proxy: Proxy) -> None:
    """The reply to each EXPUNGE is lost; new mail comes meanwhile."""
    sent = fill(office)
    for _ in range(3):
        proxy.behave()
        proxy.lose_reply("UID EXPUNGE")
        assert status(office, office.again()) == Outcome.LATER
        office.arrives(*sent.letters(1))
    undisturbed(office, proxy)
    holds(office, sent)


@pytest.mark.parametrize("jump", [timedelta(days=1), timedelta(days=-1)], ids=["forward", "back"])
def test_the_clock_jumps_between_two_cycles(office: Office, proxy: Proxy, jump: timedelta) -> None:
    sent = fill(office)
    proxy.lose_reply("UID EXPUNGE")
    office.synchronize()
    with time_machine.travel(timezone.now() + jump, tick=True):
        office.arrives(*sent.letters(2))
        undisturbed(office, proxy)
        holds(office, sent)
    office.arrives(*sent.letters(2))
    undisturbed(office, proxy)
    holds(office, sent)


@pytest.mark.parametrize("jump", [timedelta(days=1), timedelta(days=-1)], ids=["forward", "back"])
def test_the_clock_jumps_in_the_middle_of_a_pass(office: Office, proxy: Proxy, jump: timedelta) -> None:
    """Forward, the lease seems to be over while we work on it."""
    sent = fill(office)
    with time_machine.travel(timezone.now(), tick=True) as clock:
        proxy.says.append(at("UID FETCH", lambda: clock.shift(jump), 2))
        office.synchronize()
        undisturbed(office, proxy)
        holds(office, sent)
    undisturbed(office, proxy)
    holds(office, sent)
