"""A mail as bytes (RFC 5322, MIME): what was typed in, nothing that ends a header where it should not.

Every part is 7-bit; only addresses beyond ASCII make the header more than that (RFC 6532).
"""

from __future__ import annotations

import html
import re
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from email import policy
from email.header import Header
from email.message import EmailMessage
from email.utils import format_datetime

from django.utils.html import urlize

from . import filetypes
from .parsing import file_name

MAX_REFERENCES = 20
MAX_SUBJECT = 900
_MESSAGE_ID = re.compile(r"[!-;=?-~]{1,900}")
"""What may stand between angle brackets here: visible ASCII without any (RFC 5322, section 3.6.4, and wider)."""
_LOCAL = re.compile(r'"[^"\\]+"|[^\s@<>,;:"()\[\]\\]+')
_DOMAIN = re.compile(r"[A-Za-z0-9._-]+|\[[A-Za-z0-9.:-]+\]")
_WORDS = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~ -]+")
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class Person:
    """A display name, perhaps "", and an addr-spec."""

    name: str
    address: str


def shown(person: Person) -> str:
    """As people read and type it: Amara Okafor <amara@contoso.com>; a name with marks of its own in quotes."""
    if not person.name:
        return person.address
    name = one_line(person.name)
    if re.search(r'[",;:<>()\[\]@\\]', name):
        escaped = name.replace("\\", "\\\\").replace('"', '\\"')
        name = f'"{escaped}"'
    return f"{name} <{person.address}>"


@dataclass(frozen=True, slots=True)
class File:
    """A file as it is attached."""

    name: str
    content_type: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Letter:
    """All that stands in a mail. Ids are without angle brackets; `reply_to` is "" where answers go to `sender`."""

    sender: Person
    to: Sequence[Person]
    cc: Sequence[Person]
    subject: str
    text: str
    html: str
    files: Sequence[File]
    date: datetime
    message_id: str
    in_reply_to: str = ""
    references: Sequence[str] = ()
    reply_to: str = ""
    is_automatic: bool = False


def written(letter: Letter) -> bytes:
    """The message, its lines ended by CRLF. Raises ValueError for an address that no header can carry."""
    message = EmailMessage(policy=policy.SMTP.clone(cte_type="7bit"))
    if letter.is_automatic:
        message["Auto-Submitted"] = "auto-generated"  # RFC 3834
    message.set_content(plain(letter.text) or "\n")
    if letter.html:
        message.add_alternative(letter.html, subtype="html")
    for number, one in enumerate(letter.files, 1):
        maintype, subtype = _type_of(one)
        name = file_name(one.name, one.content_type, number)
        message.add_attachment(one.data, maintype=maintype, subtype=subtype, filename=name)
    return _trace(letter) + _top(letter) + message.as_bytes()


def _top(letter: Letter) -> bytes:
    """Who and what about, written here: the library would decode what looks like an encoded word, line breaks and
    all, and at the end of a line take an address into one."""
    lines = {
        "From": _mailbox(letter.sender),
        "To": ",\r\n ".join(map(_mailbox, letter.to)),
        "Cc": ",\r\n ".join(map(_mailbox, letter.cc)),
        "Reply-To": _mailbox(Person("", letter.reply_to)) if letter.reply_to else "",
        "Subject": _encoded(one_line(letter.subject), "Subject"),
    }
    if not letter.to and not letter.cc:
        lines["To"] = "undisclosed-recipients:;"
    return "".join(
        f"{name}: {value}\r\n" for name, value in lines.items() if value or name == "Subject"
    ).encode()


def _encoded(text: str, name: str = "") -> str:
    """Folded, and as encoded words (RFC 2047) what is not ASCII or would be taken for one."""
    plain = text.isascii() and "=?" not in text
    return Header(text, "us-ascii" if plain else "utf-8", 76, name).encode(linesep="\r\n")


def _trace(letter: Letter) -> bytes:
    """Date and ids, written here: the library would take a long id for text and encode it."""
    lines = [f"Date: {format_datetime(letter.date)}", f"Message-ID: <{letter.message_id}>"]
    if is_message_id(letter.in_reply_to):
        lines.append(f"In-Reply-To: <{letter.in_reply_to}>")
    if references := chain(letter.references):
        lines.append("References: " + "\r\n ".join(f"<{one}>" for one in references))
    return "".join(f"{line}\r\n" for line in lines).encode("ascii")


def chain(ids: Iterable[str]) -> list[str]:
    """Of these ids, in order, those that a header can carry: the first, and the latest ones."""
    known = [one for one in dict.fromkeys(ids) if is_message_id(one)]
    return known if len(known) <= MAX_REFERENCES else [known[0], *known[1 - MAX_REFERENCES :]]


def is_message_id(text: str) -> bool:
    """Whether this may stand in a header as an id; what others wrote may not."""
    return bool(_MESSAGE_ID.fullmatch(text))


def new_message_id(address: str) -> str:
    """A Message-ID that nobody had before, in the domain of the sender."""
    domain = address.rpartition("@")[2].encode("idna").decode("ascii")
    return f"{secrets.token_hex(16)}@{domain}"


def _mailbox(person: Person) -> str:
    """A name-addr or an addr-spec (RFC 5322, section 3.4); raises ValueError for what is none."""
    local, _, domain = person.address.rpartition("@")
    domain = domain.encode("idna").decode("ascii")
    if not _LOCAL.fullmatch(local) or not _DOMAIN.fullmatch(domain) or not local.isprintable():
        raise ValueError(f"{person.address!r} is no address")
    if "=?" in local:
        raise ValueError(f"{person.address!r} would be read as an encoded word")
    name = one_line(person.name)
    if not name:
        return f"{local}@{domain}"
    if not name.isascii() or "=?" in name:
        return f"{_encoded(name)}\r\n <{local}@{domain}>"
    escaped = name.replace("\\", "\\\\").replace('"', '\\"')
    phrase = name if _WORDS.fullmatch(name) else f'"{escaped}"'
    return f"{phrase} <{local}@{domain}>"


def _type_of(one: File) -> tuple[str, str]:
    """What its bytes are, else what it says of itself; a message in a message would need rules of its own."""
    says = (filetypes.detect(one.data) or one.content_type).lower()
    maintype, _, subtype = says.partition("/")
    usable = re.fullmatch(r"[a-z0-9][a-z0-9!#$&^_.+-]{0,60}/[a-z0-9][a-z0-9!#$&^_.+-]{0,100}", says)
    if not usable or maintype in ("message", "multipart"):
        return "application", "octet-stream"
    return maintype, subtype


def one_line(text: str) -> str:
    """What a header can carry: one line without control characters."""
    visible = "".join(letter if letter.isprintable() else " " for letter in text)
    return " ".join(visible.split())[:MAX_SUBJECT]


def plain(text: str) -> str:
    """Line feeds alone, no control characters, one line end at the end."""
    text = _CONTROL.sub("", text.replace("\r\n", "\n").replace("\r", "\n")).rstrip()
    return f"{text}\n" if text else ""


FORWARDED = "---------- Forwarded message ----------"
_QUOTED_END = re.compile(
    r"(?:^|\n)(?P<quote>[^\n>][^\n]*:\n(?:\n?>[^\n]*(?:\n|$))+\s*\Z|" + FORWARDED + r"\n.*\Z)", re.DOTALL
)


def signed(text: str, signature: str) -> str:
    """With a signature (RFC 3676, section 4.3): above what is quoted at the end, else below everything."""
    if not signature.strip():
        return text
    text = plain(text)
    quoted = _QUOTED_END.search(text)
    own, quote = (text[: quoted.start("quote")], quoted["quote"]) if quoted else (text, "")
    under = f"-- \n{plain(signature)}"
    return f"{own.rstrip()}\n\n{under}\n{quote}" if quote else f"{own.rstrip()}\n\n{under}"


def formatted(text: str) -> str:
    """Plain text as HTML: paragraphs, quotes, and addresses of the web as links; nothing of it is markup."""
    blocks: list[str] = []
    quoted: list[str] = []
    for line in [*plain(text).splitlines(), ""]:
        if line.startswith(">"):
            quoted.append(line.removeprefix(">").removeprefix(" "))
            continue
        if quoted:
            blocks.append(f"<blockquote>{_quoted_lines(quoted)}</blockquote>")
            quoted = []
        blocks.append(f"{_linked(line)}<br>\n")
    body = "".join(blocks).removesuffix("<br>\n")
    return f"<!DOCTYPE html>\n<html><body><div>{body}</div></body></html>\n"


def _quoted_lines(lines: Sequence[str]) -> str:
    return "<br>\n".join(_linked(line) for line in lines)


def _linked(line: str) -> str:
    return str(urlize(html.escape(line, quote=False), nofollow=False, autoescape=False))
