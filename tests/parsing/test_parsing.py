"""Reading ordinary mail, and what is broken in ordinary ways."""

import hashlib
from datetime import UTC, datetime
from email.message import EmailMessage
from email.policy import SMTP

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailboxes import mime
from mailboxes.parsing import MAX_FILE_NAME, Header, Parsed, file_name, parse

LETTERS = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Co", "Cn", "Zl", "Zp"]), max_size=80
)


def lines(*written: str | bytes) -> bytes:
    encoded = (line.encode() if isinstance(line, str) else line for line in written)
    return b"\r\n".join(encoded) + b"\r\n"


def letter(
    *, subject: str = "Plan", text: str = "Hello", sender: str = "Ben <ben@fabrikam.com>"
) -> EmailMessage:
    message = EmailMessage(policy=SMTP)
    message["From"] = sender
    message["To"] = "Amara Okafor <amara@Contoso.com>, support@contoso.com"
    message["Cc"] = "Chidi <chidi@contoso.com>"
    message["Date"] = "Mon, 01 Jan 2024 10:00:00 +0100"
    message["Subject"] = subject
    message["Message-ID"] = "<plan.1@fabrikam.com>"
    message.set_content(text)
    return message


def test_an_ordinary_message() -> None:
    message = letter(subject="Bürozeiten", text="Ist das Büro offen?\n")
    message.add_alternative("<p>Ist das Büro offen?</p>", subtype="html")
    message.add_attachment(b"%PDF", maintype="application", subtype="pdf", filename="Übersicht.pdf")
    parsed = parse(bytes(message))
    assert parsed.message_id == "plan.1@fabrikam.com"
    assert parsed.subject == "Bürozeiten"
    assert (parsed.sender, parsed.sender_name) == ("ben@fabrikam.com", "Ben")
    assert parsed.to == ("amara@contoso.com", "support@contoso.com")
    assert parsed.cc == ("chidi@contoso.com",)
    assert parsed.sent_at == datetime(2024, 1, 1, 9, tzinfo=UTC)
    assert parsed.text == "Ist das Büro offen?\n"
    assert parsed.html == "<p>Ist das Büro offen?</p>\n"
    (attachment,) = parsed.attachments
    assert (attachment.name, attachment.content_type) == ("Übersicht.pdf", "application/pdf")
    assert (attachment.data, attachment.is_inline) == (b"%PDF", False)
    assert parsed.forwarded is None
    assert parsed.defects == ()


def test_headers_stand_in_order_unfolded_and_decoded() -> None:
    parsed = parse(
        lines(
            "Delivered-To: forwardmailbox@contoso.com",
            "Received: from a",
            "\tby b; Mon, 1 Jan 2024 10:00:00 +0100",
            "Delivered-To: amara@contoso.com",
            "Subject: =?utf-8?q?B=C3=BCro?= =?utf-8?q?zeiten?=",
            "",
        )
    )
    assert parsed.headers == (
        Header("Delivered-To", "forwardmailbox@contoso.com"),
        Header("Received", "from a\tby b; Mon, 1 Jan 2024 10:00:00 +0100".replace("\t", " ")),
        Header("Delivered-To", "amara@contoso.com"),
        Header("Subject", "Bürozeiten", encoded="=?utf-8?q?B=C3=BCro?= =?utf-8?q?zeiten?="),
    )


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("plain", "plain"),
        ("=?iso-8859-1?Q?B=FCro?=", "Büro"),
        ("=?UTF-8?B?QsO8cm8=?=", "Büro"),
        ("=?UTF-8?B?QsO8cm8?=", "Büro"),
        ("=?utf-8*de?q?B=C3=BCro?=", "Büro"),
        ("=?utf-8?q?B=C3?= =?utf-8?q?=BCro?=", "Büro"),
        ("=?utf-8?q?a?= and =?utf-8?q?b?=", "a and b"),
        ("a=?utf-8?q?b?=c", "abc"),
        ("=?utf-8?q?two words?=", "two words"),
        ("=?x-unknown?q?B=C3=BCro?=", "Büro"),
        ("=?gb2312?B?1tDOxA==?=", "中文"),
        ("=?iso-2022-jp?B?GyRCRnxLXBsoQg==?=", "日本"),
        ("=?utf-8?q?a=00b=0Ac?=", "ab c"),
        ("=?utf-8?q?unfinished", "=?utf-8?q?unfinished"),
        ("=?idna?q?xn--bcher-kva?=", "xn--bcher-kva"),
    ],
)
def test_encoded_words(written: str, shown: str) -> None:
    assert parse(lines(f"Subject: {written}", "")).subject == shown


@pytest.mark.parametrize(
    ("written", "charset", "shown"),
    [
        ("Büro".encode(), "utf-8", "Büro"),
        ("Büro".encode("latin-1"), "iso-8859-1", "Büro"),
        ("Büro".encode("latin-1"), "utf-8", "Büro"),
        ("Büro".encode("latin-1"), "", "Büro"),
        ("Büro".encode(), "us-ascii", "Büro"),
        ("“Büro”".encode("cp1252"), "iso-8859-1", "“Büro”"),
        ("Контора".encode("koi8-r"), "koi8-r", "Контора"),
        ("日本".encode("cp932"), "shift_jis", "日本"),
        ("Büro".encode(), "x-no-such-charset", "Büro"),
        ("Büro".encode(), "zlib", "Büro"),
        ("Büro".encode(), "unicode_escape", "Büro"),
        (("ä" * 50).encode() + b"\xff", "utf-8", "ä" * 50 + "\ufffd"),
    ],
)
def test_charsets_of_a_body(written: bytes, charset: str, shown: str) -> None:
    head = f'Content-Type: text/plain; charset="{charset}"\n\n'.encode()
    assert parse(head + written).text == shown


@pytest.mark.parametrize(
    ("written", "charset", "shown"),
    [
        ("Büro".encode(), "", "Büro"),
        ("Büro".encode(), "iso-8859-1", "Büro"),
        ("Büro".encode("latin-1"), "", "Büro"),
        ("Контора".encode("koi8-r"), "koi8-r", "Контора"),
    ],
)
def test_eight_bit_headers(written: bytes, charset: str, shown: str) -> None:
    content_type = f"Content-Type: text/plain; charset={charset}".encode()
    assert parse(b"Subject: " + written + b"\n" + content_type + b"\n\n").subject == shown


@pytest.mark.parametrize(
    ("written", "sent_at"),
    [
        ("Mon, 01 Jan 2024 10:00:00 +0100", datetime(2024, 1, 1, 9, tzinfo=UTC)),
        ("1 Jan 2024 10:00 GMT (winter)", datetime(2024, 1, 1, 10, tzinfo=UTC)),
        ("Mon, 01 Jan 2024 10:00:00 -0000", datetime(2024, 1, 1, 10, tzinfo=UTC)),
        ("Mon, 01 Jan 24 10:00:00 EST", datetime(2024, 1, 1, 15, tzinfo=UTC)),
        ("Mon, 01 Jan 0000 10:00:00 +0000", None),
        ("Mon, 01 Jan 99999 10:00:00 +0000", None),
        ("Mon, 01 Jan 9999 23:59:59 -2359", None),
        ("Mon, 01 Jan 1969 10:00:00 +0000", None),
        ("Mon, 01 Jan 2024 10:00:00 +9999", None),
        ("Mon, 31 Feb 2024 10:00:00 +0000", None),
        ("Mon, 01 Jan 2024 99:99:99 +0000", None),
        ("yesterday", None),
        ("²", None),
        ("", None),
    ],
)
def test_dates(written: str, sent_at: datetime | None) -> None:
    assert parse(lines(f"Date: {written}", "")).sent_at == sent_at


@pytest.mark.parametrize(
    ("written", "identity"),
    [
        ("<1@x.com>", "1@x.com"),
        ("  <1@x.com>  (comment)", "1@x.com"),
        ("1@x.com", "1@x.com"),
        ("<>", ""),
        ("", ""),
        ("<" + "a" * 2000 + "@x.com>", ""),
    ],
)
def test_message_ids(written: str, identity: str) -> None:
    assert parse(lines(f"Message-ID: {written}", "")).message_id == identity


def test_the_topmost_of_a_header_that_stands_twice_counts() -> None:
    parsed = parse(lines("Subject: first", "Subject: second", "To: a@x.com", "To: b@x.com", ""))
    assert parsed.subject == "first"
    assert parsed.to == ("a@x.com", "b@x.com")


def test_a_decoded_display_name_is_never_taken_for_an_address() -> None:
    parsed = parse(lines("To: =?utf-8?q?amara=40contoso=2Ecom=2C?= <mallory@evil.example>", ""))
    assert parsed.to == ("mallory@evil.example",)
    assert parsed.headers[0].value == "amara@contoso.com, <mallory@evil.example>"
    assert parsed.headers[0].written == "=?utf-8?q?amara=40contoso=2Ecom=2C?= <mallory@evil.example>"


def test_the_sender_header_stands_in_for_a_missing_from() -> None:
    assert parse(lines("Sender: Ben <ben@x.com>", "")).sender == "ben@x.com"
    assert parse(lines("From: ", "Sender: ben@x.com", "")).sender == "ben@x.com"


def test_no_recipients() -> None:
    parsed = parse(lines("To: unlisted-recipients:; (no To-header on input)", "", "Hello"))
    assert parsed.to == ()
    assert parsed.recipients_text == "unlisted-recipients:; (no To-header on input)"
    assert parsed.text == "Hello\n"


# --- structure


def test_a_forwarded_message_is_read_too_and_stays_attached() -> None:
    inner = letter(subject="The inner one")
    outer = letter(subject="FW: The inner one")
    outer.add_attachment(inner)
    parsed = parse(bytes(outer))
    assert parsed.forwarded is not None
    assert parsed.forwarded.subject == "The inner one"
    assert parsed.forwarded.message_id == "plan.1@fabrikam.com"
    assert parsed.text == "Hello\n"
    assert [attachment.name for attachment in parsed.attachments] == ["attachment-1.eml"]
    assert parsed.forwarded == parse(parsed.attachments[0].data)


def test_only_one_level_is_read_and_only_when_exactly_one_is_attached() -> None:
    inner = letter(subject="inner")
    middle = letter(subject="middle")
    middle.add_attachment(inner)
    outer = letter(subject="outer")
    outer.add_attachment(middle)
    parsed = parse(bytes(outer))
    assert parsed.forwarded is not None
    assert parsed.forwarded.subject == "middle"
    assert parsed.forwarded.forwarded is None
    outer.add_attachment(inner)
    assert parse(bytes(outer)).forwarded is None


def test_a_forwarded_message_may_be_encoded_against_the_rules() -> None:
    parsed = parse(
        lines(
            "Content-Type: message/rfc822",
            "Content-Transfer-Encoding: base64",
            "",
            "U3ViamVjdDogaW5uZXIKCg==",
        )
    )
    assert parsed.forwarded is not None
    assert parsed.forwarded.subject == "inner"


def test_a_digest_holds_messages() -> None:
    parsed = parse(
        lines(
            "Content-Type: multipart/digest; boundary=b", "", "--b", "", "Subject: one", "", "text", "--b--"
        )
    )
    assert parsed.forwarded is not None
    assert parsed.forwarded.subject == "one"


def test_inline_pictures_know_their_content_id() -> None:
    message = letter()
    message.add_alternative('<img src="cid:logo@x">', subtype="html")
    html = list(message.iter_parts())[1]
    assert isinstance(html, EmailMessage)
    html.add_related(b"GIF89a", "image", "gif", cid="<logo@x>")
    (attachment,) = parse(bytes(message)).attachments
    assert (attachment.content_id, attachment.is_inline) == ("logo@x", True)
    assert attachment.name == "attachment-1.gif"


def test_text_that_is_attached_is_not_part_of_the_body() -> None:
    message = letter(text="Body")
    message.add_attachment("a,b", subtype="plain", filename="list.csv")
    parsed = parse(bytes(message))
    assert parsed.text == "Body\n"
    assert [attachment.name for attachment in parsed.attachments] == ["list.csv"]


def test_a_boundary_that_another_one_begins_with_is_told_apart() -> None:
    parsed = parse(
        lines(
            "Content-Type: multipart/mixed; boundary=b",
            "",
            "--b",
            "Content-Type: multipart/mixed; boundary=bb",
            "",
            "--bb",
            "",
            "one",
            "--bb--",
            "--b",
            "",
            "two",
            "--b--",
        )
    )
    assert parsed.text == "one\n\ntwo"
    assert parsed.defects == ()


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (lines("Content-Type: multipart/mixed", "", "no boundary"), "no boundary\n"),
        (lines("Content-Type: multipart/mixed; boundary=b", "", "never used"), "never used\n"),
        (lines("Content-Type: multipart/mixed; boundary=b", "", "--b", "", "cut off"), "cut off\n"),
        (lines("Content-Type: multipart/mixed; boundary=b", "", "--b", "no header", "--b--"), "no header"),
        (lines("Content-Type: nonsense", "", "text"), "text\n"),
        (lines("Content-Transfer-Encoding: base64", "", "SGVsbG8gT2ZmaWNl!"), "Hello Office"),
        (lines("Content-Transfer-Encoding: base64", "", "SGVsbG8gT2ZmaWN"), "Hello Offic"),
        (
            lines("Content-Transfer-Encoding: quoted-printable", "", "B=C3=BCro=", " offen =ZZ"),
            "Büro offen =ZZ\n",
        ),
        (b"From ben@x.com Mon Jan  1 10:00:00 2024\nSubject: mbox\n\ntext", "text"),
        (b"Subject: only line feeds\n\ntext\n", "text\n"),
        (b"Subject: only carriage returns\r\rtext\r", "text\n"),
        (b"Subject: doubled\r\r\nTo: a@x.com\r\r\n\r\r\ntext", "text"),
        (b"\xef\xbb\xbfSubject: marked\n\ntext", "text"),
        (b"Subject: no empty line\nHello there\nand on\n\nmore", "Hello there\nand on\n\nmore"),
        (b"Subject: x\nnonsense\nTo: a@x.com\n\ntext", "text"),
        (b"Just text.\n\nMore.", "Just text.\n\nMore."),
        (b"\n\ntext", "\ntext"),
        (b"Subject: no body", ""),
        (b"", ""),
    ],
)
def test_broken_in_ordinary_ways(raw: bytes, text: str) -> None:
    assert parse(raw).text == text


@pytest.mark.parametrize(
    ("disposition", "name"),
    [
        ('filename="plan.pdf"', "plan.pdf"),
        ("filename=my plan.pdf", "my plan.pdf"),
        ('filename="=?utf-8?q?B=C3=BCro=2Epdf?="', "Büro.pdf"),
        ("filename*=UTF-8''B%C3%BCro.pdf", "Büro.pdf"),
        ("filename=plain.pdf; filename*=iso-8859-1'de'B%FCro.pdf", "Büro.pdf"),
        ("filename*0=long-; filename*1=name.pdf", "long-name.pdf"),
        ("filename*0*=UTF-8''B%C3%BC; filename*1=ro.pdf", "Büro.pdf"),
        ("filename*0*=UTF-8''B%C3; filename*1*=%BCro.pdf", "Büro.pdf"),
        ("filename*=nonsense%FF", "nonsenseÿ"),
        (r'filename="C:\temp\plan.pdf"', "plan.pdf"),
        (r'filename="a \"b\".pdf"', "a _b_.pdf"),
    ],
)
def test_file_names_as_programs_write_them(disposition: str, name: str) -> None:
    parsed = parse(
        lines("Content-Type: application/pdf", f"Content-Disposition: attachment; {disposition}", "")
    )
    assert [attachment.name for attachment in parsed.attachments] == [name]


@pytest.mark.parametrize(
    ("written", "harmless"),
    [
        ("../../etc/passwd", "passwd"),
        ("..", "attachment-3.pdf"),
        ("", "attachment-3.pdf"),
        ("/", "attachment-3.pdf"),
        ("invoice\u202efdp.exe", "invoicefdp.exe"),
        ("a\x00b\x1b\ud800.txt", "ab.txt"),
        ("a" * 300 + ".docx", "a" * 195 + ".docx"),
        ("a" * 300, "a" * 200),
        ("x." + "b" * 300, "x." + "b" * 198),
        ('what?"<it>|*:.txt', "what___it____.txt"),
    ],
)
def test_file_names_are_made_harmless(written: str, harmless: str) -> None:
    assert file_name(written, "application/pdf", 3) == harmless


@given(st.text(max_size=300))
def test_every_file_name_is_harmless(written: str) -> None:
    name = file_name(written, "text/plain", 1)
    assert 0 < len(name) <= MAX_FILE_NAME
    assert name.isprintable()
    assert not set(name) & set('/\\<>:"|?*')
    assert name.strip(". ")


# --- the same


def test_copies_by_different_routes_have_one_digest() -> None:
    message = letter(subject="Ein längerer Betreff, der gefaltet werden muss, weil er so lang ist " * 2)
    message.add_alternative("<p>Grüße</p>", subtype="html")
    sent = bytes(message)
    copies = [
        sent,
        sent.replace(b"\r\n", b"\n"),
        b"Received: from a by b; Mon, 1 Jan 2024 10:00:00 +0100\r\nDelivered-To: amara@contoso.com\r\n"
        + sent,
        b"Resent-From: amara@contoso.com\r\nX-Sieve: CMU Sieve 2.3\r\n" + sent,
        sent + b"\r\n",
        b"From ben@fabrikam.com Mon Jan  1 10:00:00 2024\n" + sent,
    ]
    assert len({parse(copy).body_digest for copy in copies}) == 1


def test_another_transfer_encoding_or_boundary_is_the_same_mail() -> None:
    head = (
        "From: ben@x.com\r\nSubject: Plan\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n"
    )
    eight_bit = f"{head}Content-Transfer-Encoding: 8bit\r\n\r\nGrüße\r\n".encode()
    quoted = f"{head}Content-Transfer-Encoding: quoted-printable\r\n\r\nGr=C3=BC=C3=9Fe\r\n".encode()
    encoded = f"{head}Content-Transfer-Encoding: base64\r\n\r\nR3LDvMOfZQ==\r\n".encode()
    assert len({parse(copy).body_digest for copy in (eight_bit, quoted, encoded)}) == 1


@pytest.mark.parametrize("change", [{"subject": "Plan 2"}, {"text": "Hello!"}, {"sender": "eve@x.com"}])
def test_another_mail_has_another_digest(change: dict[str, str]) -> None:
    assert parse(bytes(letter(**change))).body_digest != parse(bytes(letter())).body_digest


def test_the_digest_is_a_sha256_in_hexadecimal() -> None:
    assert len(parse(b"").body_digest) == len(hashlib.sha256().hexdigest())


# --- against the standard library


@given(subject=LETTERS, text=LETTERS, html=LETTERS, attached=st.binary(max_size=200))
def test_what_the_standard_library_writes_is_read_back(
    subject: str, text: str, html: str, attached: bytes
) -> None:
    message = letter(subject=subject.strip(), text=text)
    message.add_alternative(html, subtype="html")
    message.add_attachment(attached, maintype="application", subtype="zip", filename="a.zip")
    parsed: Parsed = parse(bytes(message))
    assert parsed.subject.split() == subject.split()
    assert parsed.text == text + "\n"
    assert parsed.html == html + "\n"
    assert [attachment.data for attachment in parsed.attachments] == [attached]
    assert parsed.defects == ()


def test_the_limits_are_what_the_sentences_say() -> None:
    assert (mime.MAX_HEADER, mime.MAX_SHOWN_FIELD) == (256 * 1024, 32 * 1024)
