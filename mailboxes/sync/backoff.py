"""When to come again: pure, a table."""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import timedelta

from emailprofiles.errors import MailError, Nature, OutcomeUnknown, Scope

FIRST = timedelta(seconds=15)
LONGEST = timedelta(hours=1)
PATIENCE = 10
UNKNOWN_IN_A_ROW = 3


@dataclass(frozen=True, slots=True)
class Verdict:
    """What follows from a failed pass.

    `stop`: the direction stops until a person tests again. `circuit`: the whole server is asked by one
    probing mailbox from now on. Otherwise it comes again after `wait`.
    """

    wait: timedelta
    stop: bool
    circuit: bool


def delay(failures: int, chance: random.Random) -> timedelta:
    """Doubling from FIRST up to LONGEST, with a jitter of a quarter, after so many failures in a row."""
    plain: timedelta = min(FIRST * (1 << min(failures - 1, 20)), LONGEST)
    return plain * (0.75 + chance.random() / 2)


def verdict(
    error: MailError, failures: int, chance: random.Random, *, opened: bool = False, sends: bool = False
) -> Verdict:
    """What to do after the `failures`-th failure in a row (1 for the first).

        when                    scope               nature          what follows
        before it was open      network, profile    any             the server's circuit opens
        once it was `opened`    network, profile    transient       come again later; the tenth in a row stops
        any time                mailbox, message    transient       come again later; the tenth in a row stops
        any time                any other                           the direction stops

    A connection that breaks in an open mailbox may be that mailbox's own doing; if the server is down, the next
    attempt to reach it says so. What waits to be sent (`sends`) waits for as long as it takes; only an outcome that
    is not known for the third time in a row stops it, since each one asks a person.
    """
    wait = delay(failures, chance)
    if error.scope in (Scope.NETWORK, Scope.PROFILE) and not opened:
        return Verdict(wait, stop=False, circuit=True)
    if isinstance(error, OutcomeUnknown):
        return Verdict(wait, stop=failures >= UNKNOWN_IN_A_ROW, circuit=False)
    stop = error.nature is not Nature.TRANSIENT or (failures >= PATIENCE and not sends)
    return Verdict(wait, stop=stop, circuit=False)
