"""Which mailboxes the list shows, and which of them a person has picked.

Both are read from parameters: those of the list's own address, or those that a command posts.
"""

from __future__ import annotations

from dataclasses import dataclass

from django.db.models import Q, QuerySet
from django.http import QueryDict

from ..models import Approval, Direction, Kind, Mailbox
from ..models.choices import Word
from ..standing import Office, needs_attention, not_tested, worded

# As many single picks as an address can carry; beyond that a person selects all of a view and filter.
MOST_PICKS = 500

# view → its label
VIEWS = {
    "active": "Active mailboxes",
    "attention": "Needs attention",
    "untested": "Not tested",
    "forward": "Forward mailboxes",
    "approval": "Waiting for approval",
    "no-profile": "Without profile",
    "inactive": "Deactivated",
}
KINDS = {
    Kind.USER: Q(user__isnull=False),
    Kind.QUEUE: Q(queue__isnull=False),
    Kind.FORWARD: Q(is_forward_mailbox=True),
}


def shown_in(view: str, office: Office) -> Q:
    """What a view shows."""
    conditions = {
        "active": Q(is_active=True),
        "forward": Q(is_forward_mailbox=True),
        "approval": Q(is_active=True, approval=Approval.PENDING),
        "no-profile": Q(is_active=True, server_profile=None),
        "inactive": Q(is_active=False),
    }
    if view == "attention":
        return needs_attention(office.settings)
    return not_tested() if view == "untested" else conditions[view]


@dataclass(frozen=True, slots=True)
class Choice:
    """One view, narrowed by what was typed and chosen; an unknown choice narrows nothing."""

    view: str
    words: str
    kind: str
    profile: str
    state: str

    @classmethod
    def read(cls, parameters: QueryDict) -> Choice:
        view, kind, state = (parameters.get(name, "") for name in ("view", "kind", "state"))
        return cls(
            view=view if view in VIEWS else "active",
            words=parameters.get("q", "").strip(),
            kind=kind if kind in KINDS else "",
            profile=parameters.get("profile", "").strip()[:200],
            state=state if state in Word.values else "",
        )

    @property
    def parameters(self) -> dict[str, str]:
        """The same as parameters of an address or a form."""
        written = {
            "view": self.view,
            "q": self.words,
            "kind": self.kind,
            "profile": self.profile,
            "state": self.state,
        }
        return {name: value for name, value in written.items() if value}

    @property
    def is_filtered(self) -> bool:
        return len(self.parameters) > 1

    def mailboxes(self, office: Office) -> QuerySet[Mailbox]:
        """All that the list shows for this choice, in no order."""
        found = Mailbox.objects.filter(shown_in(self.view, office)).order_by()
        if self.kind:
            found = found.filter(KINDS[Kind(self.kind)])
        if self.profile:
            found = found.filter(_of_profile(self.profile))
        for word in self.words.split()[:5]:
            found = found.filter(Q(name__icontains=word) | Q(email_address__icontains=word))
        return in_state(found, self.state, office) if self.state else found


def _of_profile(written: str) -> Q:
    """By the number of a profile, or by a part of its name."""
    if written.isdecimal():
        return Q(server_profile_id=int(written[:18]))
    return Q(server_profile__name__icontains=written)


def in_state(mailboxes: QuerySet[Mailbox], state: str, office: Office) -> QuerySet[Mailbox]:
    """Those with a direction in this state; *Switched off* are those with no direction in any other."""
    for direction in Direction:
        mailboxes = worded(mailboxes, direction, office)
    names = [f"{direction}_word" for direction in Direction]
    if state == Word.OFF:
        return mailboxes.filter(**dict.fromkeys(names, Word.OFF))
    some = Q()
    for name in names:
        some |= Q(**{name: state})
    return mailboxes.filter(some)


@dataclass(frozen=True, slots=True)
class Selection:
    """What a person has picked: single mailboxes, or all of a choice."""

    choice: Choice
    picks: tuple[int, ...]
    is_all: bool

    @classmethod
    def read(cls, parameters: QueryDict) -> Selection:
        """Of `pick` (repeated), `page_picks` (those of a whole page), or `all`."""
        written = [*parameters.getlist("pick"), *parameters.get("page_picks", "").split(",")]
        picks = dict.fromkeys(int(pick[:18]) for pick in written if pick.isdecimal())
        everything = parameters.get("all") == "1"
        return cls(Choice.read(parameters), () if everything else tuple(picks)[:MOST_PICKS], everything)

    def mailboxes(self, office: Office) -> QuerySet[Mailbox]:
        if self.is_all:
            return self.choice.mailboxes(office)
        return Mailbox.objects.filter(pk__in=self.picks).order_by()

    def __bool__(self) -> bool:
        return self.is_all or bool(self.picks)
