"""The memory twin: a mail server that is a Python object, and the transports that collect from it and send to it.

It keeps every promise of the seam as the real ones do (one suite of tests proves all of them), so that whatever
stands above the seam can be tried without a network. In two flavours: with folders in a lasting order, numbered
within a generation, as IMAP has them; and without, as POP3.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from time import monotonic, sleep

from emailprofiles.errors import (
    CapabilityMissing,
    ConnectionLost,
    FolderMissing,
    FolderReadOnly,
    MailError,
    MessageTooLarge,
    MessageUnavailable,
    OutcomeUnknown,
    RecipientRefused,
    SettingsIncomplete,
    SignInRefused,
    at_step,
)
from emailprofiles.transports.reach import in_lines
from emailprofiles.transports.seam import IncomingTransport, OutgoingTransport
from emailprofiles.wire import (
    UNDELIVERABLE,
    Anonymous,
    Credentials,
    Disposal,
    Disposed,
    Endpoint,
    Envelope,
    Fetched,
    Folder,
    Listed,
    Password,
    Security,
    Step,
    StepName,
)

INBOX = "INBOX"
HERE = Endpoint("memory", 1, Security.NONE)


@dataclass(frozen=True, slots=True)
class Held:
    """A message as the server holds it."""

    remote_id: str
    raw: bytes = field(repr=False)
    received_at: datetime
    is_read: bool = False


@dataclass(slots=True)
class Contents:
    """A folder on the server; `number` is the last one that was given to a message."""

    generation: int = 1
    number: int = 0
    writable: bool = True
    messages: list[Held] = field(default_factory=list)

    def take(self, raw: bytes, received_at: datetime, *, is_read: bool = False) -> str:
        self.number += 1
        self.messages.append(Held(str(self.number), raw, received_at, is_read))
        return str(self.number)

    def renew(self) -> None:
        """Number all messages anew, as after a restore."""
        held, self.messages, self.number = self.messages, [], 0
        self.generation += 1
        for message in held:
            self.take(message.raw, message.received_at)


class MemoryServer:
    """Accounts (user name → password) and their folders."""

    def __init__(self, people: dict[str, str], *, lasting_order: bool = True) -> None:
        self.people = people
        self.max_octets = 1_000_000
        self.refuses: dict[str, MailError] = {}  # recipient, "MAIL" or "DATA" → what is said to it
        self.loses_replies = False
        self.lasting_order = lasting_order
        self.folders: dict[str, dict[str, Contents]] = defaultdict(lambda: {INBOX: Contents()})

    def receive(self, user: str, raw: bytes, received_at: datetime | None = None) -> str:
        """Put a message into someone's INBOX; its remote id."""
        return self.folders[user][INBOX].take(raw, received_at or datetime.now(UTC))

    def transport(
        self, credentials: Credentials, folder: str = INBOX, endpoint: Endpoint = HERE
    ) -> MemoryTransport:
        return MemoryTransport(self, endpoint, credentials, folder)

    def outgoing(self, credentials: Credentials, endpoint: Endpoint = HERE) -> MemoryOutgoing:
        return MemoryOutgoing(self, endpoint, credentials)

    def signed_in(self, who: Credentials) -> str:
        """Whose mailbox these credentials open; raises SignInRefused."""
        if not isinstance(who, Password) or self.people.get(who.username) != who.password:
            raise SignInRefused(who.username if isinstance(who, Password) else "")
        return who.authorize_as or who.username


def _reached(endpoint: Endpoint) -> Iterator[Step]:
    yield Step(StepName.NAME, endpoint.host)
    yield Step(StepName.PORT, f"{endpoint.host} port {endpoint.port}")
    if endpoint.security is not Security.NONE:
        yield Step(StepName.TLS, "nothing leaves this process")
    yield Step(StepName.GREETING, "memory")


class MemoryTransport(IncomingTransport):
    """Collects from one folder of a `MemoryServer`, as it was when the folder was opened."""

    def __init__(
        self, server: MemoryServer, endpoint: Endpoint, credentials: Credentials, folder: str = INBOX
    ) -> None:
        super().__init__(endpoint, credentials, folder)
        self.server = server
        self._user: str | None = None
        self._seen: list[Held] | None = None
        self._watched = 0

    def connect_steps(self) -> Iterator[Step]:
        yield from _reached(self.endpoint)
        with at_step(StepName.SIGNED_IN):
            self._user = self.server.signed_in(self.credentials)
        yield Step(StepName.SIGNED_IN, self._user)

    def close(self) -> None:
        self._user = self._seen = None

    # --- the folder ---

    @property
    def _folders(self) -> dict[str, Contents]:
        if self._user is None:
            raise ConnectionLost(self.endpoint.host)
        return self.server.folders[self._user]

    @property
    def _contents(self) -> Contents:
        if self.folder not in self._folders:
            raise FolderMissing(self.folder)
        return self._folders[self.folder]

    def open(self) -> Folder:
        contents, lasting = self._contents, self.server.lasting_order
        self._seen, self._watched = list(contents.messages), contents.number
        return Folder(
            name=self.folder,
            generation=str(contents.generation) if lasting else "",
            messages=len(self._seen),
            writable=contents.writable,
            may_delete=contents.writable,
            may_mark_read=contents.writable,
            lasting_order=lasting,
        )

    def open_steps(self, disposal: Disposal) -> Iterator[Step]:
        with at_step(StepName.FOLDER):
            count = self.open().messages
        yield Step(StepName.FOLDER, f"{count} message{'' if count == 1 else 's'}")
        with at_step(StepName.MAY_DELETE):
            self._check(disposal)
        yield Step(StepName.MAY_DELETE, disposal.value)
        with at_step(StepName.MESSAGE):
            seen = self._one_message()
        yield Step(StepName.MESSAGE, seen)

    def _one_message(self) -> str:
        newest = [message.remote_id for message in self._opened[-1:]]
        if newest and not list(self.fetch_headers(newest)):
            raise MessageUnavailable(newest[0])
        return "the newest" if newest else "the folder is empty"

    def _check(self, disposal: Disposal) -> None:
        if disposal is Disposal.PUT_ASIDE and not self.server.lasting_order:
            raise CapabilityMissing(f"folders, to move a message to {UNDELIVERABLE}")
        if not self._contents.writable or (disposal is Disposal.PUT_ASIDE and self.folder == UNDELIVERABLE):
            raise FolderReadOnly(self.folder)

    @property
    def _opened(self) -> list[Held]:
        if self._user is None or self._seen is None:
            raise ConnectionLost(self.endpoint.host)
        return self._seen

    # --- collecting ---

    def identities(self, after: str | None, limit: int) -> list[str]:
        return [message.remote_id for message in self._after(after)[:limit]]

    def listed(self, after: str | None, limit: int) -> list[Listed]:
        lasting = self.server.lasting_order
        return [
            Listed(message.remote_id, len(message.raw), message.received_at if lasting else None)
            for message in self._after(after)[:limit]
        ]

    def _after(self, after: str | None) -> list[Held]:
        seen = self._opened
        if self.server.lasting_order:
            return [message for message in seen if int(message.remote_id) > int(after or 0)]
        ids = [message.remote_id for message in seen]
        return seen[ids.index(after) + 1 :] if after in ids else seen

    def fetch(self, ids: Sequence[str]) -> Iterator[Fetched]:
        there = {message.remote_id: message for message in self._opened if message in self._contents.messages}
        for one in ids:
            if one in there:
                yield Fetched(one, there[one].raw, there[one].received_at)

    def fetch_headers(self, ids: Sequence[str]) -> Iterator[Fetched]:
        for one in self.fetch(ids):
            yield replace(one, raw=_head(one.raw))

    def watch(self, seconds: float, stopping: Callable[[], bool] = lambda: False) -> bool:
        if not self.server.lasting_order:
            return super().watch(seconds)
        if self._seen is None:
            raise ConnectionLost(self.endpoint.host)
        known, end = self._watched, monotonic() + seconds
        while self._contents.number <= known and monotonic() < end and not stopping():
            sleep(0.01)
        self._watched = self._contents.number
        return self._watched > known

    # --- disposing ---

    def dispose(self, ids: Sequence[str], disposal: Disposal) -> Disposed:
        self._check(disposal)
        there = [message for message in self._opened if message in self._contents.messages]
        asked = [message for message in there if message.remote_id in ids]
        present = {message.remote_id for message in asked}
        if disposal is Disposal.MARK_READ:
            self._replace({message.remote_id: replace(message, is_read=True) for message in asked})
        else:
            self._remove(asked, aside=disposal is Disposal.PUT_ASIDE)
        return Disposed(
            done=tuple(one for one in ids if one in present),
            vanished=tuple(one for one in ids if one not in present),
        )

    def _replace(self, changed: dict[str, Held]) -> None:
        if not self.server.lasting_order:
            return  # such servers keep no marks
        contents = self._contents
        contents.messages = [changed.get(message.remote_id, message) for message in contents.messages]
        self._seen = [changed.get(message.remote_id, message) for message in self._opened]

    def _remove(self, messages: list[Held], *, aside: bool) -> None:
        for message in messages:
            self._contents.messages.remove(message)
            if aside:
                self._folders.setdefault(UNDELIVERABLE, Contents()).take(message.raw, message.received_at)

    # --- copies of what was sent ---

    def keep_copy(self, folder: str, raw: bytes, message_id: str) -> bool:
        if not self.server.lasting_order:
            return super().keep_copy(folder, raw, message_id)
        if folder.lower() == self.folder.lower():
            raise SettingsIncomplete(f"copies in {folder} would be collected from there")
        contents, self._seen = self._folders.setdefault(folder, Contents()), None
        named = re.compile(rb"(?im)^message-id:\s*<%b>" % re.escape(message_id.strip("<> ").encode()))
        if any(named.search(_head(message.raw)) for message in contents.messages):
            return False
        if not contents.writable:
            raise FolderReadOnly(folder)
        contents.take(in_lines(raw), datetime.now(UTC), is_read=True)
        return True


class MemoryOutgoing(OutgoingTransport):
    """Hands mail to a `MemoryServer`, which puts it into the INBOX of its people and refuses everybody else."""

    def __init__(self, server: MemoryServer, endpoint: Endpoint, credentials: Credentials) -> None:
        super().__init__(endpoint, credentials)
        self.server = server
        self._is_open = False
        self._accepted: list[str] = []

    def connect_steps(self) -> Iterator[Step]:
        yield from _reached(self.endpoint)
        if not isinstance(self.credentials, Anonymous):
            with at_step(StepName.SIGNED_IN):
                user = self.server.signed_in(self.credentials)
            yield Step(StepName.SIGNED_IN, user)
        self._is_open = True

    def close(self) -> None:
        self._is_open = False

    def envelope_steps(self, sender: str, recipient: str) -> Iterator[Step]:
        self._demand_open()
        with at_step(StepName.SENDER):
            self._ask("MAIL", sender)
        yield Step(StepName.SENDER, sender)
        with at_step(StepName.RECIPIENT):
            if (refusal := self._refusal(recipient)) is not None:
                raise refusal
        yield Step(StepName.RECIPIENT, recipient)

    def offer(self, envelope: Envelope) -> dict[str, MailError | None]:
        self._demand_open()
        self._accepted = []
        if envelope.size > self.server.max_octets:
            raise MessageTooLarge(f"{envelope.size:,} octets, where {self.server.max_octets:,} are accepted")
        self._ask("MAIL", envelope.sender)
        answers = {one: self._refusal(one) for one in envelope.recipients}
        self._accepted = [one for one, refusal in answers.items() if refusal is None]
        return answers

    def hand_over(self, raw: bytes) -> str:
        self._demand_open()
        accepted, self._accepted = self._accepted, []
        self._ask("DATA", "")
        for one in accepted:
            self.server.receive(one.partition("@")[0], in_lines(raw))
        if self.server.loses_replies:
            self._is_open = False
            raise OutcomeUnknown(self.endpoint.host)
        return "250 taken"

    def withdraw(self) -> None:
        self._demand_open()
        self._accepted = []

    def _refusal(self, recipient: str) -> MailError | None:
        if recipient in self.server.refuses:
            return self.server.refuses[recipient]
        known = recipient.partition("@")[0] in self.server.people
        return None if known else RecipientRefused(recipient)

    def _ask(self, verb: str, seen: str) -> None:
        if (refusal := self.server.refuses.get(verb)) is not None:
            raise type(refusal)(seen or refusal.seen, server_words=refusal.server_words)

    def _demand_open(self) -> None:
        if not self._is_open:
            raise ConnectionLost(self.endpoint.host)


def _head(raw: bytes) -> bytes:
    """The header, with the empty line that ends it."""
    end = re.search(rb"(?:\A|\n)\r?\n", raw)
    return raw[: end.end()] if end else raw
