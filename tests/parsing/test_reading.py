"""What the child answers is what was read; and what it reads in haste is what it would read at leisure."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailboxes import mime
from mailboxes.parsing import Parsed, parse
from mailboxes.reading import ask_for_words, describe, load_words, loads, words
from tests.benchmarks import corpus
from tests.parsing.test_corpus import CORPUS


def described(parsed: Parsed) -> Parsed:
    """Without what nobody needs before somebody looks."""
    return replace(
        parsed,
        text="",
        html="",
        attachments=tuple(replace(one, data=b"") for one in parsed.attachments),
        forwarded=described(parsed.forwarded) if parsed.forwarded else None,
    )


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.stem)
def test_an_answer_says_what_was_read(path: Path) -> None:
    raw = path.read_bytes()
    parsed = parse(raw)
    assert loads(describe(raw)) == described(parsed)
    assert load_words(words(ask_for_words(raw, forwarded=False))) == (parsed.text, parsed.html)
    inner = parsed.forwarded or Parsed()
    assert load_words(words(ask_for_words(raw, forwarded=True))) == (inner.text, inner.html)


def test_a_text_that_had_to_be_cut_is_told_before_anybody_looks() -> None:
    raw = b"Subject: long\n\n" + b"x" * 1_000_001
    assert loads(describe(raw)).defects == ("the text is over 1 MB and was cut",)


@pytest.mark.parametrize("answer", [b"", b"[]", b"{}", b"null", b"[1,2,3]", b'"x"', b"\xff", b"[" * 100_000])
def test_an_answer_that_means_nothing_is_an_error(answer: bytes) -> None:
    with pytest.raises(ValueError, match=r"\S"):
        loads(answer)


LINES = st.sampled_from(
    [
        b"Subject: Hello",
        b"From:  Amara <amara@contoso.com> ",
        b"X-Empty:",
        b"X-Space :  a",
        b"X-Tab\t: a\tb",
        b" folded",
        b"\tfolded\t",
        b"   ",
        b"no field at all",
        b": nameless",
        b"To: =?utf-8?q?=C3=BC?= <x@example.org>",
        b"X-8bit: \xc3\xbc",
        b"X-Control: a\x0bb\x1cc",
        b"X-CR: a\rb",
        b"X-Nul: \x00",
        b"\xff: x",
    ]
)
ENDS = st.sampled_from([b"\n", b"\r\n", b"\r\r\n"])


@given(st.lists(st.tuples(LINES, ENDS), max_size=8), st.booleans())
def test_a_plain_header_reads_as_any_other(lines: list[tuple[bytes, bytes]], is_whole: bool) -> None:
    block = b"".join(line + end for line, end in lines)
    if not is_whole:
        block = block.rstrip(b"\r\n")
    plain = mime._plain_fields(block)
    if plain is not None:
        fields, _ = mime._any_fields(block, 0, len(block), len(block), pytest.fail)
        assert [(name, mime.readable(value)) for name, value in fields] == plain


def test_nearly_every_header_is_plain() -> None:
    letters = list(corpus.letters(200))
    ends = [mime._header_end(raw, 0, len(raw))[0] for raw in letters]
    plain = [mime._plain_fields(raw[:end]) for raw, end in zip(letters, ends, strict=True)]
    assert sum(fields is not None for fields in plain) > 190
