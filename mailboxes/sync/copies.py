"""Copies of what was sent, in a folder of the server: beside the way of the mail, and never in it.

    sent  →  keep_copy (which finds the one that an earlier pass left there)  →  (commit: copied)

A copy that cannot be kept is no failure of sending. The copies of a mailbox then wait together until
`next_attempt_at`, which a message that was sent has for nothing else.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import timedelta

from django.db import DatabaseError, transaction
from django.db.models import Max, Min, QuerySet

from emailprofiles.errors import MailError, MessageRefused, ProtocolError, TryLater
from emailprofiles.transports import IncomingTransport

from .. import alerts, connections
from ..models import OutgoingMessage
from . import leases
from .errands import Errand

SHORTEST, LONGEST = timedelta(minutes=1), timedelta(hours=1)
GIVE_UP_AFTER = timedelta(days=3)
REFUSED_IN_A_ROW = 3
"""So many copies refused one after the other: the server means all of them."""

log = logging.getLogger(__name__)


def keep(errand: Errand, must_yield: Callable[[], bool]) -> bool:
    """Keep the copies of this mailbox that are due; True when some are left for the next pass.

    Raises LeaseLost, and nothing that the server does.
    """
    run = Keeping(errand)
    times = run.waiting.aggregate(oldest=Min("finished_at"), until=Max("next_attempt_at"))
    if times["oldest"] is None:
        return False
    run.oldest = times["oldest"]
    if not errand.profile.keeps_copies:
        run.give_up(run.waiting)
    elif times["until"] and times["until"] > run.moment:  # what was sent since then waits with the others
        run.write(run.waiting, next_attempt_at=times["until"])
        return False
    else:
        run.through(must_yield)
    run.tell()
    return run.is_left


class Keeping:
    """What one pass does for the copies that wait; `oldest` is since when the first of them does."""

    def __init__(self, errand: Errand) -> None:
        self.errand = errand
        self.waiting = OutgoingMessage.objects.filter(leases.waits_for_copy(), mailbox=errand.mailbox)
        self.moment = self.oldest = leases.now()
        self.error: MailError | None = None
        self.is_left = False

    def through(self, must_yield: Callable[[], bool]) -> None:
        """One after the other on one connection."""
        try:
            with connections.open_incoming(self.errand.mailbox) as server:
                server.connect()
                self._each(server, must_yield)
        except MailError as error:
            self._put_off(self.waiting, error)
        except (DatabaseError, leases.LeaseLost):
            raise
        except Exception:  # an error of ours; mail is not to wait for it
            log.exception("The copies of mailbox %s failed", self.errand.mailbox.pk)
            self._put_off(self.waiting, ProtocolError())

    def _each(self, server: IncomingTransport, must_yield: Callable[[], bool]) -> None:
        """At least one, at most *messages per cycle*."""
        refused_in_a_row = 0
        keys = list(self.waiting.order_by("finished_at", "pk").values_list("pk", flat=True))
        for place, pk in enumerate(keys):
            if place == self.errand.profile.messages_per_cycle or (place and must_yield()):
                self.is_left = True
                return
            one = self.waiting.filter(pk=pk)
            try:
                self._keep(server, one)
                refused_in_a_row = 0
            except MessageRefused as error:  # it never will be taken
                self.error = error
                self.give_up(one)
            except TryLater as error:
                self._put_off(one, error)
                refused_in_a_row += 1
                if refused_in_a_row == REFUSED_IN_A_ROW:
                    raise

    def _keep(self, server: IncomingTransport, one: QuerySet[OutgoingMessage]) -> None:
        for message in one.select_related("original"):  # unless it was queued again meanwhile
            server.keep_copy(self.errand.profile.sent_folder, message.raw, message.message_id)
            self.write(one, copied_at=leases.now(), copy_wanted=False, next_attempt_at=None)

    def _put_off(self, messages: QuerySet[OutgoingMessage], error: MailError) -> None:
        """For as long again as the oldest has waited; what is too old is given up."""
        self.error = error
        pause = min(max(self.moment - self.oldest, SHORTEST), LONGEST)
        self.write(messages, next_attempt_at=leases.now() + pause)
        self.give_up(messages.filter(finished_at__lt=self.moment - GIVE_UP_AFTER))

    def give_up(self, messages: QuerySet[OutgoingMessage]) -> None:
        self.write(messages, copy_wanted=False, next_attempt_at=None)

    def write(self, messages: QuerySet[OutgoingMessage], **values: object) -> None:
        """What became of copies, while the mailbox is ours. Raises LeaseLost."""
        with transaction.atomic():
            self.errand.lease.write(lease_holder=self.errand.lease.holder)
            messages.update(**values)

    def tell(self) -> None:
        """One alert for each mailbox, as long as something is wrong."""
        if self.error is not None:
            alerts.copies_not_kept(self.errand.mailbox, self.error)
        else:
            cause = alerts.copies_cause(self.errand.mailbox.pk)
            self.errand.told.resolve(cause, "Copies are kept again, or not wanted any more.")
