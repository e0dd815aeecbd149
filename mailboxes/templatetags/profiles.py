"""What the pages of email server profiles say about mailboxes, which a profile itself knows nothing of."""

from __future__ import annotations

from django import template
from django.template import Context

from emailprofiles.models import EmailServerProfile

from ..profile_use import Counts, Use, counted, use_of
from ..standing import Office

register = template.Library()


@register.simple_tag(takes_context=True)
def profile_use(context: Context, profile: EmailServerProfile) -> Use:
    """Who uses a profile and how they fare; read once for all blocks of a page."""
    known, name = context.render_context, f"use of profile {profile.pk}"
    if name not in known:
        known[name] = use_of(profile)
    use: Use = known[name]
    return use


@register.simple_tag
def with_counts(profiles: list[EmailServerProfile]) -> list[tuple[EmailServerProfile, Counts]]:
    """The profiles of a list, each with the counts of its mailboxes."""
    counts = counted(profiles, Office.read())
    return [(profile, counts[profile.pk]) for profile in profiles]
