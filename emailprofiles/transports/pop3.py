"""POP3 (RFC 1939, RFC 2449, RFC 2595, RFC 5034): collect from the one maildrop of an account.

The list of messages is taken once, when the maildrop is opened; the server keeps it as it is until we leave. It
is in no lasting order, and tells no time: `Listed.received_at` is None here, and what is fetched has the date of
its topmost Received line (RFC 5321, 4.4). Deletions come true when the session ends (QUIT), so they are made in
portions, each followed by a new session that looks what is gone.

Some servers mark a message as read when it is handed over; POP3 has no way to ask for that, or against it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from emailprofiles import network
from emailprofiles.errors import (
    CapabilityMissing,
    ConnectionLost,
    EncryptionError,
    EncryptionRequired,
    MailError,
    MessageUnavailable,
    NetworkError,
    NoGreeting,
    NotThisProtocol,
    ProtocolError,
    ServerBusy,
    SettingsIncomplete,
    SignInRefused,
    StartTlsRefused,
    TimedOut,
    at_step,
    scrub,
)
from emailprofiles.transports.imap_words import meaning
from emailprofiles.transports.pop3_session import Confused, Refused, Session
from emailprofiles.transports.pop3_words import ANYTIME, AT_DELETION, AT_SIGN_IN
from emailprofiles.transports.reach import OverSocket
from emailprofiles.transports.seam import IncomingTransport
from emailprofiles.wire import (
    UNDELIVERABLE,
    Disposal,
    Disposed,
    Fetched,
    Folder,
    Listed,
    Password,
    Security,
    Step,
    StepName,
)

MAILDROP = "INBOX"
DELETIONS_PER_SESSION = 500
LONGEST_UIDL = 70
HEADERS_AT_ONCE = 50
LONGEST_TRACE = 65_536
NAMED_BY_SERVER, NAMED_BY_DIGEST = "", "sha256"
SECONDS_TO_LEAVE = 3.0
LIBRARY_ERRORS = (OSError, Refused, ValueError, LookupError)
SPENDING = (NetworkError, EncryptionError, ProtocolError, ServerBusy)
"""Errors after which nobody knows what the next octet from the server belongs to."""


class Pop3(OverSocket, IncomingTransport):
    """The maildrop of one account. A remote id is the UIDL, numbered ("x#2") where several messages bear the same.

    Where the server has no UIDL, an id is the digest of the header and the size, and the generation says so: what
    is known by ids of the one kind is never looked for by the other. The same digest is the id where each UIDL is
    but the message's number, which the next one bears as soon as this one is gone. Lasting names may look like that,
    too, until something is deleted: what is known by a digest is then known anew, by its bytes.
    """

    _session: Session | None = None
    _drop: Maildrop | None = None
    _by_number: bool | None = None

    # --- the ladder up to the sign-in ---

    def connect_steps(self) -> Iterator[Step]:
        self._drop = None
        yield from self.reached_steps()
        yield from self._greeting_steps(self._reached)
        yield self._sign_in()

    def _greeting_steps(self, sock: network.BoundedSocket) -> Iterator[Step]:
        with at_step(self._greeting_step):
            session = self._greet(sock)
        if self.endpoint.security is Security.STARTTLS:
            with at_step(StepName.TLS), self._exchange(table=ANYTIME, refused=StartTlsRefused):
                seen = self._start_tls(session)
            yield Step(StepName.TLS, seen)
        yield Step(StepName.GREETING, _capabilities_seen(session))

    def _greet(self, sock: network.BoundedSocket) -> Session:
        sock.allow(self.endpoint.timeout)
        session = self._session = Session(sock, self.endpoint)
        try:
            session.greeting()
        except LIBRARY_ERRORS as error:
            self._spent = True
            raise self._no_greeting(error, sock) from error
        with self._exchange():
            session.learn()
        return session

    def _no_greeting(self, error: Exception, sock: network.BoundedSocket) -> MailError:
        silent = sock.octets_left == network.OCTETS_PER_COMMAND
        problem = self._translated(error, self._where, ANYTIME, ServerBusy)
        if isinstance(error, Confused):
            return NotThisProtocol(self._where, server_words=str(error))
        if silent and isinstance(problem, TimedOut | ConnectionLost):
            return problem if self.endpoint.security is Security.TLS else NoGreeting(self._where)
        return NotThisProtocol(self._where) if isinstance(problem, ProtocolError) else problem

    def _start_tls(self, session: Session) -> str:
        if session.capabilities and "STLS" not in session.capabilities:
            raise StartTlsRefused
        seen = session.start_tls()
        self._sock = session.connection
        session.learn()
        return seen

    def _sign_in(self) -> Step:
        who = self.credentials
        with at_step(StepName.SIGNED_IN):
            if not isinstance(who, Password) or not who.username:
                raise SettingsIncomplete("POP3 needs a user name and a password")
            if who.authorize_as:
                raise CapabilityMissing("signing in on behalf of a mailbox, which POP3 does not know")
            with self._exchange(who.username, AT_SIGN_IN, SignInRefused) as session:
                self._check_mechanisms(session)
                session.sign_in(who)
            with self._exchange() as session:
                session.learn()  # it may say more to those it knows (RFC 2449, section 3)
        return Step(StepName.SIGNED_IN, who.username)

    def _check_mechanisms(self, session: Session) -> None:
        """No password leaves this machine where the server says beforehand that it won't take it."""
        offered = session.capabilities
        if not offered or "USER" in offered or "PLAIN" in offered.get("SASL", "").split():
            return
        if self.endpoint.security is Security.NONE and "STLS" in offered:
            raise EncryptionRequired
        raise CapabilityMissing("sign-in by password")

    # --- the maildrop ---

    def open(self) -> Folder:
        if self._drop is not None:  # a session shows what was there at its beginning
            self._begin_anew()
        with self._exchange() as session:
            self._drop = Maildrop(session, self._by_number)
        self._by_number = self._drop.by_number  # so that ids stay what they are as long as this one is used
        return Folder(
            name=MAILDROP,
            generation=self._drop.generation,
            messages=len(self._drop.numbers),
            writable=True,
            may_delete=True,
            may_mark_read=True,
            lasting_order=False,
        )

    def open_steps(self, disposal: Disposal) -> Iterator[Step]:
        with at_step(StepName.FOLDER):
            self.open()
            seen = self._contents()
        yield Step(StepName.FOLDER, seen)
        with at_step(StepName.MAY_DELETE):
            seen = _way_out(disposal)
        yield Step(StepName.MAY_DELETE, seen)
        with at_step(StepName.MESSAGE):
            seen = self._one_message()
        yield Step(StepName.MESSAGE, seen)

    def _contents(self) -> str:
        count = len(self._opened.numbers)
        words = f"{count:,} message{'' if count == 1 else 's'}"
        first = list(self.fetch_headers([*self._opened.numbers][:1]))
        oldest = first[0].received_at if first else None
        return f"{words}, the first received {network.day(oldest)}" if oldest else words

    def _one_message(self) -> str:
        drop = self._opened
        if not drop.numbers:
            return "the folder is empty"
        last = [*drop.numbers][-1]
        found = list(self.fetch_headers([last]))
        if not found:
            raise MessageUnavailable(last)
        received = found[0].received_at
        size = f"the last, {drop.size_of(last):,} octets"
        return f"{size}, received {network.day(received)}" if received else size

    @property
    def _opened(self) -> Maildrop:
        if self._drop is None:
            raise ConnectionLost(self._where)
        return self._drop

    # --- collecting ---

    def identities(self, after: str | None, limit: int) -> list[str]:
        """From the beginning where `after` is not there any more."""
        drop = self._opened
        ids = [*drop.numbers]
        start = ids.index(after) + 1 if after in drop.numbers else 0
        return ids[start : start + limit]

    def listed(self, after: str | None, limit: int) -> list[Listed]:
        """As `identities`; the time is never told (see above)."""
        size_of = self._opened.size_of
        return [Listed(one, size_of(one), None) for one in self.identities(after, limit)]

    def fetch(self, ids: Sequence[str]) -> Iterator[Fetched]:
        yield from self._asked("RETR {number}", ids)

    def fetch_headers(self, ids: Sequence[str]) -> Iterator[Fetched]:
        drop = self._opened
        with self._exchange() as session:
            command = "TOP {number} 0" if drop.has_top(session) else "RETR {number}"
        for one in self._asked(command, ids):
            yield Fetched(one.remote_id, header_of(one.raw), one.received_at)

    def _asked(self, command: str, ids: Sequence[str]) -> Iterator[Fetched]:
        numbers = self._opened.numbers
        there = [one for one in ids if one in numbers]
        with self._exchange() as session:
            answers = session.ask_many([command.format(number=numbers[one]) for one in there], long=True)
            for answer in answers:
                _let_pass(answer)
        for remote_id, answer in zip(there, answers, strict=True):
            if isinstance(answer, bytes):
                yield Fetched(remote_id, answer, received_at(answer))

    # --- disposing ---

    def dispose(self, ids: Sequence[str], disposal: Disposal) -> Disposed:
        """What nobody marks (MARK_READ) is done at once. A lost session leaves what it was to delete to be asked again.

        Of messages that bear the same UIDL, one is deleted only with or after those that are numbered above it:
        else the next would inherit its id.
        """
        _way_out(disposal)
        present = [one for one in dict.fromkeys(ids) if one in self._opened.numbers]
        vanished = tuple(one for one in dict.fromkeys(ids) if one not in self._opened.numbers)
        if disposal is Disposal.MARK_READ:
            return Disposed(done=tuple(present), vanished=vanished)
        done: list[str] = []
        present = self._opened.without_heirs(present)
        for start in range(0, len(present), DELETIONS_PER_SESSION):
            done += self._delete(present[start : start + DELETIONS_PER_SESSION])
        return Disposed(done=tuple(done), vanished=vanished)

    def _delete(self, ids: Sequence[str]) -> list[str]:
        """Mark these, leave, come again; those that are gone then."""
        numbers = self._opened.numbers
        with self._exchange() as session:
            answers = session.ask_many([f"DELE {numbers[one]}" for one in ids if one in numbers], long=False)
            refusals = [answer for answer in answers if isinstance(answer, Refused)]
        if refusals and len(refusals) == len(answers):
            with self._exchange(MAILDROP, AT_DELETION, ProtocolError):
                raise refusals[0]
        self.open()
        return [one for one in ids if one not in self._opened.numbers]

    def _begin_anew(self) -> None:
        """Leave, so that deletions come true, and sign in again. A farewell that is lost says nothing of them."""
        with suppress(*SPENDING), self._exchange() as session, suppress(Refused):
            session.ask("QUIT")  # refused: "some deleted messages not removed"; we look for ourselves
        self._shut()
        self.connect()

    # --- one exchange ---

    @contextmanager
    def _exchange(
        self, seen: str = "", table: tuple[Any, ...] = ANYTIME, refused: type[MailError] = ProtocolError
    ) -> Iterator[Session]:
        """Commands and their answers: every error one of ours, no secret in any of it."""
        if self._session is None or self._spent:
            raise ConnectionLost(self._where)
        try:
            yield self._session
        except (MailError, *LIBRARY_ERRORS) as error:
            problem = self._translated(error, seen or self._where, table, refused)
            self._spent = isinstance(problem, SPENDING)
            if problem is error:
                raise
            raise problem from error

    def _translated(
        self, error: Exception, seen: str, table: tuple[Any, ...], refused: type[MailError]
    ) -> MailError:
        secrets = (self.credentials.password,) if isinstance(self.credentials, Password) else ()
        scrub(error, secrets)
        if isinstance(error, MailError):
            return error
        if isinstance(error, Refused):
            return meaning(error.words, table, refused)(seen, server_words=error.words)
        if isinstance(error, OSError):
            return network.translate(error, seen)
        return ProtocolError(seen, server_words=str(error))

    def close(self) -> None:
        with suppress(Exception):  # leaving is a courtesy: what was worth keeping has been confirmed before
            self._leave()
        self._shut()

    def _leave(self) -> None:
        if self._session is None or self._spent:
            return
        self._session.patience = SECONDS_TO_LEAVE
        self._session.ask("QUIT")

    def _shut(self) -> None:
        with suppress(OSError):
            if self._sock is not None:
                self._sock.close()
        self._session = self._sock = self._drop = None


# --- the list of messages --------------------------------------------------------------------------------


class Maildrop:
    """What is there for the length of a session: the number of each message by its id, in the server's order."""

    def __init__(self, session: Session, by_number: bool | None = None) -> None:
        self._top: bool | None = None
        self._sizes = {number: _octets(words) for number, words in _lines(session.ask_long("LIST"))}
        uidls = _uidls(session)
        self.generation = NAMED_BY_SERVER if uidls is not None else NAMED_BY_DIGEST
        known = uidls or {}
        self.by_number = _are_numbers(known) if by_number is None and known else by_number
        lasting = {} if self.by_number else known
        names = {number: lasting[number] for number in self._sizes if lasting.get(number)}
        names |= self._digests(session, [number for number in self._sizes if number not in names])
        self.numbers, self._heirs = _told_apart({number: names[number] for number in self._sizes})

    def size_of(self, remote_id: str) -> int:
        return self._sizes[self.numbers[remote_id]]

    def has_top(self, session: Session) -> bool:
        """Whether headers can be had alone: as the server says, or else as it turns out with the first message."""
        if self._top is None:
            self._top = "TOP" in session.capabilities or self._answers_top(session)
        return self._top

    def _answers_top(self, session: Session) -> bool:
        first = [f"TOP {number} 0" for number in self._sizes][:1]
        answers = session.ask_many(first, long=True)
        for answer in answers:
            _let_pass(answer)
        return any(isinstance(answer, bytes) for answer in answers)

    def _digests(self, session: Session, numbers: Sequence[int]) -> dict[int, str]:
        """Names from header and size, or from the whole message where its header does not tell it from others."""
        names: dict[int, str] = {}
        if numbers and self.has_top(session):
            heads = _told(session, "TOP {} 0", numbers, at_once=HEADERS_AT_ONCE)
            names = {n: self._digest(n, head) for n, head in heads if head is None or _is_traced(head)}
        whole = _told(session, "RETR {}", [number for number in numbers if number not in names], at_once=1)
        return names | {n: self._digest(n, raw, whole=True) for n, raw in whole}

    def _digest(self, number: int, octets: bytes | None, *, whole: bool = False) -> str:
        """What the server does not show is named by its size alone, and found when it is asked for."""
        if octets is None:
            return f"unread:{self._sizes[number]}"
        return _digest_of(octets) if whole else f"{_digest_of(header_of(octets))}:{self._sizes[number]}"

    def without_heirs(self, ids: Iterable[str]) -> list[str]:
        """Those of `ids` whose deletion hands their id on to no other message; who would inherit, goes first."""
        asked = set(ids)
        safe: dict[str, None] = {}
        for name in reversed(self.numbers):
            if name in asked and (name not in self._heirs or self._heirs[name] in safe):
                safe[name] = None
        return [*safe]


def _told_apart(names: dict[int, str]) -> tuple[dict[str, int], dict[str, str]]:
    """Ids from names: "x", and "x#2", "x#3" for others of the same name; and who inherits an id that is given up."""
    numbers: dict[str, int] = {}
    heirs: dict[str, str] = {}
    latest: dict[str, str] = {}
    taken = set(names.values())
    for number, name in names.items():
        one = name if name not in latest else _free(name, taken)
        if name in latest:
            heirs[latest[name]] = one
        latest[name] = one
        taken.add(one)
        numbers[one] = number
    return numbers, heirs


def _free(name: str, taken: set[str]) -> str:
    return next(one for count in range(2, len(taken) + 3) if (one := f"{name}#{count}") not in taken)


def _are_numbers(names: Mapping[int, str]) -> bool:
    """Whether these are but the numbers of the messages, counted from 0 or 1: "1", "0001", "msg1"."""
    found = {number: re.fullmatch(r"\D*(\d+)\D*", name) for number, name in names.items()}
    shifts = {int(match[1]) - number if match else None for number, match in found.items()}
    return shifts in ({0}, {-1})


def _told(
    session: Session, command: str, numbers: Sequence[int], at_once: int
) -> Iterator[tuple[int, bytes | None]]:
    """The answer for each of these messages, so many in memory; None where the server refuses it for this one."""
    for start in range(0, len(numbers), at_once):
        some = numbers[start : start + at_once]
        answers = session.ask_many([command.format(number) for number in some], long=True)
        for number, answer in zip(some, answers, strict=True):
            _let_pass(answer)
            yield number, answer if isinstance(answer, bytes) else None


def _uidls(session: Session) -> dict[int, str] | None:
    """The name of each message by its number; None where the server has no names (UIDL is optional)."""
    try:
        return {number: _name(words) for number, words in _lines(session.ask_long("UIDL"))}
    except Refused as refusal:
        unknown = meaning(refusal.words, ANYTIME, CapabilityMissing) is CapabilityMissing
        if "UIDL" in session.capabilities or not unknown:
            raise
        return None


# --- reading answers -------------------------------------------------------------------------------------


def _lines(said: bytes) -> Iterator[tuple[int, bytes]]:
    """The lines of LIST and UIDL: a number, and what is said of it."""
    for line in said.splitlines():
        number, _, words = line.strip().partition(b" ")
        yield int(number), words.strip()


def _octets(words: bytes) -> int:
    """The size as it is announced; nothing believes it, so one that is no size is no obstacle."""
    said = words.split()[:1]
    return int(said[0]) if said and len(said[0]) < 15 and said[0].isdigit() else 0


def _name(words: bytes) -> str:
    """A UIDL as text; what RFC 1939 does not allow (long, or not plain ASCII) by its digest. "" if there is none."""
    if len(words) <= LONGEST_UIDL and all(0x20 < octet < 0x7F for octet in words):
        return words.decode("ascii")
    return _digest_of(words)


def _digest_of(octets: bytes) -> str:
    return f"sha256:{hashlib.sha256(octets).hexdigest()}"


def _let_pass(answer: bytes | Refused) -> None:
    """A refusal that is about this one message is no obstacle for others; any other is raised."""
    if (
        isinstance(answer, Refused)
        and meaning(answer.words, ANYTIME, MessageUnavailable) is not MessageUnavailable
    ):
        raise answer


def header_of(raw: bytes) -> bytes:
    """The header of a message with the empty line that ends it."""
    end = re.search(rb"(?:\A|\n)\r?\n", raw)
    return raw[: end.end()] if end else raw


def _is_traced(header: bytes) -> bool:
    """Whether the last server wrote when and how it received this one: no two messages have the same line."""
    return re.search(rb"(?im)^Received:", header_of(header)) is not None


def received_at(raw: bytes) -> datetime | None:
    """When the last server received it: the date of its topmost Received line, in UTC. None where there is none."""
    line = re.search(rb"(?im)^Received:((?:.|\n[ \t])*)", header_of(raw[:LONGEST_TRACE]))
    if not line:
        return None
    words = line[1].rpartition(b";")[2].decode("ascii", "replace")
    try:
        moment = parsedate_to_datetime(" ".join(words.split()))
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (ArithmeticError, ValueError, TypeError, LookupError):
        return None


def _way_out(disposal: Disposal) -> str:
    """How a message is disposed of; raises why it could not be."""
    if disposal is Disposal.PUT_ASIDE:
        raise CapabilityMissing(f"folders, to move a message to {UNDELIVERABLE}")
    if disposal is Disposal.MARK_READ:
        return "nothing is deleted: POP3 keeps no read marks"
    return "yes, at the end of each session (QUIT)"


def _capabilities_seen(session: Session) -> str:
    said = (f"{name} {arguments}".strip() for name, arguments in session.capabilities.items())
    return ", ".join(said)[:300] or "no capabilities told"
