"""The default profile of new mailboxes: at most one, always an active one, and it moves in one step."""

from __future__ import annotations

from django.db import transaction

from . import history
from .models import EmailServerProfile


def make_default(profile: EmailServerProfile | None) -> None:
    """Take the flag off whatever profile has it and give it to this one; None leaves no default.

    Raises ValidationError when the profile may not be the default.
    """
    with transaction.atomic():
        # All rows, always in the same order: two people who choose at once come one after the other.
        rows = list(
            EmailServerProfile.objects.select_for_update().order_by("pk").values_list("pk", "is_default")
        )
        chosen = profile.pk if profile else None
        former = [pk for pk, is_default in rows if is_default and pk != chosen]
        _flag(former, is_default=False)
        if profile is not None:
            profile.is_default = True
            profile.validate_constraints()
            _flag([pk for pk, is_default in rows if pk == chosen and not is_default], is_default=True)


def deactivate(profile: EmailServerProfile) -> None:
    """Nothing runs through it any more, and it is not the default any longer."""
    with transaction.atomic():
        rows = EmailServerProfile.objects.select_for_update().order_by("pk")
        if profile.pk in [pk for pk, is_default in rows.values_list("pk", "is_default") if is_default]:
            make_default(None)
        profile.is_default = profile.is_active = False
        profile.save(update_fields=["is_active"])


def activate(profile: EmailServerProfile) -> None:
    """Its mailboxes go on as far as their tests vouch for it."""
    profile.is_active = True
    profile.save(update_fields=["is_active"])


def _flag(keys: list[int], *, is_default: bool) -> None:
    profiles = EmailServerProfile.objects.filter(pk__in=keys)
    history.note_for_all(profiles.only("name"), is_default=(not is_default, is_default))
    profiles.update(is_default=is_default)
