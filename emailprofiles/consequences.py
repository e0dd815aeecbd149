"""What a change of a profile means for the mailboxes that use it, told before it is saved."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.db.models import Q, QuerySet

from . import history
from .models import (
    CONNECTION_FIELDS,
    CYCLE_FIELDS,
    LOCATION_FIELDS,
    AuthenticateUsing,
    EmailServerProfile,
    changed,
)

_SERVER_SIDE = "server_side"


@dataclass(frozen=True, slots=True)
class Consequences:
    """`resting` mailboxes stop until a test has passed, the credentials of `waiting` wait for a confirmation, and
    `obeying` ones go by other limits, named in `limits`, from their next cycle on. False when nothing follows."""

    using: int = 0
    resting: int = 0
    waiting: int = 0
    obeying: int = 0
    limits: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.resting or self.waiting or self.obeying)

    @property
    def mark(self) -> str:
        """What a person has seen who agrees to exactly these consequences."""
        return ".".join(map(str, (self.resting, self.waiting, self.obeying, *sorted(self.limits))))

    @property
    def whom(self) -> str:
        return f"{_mailboxes(self.using)} {'uses' if self.using == 1 else 'use'} this profile."

    @property
    def sentences(self) -> list[str]:
        told = []
        if self.resting or self.waiting:
            told.append(f"After this change {'; '.join(self._stops())}.")
        if self.obeying:
            verb = "changes" if len(self.limits) == 1 else "change"
            told.append(
                f"{_listed(self.limits)} {verb} for {_mailboxes(self.obeying)} from the next cycle on."
            )
        return told

    def _stops(self) -> list[str]:
        stops = []
        if self.resting:
            who = (
                "it"
                if self.using == 1
                else "they"
                if self.resting == self.using
                else f"{self.resting} of them"
            )
            do = "does" if self.resting == 1 else "do"
            stops.append(f"{who} {do} not run until Test & Enable has passed again")
        if self.waiting:
            stops.append(f"the stored credentials of {_mailboxes(self.waiting)} wait for your confirmation")
        return stops

    @property
    def briefly(self) -> str:
        """The same in one line, for the bar of commands."""
        told = [f"rests {_mailboxes(self.resting)}"] if self.resting else []
        if self.waiting:
            told.append(f"holds back {self.waiting} sign-in{'' if self.waiting == 1 else 's'}")
        if self.obeying and not told:
            told.append(f"changes limits of {_mailboxes(self.obeying)}")
        return f"Saving {', '.join(told)}" if told else ""

    @property
    def button(self) -> str:
        if self.resting:
            return f"Save and rest {_mailboxes(self.resting)}"
        return f"Save for {_mailboxes(self.waiting or self.obeying)}"


def consequences_of(profile: EmailServerProfile, stored: EmailServerProfile) -> Consequences:
    """What follows if `profile` is saved as it is now; `stored` is its row."""
    users: QuerySet[Any] = profile.mailboxes.all()
    synchronized = users.filter(_some_direction(), is_active=True).count()
    limits = tuple(name for name in CYCLE_FIELDS if changed(profile, stored, (name,)))
    return Consequences(
        using=users.count(),
        resting=synchronized if changed(profile, stored, CONNECTION_FIELDS) else 0,
        waiting=_with_credentials(users).count() if _moves(profile, stored) else 0,
        obeying=synchronized if limits else 0,
        limits=tuple(history.label_of(EmailServerProfile, name) for name in limits),
    )


def credentials_of(profile: EmailServerProfile) -> tuple[int, int]:
    """How many mailboxes use a profile, and how many of them have stored credentials."""
    users: QuerySet[Any] = profile.mailboxes.all()
    return users.count(), _with_credentials(users).count()


def _some_direction() -> Q:
    return Q(incoming_method=_SERVER_SIDE) | Q(outgoing_method=_SERVER_SIDE) | Q(act_method=_SERVER_SIDE)


def _moves(profile: EmailServerProfile, stored: EmailServerProfile) -> bool:
    """Whether credentials of mailboxes would go to another place than they were typed for."""
    own = profile.authenticate_using == AuthenticateUsing.MAILBOX
    return own and changed(profile, stored, LOCATION_FIELDS)


def _with_credentials(users: QuerySet[Any]) -> QuerySet[Any]:
    return users.filter(allow_credentials=True).exclude(password="")


def _mailboxes(number: int) -> str:
    return "1 mailbox" if number == 1 else f"{number} mailboxes"


def _listed(names: tuple[str, ...]) -> str:
    *most, last = names
    return f"{', '.join(most)} and {last}" if most else last
