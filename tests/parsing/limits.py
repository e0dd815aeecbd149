"""What holds for the reading of every message, whatever its bytes: asked by the mutations and by the fuzzer."""

from __future__ import annotations

from mailboxes import mime
from mailboxes.addresslist import MAX_ADDRESS_LENGTH, MAX_ADDRESSES
from mailboxes.answers import (
    MAX_ANSWERED,
    MAX_ENVELOPE_ID,
    MAX_ID,
    MAX_SAID,
    MAX_STATUSES,
    MAX_TOKENS,
    Report,
    answered,
    is_automatic,
    reported,
    tokens,
)
from mailboxes.parsing import (
    MAX_ATTACHMENTS,
    MAX_FILE_NAME,
    MAX_HTML,
    MAX_REPORT,
    MAX_RETURNED,
    MAX_TEXT,
    Attachment,
    Parsed,
    _parse,
)


def read(raw: bytes) -> Parsed:
    """As `parse` does, without its net; every limit is looked at, and that a second reading is the same."""
    kept = bytes(bytearray(raw))
    parsed = _parse(raw, with_forwarded=True)
    assert raw == kept
    hold(parsed)
    assert _parse(kept, with_forwarded=True) == parsed
    return parsed


def hold(parsed: Parsed) -> None:
    """Within the limits, and as every database takes it."""
    for text in texts_of(parsed):
        assert "\0" not in text
        text.encode("utf-8")
    for line in (parsed.subject, parsed.sender_name, parsed.message_id, *(h.value for h in parsed.headers)):
        assert "\n" not in line
        assert "\r" not in line
    assert len(parsed.message_id) <= 998
    assert len(parsed.text) <= MAX_TEXT
    assert len(parsed.html) <= MAX_HTML
    assert len(parsed.attachments) <= MAX_ATTACHMENTS
    assert sum(min(len(h.value), mime.MAX_SHOWN_FIELD) for h in parsed.headers) <= 4 * mime.MAX_HEADER
    assert len(parsed.body_digest) == 64
    for addresses in (parsed.to, parsed.cc, (parsed.sender,)):
        assert len(addresses) <= MAX_ADDRESSES
        assert all(len(address) <= MAX_ADDRESS_LENGTH for address in addresses)
    assert len(parsed.report) <= MAX_REPORT
    assert len(parsed.returned) <= MAX_RETURNED
    says_little(parsed)
    for attachment in parsed.attachments:
        is_harmless(attachment)
    if parsed.forwarded:
        assert parsed.forwarded.forwarded is None
        hold(parsed.forwarded)


def says_little(parsed: Parsed) -> None:
    """What is read as the answer to a mail of ours is bounded, and stands on one line."""
    found, known = answered(parsed), tokens(parsed)
    assert len(found) <= MAX_ANSWERED
    assert all(0 < len(one) <= MAX_ID for one in found)
    assert len(known) <= MAX_TOKENS
    assert all(len(one) == 20 and one.isascii() and one == one.lower() for one in known)
    assert len(is_automatic(parsed)) <= 200
    report = reported(parsed)
    assert (report is not None) == bool(parsed.report or parsed.returned)
    if report:
        reports_little(report)


def reports_little(report: Report) -> None:
    assert len(report.envelope_id) <= MAX_ENVELOPE_ID
    assert len(report.message_id) <= MAX_ID
    assert len(report.statuses) <= MAX_STATUSES
    for status in report.statuses:
        assert len(status.recipient) <= MAX_ADDRESS_LENGTH
        assert len(status.said) <= MAX_SAID
        assert len(status.status) <= 9
    for line in (report.envelope_id, *(status.said for status in report.statuses)):
        assert not line or line.isprintable()


def is_harmless(attachment: Attachment) -> None:
    assert 0 < len(attachment.name) <= MAX_FILE_NAME
    assert not set(attachment.name) & set('/\\<>:"|?*')
    assert attachment.name.isprintable()
    assert len(attachment.content_type) <= 255
    assert len(attachment.content_id) <= 255


def texts_of(parsed: Parsed) -> list[str]:
    texts = [parsed.message_id, parsed.subject, parsed.sender, parsed.sender_name, parsed.recipients_text]
    texts += [
        parsed.text,
        parsed.html,
        parsed.report,
        parsed.returned,
        *parsed.to,
        *parsed.cc,
        *parsed.defects,
    ]
    for header in parsed.headers:
        texts += [header.name, header.value, header.encoded]
    for attachment in parsed.attachments:
        texts += [attachment.name, attachment.content_type, attachment.content_id]
    return texts
