"""What a pass knows when it sets out: its mailbox as it is, and what is left to do there whatever the server has.

Read for many passes at once, when they are claimed. A pass that has nothing left to do, and to whose server nothing
came, ends when its folder is open.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum, auto

from django.db.models import F, QuerySet

from emailprofiles.models import EmailServerProfile
from emailprofiles.transports import IncomingTransport
from emailprofiles.wire import Folder

from ..alerts import Told
from ..models import (
    Direction,
    EmailConfigurationSettings,
    Mailbox,
    Message,
    MessageState,
    ServerCircuit,
    SyncState,
)
from . import ledger
from .disposal import PROCESSED, UNDELIVERABLE
from .ingest import OutboxFacts
from .leases import Lease
from .resume import let_through


class Left(Enum):
    """What earlier passes, and people since then, left to do."""

    KEPT = auto()  # whole, and not read yet
    LET_THROUGH = auto()  # in quarantine for a mailbox that may receive by now
    COPIES = auto()  # on the server, of what was delivered, discarded, or is for nobody
    STUBS = auto()  # of which the server may be asked for the rest
    COMPARISON = auto()  # of the folder with its ledger


@dataclass(slots=True, eq=False)
class Errand:
    """A leased mailbox with its profile, the office's settings, what is `left` to do, the alerts that are open, what
    sorting asks of the outbox, and whether the server's circuit is open."""

    lease: Lease
    state: SyncState
    settings: EmailConfigurationSettings
    left: frozenset[Left]
    told: Told
    sent: OutboxFacts
    is_in_trouble: bool

    @property
    def mailbox(self) -> Mailbox:
        return self.state.mailbox

    @property
    def profile(self) -> EmailServerProfile:
        assert self.mailbox.server_profile is not None
        return self.mailbox.server_profile

    def is_done(self, server: IncomingTransport, folder: Folder) -> bool:
        """Whether nothing is left to do, and nothing stands in the open folder that no pass saw."""
        state = self.state
        if self.left or self.told.of(self.mailbox) or state.fetch_window or not folder.lasting_order:
            return False
        if (state.cursor_folder, state.cursor_generation) != (folder.name, folder.generation):
            return False
        return folder.messages == 0 or not server.identities(state.position_in(folder), 1)


def read(leased: Sequence[Lease]) -> list[Errand]:
    """The errands of these leases, in eleven queries however many they are."""
    rows = SyncState.objects.select_related("mailbox__server_profile")
    states = rows.in_bulk([lease.state_id for lease in leased])
    left: dict[int, set[Left]] = defaultdict(set)
    settings = EmailConfigurationSettings.load()
    incoming = [state for state in states.values() if state.direction == Direction.INCOMING]
    for what, mailboxes in _left(incoming, settings) if incoming else ():
        for mailbox in mailboxes:
            left[mailbox].add(what)
    sent = OutboxFacts.read()
    told = Told(state.mailbox for state in states.values())
    in_trouble = set(ServerCircuit.objects.values_list("profile_id", "direction"))
    return [
        Errand(
            lease,
            state,
            settings,
            frozenset(left[state.mailbox_id] if state.direction == Direction.INCOMING else ()),
            told,
            sent,
            is_in_trouble=(state.mailbox.server_profile_id, state.direction) in in_trouble,
        )
        for lease in leased
        if (state := states.get(lease.state_id)) is not None
    ]


def _left(
    states: list[SyncState], settings: EmailConfigurationSettings
) -> Iterator[tuple[Left, Iterable[int]]]:
    """What is left to do, and for which mailboxes."""
    mailboxes = [state.mailbox_id for state in states]
    here = Message.objects.filter(mailbox__in=mailboxes)
    yield Left.KEPT, _of(here.filter(state=MessageState.RECEIVED, is_stub=False))
    yield Left.LET_THROUGH, _of(let_through(here, settings))
    yield Left.COPIES, _of(_copies(here, states))
    yield Left.STUBS, _of(here.filter(is_stub=True).exclude(state=MessageState.DISCARDED))
    yield Left.COMPARISON, ledger.due(states)


def _of(rows: QuerySet[Message]) -> Iterable[int]:
    return rows.order_by().values_list("mailbox_id", flat=True).distinct()


def _copies(here: QuerySet[Message], states: list[SyncState]) -> QuerySet[Message]:
    """Where we are in the folder; what an older generation held is bound to its new place when it is seen there."""
    puts_aside = any(state.mailbox.server_profile.move_undelivered for state in states)  # type: ignore[union-attr]
    return here.filter(
        PROCESSED | UNDELIVERABLE if puts_aside else PROCESSED,
        disposed_at=None,
        mailbox__states__in=states,
        folder=F("mailbox__states__cursor_folder"),
        generation=F("mailbox__states__cursor_generation"),
    )
