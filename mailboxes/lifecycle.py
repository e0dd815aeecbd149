"""What people do to records beside editing them: approve, reject, activate, deactivate, confirm, collect."""

from __future__ import annotations

from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from emailprofiles import history
from emailprofiles.models import AuthenticateUsing, EmailServerProfile

from .models import Approval, Direction, EmailConfigurationSettings, Mailbox, SyncState, User


def approve(mailbox: Mailbox, by: User) -> None:
    """Vouch for the address of a user or queue; raises ValidationError for a forward mailbox."""
    _decide(mailbox, Approval.APPROVED, by)


def reject(mailbox: Mailbox, by: User) -> None:
    """Refuse the address of a user or queue; raises ValidationError for a forward mailbox."""
    _decide(mailbox, Approval.REJECTED, by)


def _decide(mailbox: Mailbox, decision: Approval, by: User) -> None:
    mailbox.approval, mailbox.approval_by, mailbox.approval_at = decision, by, timezone.now()
    mailbox.validate_constraints()
    mailbox.save(update_fields=["approval", "approval_by", "approval_at"])
    _look_again_at_what_waits_for(mailbox)


def activate(mailbox: Mailbox) -> None:
    """Raises ValidationError when its user or queue is inactive, or the address is taken meanwhile."""
    mailbox.is_active = True
    mailbox.full_clean()
    mailbox.save(update_fields=["is_active"])
    _look_again_at_what_waits_for(mailbox)


def _look_again_at_what_waits_for(mailbox: Mailbox) -> None:
    """Messages in quarantine for this mailbox are tried by the next pass of where they were collected."""
    collectors = mailbox.awaited_messages.values("mailbox")
    states = SyncState.objects.filter(mailbox__in=collectors, direction=Direction.INCOMING, failures=0)
    states.update(next_run_at=timezone.now())


def deactivate(mailbox: Mailbox) -> None:
    """Nothing runs for this mailbox any more; what was collected stays."""
    mailbox.is_active = False
    mailbox.save(update_fields=["is_active"])


def collect_now(mailbox: Mailbox) -> bool:
    """Make incoming mail due at once; False when this direction does not run."""
    running = SyncState.objects.running(
        Direction.INCOMING, approved=EmailConfigurationSettings.load().approved()
    )
    return running.filter(mailbox=mailbox).update(next_run_at=timezone.now()) > 0


def unconfirmed(profile: EmailServerProfile) -> int:
    """How many mailboxes' stored credentials wait for a confirmation before they go to this server."""
    return _unconfirmed(profile).count() if profile.authenticate_using == AuthenticateUsing.MAILBOX else 0


def _unconfirmed(profile: EmailServerProfile) -> QuerySet[Mailbox]:
    stored = Mailbox.objects.filter(server_profile=profile, allow_credentials=True).exclude(password="")
    return stored.exclude(credentials_location_version=profile.location_version)


def confirm_credentials(profile: EmailServerProfile, by: User) -> int:
    """An administrator lets stored credentials go to the changed server; returns the number of mailboxes.

    Raises ValidationError when the location changed once more since the page was shown.
    """
    with transaction.atomic():
        now = EmailServerProfile.objects.select_for_update().get(pk=profile.pk)
        if now.location_version != profile.location_version:
            raise ValidationError("The server location changed meanwhile: look at it and confirm again.")
        mailboxes = list(_unconfirmed(now).only("name"))
        servers = ", ".join(dict.fromkeys(filter(None, (now.incoming_host, now.outgoing_host))))
        if mailboxes:
            history.note(now, credentials_confirmed=(len(mailboxes), servers))
            history.note_for_all(mailboxes, credentials_confirmed=(1, servers))
        return _unconfirmed(now).update(credentials_location_version=now.location_version)
