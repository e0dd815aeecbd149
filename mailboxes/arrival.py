"""Waits for a test message in the mailbox that it was sent to, and takes it away again.

Each look is a session of its own: where a session shows what was there at its beginning (POP3) there is no other
way, and no connection stands idle while mail is under way.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from emailprofiles.errors import FolderMissing, MailError
from emailprofiles.transports import IncomingTransport
from emailprofiles.wire import Disposal, Folder, StepName

from . import connections
from .models import Mailbox
from .survey import Abandoned
from .testmail import Probe

INBOX = "INBOX"
PATIENCE = 60.0
"""Seconds until a test message is thought not to arrive."""

SHORTEST_PAUSE, LONGEST_PAUSE = 0.5, 10.0
HEADERS_AT_ONCE = 200


class NotArrived(MailError):
    sentence = "The server accepted the test message, but it did not arrive"
    about = "The server accepted the test message, but it did not arrive within {seen} seconds"
    advice = (
        "Look for it in the folder for spam, and check for rules that move or forward mail, and whether mail to this "
        "address goes to this very mailbox. If it was only slow, test again. A test message that comes later is "
        "removed by itself when mail is collected."
    )


@dataclass(slots=True)
class Arrival:
    """One mailbox, and what stood there before the test message was sent; `stopping` ends all waiting."""

    mailbox: Mailbox
    stopping: Callable[[], bool]
    known: dict[tuple[str, str], list[str]] = field(default_factory=dict)
    """(folder, generation) → the remote ids that were seen there."""

    def remember(self) -> None:
        """Note what is there already. Raises MailError; nothing should be sent then."""
        with _at(StepName.ACCEPTED), self._signed_in() as server:
            for folder in self._folders(server):
                self._new_in(server, folder)

    def wait_for(self, probe: Probe) -> str:
        """Where and when it was found, and that it was taken away. Raises NotArrived, MailError, Abandoned."""
        began = time.monotonic()
        with _at(StepName.ARRIVED):
            while not (found := self._look(probe)):
                waited = time.monotonic() - began
                if waited >= PATIENCE:
                    raise NotArrived(f"{PATIENCE:.0f}")
                self._pause(min(max(waited, SHORTEST_PAUSE), LONGEST_PAUSE, PATIENCE - waited))
        return f"after {_seconds(time.monotonic() - began)}, {found}"

    def _pause(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            if self.stopping():
                raise Abandoned
            time.sleep(min(left, 0.1))

    def _look(self, probe: Probe) -> str:
        """ "in INBOX" if the message is there now; else ""."""
        with self._signed_in() as server:
            for number, folder in enumerate(self._folders(server)):
                if ids := _those(server, self._new_in(server, folder), probe):
                    elsewhere = ", from which no mail is collected" if number else ""
                    return f"in {folder.name}{elsewhere}{_deleted(server, ids)}"
        return ""

    @contextmanager
    def _signed_in(self) -> Iterator[IncomingTransport]:
        with connections.open_incoming(self.mailbox) as server:
            server.connect()
            yield server

    def _folders(self, server: IncomingTransport) -> Iterator[Folder]:
        """Each folder in which it may arrive, opened: the one we read, and the one into which servers deliver."""
        ours = server.open()
        yield ours
        if ours.name.upper() != INBOX:
            server.folder = INBOX
            with suppress(FolderMissing):
                yield server.open()

    def _new_in(self, server: IncomingTransport, folder: Folder) -> list[str]:
        """The remote ids in an open folder that were not seen before."""
        known = self.known.setdefault((folder.name, folder.generation), [])
        after = known[-1] if known and folder.lasting_order else None
        seen = set(known)
        new = [one for one in server.identities(after, sys.maxsize) if one not in seen]
        known += new
        return new


def _those(server: IncomingTransport, ids: Sequence[str], probe: Probe) -> list[str]:
    """Those of these messages that are the test message, in the open folder."""
    some = (ids[start : start + HEADERS_AT_ONCE] for start in range(0, len(ids), HEADERS_AT_ONCE))
    return [one.remote_id for part in some for one in server.fetch_headers(part) if probe.is_it(one.raw)]


def _deleted(server: IncomingTransport, ids: Sequence[str]) -> str:
    """Delete the test message; "" if that went well, else what became of it."""
    try:
        disposed = server.dispose(ids, Disposal.DELETE)
    except MailError as error:
        return f"; it could not be deleted and stays there: {error}"
    gone = {*disposed.done, *disposed.vanished}
    return "" if gone.issuperset(ids) else "; the server did not confirm that it was deleted"


def _seconds(seconds: float) -> str:
    return f"{max(seconds, 0.1):.1f} s" if seconds < 10 else f"{seconds:.0f} s"


@contextmanager
def _at(step: StepName) -> Iterator[None]:
    """Whatever goes wrong inside, also while signing in, is the failure of this step."""
    try:
        yield
    except MailError as error:
        error.step = step
        raise
