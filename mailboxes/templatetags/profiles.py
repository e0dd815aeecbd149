"""What the page of an email server profile says about mailboxes, which the profile itself knows nothing of."""

from __future__ import annotations

from dataclasses import dataclass

from django import template
from django.db.models import Count, Q

from emailprofiles.models import EmailServerProfile

from ..lifecycle import unconfirmed
from ..models import Kind, Mailbox, ServerCircuit
from ..standing import needs_attention

register = template.Library()

KINDS = (
    (Kind.QUEUE, "queue", Q(queue__isnull=False)),
    (Kind.FORWARD, "forward", Q(is_forward_mailbox=True)),
    (Kind.USER, "user", Q(user__isnull=False)),
)


@dataclass(frozen=True, slots=True)
class Share:
    """The mailboxes of one kind that use a profile."""

    kind: Kind
    icon: str
    total: int
    attention: int


@dataclass(frozen=True, slots=True)
class Use:
    """Who uses a profile, whose stored credentials wait for a confirmation, and whether its server answers."""

    shares: list[Share]
    total: int
    attention: int
    unconfirmed: int
    circuit: ServerCircuit | None


@register.simple_tag
def profile_use(profile: EmailServerProfile) -> Use:
    """The mailboxes of a profile, in a constant number of queries however many they are."""
    attention = needs_attention()
    counts = {f"{kind.value}_all": Count("pk", filter=is_kind) for kind, _, is_kind in KINDS}
    urgent = {
        f"{kind.value}_attention": Count("pk", filter=is_kind & attention) for kind, _, is_kind in KINDS
    }
    found = Mailbox.objects.filter(server_profile=profile).aggregate(**counts, **urgent)
    shares = [
        Share(kind, icon, found[f"{kind.value}_all"], found[f"{kind.value}_attention"])
        for kind, icon, _ in KINDS
    ]
    return Use(
        shares=shares,
        total=sum(share.total for share in shares),
        attention=sum(share.attention for share in shares),
        unconfirmed=unconfirmed(profile),
        circuit=ServerCircuit.objects.filter(profile=profile).first(),
    )
