"""IMAP4rev1 (RFC 3501, RFC 9051): collect from one folder by UID, and dispose of exactly what is named; keep copies
of what was sent in another one.

Deleting is `UID STORE \\Deleted` and `UID EXPUNGE` of the very same UIDs (RFC 4315), or `UID MOVE` to the
trash (RFC 6851). There is no plain EXPUNGE here, no CLOSE, and no sequence number: other programs and
people use the same folder, and what they marked is theirs.
"""

from __future__ import annotations

import imaplib
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from datetime import UTC, datetime
from typing import Any

from imapclient.datetime_util import parse_to_datetime
from imapclient.response_parser import parse_response

from emailprofiles import network
from emailprofiles.errors import (
    CapabilityMissing,
    ConnectionLost,
    EncryptionError,
    EncryptionRequired,
    FolderMissing,
    FolderReadOnly,
    MailError,
    MessageTooLarge,
    MessageUnavailable,
    NetworkError,
    NoGreeting,
    NotOnBehalf,
    NotThisProtocol,
    ProtocolError,
    ServerBusy,
    SettingsIncomplete,
    SignInRefused,
    StartTlsRefused,
    TimedOut,
    TryLater,
    at_step,
    scrub,
)
from emailprofiles.transports.imap_session import Client, Refused, quoted
from emailprofiles.transports.imap_words import (
    ANYTIME,
    AT_APPEND,
    AT_CHANGE,
    AT_SELECT,
    AT_SIGN_IN,
    AT_SIGN_IN_ON_BEHALF,
    LIBRARY_ERRORS,
    Reading,
    meaning,
)
from emailprofiles.transports.reach import OCTETS_PER_SECOND, OverSocket, in_lines, speakable
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

LARGEST_UID = 2**32 - 1
FIRST_WINDOW = 1_000
IDS_PER_COMMAND = 500
AHEAD = 4
AHEAD_OCTETS = 8 * 1024 * 1024
PREVIEW = 65_536
# What is sent before the server has agreed to it (RFC 7888); it may refuse larger messages before they travel.
AT_ONCE = {"LITERAL-": 4_096, "LITERAL+": 256 * 1024}
APPENDLIMIT = "APPENDLIMIT="
PARENTHESES = 64
SECONDS_TO_LEAVE = 3.0
SPENDING = (NetworkError, EncryptionError, ProtocolError)
"""Errors after which nobody knows what the next octet from the server belongs to."""


class Imap(OverSocket, IncomingTransport):
    """One folder of one IMAP mailbox. A remote id is the UID in decimal, the generation is UIDVALIDITY."""

    _client: Client | None = None
    _capabilities: frozenset[str] = frozenset()
    _folder: Folder | None = None
    _uid_next: int | None = None
    _prefixes: tuple[str, ...] = ()

    # --- the ladder up to the sign-in ---

    def connect_steps(self) -> Iterator[Step]:
        yield from self.reached_steps()
        yield from self._greeting_steps(self._reached)
        yield self._sign_in()

    def _greeting_steps(self, sock: network.BoundedSocket) -> Iterator[Step]:
        with at_step(self._greeting_step):
            client = self._greet(sock)
        if self.endpoint.security is Security.STARTTLS:
            with at_step(StepName.TLS), self._command():
                seen = self._start_tls(client)
            yield Step(StepName.TLS, seen)
        yield Step(StepName.GREETING, _capabilities_seen(client.session.capabilities))

    def _greet(self, sock: network.BoundedSocket) -> Client:
        sock.allow(self.endpoint.timeout)
        try:
            client = self._client = Client(sock, self.endpoint)
        except LIBRARY_ERRORS as error:
            self._spent = True
            raise self._no_greeting(error, sock) from error
        if client.session.state != "NONAUTH":
            raise NotThisProtocol(f"{network.peer(sock)}, which opens a mailbox before any sign-in (PREAUTH)")
        return client

    def _no_greeting(self, error: Exception, sock: network.BoundedSocket) -> MailError:
        silent = sock.octets_left == network.OCTETS_PER_COMMAND
        problem = self._scrubbed(error, Reading(self._where))
        if silent and isinstance(problem, TimedOut | ConnectionLost):
            return problem if self.endpoint.security is Security.TLS else NoGreeting(self._where)
        if "* BYE" in str(error):
            return meaning(str(error), ANYTIME, ServerBusy)(server_words=str(error))
        if isinstance(problem, ProtocolError):
            return NotThisProtocol(self._where, server_words=str(error))
        return problem

    def _start_tls(self, client: Client) -> str:
        if "STARTTLS" not in client.session.capabilities:
            raise StartTlsRefused
        try:
            return client.session.start_tls()
        finally:
            self._sock = client.session.connection

    def _sign_in(self) -> Step:
        who = self.credentials
        with at_step(StepName.SIGNED_IN):
            if not isinstance(who, Password) or not who.username:
                raise SettingsIncomplete("IMAP needs a user name and a password")
            self._check_mechanisms(who)
            with self._signing_in(who) as client:
                client.session.sign_in(who)
            with self._command() as client:
                self._capabilities = frozenset(
                    name.decode("ascii", "replace") for name in client.capabilities()
                )
        return Step(StepName.SIGNED_IN, _signer(who))

    def _signing_in(self, who: Password) -> AbstractContextManager[Client]:
        if who.authorize_as:
            return self._command(_signer(who), AT_SIGN_IN_ON_BEHALF, NotOnBehalf)
        return self._command(_signer(who), AT_SIGN_IN, SignInRefused)

    def _check_mechanisms(self, who: Password) -> None:
        """No password leaves this machine where the server says beforehand that it won't take it."""
        assert self._client is not None
        offered = self._client.session.capabilities
        if "LOGINDISABLED" in offered and self.endpoint.security is Security.NONE:
            raise EncryptionRequired
        if "AUTH=PLAIN" not in offered and (who.authorize_as or "LOGINDISABLED" in offered):
            raise CapabilityMissing("AUTHENTICATE PLAIN" if who.authorize_as else "sign-in by password")

    # --- the folder ---

    def open(self) -> Folder:
        with self._command(self.folder, AT_SELECT, FolderMissing) as client:
            state = self._selected(client)
            rights = self._rights(client)
        if b"UIDVALIDITY" not in state:
            raise CapabilityMissing("lasting message numbers (UIDVALIDITY)")
        writable = bool(state.get(b"READ-WRITE"))
        may_flag = writable and _may_set(b"\\Deleted", state) and (rights is None or _may_delete(rights))
        self._uid_next = state.get(b"UIDNEXT")
        self._folder = Folder(
            name=self.folder,
            generation=str(state[b"UIDVALIDITY"]),
            messages=int(state.get(b"EXISTS", 0)),
            writable=writable,
            may_delete=may_flag and bool(self._capabilities & {"UIDPLUS", "MOVE"}),
            may_mark_read=writable and _may_set(b"\\Seen", state) and (rights is None or "s" in rights),
        )
        return self._folder

    def _selected(self, client: Client) -> dict[bytes, Any]:
        folder = speakable("The folder name", self.folder)
        try:
            state: dict[bytes, Any] = client.select_folder(folder)
        except imaplib.IMAP4.readonly:  # imaplib takes a folder that can only be read for an error
            state = client.select_folder(folder, readonly=True)
            state.pop(b"READ-WRITE", None)
        else:
            state.setdefault(b"READ-WRITE", b"READ-ONLY" not in state)
        client.session.untagged_responses.pop("EXISTS", None)  # the next one is news
        return state

    def _rights(self, client: Client) -> str | None:
        """Our rights in the folder; None where the server does not tell."""
        if "ACL" not in self._capabilities:
            return None
        try:
            return client.session.rights(client._normalise_folder(self.folder))
        except Refused:
            return None

    def open_steps(self, disposal: Disposal) -> Iterator[Step]:
        with at_step(StepName.FOLDER):
            folder = self.open()
            seen = self._contents(folder)
        yield Step(StepName.FOLDER, seen)
        with at_step(StepName.MAY_DELETE):
            seen = self._way_out(folder, disposal)
        yield Step(StepName.MAY_DELETE, seen)
        with at_step(StepName.MESSAGE):
            seen = self._one_message()
        yield Step(StepName.MESSAGE, seen)

    def _contents(self, folder: Folder) -> str:
        count = f"{folder.messages:,} message{'' if folder.messages == 1 else 's'}"
        first = self.listed(None, 1) if folder.messages else []
        oldest = first[0].received_at if first else None
        return f"{count}, oldest {network.day(oldest)}" if oldest else count

    def _way_out(self, folder: Folder, disposal: Disposal) -> str:
        """How a message would be disposed of; raises why it could not be."""
        self._check_rights(folder, disposal)
        if disposal is Disposal.MARK_READ:
            return "nothing is deleted: messages are marked as read and stay"
        if disposal is Disposal.PUT_ASIDE:
            return f"nothing is deleted: messages move to {UNDELIVERABLE}"
        return "yes (UIDPLUS)" if "UIDPLUS" in self._capabilities else f"yes, by moving to {self._trash()}"

    def _check_rights(self, folder: Folder, disposal: Disposal) -> None:
        if disposal is not Disposal.MARK_READ and not self._capabilities & {"UIDPLUS", "MOVE"}:
            raise CapabilityMissing(
                "UIDPLUS or MOVE, to delete or move just the messages that were processed"
            )
        if not (folder.may_mark_read if disposal is Disposal.MARK_READ else folder.may_delete):
            raise FolderReadOnly(folder.name)

    def _one_message(self) -> str:
        newest = self._search("UID *")
        if not newest:
            return "the folder is empty"
        found = self._fetch_items(newest, f"(UID RFC822.SIZE INTERNALDATE BODY.PEEK[]<0.{PREVIEW}>)")
        items = found.get(newest[-1], {})
        if not isinstance(items.get(b"BODY[]<0>"), bytes):
            raise MessageUnavailable(str(newest[-1]))
        received = _moment(items.get(b"INTERNALDATE"))
        size = f"the newest, {_size(items):,} octets"
        return f"{size}, received {network.day(received)}" if received else size

    # --- collecting ---

    def identities(self, after: str | None, limit: int) -> list[str]:
        return [str(uid) for uid in self._uids_after(int(after or 0), limit)]

    def listed(self, after: str | None, limit: int) -> list[Listed]:
        uids = self._uids_after(int(after or 0), limit)
        described: dict[int, dict[bytes, Any]] = {}
        asked = [self._asked(some, "(UID RFC822.SIZE INTERNALDATE)") for some in _chunks(uids)]
        for tag in asked:
            described |= self._ended(tag, frozenset(uids))
        # What the server numbers and does not describe is there all the same: it must not be passed by.
        return [_listed(uid, described.get(uid, {})) for uid in uids]

    def _uids_after(self, last: int, limit: int) -> list[int]:
        """UIDs above `last`, in windows that widen over the gaps, so that no answer lists a whole folder."""
        found: list[int] = []
        low, width = last + 1, max(FIRST_WINDOW, limit)
        while len(found) < limit and low <= LARGEST_UID:
            high = low + width - 1
            is_last = high >= (self._uid_next or 0) - 1
            # n:* names the last message even if its UID is below n (RFC 9051, section 9, seq-range)
            uids = [uid for uid in self._search(f"UID {low}:{'*' if is_last else high}") if uid >= low]
            found += uids
            if is_last:
                break
            low, width = high + 1, width if uids else width * 8
        return found[:limit]

    def fetch(self, ids: Sequence[str]) -> Iterator[Fetched]:
        yield from self._fetch_section(ids, "")

    def fetch_ahead(self, batches: Sequence[Sequence[Listed]]) -> Generator[list[Fetched], None, None]:
        """As the seam has it: up to AHEAD commands are under way, of together AHEAD_OCTETS as announced, while the
        caller stores what came before."""
        asked = deque(batch for batch in batches if batch)
        under_way: deque[tuple[bytes, Sequence[Listed]]] = deque()
        wanted = frozenset(int(one.remote_id) for batch in batches for one in batch)
        found: dict[int, dict[bytes, Any]] = {}
        try:
            for batch in batches:
                self._ask_ahead(asked, under_way)
                if batch:
                    found |= self._ended(under_way.popleft()[0], wanted)
                    self._ask_ahead(asked, under_way)
                yield list(_fetched([one.remote_id for one in batch], found, ""))
                for one in batch:
                    found.pop(int(one.remote_id), None)
        finally:  # whoever goes on with this connection is not to read what was meant for us
            while under_way and not self._spent:
                self._ended(under_way.popleft()[0], wanted)

    def _ask_ahead(
        self, asked: deque[Sequence[Listed]], under_way: deque[tuple[bytes, Sequence[Listed]]]
    ) -> None:
        while (
            asked
            and len(under_way) < AHEAD
            and (not under_way or _octets(under_way, asked[0]) <= AHEAD_OCTETS)
        ):
            batch = asked.popleft()
            under_way.append((self._asked([int(one.remote_id) for one in batch], _section("")), batch))

    def fetch_headers(self, ids: Sequence[str]) -> Iterator[Fetched]:
        yield from self._fetch_section(ids, "HEADER")

    def _fetch_section(self, ids: Sequence[str], section: str) -> Iterator[Fetched]:
        if ids:
            found = self._fetch_items([int(remote_id) for remote_id in ids], _section(section))
            yield from _fetched(ids, found, section)

    def _fetch_items(self, uids: Sequence[int], items: str) -> dict[int, dict[bytes, Any]]:
        """UID FETCH: what the server says of each of these UIDs, and of no other."""
        return self._ended(self._asked(uids, items), frozenset(uids))

    def _asked(self, uids: Iterable[int], items: str) -> bytes:
        with self._inside(ANYTIME, MessageUnavailable) as client:
            return client.session.begin_uid_fetch(_uid_set(uids), items)

    def _ended(self, tag: bytes, wanted: frozenset[int]) -> dict[int, dict[bytes, Any]]:
        """What came of a FETCH. A NO that is about some of the messages leaves what came of the others."""
        with self._inside(ANYTIME, MessageUnavailable) as client:
            came, words = client.session.end_uid_fetch(tag)
            if words and meaning(words, ANYTIME, MessageUnavailable) is not MessageUnavailable:
                raise Refused(words)
            return _by_uid(came, wanted)

    def _search(self, criteria: str) -> list[int]:
        with self._inside() as client:
            return sorted(set(client.search(criteria)))

    def watch(self, seconds: float, stopping: Callable[[], bool] = lambda: False) -> bool:
        if "IDLE" not in self._capabilities:
            return super().watch(seconds)
        with self._inside() as client:
            client.session.connection.allow(self.endpoint.timeout + seconds)
            return client.session.idle_for(seconds, self.endpoint.timeout, stopping)

    # --- disposing ---

    def dispose(self, ids: Sequence[str], disposal: Disposal) -> Disposed:
        if self._folder is None:
            raise ConnectionLost(self._where)
        self._check_rights(self._folder, disposal)
        act = self._acts[disposal]
        done: list[int] = []
        vanished: list[int] = []
        for uids in _chunks([int(remote_id) for remote_id in ids]):
            present = self._search(f"UID {_uid_set(uids)}")
            vanished += [uid for uid in uids if uid not in present]
            if present:
                done += act(present)
        return Disposed(done=tuple(map(str, done)), vanished=tuple(map(str, vanished)))

    @property
    def _acts(self) -> dict[Disposal, Callable[[list[int]], list[int]]]:
        return {
            Disposal.DELETE: self._delete,
            Disposal.MARK_READ: self._mark_read,
            Disposal.PUT_ASIDE: self._put_aside,
        }

    def _delete(self, uids: list[int]) -> list[int]:
        """Delete exactly these; those that a search then confirms to be gone."""
        these = _uid_set(uids)
        if "UIDPLUS" in self._capabilities:
            self._expunge(these)
        else:
            trash = self._trash()
            with self._changing() as client:
                client.move(these, trash)
        return self._gone(uids)

    def _expunge(self, these: str) -> None:
        with self._changing() as client:
            client.add_flags(these, [rb"\Deleted"], silent=True)
        with self._changing() as client:
            client.uid_expunge(these)

    def _gone(self, uids: list[int]) -> list[int]:
        left = set(self._search(f"UID {_uid_set(uids)}"))
        return [uid for uid in uids if uid not in left]

    def _put_aside(self, uids: list[int]) -> list[int]:
        """Move exactly these; those that a search then confirms to be gone.

        Without MOVE (RFC 6851) a copy is made first: should the session end before the original is gone, the copy
        is made again, and people find it twice rather than never.
        """
        these, aside = _uid_set(uids), self._aside()
        if "MOVE" in self._capabilities:
            with self._changing() as client:
                client.move(these, aside)
        else:
            with self._changing() as client:
                client.copy(these, aside)
            self._expunge(these)
        return self._gone(uids)

    def _aside(self) -> str:
        """The folder for what cannot be delivered, made when it is missing, where this account keeps its folders."""
        with self._command() as client:
            aside = self._namespaces(client)[0] + UNDELIVERABLE
            if aside.lower() == self.folder.lower():
                raise FolderReadOnly(self.folder)
            if not client.folder_exists(aside):
                with self._changing():
                    client.create_folder(aside)
        return aside

    def _namespaces(self, client: Client) -> tuple[str, ...]:
        """How names of folders begin, one's own first: "" on most servers, "INBOX." on some (RFC 2342)."""
        if not self._prefixes:
            told = client.namespace() if "NAMESPACE" in self._capabilities else (None,)
            own, *others = (space or () for space in told)
            spaces = (*(own or [("", "")]), *(space for other in others for space in other))
            self._prefixes = tuple(str(prefix or "") for prefix, _separator in spaces)
        return self._prefixes

    def _mark_read(self, uids: list[int]) -> list[int]:
        these = _uid_set(uids)
        with self._changing() as client:
            client.add_flags(these, [rb"\Seen"], silent=True)
        return [uid for uid in self._search(f"UID {these} SEEN") if uid in uids]

    def _trash(self) -> str:
        with self._command() as client:
            trash: str | None = client.find_special_folder(rb"\Trash")
        if trash is None or trash == self.folder:
            raise CapabilityMissing("UIDPLUS, or a trash folder to move to")
        return trash

    # --- copies of what was sent ---

    def keep_copy(self, folder: str, raw: bytes, message_id: str) -> bool:
        place, lines = self._place(folder), in_lines(raw)
        self._check_size(len(lines))
        self._folder = None
        if self._holds(place, message_id):
            return False
        try:
            self._keep(place, lines)
        except FolderMissing:
            self._make(place)
            self._keep(place, lines)
        return True

    def _place(self, folder: str) -> str:
        """This folder by its whole name, wherever that begins."""
        with self._command() as client:
            own, *others = self._namespaces(client)
        begins = tuple(prefix.upper() for prefix in (own, *others) if prefix)
        is_whole = folder.upper() == "INBOX" or folder.upper().startswith(begins)
        place = folder if is_whole else own + folder
        if place.lower() == self.folder.lower():
            raise SettingsIncomplete(f"copies in {place} would be collected from there")
        return speakable("The folder name", place)

    def _check_size(self, octets: int) -> None:
        """RFC 7889."""
        told = (name.removeprefix(APPENDLIMIT) for name in self._capabilities if name.startswith(APPENDLIMIT))
        limit = next((int(number) for number in told if number.isdecimal()), octets)
        if limit < octets:
            raise MessageTooLarge(f"{octets:,} octets, where {limit:,} are accepted")

    def _holds(self, place: str, message_id: str) -> bool:
        """Whether a message with this Message-ID lies in the folder, which is made when it is missing."""
        named = quoted(speakable("The Message-ID", f"<{message_id.strip('<> ')}>"))
        try:
            self._examine(place)
        except FolderMissing:
            self._make(place)
            self._examine(place)
        with self._command(place) as client:
            return bool(client.search(b"HEADER Message-ID " + named))

    def _examine(self, place: str) -> None:
        with self._command(place, AT_SELECT, FolderMissing) as client:
            client.select_folder(place, readonly=True)

    def _make(self, place: str) -> None:
        with self._command(place, AT_SELECT, FolderMissing) as client:
            try:
                client.create_folder(place)
            except Refused as error:
                if "exists" not in error.words.lower():  # somebody else was quicker
                    raise
            with suppress(Refused):  # the folder is there, even if nobody's program shows it by itself
                client.subscribe_folder(place)

    def _keep(self, place: str, lines: bytes) -> None:
        at_once = any(name in self._capabilities and len(lines) <= most for name, most in AT_ONCE.items())
        with self._command(place, AT_APPEND, TryLater) as client:
            client.session.connection.allow(self.endpoint.timeout + len(lines) / OCTETS_PER_SECOND)
            client.session.keep(client._normalise_folder(place), lines, at_once=at_once)

    # --- one command ---

    @contextmanager
    def _command(
        self, seen: str = "", table: tuple[Any, ...] = ANYTIME, refused: type[MailError] = ProtocolError
    ) -> Iterator[Client]:
        """One exchange with the server: its own deadline, every error one of ours, no secret in any of it."""
        if self._client is None or self._spent:
            raise ConnectionLost(self._where)
        self._client.session.connection.allow(self.endpoint.timeout)
        try:
            yield self._client
        except (MailError, *LIBRARY_ERRORS) as error:
            problem = self._scrubbed(error, Reading(seen or self._where, table, refused))
            self._spent = isinstance(problem, SPENDING) or isinstance(error, imaplib.IMAP4.abort)
            if problem is error:
                raise
            raise problem from error

    def _inside(
        self, table: tuple[Any, ...] = ANYTIME, refused: type[MailError] = ProtocolError
    ) -> AbstractContextManager[Client]:
        """The same in the folder that is open: no UID is taken for one of another folder."""
        if self._folder is None:
            raise ConnectionLost(self._where)
        return self._command(self.folder, table, refused)

    def _changing(self) -> AbstractContextManager[Client]:
        return self._inside(AT_CHANGE, TryLater)

    def _scrubbed(self, error: Exception, reading: Reading) -> MailError:
        secrets = (self.credentials.password,) if isinstance(self.credentials, Password) else ()
        scrub(error, secrets)
        return reading.translate(error)

    def close(self) -> None:
        with suppress(Exception):  # leaving is a courtesy: what was worth keeping has been confirmed before
            self._leave()
        with suppress(OSError):
            if self._client is not None:
                self._client.session.shutdown()  # its reader, while open, would keep the connection open
        with suppress(OSError):
            if self._sock is not None:
                self._sock.close()
        self._client = self._sock = self._folder = None
        self._prefixes = ()

    def _leave(self) -> None:
        if self._client is None or self._spent:
            return
        session = self._client.session
        session.connection.allow(SECONDS_TO_LEAVE)
        session.logout()  # never CLOSE: that would expunge what others marked


# --- reading answers -------------------------------------------------------------------------------------


def _section(section: str) -> str:
    """What is asked of a message: all of it, or its "HEADER"; it is not marked as read."""
    return f"(UID INTERNALDATE BODY.PEEK[{section}])"


def _fetched(ids: Iterable[str], found: dict[int, dict[bytes, Any]], section: str) -> Iterator[Fetched]:
    for remote_id in ids:
        items = found.get(int(remote_id), {})
        raw = items.get(f"BODY[{section}]".encode())
        if isinstance(raw, bytes):
            yield Fetched(remote_id, raw, _moment(items.get(b"INTERNALDATE")))


def _octets(under_way: Iterable[tuple[bytes, Sequence[Listed]]], more: Sequence[Listed]) -> int:
    return sum(one.size for batch in (more, *(batch for _, batch in under_way)) for one in batch)


def _by_uid(came: list[Any], wanted: frozenset[int]) -> dict[int, dict[bytes, Any]]:
    """FETCH responses by the UID that each of them names itself.

    What names no UID is not asked for (other sessions change flags), and is never taken by its sequence
    number: that may have moved on during the answer.
    """
    found: dict[int, dict[bytes, Any]] = {}
    if any(_text(part).count(b"(") > PARENTHESES for part in came):
        raise ValueError("an answer nested deeper than any we ask for")  # the parser is recursive
    atoms = parse_response(came) if came else ()
    for _number, items in zip(atoms[::2], atoms[1::2], strict=True):
        if not isinstance(items, tuple):
            raise ValueError("a FETCH answer that is no list")
        named = {bytes(name).upper(): value for name, value in zip(items[::2], items[1::2], strict=True)}
        if named.get(b"UID") in wanted:
            found.setdefault(named[b"UID"], {}).update(named)
    return found


def _text(part: Any) -> bytes:
    """One part of an answer without the literal that may follow it."""
    return bytes(part[0] if isinstance(part, tuple) else part or b"")


def _moment(value: object) -> datetime | None:
    """An INTERNALDATE in UTC; None for what is no time."""
    try:
        return parse_to_datetime(value, normalise=False).astimezone(UTC) if isinstance(value, bytes) else None
    except (ArithmeticError, ValueError, TypeError, LookupError):
        return None


def _listed(uid: int, items: dict[bytes, Any]) -> Listed:
    return Listed(str(uid), _size(items), _moment(items.get(b"INTERNALDATE")))


def _size(items: dict[bytes, Any]) -> int:
    size = items.get(b"RFC822.SIZE")
    return size if isinstance(size, int) else 0


def _uid_set(uids: Iterable[int]) -> str:
    """A sequence set of exactly these UIDs: "3:5,9"."""
    runs: list[list[int]] = []
    for uid in sorted(set(uids)):
        if runs and uid == runs[-1][1] + 1:
            runs[-1][1] = uid
        else:
            runs.append([uid, uid])
    return ",".join(str(low) if low == high else f"{low}:{high}" for low, high in runs)


def _chunks(uids: list[int]) -> Iterator[list[int]]:
    for start in range(0, len(uids), IDS_PER_COMMAND):
        yield uids[start : start + IDS_PER_COMMAND]


def _may_set(flag: bytes, state: dict[bytes, Any]) -> bool:
    """Whether a flag lasts here; without PERMANENTFLAGS all do (RFC 9051, section 7.1)."""
    lasting = state.get(b"PERMANENTFLAGS")
    return lasting is None or flag.lower() in (bytes(one).lower().strip(b"()") for one in lasting)


def _may_delete(rights: str) -> bool:
    """RFC 4314: t marks as deleted, e expunges; d is both in the older RFC 2086."""
    return {"t", "e"} <= set(rights) or "d" in rights


def _signer(who: Password) -> str:
    return f"{who.username} for {who.authorize_as}" if who.authorize_as else who.username


def _capabilities_seen(offered: Iterable[str]) -> str:
    return " ".join(offered)[:300]
