"""Mail that is collected as soon as it arrives: connections that wait for it (IMAP IDLE), beside the line.

A watch moves no mail. Told that some arrived it makes the mailbox due and wakes the engine, and what follows is a
pass like any other. The polling interval goes on beside it, for what no server told of.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta

from django.db import DatabaseError, connection, transaction
from django.db.models import Q, QuerySet

from emailprofiles.errors import CapabilityMissing, MailError
from emailprofiles.models import EmailServerProfile
from emailprofiles.servertypes import TYPES_THAT_TELL

from .. import connections
from ..models import Direction, EmailConfigurationSettings, Mailbox, ServerCircuit, SyncState, Watch
from . import backoff, leases

LOOK_AGAIN_SECONDS = 5.0
IDLE_SECONDS = (
    540.0  # RFC 2177 allows 29 minutes; what translates addresses often forgets a silent connection after 10
)
AT_MOST_EVERY = 1.0  # seconds: a server that tells without end is not asked without end

log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Listener:
    """A watch of ours: the mailbox as it was when the watch was claimed, and the thread that listens."""

    mailbox: Mailbox
    versions: tuple[int, int]
    ended: threading.Event = field(default_factory=threading.Event)
    thread: threading.Thread | None = None

    def is_alive(self) -> bool:
        return self.thread is not None and self.thread.is_alive()


class Watches:
    """Up to `most` connections of this process that wait for mail; `wake` is called when some arrived."""

    def __init__(self, holder: str, most: int, wake: Callable[[], None]) -> None:
        self.holder = holder
        self.most = most
        self._wake = wake
        self._stop = threading.Event()
        self._listeners: dict[int, _Listener] = {}
        self._thread = threading.Thread(target=self._run, name="engine-watches", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def shut_down(self, patience: float) -> None:
        """Close the connections; one that does not end within `patience` seconds ends with the process."""
        self._stop.set()
        end = time.monotonic() + patience
        if self._thread.is_alive():
            self._thread.join(patience)
        for listener in list(self._listeners.values()):
            if listener.thread is not None:
                listener.thread.join(max(end - time.monotonic(), 0))

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                self._look()
                self._stop.wait(LOOK_AGAIN_SECONDS)
        finally:
            for listener in self._listeners.values():
                listener.ended.set()
            connection.close()

    def _look(self) -> None:
        try:
            self._end_what_is_not_wanted()
            self._begin_what_is_wanted()
        except DatabaseError as error:
            log.warning("No look at who waits for mail this time: %s", error)
            connection.close()

    def _end_what_is_not_wanted(self) -> None:
        """Keep our leases, and let go of what was lost, switched off, or has other settings by now."""
        self._listeners = {pk: one for pk, one in self._listeners.items() if one.is_alive()}
        if not self._listeners:
            return
        ours = Watch.objects.filter(lease_holder=self.holder, mailbox__in=self._listeners)
        ours.update(lease_until=leases.now() + leases.LENGTH)
        wanted = watchable().filter(mailbox__watch__in=ours.values("pk"))
        versions = {state.mailbox_id: _versions(state.mailbox) for state in wanted}
        for pk, listener in self._listeners.items():
            if versions.get(pk) != listener.versions:
                listener.ended.set()

    def _begin_what_is_wanted(self) -> None:
        seats = self.most - len(self._listeners)
        if seats < 1 or not EmailServerProfile.objects.filter(use_push=True).exists():
            return
        for mailbox in claim(seats, self.holder):
            listener = self._listeners[mailbox.pk] = _Listener(mailbox, _versions(mailbox))
            name = f"watch-{mailbox.pk}"
            listener.thread = threading.Thread(target=self._listen, args=(listener,), name=name, daemon=True)
            listener.thread.start()

    def _listen(self, listener: _Listener) -> None:
        """One watch, until it is ended or fails."""
        outcome: dict[str, object] = {"failures": 0, "last_error": "", "again_at": None}
        try:
            self._tell_of_mail(listener)
        except MailError as error:
            outcome = _put_off(listener.mailbox, error)
        except Exception:  # whatever it was, the lease must not hang; the mailbox is collected all the same
            log.exception("A watch of mailbox %s failed", listener.mailbox.pk)
            outcome = {
                "again_at": leases.now() + backoff.LONGEST,
                "last_error": "An unexpected error ended the watch",
            }
        finally:
            self._give_back(listener, outcome)
            connection.close()

    def _tell_of_mail(self, listener: _Listener) -> None:
        with connections.open_incoming(listener.mailbox) as server:
            server.connect()
            server.open()
            arrived = True  # what came before we listened
            while not listener.ended.is_set():
                if arrived:
                    tell(listener.mailbox)
                    self._wake()
                    listener.ended.wait(AT_MOST_EVERY)
                arrived = server.watch(IDLE_SECONDS, listener.ended.is_set)

    def _give_back(self, listener: _Listener, outcome: dict[str, object]) -> None:
        try:
            held = Watch.objects.filter(mailbox=listener.mailbox, lease_holder=self.holder)
            held.update(lease_holder="", lease_until=None, **outcome)
        except DatabaseError as error:  # it runs out by itself
            log.warning("A watch of mailbox %s could not be given back: %s", listener.mailbox.pk, error)


def watchable() -> QuerySet[SyncState]:
    """The incoming directions that run without trouble, and whose profile asks for mail as soon as it arrives."""
    approved = EmailConfigurationSettings.load().approved()
    running = SyncState.objects.running(Direction.INCOMING, approved=approved)
    return (
        running.filter(
            failures=0,
            mailbox__server_profile__use_push=True,
            mailbox__server_profile__server_type__in=TYPES_THAT_TELL,
        )
        .exclude(
            mailbox__server_profile__in=ServerCircuit.objects.filter(direction=Direction.INCOMING).values(
                "profile"
            )
        )
        .select_related("mailbox__server_profile")
    )


def claim(seats: int, holder: str) -> list[Mailbox]:
    """Take up to `seats` watches, those of forward mailboxes first, within each server's connection budget."""
    with transaction.atomic():
        leases.one_claim_at_a_time()
        moment = leases.now()
        budgets = leases.Budgets(moment)
        holders = Watch.objects.exclude(lease_holder="").values_list("lease_holder", flat=True).distinct()
        free = Watch.objects.filter(
            leases.free(moment, list(holders)), Q(again_at=None) | Q(again_at__lte=moment)
        )
        waiting = watchable().filter(Q(mailbox__watch=None) | Q(mailbox__watch__in=free))
        claimed: list[Mailbox] = []
        for state in waiting.order_by("-mailbox__is_forward_mailbox", "mailbox")[: seats * 20]:
            profile = state.mailbox.server_profile
            if len(claimed) < seats and profile is not None and budgets.admit_watch(profile):
                lease = {"lease_holder": holder, "lease_until": moment + leases.LENGTH}
                Watch.objects.update_or_create(mailbox=state.mailbox, defaults=lease)
                claimed.append(state.mailbox)
        return claimed


def tell(mailbox: Mailbox) -> None:
    """Mail arrived: the mailbox is due, and again after a pass that is under way."""
    moment = leases.now()
    running = SyncState.objects.filter(mailbox=mailbox, direction=Direction.INCOMING, failures=0)
    running.update(told_at=moment, next_run_at=moment)


def _versions(mailbox: Mailbox) -> tuple[int, int]:
    return mailbox.connection_version, mailbox.profile_version


def _put_off(mailbox: Mailbox, error: MailError) -> dict[str, object]:
    """When to try again, and why not now; the passes tell people of a server in trouble."""
    failures = Watch.objects.values_list("failures", flat=True).get(mailbox=mailbox) + 1
    wait: timedelta = backoff.delay(failures, random.SystemRandom())
    if isinstance(error, CapabilityMissing):
        wait = backoff.LONGEST
    return {"failures": failures, "last_error": f"{error}.", "again_at": leases.now() + wait}
