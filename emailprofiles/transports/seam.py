"""The seam: what a transport promises to the engine, whatever protocol it speaks.

    connect  →  open  →  listed  →  fetch  →  (the engine commits)  →  dispose  →  close

Values that cross are frozen and stand in `emailprofiles.wire`; what goes wrong is raised as one of
`emailprofiles.errors`, with the library's own exception as its cause. Every verb may raise a
`NetworkError`, `ServerBusy` or `ProtocolError`; what else it may raise stands at the verb. After any
of these three the connection is spent: close it and start over. One transport serves one thread.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterator, Sequence
from types import TracebackType
from typing import Self

from emailprofiles.errors import CapabilityMissing, MailError
from emailprofiles.wire import (
    Credentials,
    Disposal,
    Disposed,
    Endpoint,
    Envelope,
    Fetched,
    Folder,
    Listed,
    Step,
)


class Transport(ABC):
    """A connection to one server, made by `connect`, ended by `close` or by leaving the `with` block."""

    def __init__(self, endpoint: Endpoint, credentials: Credentials) -> None:
        self.endpoint = endpoint
        self.credentials = credentials

    @abstractmethod
    def connect_steps(self) -> Iterator[Step]:
        """Reach the server and sign in; yield each step as it ends well.

        In order NAME, PORT, TLS (unless `Security.NONE`), GREETING (what was seen: its capabilities),
        SIGNED_IN (not for `Anonymous`). A failing step raises its error with `.step` set: any
        `NetworkError`, `EncryptionError`, `ServerError`, `SignInRefused`, `TryLater`, or
        `SettingsIncomplete` for credentials that no command can carry.
        """

    def connect(self) -> None:
        """The same line without an audience; Test & Enable is this line, stopped early."""
        for _step in self.connect_steps():
            pass

    @abstractmethod
    def close(self) -> None:
        """Leave politely and quickly if the connection still stands. Never raises; may be repeated."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class IncomingTransport(Transport):
    """Collects from one folder of one mailbox.

    A *remote id* is opaque text to everyone but the transport; it means one message together with the
    folder's `generation` and is never used again for another one. Ids from an older generation must
    not be handed in. Nothing here changes a message but `dispose`.
    """

    def __init__(self, endpoint: Endpoint, credentials: Credentials, folder: str = "INBOX") -> None:
        super().__init__(endpoint, credentials)
        self.folder = folder

    @abstractmethod
    def open(self) -> Folder:
        """Open the folder; the other verbs work on it. Raises `FolderMissing`, `TryLater`.

        A folder that can only be read opens, too, with `writable` False. May be repeated: that is how
        the engine looks again for new mail and a new generation.
        """

    @abstractmethod
    def open_steps(self, disposal: Disposal) -> Iterator[Step]:
        """FOLDER (counts, oldest), MAY_DELETE (for this disposal), MESSAGE (the newest, in part).

        MAY_DELETE is read from what the server says of rights and capabilities; nothing is changed, no
        message gets marked as read. Raises as `open`, further `FolderReadOnly`, `CapabilityMissing`,
        `MessageUnavailable`, each with `.step` set. An empty folder is fine.
        """

    @abstractmethod
    def identities(self, after: str | None, limit: int) -> list[str]:
        """The remote ids that `listed` would name, without a word about the messages themselves.

        For folders in which some message breaks whatever is asked about it.
        """

    @abstractmethod
    def listed(self, after: str | None, limit: int) -> list[Listed]:
        """At most `limit` messages that came after the remote id `after` (None: all), oldest first.

        Sizes in octets as the server announces them (0 where it does not), times aware. An empty list
        means that there are no more. The id in `after` need not exist any longer.
        """

    @abstractmethod
    def fetch(self, ids: Sequence[str]) -> Iterator[Fetched]:
        """The messages as the server sends them, in the order of `ids`; none is marked as read.

        One round trip for the whole batch, which is held in memory: the caller sizes it (at most 200
        messages, some MB). Ids that vanished, and messages the server does not hand over, are not yielded.
        """

    def fetch_ahead(self, batches: Sequence[Sequence[Listed]]) -> Generator[list[Fetched], None, None]:
        """As `fetch`, batch by batch: the next ones may be under way while the caller stores what came before.

        Until the last batch was yielded, or the iterator was closed, nothing else may be asked here.
        """
        for batch in batches:
            yield list(self.fetch([one.remote_id for one in batch])) if batch else []

    @abstractmethod
    def fetch_headers(self, ids: Sequence[str]) -> Iterator[Fetched]:
        """As `fetch`, but `raw` is the header alone, with the empty line that ends it."""

    @abstractmethod
    def dispose(self, ids: Sequence[str], disposal: Disposal) -> Disposed:
        """Delete exactly these messages, mark them as read, or move them to the folder *Undeliverable*; say what
        the server then confirms.

        `done` is confirmed by reading again; `vanished` were gone before we came; what is in neither may be
        asked again: the verb is idempotent. Other people's `\\Deleted` mail stays. Raises
        `FolderReadOnly`, `CapabilityMissing` (deleting just these is not possible here), `TryLater`.
        """

    def watch(self, seconds: float, stopping: Callable[[], bool] = lambda: False) -> bool:
        """Wait until something new arrives in the open folder (True), or time is up or it is `stopping` (False).

        What came since the folder was opened or since the last watch counts, so watching in turns misses
        nothing; True may come without a reason, never the other way round. Raises `CapabilityMissing` where
        the server does not tell by itself.
        """
        raise CapabilityMissing("IDLE, to tell at once that mail arrived")

    def keep_copy(self, folder: str, raw: bytes, message_id: str) -> bool:
        """Put a message that was sent into this folder, as read and of now; False if one with this Message-ID lies
        there already.

        Takes `connect` alone, not `open`; the folder that was open is no longer. The folder is made when it is
        missing, where this account keeps its folders. `raw` may end its lines in any way; `message_id` is ASCII, with
        angle brackets or without. Idempotent: an error of the connection may mean that the copy was kept, and a
        repeat finds it.
        Raises `SettingsIncomplete` for the folder that is read, `FolderMissing`, `FolderReadOnly`, `TryLater`,
        `MessageRefused`, `MessageTooLarge`, and `CapabilityMissing` where there are no folders.
        """
        raise CapabilityMissing("folders, to keep a copy of sent mail in one")


class OutgoingTransport(Transport):
    """Hands mail to one server: connect  →  (offer  →  the engine commits  →  hand_over)*  →  close.

    One message after the other on one connection. Until `hand_over` begins nothing can have been sent.
    """

    @abstractmethod
    def envelope_steps(self, sender: str, recipient: str) -> Iterator[Step]:
        """SENDER, RECIPIENT: would the server take a mail from this address to that one? Nothing is sent.

        Raises `SenderRefused`, `RecipientRefused`, `TryLater`, `CapabilityMissing` (an address that needs
        SMTPUTF8), `SettingsIncomplete` (text that is no address), each with `.step` set.
        """

    @abstractmethod
    def offer(self, envelope: Envelope) -> dict[str, MailError | None]:
        """What the server says to each recipient: None if it takes the message for them, else `RecipientRefused`
        (final) or `TryLater`. Who is missing in the answer is to be offered again once this was handed over.

        With nobody accepted the offer is over; otherwise `hand_over` or `withdraw` comes next. Raises
        `SenderRefused`, `SignInRefused`, `TryLater`, `MessageTooLarge`, `MessageRefused` (the server lacks what this
        message needs) for the whole; then the offer is over, too.
        """

    @abstractmethod
    def hand_over(self, raw: bytes) -> str:
        """Give the message, as it was offered, to those who were accepted; returns how the server confirmed it.

        `raw` may end its lines in any way. `MessageRefused`, `TryLater` and every error of the connection but one
        mean that the server does not have it. `OutcomeUnknown`: all of it was sent, and nobody knows whether the
        server took it; the connection is spent.
        """

    @abstractmethod
    def withdraw(self) -> None:
        """Give up what was offered; the connection is as new."""
