"""Mail of the office itself: one-time links, and word of what was done to somebody's sign-in (EMAIL_URL).

It leaves in a thread of its own. Who asked waits only until the mail server has answered, for a few seconds
at most; what is written to whom is decided afterwards, so that neither the answer nor its time tells whether
an address belongs to somebody.
"""

from __future__ import annotations

import logging
import ssl
import threading
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as TookTooLong
from contextlib import suppress
from functools import cached_property

from django.conf import settings
from django.core import mail
from django.core.mail.backends import smtp
from django.db import connections
from django.http import HttpRequest

SECONDS_TO_REACH = 15
HEADERS = {"Auto-Submitted": "auto-generated"}  # RFC 3834: nobody answers it by machine

log = logging.getLogger(__name__)


class EmailBackend(smtp.EmailBackend):
    """Django's, which verifies the certificate also against the private authority of TLS_CA_FILE."""

    @cached_property
    def ssl_context(self) -> ssl.SSLContext:
        context = ssl.create_default_context()
        if settings.TLS_CA_FILE:
            context.load_verify_locations(settings.TLS_CA_FILE)
        return context


class Dispatch(threading.Thread):
    """Reaches the mail server, then has `compose` say what to send, if anything."""

    def __init__(self, compose: Callable[[], mail.EmailMessage | None]) -> None:
        super().__init__(name="post", daemon=True)
        self.compose = compose
        self.reached: Future[bool] = Future()

    def run(self) -> None:
        try:
            self._dispatch()
        except OSError as error:  # of the network, or what the server said: smtplib's errors are among them
            log.error("A mail of the office could not be sent: %s", error)
        except Exception:  # in a thread of its own nobody else would hear of it
            log.exception("A mail of the office could not be sent")
        finally:
            connections.close_all()
            if not self.reached.done():
                self.reached.set_result(False)

    def _dispatch(self) -> None:
        line = mail.get_connection()
        line.open()
        self.reached.set_result(True)
        try:
            message = self.compose()
            if message is not None:
                line.send_messages([message])
        finally:
            line.close()


def dispatch(compose: Callable[[], mail.EmailMessage | None]) -> bool:
    """Send what `compose` returns; False when the mail server could not be reached, which the log explains."""
    sending = Dispatch(compose)
    sending.start()
    with suppress(TookTooLong):
        return sending.reached.result(SECONDS_TO_REACH)
    log.error("The mail server of EMAIL_URL did not answer within %s seconds", SECONDS_TO_REACH)
    return False


def letter(to: str, subject: str, *paragraphs: str) -> mail.EmailMessage:
    """A plain letter of the office."""
    return mail.EmailMessage(subject, "\n\n".join(paragraphs) + "\n", to=[to], headers=HEADERS)


def is_set_up() -> bool:
    """Whether the office can send mail of its own."""
    return bool(settings.EMAIL_URL)


def site(request: HttpRequest) -> str:
    """The beginning of links in mails: SITE_URL, else the name this page was asked under.

    A name that ALLOWED_HOSTS does not list has been refused by now, and the check E006 demands SITE_URL where
    that setting allows any name, so nobody has us mail a link to a host of theirs.
    """
    return settings.SITE_URL or request.build_absolute_uri("/").removesuffix("/")
