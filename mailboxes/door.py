"""What is done to somebody's sign-in: a one-time link, a new password, all sessions ended.

Nobody takes over an account silently: what an administrator does is written down, is told to the person at
the next sign-in, stands on their page for a year, goes to the log, and to their address where mail is set up.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from django.apps import apps
from django.conf import settings
from django.contrib import messages
from django.core.mail import EmailMessage
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.html import format_html

from . import post
from .access import person
from .models import SignInEvent, SignInEventKind, SignInLink, User
from .sessions import SessionStore

# allauth's model, which is there only where the extra is used.
_FACTORS: str = ".".join(("mfa", "Authenticator"))

log = logging.getLogger(__name__)


def welcome(request: HttpRequest) -> None:
    """Somebody has just come in: say what others did to their sign-in; sessions that are over go."""
    SessionStore.clear_expired()
    for event in SignInEvent.untold(person(request)):
        when = date_format(timezone.localtime(event.at), "j M Y, H:i")
        link = format_html('<a href="{}">Your sign-in</a>', reverse("sessions"))
        sentence = "{}: {} If you did not expect this, ask your administrators. {}"
        messages.warning(request, format_html(sentence, when, event.sentence, link))


def make_link(user: User, by: User) -> str:
    """A one-time link for this person, made by an administrator; returns its token, which nothing else holds."""
    with transaction.atomic():
        token = SignInLink.issue(user, by)
        event = SignInEvent.record(user, SignInEventKind.LINK_MADE, by)
    _tell(user, event)
    return token


def end_sessions(user: User, by: User) -> int:
    """End all sessions of this person; returns how many there were."""
    with transaction.atomic():
        ended = user.sessions.filter(expire_date__gt=timezone.now()).count()
        user.sessions.all().delete()
        event = SignInEvent.record(user, SignInEventKind.SESSIONS_ENDED, by)
    _tell(user, event)
    return ended


def note_new_password(user: User, by: User) -> None:
    """A password was stored, by the person or by an administrator."""
    own = by.pk == user.pk
    kind = SignInEventKind.PASSWORD_CHANGED if own else SignInEventKind.PASSWORD_SET
    event = SignInEvent.record(user, kind, by)
    if not own:
        _tell(user, event)


def note_second_factor(user: User, kind: SignInEventKind) -> None:
    """The person set up or removed the second factor, or made new recovery codes."""
    _tell(user, SignInEvent.record(user, kind, user))


def has_second_factor(user: User) -> bool:
    """Whether the sign-in of this person asks for a code."""
    return settings.SIGN_IN_WITH == "allauth" and _factors(user).exists()


def remove_second_factor(user: User, by: User) -> bool:
    """For who has lost the app and the recovery codes; False when there was none."""
    with transaction.atomic():
        if not _factors(user).delete()[0]:
            return False
        event = SignInEvent.record(user, SignInEventKind.FACTOR_TAKEN, by)
    _tell(user, event)
    return True


def _factors(user: User) -> QuerySet[Any]:
    """The app's secret and the recovery codes of a person, as allauth keeps them."""
    factors: QuerySet[Any] = apps.get_model(_FACTORS)._default_manager.filter(user=user)
    return factors


def _tell(user: User, event: SignInEvent) -> None:
    log.warning("%s: %s", user.get_username(), event.sentence)
    if not post.is_set_up():
        return
    letter = post.letter(
        user.email,
        "Something changed about your sign-in at Sorting Office",
        f"{event.sentence} This concerns the user name {user.get_username()}.",
        "If you did not expect this, ask the administrators of your installation.",
    )
    post.Dispatch(lambda: letter).start()


def link_asked_for(address: str, link: Callable[[str], str]) -> EmailMessage | None:
    """The mail with a one-time link for whoever has this address; None for nobody.

    A person whose last mail was sent moments ago gets no second one: the link in that one still works.
    """
    user = User.objects.filter(email__iexact=address, is_active=True).first()
    if user is None or SignInLink.fresh(user):
        return None
    with transaction.atomic():
        token = SignInLink.issue(user)
        SignInEvent.record(user, SignInEventKind.LINK_MAILED, None)
    return post.letter(
        user.email,
        "Choose a new password for Sorting Office",
        f"Somebody, probably you, asked for a new password for the user name {user.get_username()}.",
        f"Choose it here within {SignInLink.minutes()} minutes; the link works once:\n{link(token)}",
        "If it was not you, there is nothing to do: your password stays as it is.",
    )
