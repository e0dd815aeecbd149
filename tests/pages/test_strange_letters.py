"""What strangers put into subjects, names and file names does no harm on the pages that show it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from django.test import Client
from django.urls import reverse

from mailboxes.models import Message
from mailboxes.parsing import parse
from mailboxes.sync.ingest import content
from tests.conftest import Office
from tests.pages.letters import attached, delivered
from tests.parsing.test_corpus import CORPUS

OVERRIDE = "\u202e"
SHOWN = [
    path
    for path in CORPUS
    if re.match(
        r"header-(bidi|control|nul|subject-one|bare)|address-name-with|html-(with-nul|script|data)|"
        r"file-name-(bidi|html|of-a)|whole-(empty|binary|utf-16-le|one-nul)",
        path.stem,
    )
]


def shown(office: Office, raw: bytes) -> Message:
    """The message as the line would have stored it."""
    parsed = parse(raw)
    message = delivered(
        office.collection,
        office.support.mailbox,
        raw=raw,
        text=parsed.text,
        html=parsed.html,
        **content(parsed),
    )
    for part in parsed.attachments:
        attached(message, part.name, part.content_type, part.data, content_id=part.content_id)
    return message


@pytest.mark.parametrize("path", SHOWN, ids=lambda path: path.stem)
def test_every_oddity_has_its_pages(path: Path, office: Office, amaras: Client) -> None:
    message = shown(office, path.read_bytes())
    for name, args in (("message-list", []), ("message", [message.pk]), ("message-html", [message.pk])):
        response = amaras.get(reverse(name, args=args))
        page = response.content.decode()
        assert response.status_code == 200
        assert not re.search("[\x00-\x08\x0e-\x1f]", page) or "whole-binary" in str(path)
        assert "<script>alert" not in page
        assert not re.search(r"<[^>]*\bon(error|click)=", page)


def test_an_override_ends_with_the_words_it_stands_in(office: Office, amaras: Client) -> None:
    raw = f"From: {OVERRIDE}oec <mallory@evil.example>\r\nSubject: Invoice {OVERRIDE}fdp.exe\r\n\r\nHi\r\n"
    message = shown(office, raw.encode())
    for page in (
        amaras.get(reverse("message-list")).content.decode(),
        amaras.get(reverse("message", args=[message.pk])).content.decode(),
    ):
        assert f"<bdi>Invoice {OVERRIDE}fdp.exe</bdi>" in page
        assert f"<bdi>{OVERRIDE}oec</bdi>" in page
        assert re.search(r"<bdi>(&lt;)?mallory@evil\.example(&gt;)?</bdi>", page)


def test_a_very_long_word_is_cut_in_the_list(office: Office, amaras: Client) -> None:
    shown(
        office, b"From: " + b"n" * 5000 + b" <n@example.org>\r\nSubject: " + b"w" * 20_000 + b"\r\n\r\nHi\r\n"
    )
    page = amaras.get(reverse("message-list")).content.decode()
    assert "w" * 119 + "…" in page
    assert "w" * 121 not in page
    assert "n" * 201 not in page
