"""Mail of the office itself, as a test receives it."""

from __future__ import annotations

from email import message_from_bytes, policy
from email.message import EmailMessage

from django.conf import LazySettings

from tests.servers import SmtpSink


def mail_through(sink: SmtpSink, settings: LazySettings) -> None:
    """As EMAIL_URL sets it up."""
    settings.EMAIL_URL = f"smtp://{sink.host}:{sink.port}"
    settings.EMAIL_BACKEND = "mailboxes.post.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT = sink.host, sink.port
    settings.EMAIL_TIMEOUT = 2
    settings.DEFAULT_FROM_EMAIL = "Sorting Office <office@contoso.com>"


def mails(sink: SmtpSink) -> list[EmailMessage]:
    return [message_from_bytes(mail.raw, policy=policy.default) for mail in sink.received]
