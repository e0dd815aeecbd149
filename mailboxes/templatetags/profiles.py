"""What the pages of email server profiles say about mailboxes, which a profile itself knows nothing of."""

from __future__ import annotations

from django import template

from emailprofiles.models import EmailServerProfile

from ..profile_use import Counts, Use, counted, use_of
from ..standing import Office

register = template.Library()


@register.simple_tag
def profile_use(profile: EmailServerProfile) -> Use:
    """Who uses a profile and how they fare, in a constant number of queries."""
    return use_of(profile)


@register.simple_tag
def with_counts(profiles: list[EmailServerProfile]) -> list[tuple[EmailServerProfile, Counts]]:
    """The profiles of a list, each with the counts of its mailboxes."""
    counts = counted(profiles, Office.read())
    return [(profile, counts[profile.pk]) for profile in profiles]
