"""Alerts by mail: each owner is told what needs them, and once that it is over.

    alerts                 due()        what has lasted for the grace time and was not mailed within a day
    one letter per owner   _mark()      in the database, first: of two engines one mails
    EMAIL_URL              _hand_in()   where it is not taken for now the mark is taken back, and it is tried later

A cause is one alert, so it is told in one letter however many mailboxes wait for it.
"""

from __future__ import annotations

import logging
import smtplib
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from itertools import takewhile
from typing import Any

from django.conf import settings
from django.core import mail
from django.db import transaction
from django.db.models import Q, QuerySet
from django.urls import reverse
from django.utils import timezone
from django.utils.formats import date_format

from . import alerts, post, roles
from .models import Alert, AlertLevel, EmailConfigurationSettings, User

DAY = timedelta(days=1)
NEWS_FOR = timedelta(days=7)  # that something older is over is no news
PAUSE_SECONDS = 300.0  # after the mail server of EMAIL_URL did not answer, or asked to come again
IN_FULL = 25

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Letter:
    """What the owner of these alerts, or each of the administrators, is told: what is open, and what is over."""

    to: tuple[User, ...]
    open: tuple[Alert, ...]
    over: tuple[Alert, ...]

    @classmethod
    def of(cls, to: tuple[User, ...], told: Iterable[Alert]) -> Letter:
        """The letter about these alerts."""
        rows = [*told]
        open_alerts = tuple(alert for alert in rows if alert.resolved_at is None)
        return cls(to, open_alerts, tuple(alert for alert in rows if alert.resolved_at is not None))

    @property
    def alerts(self) -> tuple[Alert, ...]:
        """All of them."""
        return (*self.open, *self.over)


def due(now: datetime) -> list[Letter]:
    """One letter for each owner who is to be told something, and one for the administrators; nothing is written."""
    office = EmailConfigurationSettings.load()
    if not office.mail_alerts:
        return []
    by_owner: dict[int | None, list[Alert]] = {}
    for alert in (*_open(now, office.alert_mail_grace), *_over(now, office.alert_mail_grace)):
        by_owner.setdefault(alert.owner_id, []).append(alert)
    letters = [Letter.of(_people(told[0]), told) for told in by_owner.values()]
    return [letter for letter in letters if letter.to]


def _open(now: datetime, grace: timedelta) -> QuerySet[Alert]:
    """What lasts, and was not mailed within a day, by an earlier alert of the same cause neither."""
    lasting = Q(since__lte=now - grace) | Q(cause__startswith=alerts.MOST_FAILING)
    mailed = Alert.objects.filter(mailed_at__gt=now - DAY).values("cause")
    told = Alert.objects.filter(lasting, resolved_at=None, level__in=(AlertLevel.ERROR, AlertLevel.WARNING))
    return _addressed(told).exclude(cause__in=mailed).order_by("level", "since", "pk")


def _over(now: datetime, grace: timedelta) -> QuerySet[Alert]:
    """What was mailed and is over for as long, unless its cause came back."""
    back = Alert.objects.filter(resolved_at=None).values("cause")
    news = Q(resolved_at__lte=now - grace, resolved_at__gt=now - NEWS_FOR)
    mailed = Alert.objects.filter(news, mailed_at__isnull=False, recovery_mailed_at=None)
    return _addressed(mailed).exclude(cause__in=back).order_by("resolved_at", "pk")


def _addressed(rows: QuerySet[Alert]) -> QuerySet[Alert]:
    owned = Q(owner__is_active=True) & ~Q(owner__email="")
    return rows.filter(Q(owner=None) | owned).select_related("owner").defer("owner__password")


def _people(alert: Alert) -> tuple[User, ...]:
    if alert.owner is not None:
        return (alert.owner,)
    return tuple(roles.administrators().exclude(email="").order_by("pk"))


# ── Sending ─────────────────────────────────────────────────────────────────────────────────


class Postman:
    """Goes round from time to time, and rests for some minutes after the mail server took something not yet.

    Speaks to the mail server, so it is never called in a transaction, nor by who keeps leases.
    """

    def __init__(self, stopping: Callable[[], bool]) -> None:
        self._stopping = stopping
        self._rests_until = 0.0

    def go_round(self, now: datetime) -> None:
        """See to the alerts that no pass raises, then tell what is due."""
        alerts.profiles_watched(now)
        if post.is_set_up() and time.monotonic() >= self._rests_until:
            self._rests_until = time.monotonic() + PAUSE_SECONDS  # should anything unexpected end this round
            if send(due(now), now, self._stopping):
                self._rests_until = 0.0


def send(letters: Iterable[Letter], now: datetime, stopping: Callable[[], bool] = lambda: False) -> bool:
    """Mark and mail what nobody else has; False when something is left to be tried again later."""
    waiting = [*letters]
    if not waiting:
        return True
    line = mail.get_connection()
    try:
        line.open()
        try:
            settled = [_tell(line, letter, now) for letter in takewhile(lambda _: not stopping(), waiting)]
        finally:
            line.close()
    except OSError as error:  # of the network, or what the server said: smtplib's errors are among them
        log.error("Alerts could not be mailed, tried again later: %s", error)
        return False
    return all(settled)


class Answer(Enum):
    """RFC 5321, 4.2.1: of refusals, those with 5 last."""

    TAKEN = "taken"
    LATER = "later"
    REFUSED = "refused"


def _tell(line: Any, letter: Letter, now: datetime) -> bool:
    """Whether this letter is done with: somebody was told, or all were refused for good. Raises OSError."""
    ours = _mark(letter, now)
    if not ours.alerts:
        return True
    answers: list[Answer] = []
    try:
        for person in ours.to:
            answers.append(_hand_in(line, compose(ours, person)))
    except OSError:
        if Answer.TAKEN not in answers:
            _take_back(ours, now)
        raise
    settled = Answer.TAKEN in answers or Answer.LATER not in answers
    if not settled:
        _take_back(ours, now)
    return settled


def _hand_in(line: Any, letter: mail.EmailMessage) -> Answer:
    """What the server says to this letter; raises OSError where the trouble is not about this letter alone."""
    try:
        line.send_messages([letter])
        return Answer.TAKEN
    except smtplib.SMTPRecipientsRefused as error:
        code = next(iter(error.recipients.values()))[0]
        said: Exception = error
    except smtplib.SMTPDataError as error:
        code, said = error.smtp_code, error
    log.error("A mail about alerts to %s was refused: %s", ", ".join(letter.to), said)
    return Answer.REFUSED if code >= 500 else Answer.LATER


def _mark(letter: Letter, now: datetime) -> Letter:
    """What of this letter nobody else tells, marked as told. All of it goes to one engine: rows are taken in order."""
    marked = set()
    with transaction.atomic():
        for alert in sorted(letter.alerts, key=lambda alert: alert.pk):
            row = Alert.objects.filter(pk=alert.pk, resolved_at=alert.resolved_at)
            if alert.resolved_at is None:
                ours = row.filter(mailed_at=alert.mailed_at).update(mailed_at=now)
            else:
                ours = row.filter(recovery_mailed_at=None).update(recovery_mailed_at=now)
            if ours:
                marked.add(alert.pk)
    return Letter.of(letter.to, (alert for alert in letter.alerts if alert.pk in marked))


def _take_back(letter: Letter, now: datetime) -> None:
    with transaction.atomic():
        for alert in letter.open:
            Alert.objects.filter(pk=alert.pk, mailed_at=now).update(mailed_at=alert.mailed_at)
        for alert in letter.over:
            Alert.objects.filter(pk=alert.pk, recovery_mailed_at=now).update(recovery_mailed_at=None)


# ── Words ───────────────────────────────────────────────────────────────────────────────────


def compose(letter: Letter, person: User) -> mail.EmailMessage:
    """The letter in plain words, with times as this person reads them."""
    over = list({alert.cause: alert for alert in letter.over}.values())  # the last one of each cause
    with timezone.override(person.zone):
        paragraphs = [_in_full(alert) for alert in letter.open[:IN_FULL]]
        if left_out := letter.open[IN_FULL:]:
            paragraphs.append(f"And {len(left_out)} more.")
        if over:
            paragraphs.append("\n".join(["This is over:", *map(_in_short, over)]))
    return post.letter(
        person.email, _subject(letter.open, over), *paragraphs, _where(person), _how_to_end(letter, person)
    )


def _subject(open_alerts: tuple[Alert, ...], over: list[Alert]) -> str:
    if len(open_alerts) == 1:
        subject = open_alerts[0].title
    elif open_alerts:
        subject = f"{len(open_alerts)} alerts"
    else:
        subject = f"Over: {over[0].title}" if len(over) == 1 else f"{len(over)} alerts are over"
    return f"Sorting Office: {' '.join(subject.split())}"


def _in_full(alert: Alert) -> str:
    lines = (
        alert.title,
        f"Since: {_moment(alert.since)}",
        f"Why: {alert.why}",
        f"What we do: {alert.what_we_do}",
        f"What you can do: {alert.what_you_can_do}",
    )
    return "\n".join(lines)


def _in_short(alert: Alert) -> str:
    assert alert.resolved_at is not None
    return f"- {alert.title}: until {_moment(alert.resolved_at)}. {alert.resolution}"


def _moment(moment: datetime) -> str:
    said = date_format(timezone.localtime(moment), "l j F Y, H:i")
    return f"{said} ({timezone.get_current_timezone_name()})"


def _where(person: User) -> str:
    """The page on which this person finds them."""
    page, name = (
        ("Alerts", "alert-list") if person.has_perm(roles.SEE_ALERTS) else ("My mailbox", "my-mailbox")
    )
    if not settings.SITE_URL:
        return f"How things stand now: see {page} in Sorting Office."
    return f"How things stand now, under {page}:\n{settings.SITE_URL}{reverse(name)}"


def _how_to_end(letter: Letter, person: User) -> str:
    """Why this came, and how it ends."""
    owned = any(alert.owner_id for alert in letter.alerts)
    why = "it is yours to see to" if owned else "nobody owns what it is about and you administer email here"
    who = "You" if person.has_perm(roles.ADMINISTER) else "An email administrator"
    address = f"{settings.SITE_URL}{reverse('configuration')}" if settings.SITE_URL and who == "You" else ""
    return (
        f"You get this mail because {why}. What lasts is told again after a day. {who} can end these mails in Email "
        "Configuration Settings, under “Mail alerts to their owners”" + (f":\n{address}" if address else ".")
    )
