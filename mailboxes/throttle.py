"""How often a sign-in may fail: by user name and address, and by address alone on a looser scale.

Nobody can lock out somebody else from elsewhere, since a lock holds for the address it was earned at. User
names that exist and those that do not are counted alike. Counts lie in the database, in django-axes' table of
attempts, which loses what is over with every sign-in; nothing is written by anything but a sign-in.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from math import ceil
from typing import Any

from axes.backends import AxesStandaloneBackend
from axes.handlers.database import AxesDatabaseHandler
from axes.handlers.proxy import AxesProxyHandler
from axes.models import AccessAttempt
from django.conf import settings
from django.contrib.auth.backends import ModelBackend
from django.db.models import Max, QuerySet, Sum
from django.http import HttpRequest
from django.utils import timezone

from .models import User


class ThrottledBackend(AxesStandaloneBackend, ModelBackend):  # type: ignore[misc]
    """User name and password; while the door is closed neither is looked at."""

    def authenticate(
        self, request: Any, username: str | None = None, password: str | None = None, **others: Any
    ) -> User | None:
        """The user; None when they do not belong together; raises PermissionDenied when closed."""
        AxesStandaloneBackend.authenticate(self, request, username, password, **others)
        found = ModelBackend.authenticate(self, request, username, password, **others)
        return found if isinstance(found, User) else None


class SignInThrottle(AxesDatabaseHandler):  # type: ignore[misc]
    """django-axes' count of failures, to which those of an address under any user name are added."""

    def get_failures(self, request: Any, credentials: dict[str, Any] | None = None) -> int:
        """Failures of this user name at this address; or its share, when the address has more than its own."""
        by_name: int = super().get_failures(request, credentials)
        by_address = _failures(_attempts_from(request))
        share: int = by_address * settings.SIGN_IN_ATTEMPTS // settings.SIGN_IN_ATTEMPTS_PER_ADDRESS
        return max(by_name, share)

    def open_again_at(self, request: Any, credentials: dict[str, Any] | None) -> datetime:
        """When a lock ends for certain."""
        attempts = self.get_user_attempts(request, credentials)[0]
        if _failures(attempts) < settings.SIGN_IN_ATTEMPTS:
            attempts = _attempts_from(request)
        last = attempts.aggregate(last=Max("attempt_time"))["last"] or request.axes_attempt_time
        opens: datetime = last + settings.AXES_COOLOFF_TIME
        return opens


def _attempts_from(request: Any) -> QuerySet[Any]:
    attempts: QuerySet[Any] = AccessAttempt.objects.filter(
        ip_address=request.axes_ip_address,
        attempt_time__gte=request.axes_attempt_time - settings.AXES_COOLOFF_TIME,
    )
    return attempts if request.axes_ip_address else attempts.none()


def _failures(attempts: QuerySet[Any]) -> int:
    return attempts.aggregate(sum=Sum("failures_since_start"))["sum"] or 0


def minutes_to_wait(request: HttpRequest, credentials: dict[str, Any] | None) -> int:
    """In how many whole minutes a lock ends, at least one."""
    throttle: SignInThrottle = AxesProxyHandler.get_implementation()
    opens = throttle.open_again_at(request, credentials)
    return max(1, ceil((opens - timezone.now()) / timedelta(minutes=1)))


def who_tried(username: str, address: str, agent: str, path: str, request: HttpRequest) -> str:
    """How the log names an attempt: people type passwords into the field above, so never by user name."""
    return f"a sign-in from {address or 'an unknown address'}"
