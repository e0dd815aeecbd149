"""Safe first run: what stands in the folder, and for whom it is, before anything is collected from it.

The messages are listed, read and routed by the engine's own functions; nothing is kept, marked or deleted.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime

from django.db import transaction

from emailprofiles.network import day
from emailprofiles.transports import IncomingTransport
from emailprofiles.wire import Fetched, Listed, Step

from .models import ConfigurationTest, Direction, IncomingMethod, Mailbox, Message, Survey, SurveyShare
from .parsing import Parsed
from .routing import REASON_LABELS, Reason
from .sync import ingest, plan
from .sync.parser import Parser, Poison

WHAT_IS_THERE = "what is there"

HANDFUL = 40


@dataclass(frozen=True, slots=True)
class Limits:
    """How much is read: the newest `messages` with together at most `octets`, in about `seconds`."""

    messages: int = 500
    octets: int = 20 * 1024 * 1024
    seconds: float = 60.0
    listed_at_once: int = 1000


SAME_MAIL = "same_mail"
SHARE_LABELS = {reason.value: label for reason, label in REASON_LABELS.items()} | {
    SAME_MAIL: "Another copy of the same mail: it is delivered once"
}


class Abandoned(Exception):
    """The engine stops: the test stays open, and begins anew with the next engine."""


def is_due(test: ConfigurationTest, mailbox: Mailbox) -> bool:
    """Whether this test looks at what is there: when it only looks, and before incoming mail ran at all."""
    if mailbox.incoming_method != IncomingMethod.SERVER_SIDE:
        return False
    state = mailbox.state(Direction.INCOMING)
    return not test.enables or not (state.enabled or state.last_success_at)


def progress(test: ConfigurationTest) -> str:
    """How far the look of a running test is; "" before the folder is counted."""
    survey = Survey.objects.filter(test=test).first()
    return f"{survey.messages:,} messages, looked at {survey.looked_at} of {survey.sample}" if survey else ""


def take(
    test: ConfigurationTest,
    mailbox: Mailbox,
    server: IncomingTransport,
    stopping: Callable[[], bool],
    limits: Limits = Limits(),
) -> Step:
    """Look through the open folder; the step says it in one line, `Survey` in full. Raises Abandoned, MailError."""
    Survey.objects.filter(test=test).delete()  # of an attempt that died
    contents = _contents(mailbox, server, stopping, limits)
    survey = Survey.objects.create(
        test=test,
        folder=server.folder,
        messages=contents.messages,
        oldest_at=contents.oldest_at,
        wanted_from=contents.wanted_from,
        wanted=contents.wanted,
        sample=len(sample := contents.sample()),
    )
    _look(survey, mailbox, server, sample, stopping, limits.seconds)
    return Step(WHAT_IS_THERE, sentence(survey))  # type: ignore[arg-type]  # a step of ours, not of a transport


@dataclass(slots=True)
class _Contents:
    """The folder in figures, and the newest messages that would be collected."""

    wanted_from: datetime | None
    limits: Limits
    messages: int = 0
    wanted: int = 0
    oldest_at: datetime | None = None
    newest: deque[Listed] = field(default_factory=deque)

    def add(self, listed: list[Listed]) -> None:
        received = [one.received_at for one in listed if one.received_at is not None]
        self.oldest_at = min(filter(None, [self.oldest_at, *received]), default=None)
        wanted = plan.wanted(listed, self.wanted_from)
        self.messages += len(listed)
        self.wanted += len(wanted)
        self.newest.extend(wanted)
        while len(self.newest) > self.limits.messages:
            self.newest.popleft()

    def sample(self) -> list[Listed]:
        """As many of the newest as there is room for, oldest first; a giant among them is passed over."""
        room, taken = self.limits.octets, []
        for message in reversed(self.newest):
            if message.size <= room:
                room -= message.size
                taken.append(message)
        return taken[::-1]


def _contents(
    mailbox: Mailbox, server: IncomingTransport, stopping: Callable[[], bool], limits: Limits
) -> _Contents:
    """Count the whole folder, window by window."""
    assert mailbox.server_profile is not None
    contents = _Contents(mailbox.server_profile.process_email_from, limits)
    position: str | None = None
    while listed := server.listed(position, limits.listed_at_once):
        if stopping():
            raise Abandoned
        contents.add(listed)
        position = listed[-1].remote_id
    return contents


def _look(
    survey: Survey,
    mailbox: Mailbox,
    server: IncomingTransport,
    sample: list[Listed],
    stopping: Callable[[], bool],
    seconds: float,
) -> None:
    """Read and route the sample, telling how far it is; ends early when it takes too long."""
    shares: Counter[tuple[int | None, str]] = Counter()
    until = time.monotonic() + seconds
    known: ingest.Known = {}
    sorter = ingest.Sorter(mailbox)
    with Parser() as parser:
        for some in _handfuls(server, sample):
            if stopping():
                raise Abandoned
            if time.monotonic() > until:
                break
            shares.update(_shares(_parsed(some, parser), sorter, known))
            survey.looked_at += len(some)
            survey.save(update_fields=["looked_at"])
    _store(survey, shares)


def _handfuls(server: IncomingTransport, sample: list[Listed]) -> Iterator[list[Fetched]]:
    """The messages in the engine's batches, handed on in pieces small enough to tell of progress."""
    for batch in plan.batches(sample):
        fetched = list(server.fetch([message.remote_id for message in batch]))
        for start in range(0, len(fetched), HANDFUL):
            yield fetched[start : start + HANDFUL]


Read = tuple[Message, Parsed | Poison]


def _parsed(fetched: list[Fetched], parser: Parser) -> Iterator[Read]:
    """Each message with what is read in it. Its key is negative: it never stands for a stored one."""
    results = parser.parse_many([one.raw for one in fetched])
    for one, parsed in zip(fetched, results, strict=True):
        yield Message(pk=-int.from_bytes(one.remote_id.encode()) - 1, remote_id=one.remote_id), parsed


def _shares(
    read: Iterable[Read], sorter: ingest.Sorter, known: ingest.Known
) -> Iterator[tuple[int | None, str]]:
    """(mailbox, "") for each that a message would reach, (None, reason) for a message that would reach nobody."""
    pairs = list(read)
    yield from ((None, Reason.UNREADABLE.value) for _, parsed in pairs if isinstance(parsed, Poison))
    decided = sorter.decide((m, parsed) for m, parsed in pairs if not isinstance(parsed, Poison))
    for place, earlier in ingest.same_deliveries(decided).items():
        known.setdefault(place, earlier)
    for one in decided:
        reached, _notes = ingest.first_reached(one, known)
        yield from ((target.mailbox_id, "") for target in reached)
        if not reached:
            yield None, one.route.reason.value if one.route.reason and not one.route.targets else SAME_MAIL


def _store(survey: Survey, shares: Counter[tuple[int | None, str]]) -> None:
    with transaction.atomic():
        SurveyShare.objects.bulk_create(
            SurveyShare(survey=survey, mailbox_id=mailbox, reason=reason, messages=count)
            for (mailbox, reason), count in shares.most_common()
        )


# ── In words ────────────────────────────────────────────────────────────────────────────────


def sentence(survey: Survey) -> str:
    """ "1,248 messages, oldest 3 Feb 2019, 212 after Process Email From; 37 would go to Support, 5 to nobody" """
    said = [_count(survey.messages, "message")]
    if survey.oldest_at:
        said.append(f"oldest {day(survey.oldest_at)}")
    if survey.wanted_from:
        said.append(f"{survey.wanted:,} after Process Email From")
    shares = list(survey.shares.select_related("mailbox").defer("mailbox__password"))
    return "; ".join(filter(None, [", ".join(said), _where_to(survey, shares)]))


NAMED = 3


def _where_to(survey: Survey, shares: list[SurveyShare]) -> str:
    """Where the messages that were looked at would go, the largest shares by name."""
    named = [share for share in shares if share.mailbox]
    nobody = sum(share.messages for share in shares if not share.mailbox and share.reason != SAME_MAIL)
    parts = [f"{share.messages:,} would go to {share.mailbox}" for share in named[:NAMED]]
    if others := named[NAMED:]:
        rest = sum(share.messages for share in others)
        parts.append(f"{rest:,} to {len(others)} other{'' if len(others) == 1 else 's'}")
    parts += [f"{nobody:,} to nobody"] if nobody else []
    if not parts:
        return ""
    scope = "" if survey.looked_at >= survey.wanted else f"of the newest {survey.looked_at:,} looked at, "
    return scope + ", ".join(parts)


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
