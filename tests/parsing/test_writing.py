"""A mail as bytes: what was typed in, and nothing that ends a header where it should not."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailboxes.parsing import parse
from mailboxes.writing import File, Letter, Person, chain, formatted, plain, shown, signed, written


def letter(**parts: object) -> Letter:
    return Letter(
        **{  # type: ignore[arg-type]
            "sender": Person("Amara Okafor", "amara@contoso.com"),
            "to": [Person("Boris", "boris@example.org")],
            "cc": [],
            "subject": "Angebot für Zürich",
            "text": "Guten Tag\n",
            "html": "",
            "files": [],
            "date": datetime(2026, 11, 30, 9, tzinfo=UTC),
            "message_id": "1@contoso.com",
        }
        | parts
    )


def names(raw: bytes) -> list[str]:
    return [header.name for header in parse(raw).headers]


def test_what_was_written_is_read_again() -> None:
    raw = written(
        letter(
            to=[Person("Müller, Jörg", "joerg@bücher.example"), Person("", "x@example.org")],
            cc=[Person('The "Boss"', "boss@example.org")],
            files=[File("Übersicht.pdf", "application/pdf", b"%PDF-1.7 data")],
            html="<p>Guten Tag</p>",
            in_reply_to="q@example.org",
            references=["p@example.org", "q@example.org"],
        )
    )
    found = parse(raw)
    assert found.defects == ()
    assert (found.subject, found.text.strip(), found.sender) == (
        "Angebot für Zürich",
        "Guten Tag",
        "amara@contoso.com",
    )
    assert found.to == ("joerg@xn--bcher-kva.example", "x@example.org")
    assert found.cc == ("boss@example.org",)
    assert found.message_id == "1@contoso.com"
    assert [one.name for one in found.attachments] == ["Übersicht.pdf"]
    assert found.attachments[0].data == b"%PDF-1.7 data"
    headers = {header.name: header.value for header in found.headers}
    assert headers["In-Reply-To"] == "<q@example.org>"
    assert headers["References"] == "<p@example.org> <q@example.org>"
    assert raw.isascii()
    assert raw.count(b"\n") == raw.count(b"\r\n")
    assert max(map(len, raw.split(b"\r\n"))) <= 998


ENCODED = "=?utf-8?q?x=0D=0ABcc:_victim@example.org=0D=0A=0D=0Abody?="


@pytest.mark.parametrize(
    "word", [ENCODED, f"{ENCODED} ü", f"a {ENCODED}", f"={ENCODED}", f"=?utf-8?q?{ENCODED}?="]
)
@pytest.mark.parametrize("place", ["subject", "sender", "to"])
def test_what_looks_encoded_is_not_decoded_into_headers(word: str, place: str) -> None:
    raw = written(letter(**{place: _at(place, word)}))
    assert b"\nBcc" not in raw
    assert "Bcc" not in names(raw)


def _at(place: str, word: str) -> object:
    whom = Person(word, "amara@contoso.com")
    return {"subject": word, "sender": whom, "to": [whom]}[place]


def test_an_address_that_looks_encoded_is_refused() -> None:
    with pytest.raises(ValueError, match="encoded"):
        written(letter(to=[Person("", "=?utf-8?q?x=0D=0ABcc=3A_a?=@example.org")]))


@pytest.mark.parametrize(
    "address", ["a,b@example.org", "a\x7f@example.org", "a@exa,mple.org", 'a"b@example.org', "(a)@b.org"]
)
def test_what_would_be_more_than_one_address_is_refused(address: str) -> None:
    with pytest.raises(ValueError, match="no address"):
        written(letter(to=[Person("", address)]))


def test_each_of_many_recipients_can_be_read_whatever_their_names() -> None:
    names = [
        "Ana Müller-Lüdenscheidt",
        "漢字 名前",
        "Müller, Jörg",
        "Åsa Öberg (Sales)",
        "Łukasz Żółć",
        "x" * 29,
        "Ana",
    ]
    people = [Person(names[n % 7], f"p{n}{'y' * (n % 21)}@example.org") for n in range(400)]
    found = parse(written(letter(to=people[:200], cc=people[200:])))
    assert [*found.to, *found.cc] == [one.address for one in people]


HOSTILE = "x\r\nBcc: victim@example.org\r\n\r\nbody"


@pytest.mark.parametrize(
    "parts",
    [
        {"subject": HOSTILE},
        {"sender": Person(HOSTILE, "amara@contoso.com")},
        {"to": [Person(HOSTILE, "boris@example.org")]},
        {"in_reply_to": HOSTILE},
        {"references": [HOSTILE, "a@b\r\nBcc: victim@example.org", "ok@example.org"]},
        {"files": [File(HOSTILE, f"text/plain\r\n{HOSTILE}", b"a")]},
        {"subject": "x\u2028Bcc: victim@example.org\x00\x0b\x0c\x85"},
    ],
)
def test_no_header_is_injected(parts: dict[str, object]) -> None:
    raw = written(letter(**parts))
    assert set(names(raw)) <= {
        "Date", "Message-ID", "From", "To", "Subject", "In-Reply-To", "References", "MIME-Version", "Content-Type",
        "Content-Transfer-Encoding",
    }  # fmt: skip
    assert b"\nBcc" not in raw


@given(subject=st.text(max_size=300), name=st.text(max_size=80), text=st.text(max_size=300))
def test_whatever_is_typed_makes_one_readable_mail(subject: str, name: str, text: str) -> None:
    raw = written(letter(subject=subject, sender=Person(name, "amara@contoso.com"), text=text))
    assert names(raw).count("Subject") == 1
    assert names(raw).count("From") == 1
    found = parse(raw)
    assert found.sender == "amara@contoso.com"
    assert found.text.strip().strip("\ufeff") == plain(text).strip().strip("\ufeff")


def test_an_address_beyond_ascii_makes_a_utf8_header() -> None:
    raw = written(letter(to=[Person("", "ünal@example.org")]))
    assert "ünal@example.org".encode() in raw


@pytest.mark.parametrize("address", ["no address", "a@b@c\r\nx", "", "@", "a b@example.org"])
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises((ValueError, IndexError)):
        written(letter(to=[Person("", address)]))


def test_references_keep_the_first_and_the_latest() -> None:
    ids = [f"{n}@example.org" for n in range(40)]
    assert chain(["bad id", *ids]) == [ids[0], *ids[21:]]
    raw = written(letter(references=ids))
    assert max(map(len, raw.split(b"\r\n"))) <= 998


SIGNATURE = "Amara\nContoso"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Hello", "Hello\n\n-- \nAmara\nContoso\n"),
        (
            "Hello\n\nOn 1 Dec, Boris wrote:\n> Hi\n>\n> there\n",
            "Hello\n\n-- \nAmara\nContoso\n\nOn 1 Dec, Boris wrote:\n> Hi\n>\n> there\n",
        ),
        (
            "On 1 Dec, Boris wrote:\n> Hi\nMy answer",
            "On 1 Dec, Boris wrote:\n> Hi\nMy answer\n\n-- \nAmara\nContoso\n",
        ),
    ],
)
def test_the_signature_stands_above_what_is_quoted_at_the_end(text: str, expected: str) -> None:
    assert signed(text, SIGNATURE) == expected
    assert signed(text, " ") == text


def test_plain_text_as_html_is_no_markup() -> None:
    html = formatted("<script>alert(1)</script> & https://example.org/?a=1&b=2\n> quoted <b>\n")
    assert "<script" not in html
    assert '<a href="https://example.org/?a=1&amp;b=2">' in html
    assert "<blockquote>quoted &lt;b&gt;</blockquote>" in html


@pytest.mark.parametrize("name", ["", "Amara", "Müller, Jörg", 'The "Boss" \\', "a@b", "x <y@z.example>"])
def test_a_person_is_shown_as_it_is_typed(name: str) -> None:
    from mailboxes.addresslist import addresses

    (found,) = addresses(shown(Person(name, "p@example.org")))
    assert (found.name, found.address) == (name, "p@example.org")
