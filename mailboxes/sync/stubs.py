"""Messages of which at most the header is here: too large, or not handed over by the server.

A stub is shown with its reason; its copy on the server stays until the message is whole, or discarded by a
person. The server is asked for it in ATTEMPTS cycles, then once a day, and when somebody says so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import F, Q, QuerySet

from emailprofiles.transports import IncomingTransport
from emailprofiles.wire import Listed

from .. import alerts, clock
from ..alerts import Told
from ..models import Mailbox, Message, MessageState, SyncState
from ..routing import Reason
from . import ingest
from .ingest import ATTEMPTS, Kept, Place, Stub
from .leases import Lease
from .parser import Parser, Poison

LARGEST_HEADER = 1024 * 1024

DAY = timedelta(days=1)

NOT_HANDED_OVER = "The server lists this message and does not hand it over."
ALL_HANDED_OVER = "The server handed everything over."
BREAKS_OFF = f"The connection broke off each of the {ATTEMPTS} times that the server was asked for it."
ONCE_A_DAY = f"It was asked for in {ATTEMPTS} cycles, and is once a day from now on."


def too_large(listed: Listed, header: bytes) -> Stub:
    return Stub(listed, header[:LARGEST_HEADER], Reason.TOO_LARGE, _says_too_large(listed.size))


def not_handed_over(listed: Listed) -> Stub:
    return Stub(listed, b"", Reason.NOT_HANDED_OVER, NOT_HANDED_OVER, attempts=1)


def breaks_off(listed: Listed) -> Stub:
    return Stub(listed, b"", Reason.NOT_HANDED_OVER, f"{BREAKS_OFF} {ONCE_A_DAY}", attempts=ATTEMPTS)


def _says_too_large(octets: int) -> str:
    return (
        f"It has {octets / 1_000_000:,.1f} MB, more than the maximum message size in the settings. Only its header "
        "was collected; the message stays on the server."
    )


def headers_of(server: IncomingTransport, large: Sequence[Listed]) -> dict[str, bytes]:
    """The headers of messages that are not collected whole."""
    ids = [message.remote_id for message in large]
    return {one.remote_id: one.raw for one in server.fetch_headers(ids)} if ids else {}


def describe(stubs: Sequence[Kept], parser: Parser) -> None:
    """Write down subject and sender where the header can be read."""
    headers = zip(stubs, parser.parse_many([stub.raw for stub in stubs]), strict=True)
    for stub, parsed in headers:
        if not isinstance(parsed, Poison):
            ingest.describe(stub, parsed)


def is_given_up(lease: Lease, remote_id: str) -> bool:
    """Whether this message broke every answer so far; if not, one more attempt is counted, before it is made."""
    state = SyncState.objects.get(pk=lease.state_id)
    attempts = state.suspect_attempts if state.suspect == remote_id else 0
    if attempts >= ATTEMPTS:
        lease.write(failures=0)  # it is found: what comes behind it starts anew
        return True
    lease.write(suspect=remote_id, suspect_attempts=attempts + 1)
    return False


@dataclass(frozen=True, slots=True)
class Asking:
    """Asks for stubs whose turn it is, each alone, and none that was asked for after `began`, in this pass.

    Whatever the server announces: a person's *Try again* is for the message, of any size.
    """

    server: IncomingTransport
    place: Place
    limit: int
    began: datetime

    def complete(self, must_yield: Callable[[], bool]) -> Iterator[Message]:
        """Yields messages that are whole now, and await reading."""
        self._give_up()
        for stub in self._waiting():
            if must_yield():
                return
            if self._ask(stub):
                yield Message.objects.get(pk=stub.pk)

    def _stubs(self) -> QuerySet[Message]:
        kept = ingest.live(self.place).filter(is_stub=True).exclude(state=MessageState.DISCARDED)
        return kept.order_by("pk")

    def _give_up(self) -> None:
        """Those that ended the connection each time: the attempt was counted, and nothing came of it."""
        for stub in self._stubs().filter(state=MessageState.RECEIVED, attempts__gte=ATTEMPTS):
            ingest.quarantine(stub, Reason.NOT_HANDED_OVER, f"{BREAKS_OFF} {ONCE_A_DAY}")

    def _waiting(self) -> QuerySet[Message]:
        now = Q(state=MessageState.RECEIVED) | Q(
            reason=Reason.TOO_LARGE.value, size__lte=self.limit, attempts__lt=ATTEMPTS
        )
        given_up = Q(state=MessageState.QUARANTINED, reason=Reason.NOT_HANDED_OVER.value)
        return self._stubs().filter(
            now & Q(asked_at__lt=self.began) | given_up & Q(asked_at__lt=self.began - DAY)
        )

    def _ask(self, stub: Message) -> bool:
        """Whether it is whole now; the attempt is counted before it is made."""
        Message.objects.filter(pk=stub.pk).update(attempts=F("attempts") + 1, asked_at=clock.now())
        fetched = list(self.server.fetch([stub.remote_id]))
        if fetched:
            return ingest.made_whole(stub, fetched[0])
        if stub.attempts + 1 >= ATTEMPTS:
            ingest.quarantine(stub, Reason.NOT_HANDED_OVER, f"{NOT_HANDED_OVER} {ONCE_A_DAY}")
        return False


def unavailable_cause(mailbox: Mailbox) -> str:
    return f"unavailable:{mailbox.pk}"


def tell_of_unavailable(mailbox: Mailbox, told: Told) -> None:
    """Raise or resolve the alert about messages that the server lists and does not hand over."""
    stubs = Message.objects.filter(mailbox=mailbox, is_stub=True, reason=Reason.NOT_HANDED_OVER.value)
    count = stubs.exclude(state=MessageState.DISCARDED).count()
    cause = unavailable_cause(mailbox)
    if count:
        alerts.messages_unavailable(mailbox, cause, count)
    else:
        told.resolve(cause, ALL_HANDED_OVER)
