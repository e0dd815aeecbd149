"""Messages as the engine would have stored them."""

import hashlib
from datetime import UTC, datetime
from email import message_from_bytes
from email.policy import SMTP

from mailboxes.models import Attachment, Body, Delivery, Mailbox, Message, MessageState, Original

RAW = (
    b"Return-Path: <beatriz@example.org>\r\nX-Original-To: support@contoso.com\r\n"
    b"Subject: =?utf-8?q?Zwei_Kartons_vertauscht?=\r\n\r\nHello\r\n"
)
CONTENT: dict[str, object] = {"raw": RAW, "text": "Hello\n\n> earlier words", "html": ""}
MONDAY = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)


def collected(mailbox: Mailbox, number: int = 1, **values: object) -> Message:
    """A message that was collected from this mailbox and reached nobody yet."""
    raw, text, html = (values.pop(name, usual) for name, usual in CONTENT.items())
    message = Message.objects.create(
        **{
            "mailbox": mailbox,
            "remote_id": str(number),
            "subject": "Zwei Kartons vertauscht",
            "sender": "beatriz@example.org",
            "sender_name": "Beatriz Moreno",
            "message_id": f"{number}@mx.example.org",
            "received_at": MONDAY,
            "size": len(RAW),
            "raw_sha256": hashlib.sha256(RAW).hexdigest(),
            "state": MessageState.RECEIVED,
        }
        | values
    )
    Original.objects.create(message=message, raw=raw)
    Body.objects.create(message=message, text=text, html=html)
    return message


def delivered(mailbox: Mailbox, to: Mailbox, number: int = 1, **values: object) -> Message:
    """A message that was collected from one mailbox and reached another."""
    message = collected(mailbox, number, **{"state": MessageState.DELIVERED} | values)
    Delivery.objects.create(
        message=message,
        mailbox=to,
        rule="redirected",
        header="X-Original-To",
        address=to.email_address,
        evidence=f"The X-Original-To header names {to.email_address}, the address of {to.name}.",
    )
    return message


def attached(message: Message, name: str, content_type: str, data: bytes, **values: object) -> Attachment:
    """A part of the raw message, and its row."""
    number = message.attachments.count() + 1
    whole = message_from_bytes(message.raw, policy=SMTP)
    cid = f"<{values['content_id']}>" if "content_id" in values else None
    whole.add_attachment(data, "application", "octet-stream", filename=name, cid=cid)
    message.original.raw = whole.as_bytes()
    message.original.save()
    return Attachment.objects.create(
        message=message, number=number, name=name, content_type=content_type, size=len(data), **values
    )
