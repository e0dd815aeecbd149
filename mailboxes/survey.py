"""Safe first run: what stands in the folder, and for whom it is, before anything is collected from it.

The messages are listed, read and routed by the engine's own functions; nothing is kept, marked or deleted.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from datetime import datetime
from itertools import chain

from emailprofiles.network import day
from emailprofiles.transports import IncomingTransport
from emailprofiles.wire import Folder, Listed, Step

from .diary import Diary
from .models import (
    ConfigurationTest,
    Direction,
    EmailConfigurationSettings,
    IncomingMethod,
    Mailbox,
    Message,
    Survey,
    SurveyShare,
)
from .parsing import Parsed
from .routing import REASON_LABELS, Reason
from .sync import ingest, plan
from .sync.parser import Parser, Poison

WHAT_IS_THERE = "what is there"

HANDFUL = 40


@dataclass(frozen=True, slots=True)
class Limits:
    """How much is done: the folder is counted within `counting` seconds; of what would be collected the newest
    `messages` with together at most `octets` are read, within `reading` seconds and the message in hand."""

    messages: int = 500
    octets: int = 20 * 1024 * 1024
    counting: float = 120.0
    reading: float = 60.0
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
    diary: Diary,
    mailbox: Mailbox,
    server: IncomingTransport,
    stopping: Callable[[], bool],
    limits: Limits = Limits(),
    parser: Parser | None = None,
) -> Step:
    """Look through the open folder; the step says it in one line, `Survey` in full. Without a `parser` one is started.

    Raises Abandoned, LeaseLost when another worker took the test over, MailError.
    """
    contents = _Contents(mailbox, server.open(), limits)
    _count(contents, server, stopping)
    survey = contents.as_survey(diary.test)
    _begin(diary, survey)
    with nullcontext(parser) if parser else Parser() as reader:
        look = _Look(diary, survey, server, ingest.Sorter(mailbox), reader, stopping)
        shares = look.through(contents.sample(), time.monotonic() + limits.reading)
        shares[None, Reason.TOO_LARGE.value] += contents.large
    _leave_out(survey, shares.pop((None, Reason.TEST_MESSAGE.value), 0))
    _store(diary, survey, shares)
    return Step(WHAT_IS_THERE, sentence(survey))  # type: ignore[arg-type]  # a step of ours, not of a transport


def _leave_out(survey: Survey, test_messages: int) -> None:
    """What Test & Enable itself sent is none of the mail that is there."""
    for name in COUNTED:
        setattr(survey, name, getattr(survey, name) - test_messages)


COUNTED = ("messages", "wanted", "sample", "looked_at")


class _Contents:
    """The folder in figures, and the newest messages that would be collected."""

    def __init__(self, mailbox: Mailbox, folder: Folder, limits: Limits) -> None:
        assert mailbox.server_profile is not None
        self.mailbox, self.folder, self.limits = mailbox, folder, limits
        self.wanted_from = mailbox.server_profile.process_email_from
        self.cursor = mailbox.state(Direction.INCOMING).position_in(folder)
        self.largest = EmailConfigurationSettings.load().max_message_octets
        self.messages = self.new = self.wanted = self.large = 0
        self.is_counted = True
        self.oldest_at: datetime | None = None
        self.newest: deque[Listed] = deque(maxlen=limits.messages)

    def count(self, listed: list[Listed]) -> None:
        received = [one.received_at for one in listed if one.received_at is not None]
        self.oldest_at = min(filter(None, [self.oldest_at, *received]), default=None)
        self.messages += len(listed)

    def consider(self, listed: list[Listed]) -> None:
        """Which of these the next pass would collect; they stand behind its cursor."""
        new = ingest.not_kept(ingest.Place(self.mailbox, self.folder), listed)
        wanted = plan.wanted(new, self.wanted_from)
        self.new += len(new)
        self.wanted += len(wanted)
        small, large = plan.by_size(wanted, self.largest)
        self.large += len(large)
        self.newest.extend(small)

    def sample(self) -> list[Listed]:
        """As many of the newest as there is room for, oldest first; a giant among them is passed over."""
        room, taken = self.limits.octets if self.is_counted else 0, []
        for message in reversed(self.newest):
            if message.size <= room:
                room -= message.size
                taken.append(message)
        return taken[::-1]

    def as_survey(self, test: ConfigurationTest) -> Survey:
        return Survey(
            test=test,
            folder=self.folder.name,
            messages=self.messages,
            is_counted=self.is_counted,
            dealt_with=max(self.messages - self.new, 0) if self.is_counted else 0,
            oldest_at=self.oldest_at,
            wanted_from=self.wanted_from,
            wanted=self.wanted,
            sample=len(self.sample()) + self.large,
            looked_at=self.large,  # their size says it all: they become stubs
        )


def _count(contents: _Contents, server: IncomingTransport, stopping: Callable[[], bool]) -> None:
    """Go through the whole folder, and once more through what stands behind the cursor of an earlier pass."""
    until = time.monotonic() + contents.limits.counting
    counted = ((True, listed) for listed in _windows(server, None, contents.limits))
    behind = ((False, listed) for listed in _windows(server, contents.cursor, contents.limits))
    for is_whole, listed in chain(counted, behind if contents.cursor else ()):
        if stopping():
            raise Abandoned
        if time.monotonic() > until:
            contents.is_counted = False
            return
        if is_whole:
            contents.count(listed)
        if not (is_whole and contents.cursor):
            contents.consider(listed)


def _windows(server: IncomingTransport, after: str | None, limits: Limits) -> Iterator[list[Listed]]:
    while listed := server.listed(after, limits.listed_at_once):
        yield listed
        after = listed[-1].remote_id


Read = tuple[Message, Parsed | Poison]
Shares = Counter[tuple[int | None, str]]


@dataclass(slots=True)
class _Look:
    """Reads and routes a sample, telling how far it is."""

    diary: Diary
    survey: Survey
    server: IncomingTransport
    sorter: ingest.Sorter
    parser: Parser
    stopping: Callable[[], bool]
    known: ingest.Known = field(default_factory=dict)

    def through(self, sample: list[Listed], until: float) -> Shares:
        """Where the messages would go; ends early when the clock passes `until`. Raises Abandoned, LeaseLost."""
        shares: Shares = Counter()
        for number, ids in enumerate(_handfuls(sample)):
            if number:
                _tell(self.diary, self.survey)
            read = list(self._read(ids, until))
            shares.update(_shares(read, self.sorter, self.known))
            self.survey.looked_at += len(read)
            if time.monotonic() > until:
                break
        return shares

    def _read(self, ids: list[str], until: float) -> Iterator[Read]:
        """Each message with what is read in it. Its key is negative: it never stands for a stored one."""
        for one in self.server.fetch(ids):
            if self.stopping():
                raise Abandoned
            if time.monotonic() > until:
                return
            (parsed,) = self.parser.parse_many([one.raw])
            yield Message(pk=-int.from_bytes(one.remote_id.encode()) - 1, remote_id=one.remote_id), parsed


def _handfuls(sample: list[Listed]) -> Iterator[list[str]]:
    """The engine's batches in pieces small enough to tell of progress, and to stop between."""
    for batch in plan.batches(sample):
        ids = [message.remote_id for message in batch]
        yield from (ids[start : start + HANDFUL] for start in range(0, len(ids), HANDFUL))


def _shares(
    pairs: Sequence[Read], sorter: ingest.Sorter, known: ingest.Known
) -> Iterator[tuple[int | None, str]]:
    """(mailbox, "") for each that a message would reach, (None, reason) for a message that would reach nobody."""
    yield from ((None, Reason.UNREADABLE.value) for _, parsed in pairs if isinstance(parsed, Poison))
    decided = sorter.decide((m, parsed) for m, parsed in pairs if not isinstance(parsed, Poison))
    for place, earlier in ingest.same_deliveries(decided).items():
        known.setdefault(place, earlier)
    for one in decided:
        reached, _notes = ingest.first_reached(one, known)
        yield from ((target.mailbox_id, "") for target in reached)
        if not reached:
            yield None, one.route.reason.value if one.route.reason and not one.route.targets else SAME_MAIL


def _begin(diary: Diary, survey: Survey) -> None:
    with diary.writing():
        survey.save()


def _tell(diary: Diary, survey: Survey) -> None:
    with diary.writing():
        survey.save(update_fields=["looked_at"])


def _store(diary: Diary, survey: Survey, shares: Shares) -> None:
    with diary.writing():
        survey.save(update_fields=COUNTED)
        SurveyShare.objects.bulk_create(
            SurveyShare(survey=survey, mailbox_id=mailbox, reason=reason, messages=count)
            for (mailbox, reason), count in shares.most_common()
            if count
        )


# ── In words ────────────────────────────────────────────────────────────────────────────────


def sentence(survey: Survey) -> str:
    """ "1,248 messages, oldest 3 Feb 2019, 212 after Process Email From; 37 would go to Support, 5 to nobody" """
    if not survey.is_counted:
        return f"More than {survey.messages:,} messages: counting them took too long, and none was looked at"
    said = [_counted(survey.messages, "message")]
    if survey.oldest_at:
        said.append(f"oldest {day(survey.oldest_at)}")
    if survey.dealt_with:
        said.append(f"{survey.dealt_with:,} dealt with by earlier passes")
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
    return ", ".join(parts) if is_whole(survey) else f"of {scope(survey)} looked at, {', '.join(parts)}"


def is_whole(survey: Survey) -> bool:
    """Whether everything that would be collected was looked at."""
    return survey.looked_at >= survey.wanted


def scope(survey: Survey) -> str:
    """ "the newest 500", or "120 of the newest 500" when time was up."""
    part = f"{survey.looked_at:,} of " if survey.looked_at < survey.sample else ""
    return f"{part}the newest {survey.sample:,}"


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
