"""What becomes of the server's copies once their fate is committed: deleted, marked as read, or put aside."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from contextlib import suppress

from django.db.models import Max, Q, QuerySet
from django.utils import timezone

from emailprofiles.errors import CapabilityMissing, FolderReadOnly
from emailprofiles.transports import IncomingTransport
from emailprofiles.wire import Disposal

from .. import alerts, connections
from ..alerts import Told
from ..models import Message, MessageState
from ..routing import Reason
from . import ingest
from .ingest import Place

PORTION = 500

# What the incoming filter kept out of a user's or queue's own mailbox: it is their mail, and stays as it is there.
KEPT_OUT = Q(
    state=MessageState.DISCARDED,
    reason=Reason.NOT_A_REPLY.value,
    discarded_by=None,
    mailbox__is_forward_mailbox=False,
)
PROCESSED = Q(state__in=[MessageState.DELIVERED, MessageState.DISCARDED]) & ~KEPT_OUT
TEST_MESSAGES = Q(state=MessageState.DISCARDED, reason=Reason.TEST_MESSAGE.value)
# For nobody, whatever an administrator changes about a mailbox; a stub is still wanted from where it is.
UNDELIVERABLE = Q(state=MessageState.QUARANTINED, waiting_for=None, is_stub=False) & ~Q(
    reason=Reason.NOT_A_REPLY.value
)

log = logging.getLogger(__name__)


class Disposing:
    """Settles an open folder, as often as asked.

    The reply to an earlier disposal may have been lost: asking again is how we find out. With `may_delete`
    False nothing is deleted, since ids in this folder do not last. `names_changed` when ids may mean other messages
    than before, or none: at the beginning, and after the new session that follows a deletion (POP3).
    """

    def __init__(self, server: IncomingTransport, place: Place, told: Told, *, may_delete: bool) -> None:
        self.server, self.place, self.told, self.may_delete = server, place, told, may_delete
        self.mailbox = place.mailbox
        self.newest_before = 0
        self.names_changed = self.has_unconfirmed = False
        self._doubt_names()

    def settle(self) -> None:
        """Dispose of what is delivered or discarded, by the mailbox's rule, and of what nobody can receive."""
        self.has_unconfirmed = False
        disposal = connections.disposal_of(self.mailbox)
        if disposal is Disposal.MARK_READ:
            self._remove_test_messages()
            self._tolerant(PROCESSED, disposal)
        elif self.may_delete:
            self._dispose(PROCESSED, disposal)
        if self.may_delete and self.place.mailbox.server_profile.move_undelivered:  # type: ignore[union-attr]
            self._tolerant(UNDELIVERABLE, Disposal.PUT_ASIDE)

    def _remove_test_messages(self) -> None:
        """They are ours, and go whatever becomes of other mail; where that is not possible, they are marked, too."""
        if self.may_delete:
            with suppress(FolderReadOnly, CapabilityMissing):
                self._dispose(TEST_MESSAGES, Disposal.DELETE)

    def _tolerant(self, which: Q, disposal: Disposal) -> None:
        """Where the server does not let us, mail is collected all the same, and the owner is told."""
        cause = f"{disposal.value}:{self.mailbox.pk}"
        try:
            done = self._dispose(which, disposal)
        except (FolderReadOnly, CapabilityMissing) as error:
            alerts.settings_ignored(self.mailbox, cause, f"{error}.", error.advice)
            self.told.add(cause)
        else:
            if done:
                self.told.resolve(cause, "The server does it again.")

    def _dispose(self, which: Q, disposal: Disposal) -> int:
        done = 0
        while rows := self._portion(which):
            copies = {row.remote_id: row.pk for row in self._recognised(rows)}
            answer = self.server.dispose(list(copies), disposal)
            if disposal is Disposal.DELETE:
                self._doubt_names()
            finished = [copies[remote_id] for remote_id in (*answer.done, *answer.vanished)]
            self._note(finished, disposal)
            done += len(finished)
            if len(finished) < len(copies):
                self._warn(len(copies) - len(finished))
                break
            if len(rows) < PORTION:
                break
        return done

    def _doubt_names(self) -> None:
        if not self.place.folder.lasting_order:
            self.newest_before = _newest()
            self.names_changed = True

    def _portion(self, which: Q) -> list[Message]:
        rows = self._undisposed().filter(which)
        return list(rows.only("pk", "remote_id").order_by("pk")[:PORTION])

    def _undisposed(self) -> QuerySet[Message]:
        return ingest.live(self.place).filter(disposed_at=None)

    def _recognised(self, rows: list[Message]) -> list[Message]:
        """Where an id may have come to mean another message since an earlier session (POP3), look before deleting.

        Which messages are from earlier is told by their numbers here: no clock has to be right for that.
        """
        if self.place.folder.lasting_order:
            return rows
        earlier = [row for row in rows if row.pk <= self.newest_before]
        heads = {one.remote_id: one.raw for one in self.server.fetch_headers([r.remote_id for r in earlier])}
        changed = [row.pk for row in earlier if not _begins_with(row, heads.get(row.remote_id))]
        Message.objects.filter(pk__in=changed).update(gone_at=timezone.now())
        return [row for row in rows if row.pk not in changed]

    def _note(self, rows: Iterable[int], disposal: Disposal) -> None:
        Message.objects.filter(pk__in=list(rows)).update(disposed_at=timezone.now(), disposal=disposal.value)

    def _warn(self, unconfirmed: int) -> None:
        self.has_unconfirmed = True
        log.warning("%s: %d copies were not confirmed, asked again later", self.mailbox.name, unconfirmed)


def _newest() -> int:
    """The latest message of all; what is kept from now on comes behind it."""
    return Message.objects.aggregate(newest=Max("pk"))["newest"] or 0


def _begins_with(row: Message, header: bytes | None) -> bool:
    """Whether this is the message we hold; what is gone is for the transport to find out."""
    if header is None:
        return True
    return row.raw.startswith(header)
