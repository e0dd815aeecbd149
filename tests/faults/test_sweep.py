"""A session is cut at every octet of it: of what the server says, and of what we say.

A sample here, by a printed seed (`SWEEP_SEED`), and around the replies that say what is deleted; with `SWEEP=all`
each octet.
"""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Iterator, Sequence
from datetime import timedelta
from itertools import accumulate

import pytest
from django.utils import timezone

from emailprofiles.errors import MailError
from mailboxes.models import ServerCircuit
from mailboxes.sync import errands, leases
from mailboxes.sync.incoming import BrokenOff, synchronize
from mailboxes.sync.parser import Parser
from mailboxes.sync.worker import failed, succeeded
from tests.faults.invariant import Sent, fill, holds
from tests.faults.proxy import Proxy
from tests.servers import GOOD, needs
from tests.sync.conftest import Office
from tests.sync.test_pop3 import by_pop3

pytestmark = pytest.mark.django_db(transaction=True)

SAMPLE = 6
LETTERS = 3


@pytest.fixture
def parser() -> Iterator[Parser]:
    """One for all passes of a sweep."""
    with Parser() as parser:
        yield parser


@pytest.fixture(autouse=True)
def _patience(office: Office) -> None:
    """A cut ends both sides at once, so nobody waits for it; a machine that is busy may take its time."""
    type(office.profile).objects.update(timeout_seconds=20)


def one_pass(office: Office, parser: Parser) -> str:
    """One cycle of the mailbox, as the engine has it; why it failed, "" if it went through."""
    ServerCircuit.objects.update(open_until=timezone.now() - timedelta(seconds=1))
    office.forward.states.update(next_run_at=None)
    (errand,) = errands.read(leases.claim(1, leases.this_process()))
    try:
        tally = synchronize(errand, parser, lambda: False)
    except (MailError, BrokenOff) as error:
        failed(errand.lease, error)
        return f"{type(error).__name__}: {error}"
    succeeded(errand, tally)
    return ""


def recorded(pieces: list[bytes], office: Office, sent: Sent, parser: Parser) -> list[bytes]:
    """What one side says in an undisturbed pass over new letters."""
    office.arrives(*sent.letters(LETTERS))
    pieces.clear()
    assert one_pass(office, parser) == ""
    return list(pieces)


def cuts(pieces: Sequence[bytes], around: Sequence[bytes]) -> list[int]:
    """After how many octets to cut: a sample, and about the ends of the pieces that speak of deleting."""
    ends = list(accumulate(map(len, pieces)))
    if os.environ.get("SWEEP") == "all":
        return list(range(1, ends[-1] + 1))
    seed = int(os.environ.get("SWEEP_SEED", "20261124"))
    sys.stdout.write(f"SWEEP_SEED={seed}\n")
    found = set(random.Random(seed).sample(range(1, ends[-1] + 1), SAMPLE))
    for end, piece in zip(ends, pieces, strict=True):
        if any(word in piece for word in around):
            found |= {end - len(piece), end - len(piece) // 2, end - 1, end}
    return sorted(found)


def cut_at(proxy: Proxy, side: str, at: int, office: Office, sent: Sent, parser: Parser) -> None:
    """New letters, a pass that is cut there, one that is not; then everything is where it belongs."""
    office.arrives(*sent.letters(LETTERS))
    setattr(proxy, side, at)
    one_pass(office, parser)
    proxy.behave()
    assert (side, at, one_pass(office, parser)) == (side, at, "")
    holds(office, sent)


SIDES = ["say_at_most", "hear_at_most"]


@pytest.mark.parametrize("side", SIDES)
def test_cut_at_any_octet_nothing_is_lost_or_twice(
    office: Office, proxy: Proxy, parser: Parser, side: str
) -> None:
    sent = fill(office, LETTERS)
    assert one_pass(office, parser) == ""
    pieces = proxy.transcript if side == "say_at_most" else proxy.commands
    words = (b"Store completed", b"Expunge completed", b"UID STORE", b"UID EXPUNGE")
    points = cuts(recorded(pieces, office, sent, parser), words)
    assert len(points) > SAMPLE
    for at in points:
        cut_at(proxy, side, at, office, sent, parser)


@pytest.mark.parametrize("side", SIDES)
def test_nor_over_pop3(office: Office, proxy: Proxy, parser: Parser, side: str) -> None:
    """Deletions come true with the farewell, or do not: only the next session tells."""
    needs("pop3")
    proxy.upstream = (GOOD, office.dovecot.pop3_port)
    by_pop3(office, proxy.port)
    sent = fill(office, LETTERS)
    assert one_pass(office, parser) == ""
    pieces = recorded(proxy.transcript if side == "say_at_most" else proxy.commands, office, sent, parser)
    first = next(n for n, piece in enumerate(pieces, 1) if piece.startswith((b"QUIT", b"+OK Logging out")))
    points = cuts(pieces[:first], (b"DELE", b"QUIT", b"+OK Marked", b"+OK Logging out"))
    assert len(points) > SAMPLE
    for at in points:
        cut_at(proxy, side, at, office, sent, parser)
