"""Mail as it should not be, one oddity a file, and what a person should read of it.

`corpus/*.eml` are our own; the octets count, the line ends too. `golden/*.json` says what is to be read, each
reviewed by a person. After a change that is meant, `REWRITE_GOLDEN=1 pytest tests/parsing/test_corpus.py` writes
them anew, and the difference is reviewed like code.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from mailboxes.parsing import Attachment, Parsed, _parse

CORPUS = sorted((Path(__file__).parent / "corpus").glob("*.eml"))
GOLDEN = Path(__file__).parent / "golden"
SHOWN = 300


def told(parsed: Parsed) -> dict[str, Any]:
    """What a person reads of it; what is empty is left out."""
    everything = {
        "message_id": parsed.message_id[:SHOWN],
        "subject": parsed.subject[:SHOWN],
        "sender": parsed.sender,
        "sender_name": parsed.sender_name,
        "to": list(parsed.to),
        "cc": list(parsed.cc),
        "recipients": parsed.recipients_text[:SHOWN],
        "date": parsed.sent_at.isoformat() if parsed.sent_at else "",
        "headers": sorted({header.name for header in parsed.headers}),
        "text": parsed.text[:SHOWN],
        "html": parsed.html[:SHOWN],
        "attachments": [file_told(attachment) for attachment in parsed.attachments],
        "forwarded": told(parsed.forwarded) if parsed.forwarded else {},
        "report": parsed.report[:SHOWN],
        "returned": parsed.returned[:SHOWN],
        "defects": list(parsed.defects),
    }
    return {key: value for key, value in everything.items() if value}


def file_told(attachment: Attachment) -> str:
    place = f" inline <{attachment.content_id}>" if attachment.is_inline else ""
    return f"{attachment.name} ({attachment.content_type}, {len(attachment.data)} octets){place}"


def as_json(found: dict[str, Any]) -> str:
    """For the eye: letters as they are, what is invisible as its number."""
    written = json.dumps(found, ensure_ascii=False, indent=1) + "\n"
    return "".join(c if c == "\n" or c.isprintable() else f"\\u{ord(c):04x}" for c in written)


def test_the_corpus_is_whole() -> None:
    assert len(CORPUS) >= 150
    assert {path.stem for path in CORPUS} == {path.stem for path in GOLDEN.glob("*.json")}


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.stem)
def test_a_person_can_read_it(path: Path) -> None:
    found = told(_parse(path.read_bytes(), with_forwarded=True))
    golden = GOLDEN / f"{path.stem}.json"
    if os.environ.get("REWRITE_GOLDEN"):
        golden.write_text(as_json(found), encoding="utf-8")
    assert found == json.loads(golden.read_text(encoding="utf-8"))
