"""What people do to records beside editing them: decide, switch on and off, apply the defaults, confirm, collect."""

from __future__ import annotations

from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from emailprofiles import history
from emailprofiles.models import AuthenticateUsing, EmailServerProfile

from .models import Approval, Direction, EmailConfigurationSettings, Mailbox, SyncState, User
from .standing import Office, first_unmet


def approve(mailbox: Mailbox, by: User) -> None:
    """Vouch for the address of a user or queue; raises ValidationError for a forward mailbox."""
    _decide(mailbox, Approval.APPROVED, by)


def reject(mailbox: Mailbox, by: User) -> None:
    """Refuse the address of a user or queue; raises ValidationError for a forward mailbox."""
    _decide(mailbox, Approval.REJECTED, by)


def _decide(mailbox: Mailbox, decision: Approval, by: User) -> None:
    mailbox.approval, mailbox.approval_by, mailbox.approval_at = decision, by, timezone.now()
    mailbox.check_rules_of("approval")
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
    states.update(next_run_at=None)


def deactivate(mailbox: Mailbox) -> None:
    """Nothing runs for this mailbox any more; what was collected stays."""
    mailbox.is_active = False
    mailbox.save(update_fields=["is_active"])


def apply_defaults(mailbox: Mailbox, by: User, *, credentials_to: int | None = None) -> list[str]:
    """Give it the default profile and methods, as a new mailbox gets them; returns the labels of what changed.

    Stored credentials go to another server than before only with `credentials_to`: the location version of the
    default profile that an administrator confirmed. Otherwise they stay, and wait for a confirmation. Raises
    ValidationError for a forward mailbox, and where a rule forbids the result.
    """
    if mailbox.is_forward_mailbox:
        raise ValidationError(
            "The default settings are those of users and queues: a forward mailbox keeps its own."
        )
    wanted = EmailConfigurationSettings.load().defaults_for(mailbox.kind, EmailServerProfile.default())
    changing = [name for name, value in wanted.items() if getattr(mailbox, name) != value]
    for name in changing:
        setattr(mailbox, name, wanted[name])
    if changing:
        mailbox.changed_by, mailbox.credentials_may_wait = by, True
        mailbox.full_clean()
        with transaction.atomic():
            mailbox.save(update_fields=[*changing, "changed_by"])
            _confirm_one(mailbox, credentials_to)
    return [str(Mailbox._meta.get_field(name).verbose_name) for name in changing]  # type: ignore[union-attr]


def _confirm_one(mailbox: Mailbox, location: int | None) -> None:
    profile = mailbox.server_profile  # as the save has locked it
    if waits_for_confirmation(mailbox) and profile is not None and profile.location_version == location:
        mailbox.credentials_location_version = location
        mailbox.save(update_fields=["credentials_location_version"])
        history.note(mailbox, credentials_confirmed=(1, servers_of(profile)))


def servers_of(profile: EmailServerProfile) -> str:
    """The hosts that credentials go to."""
    return ", ".join(dict.fromkeys(filter(None, (profile.incoming_host, profile.outgoing_host))))


def waits_for_confirmation(mailbox: Mailbox) -> bool:
    """Whether stored credentials may not go to the chosen server before an administrator confirms it."""
    profile = mailbox.server_profile
    if profile is None or profile.authenticate_using != AuthenticateUsing.MAILBOX:
        return False
    stored = mailbox.allow_credentials and bool(mailbox.password)
    return stored and mailbox.credentials_location_version != profile.location_version


def collect_now(mailbox: Mailbox) -> bool:
    """Make incoming mail due at once; False when this direction does not run."""
    running = SyncState.objects.running(
        Direction.INCOMING, approved=EmailConfigurationSettings.load().approved()
    )
    return running.filter(mailbox=mailbox).update(next_run_at=None) > 0


def send_now(mailbox: Mailbox) -> bool:
    """Let what waits in its outbox leave at once; False when this direction does not run."""
    running = SyncState.objects.running(
        Direction.OUTGOING, approved=EmailConfigurationSettings.load().approved()
    )
    return running.filter(mailbox=mailbox).update(next_run_at=None) > 0


def why_not_collected(mailbox: Mailbox) -> str:
    """What keeps incoming mail from being collected now, as a sentence."""
    need = first_unmet(mailbox, Direction.INCOMING, Office.read())
    return f"Not collected: {need.sentence if need else 'incoming email is not server-side'}."


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
        servers = servers_of(now)
        if mailboxes:
            history.note(now, credentials_confirmed=(len(mailboxes), servers))
            history.note_for_all(mailboxes, credentials_confirmed=(1, servers))
        return _unconfirmed(now).update(credentials_location_version=now.location_version)
