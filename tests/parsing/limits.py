"""What holds for the reading of every message, whatever its bytes: asked by the mutations and by the fuzzer."""

from __future__ import annotations

from mailboxes import mime
from mailboxes.addresslist import MAX_ADDRESS_LENGTH, MAX_ADDRESSES
from mailboxes.parsing import MAX_ATTACHMENTS, MAX_FILE_NAME, MAX_HTML, MAX_TEXT, Attachment, Parsed, _parse


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
    for attachment in parsed.attachments:
        is_harmless(attachment)
    if parsed.forwarded:
        assert parsed.forwarded.forwarded is None
        hold(parsed.forwarded)


def is_harmless(attachment: Attachment) -> None:
    assert 0 < len(attachment.name) <= MAX_FILE_NAME
    assert not set(attachment.name) & set('/\\<>:"|?*')
    assert attachment.name.isprintable()
    assert len(attachment.content_type) <= 255
    assert len(attachment.content_id) <= 255


def texts_of(parsed: Parsed) -> list[str]:
    texts = [parsed.message_id, parsed.subject, parsed.sender, parsed.sender_name, parsed.recipients_text]
    texts += [parsed.text, parsed.html, *parsed.to, *parsed.cc, *parsed.defects]
    for header in parsed.headers:
        texts += [header.name, header.value, header.encoded]
    for attachment in parsed.attachments:
        texts += [attachment.name, attachment.content_type, attachment.content_id]
    return texts
