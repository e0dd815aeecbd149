"""Sessions in our own table, so that a person sees where they are signed in, and can end it (SESSION_ENGINE).

A session is stored when what it keeps has changed, as always. That it was seen is noted every few minutes, by
an UPDATE of its own that touches nothing else, so pages do not write with each request.
"""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any, cast

from django.contrib.auth import SESSION_KEY
from django.contrib.sessions import middleware
from django.contrib.sessions.backends.db import SessionStore as DatabaseStore
from django.db import OperationalError
from django.http import HttpRequest, HttpResponse
from django.utils import timezone

from .client import client_address
from .models import Session

SEEN_EVERY = timedelta(minutes=5)


class SessionStore(DatabaseStore):
    """Django's, which also knows whose session it is and where the browser stands."""

    address: str | None = None
    user_agent: str = ""
    seen_at: datetime | None = None

    @classmethod
    def get_model_class(cls) -> type[Session]:
        return Session

    def create_model_instance(self, data: dict[str, Any]) -> Session:
        session = cast(Session, super().create_model_instance(data))
        session.user_id = int(data[SESSION_KEY]) if SESSION_KEY in data else None
        session.address, session.user_agent = self.address, self.user_agent
        return session

    def _get_session_from_db(self) -> Session | None:
        found: Session | None = super()._get_session_from_db()  # type: ignore[misc]
        self.seen_at = found.seen_at if found else None
        return found

    def note_seen(self) -> None:
        """Write down that this session is in use, and from where, unless that was done a moment ago."""
        now = timezone.now()
        if self.seen_at is None or self.seen_at > now - SEEN_EVERY or not self.session_key:
            return
        stale = Session.objects.filter(session_key=self.session_key, seen_at__lte=now - SEEN_EVERY)
        # When somebody else is writing to SQLite, no page fails for this: the next one notes it.
        with suppress(OperationalError):
            stale.update(seen_at=now, address=self.address, user_agent=self.user_agent)


class SessionMiddleware(middleware.SessionMiddleware):
    """Django's, which tells the store where the request comes from."""

    def process_request(self, request: HttpRequest) -> None:
        super().process_request(request)
        store = cast(SessionStore, request.session)
        store.address = client_address(request)
        store.user_agent = request.headers.get("User-Agent", "")[:300]

    def process_response(self, request: HttpRequest, response: HttpResponse) -> HttpResponse:
        answer = super().process_response(request, response)
        cast(SessionStore, request.session).note_seen()
        return answer
