"""What people write to the demo office: orders, invoices, questions, replies, a newsletter.

`Correspondence.write()` makes one message as its author's own server would send it, with its trace of
two hops; how it is then forwarded is the matter of `letters`. Every choice comes from the given dice,
so a seed and a clock decide every octet. Companies, people and texts are invented.
"""

from __future__ import annotations

import struct
import zlib
from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from random import Random

REPLIES_IN_A_HUNDRED = 25


@dataclass(frozen=True, slots=True)
class Correspondent:
    """Someone outside who writes; `language` chooses among the topics."""

    name: str
    address: str
    company: str
    language: str = "en"

    @property
    def host(self) -> str:
        return "mail." + self.address.partition("@")[2]


@dataclass(frozen=True, slots=True)
class Topic:
    """Something to write about. Texts are templates; `{order}`, `{amount}` … are filled in by dice.

    `desks` are the local parts of the addresses it is written to; without any, it is for everybody.
    """

    subject: str
    text: str
    language: str = "en"
    charset: str = "utf-8"
    desks: Sequence[str] = ()
    attachments: Sequence[str] = ()
    html: str = ""
    headers: Sequence[tuple[str, str]] = ()


@dataclass(frozen=True, slots=True)
class Mail:
    """A message as its author's server sent it: raw octets with CRLF, no trace of any forwarding."""

    author: Correspondent
    sent_at: datetime
    message_id: str
    subject: str
    text: str
    raw: bytes


@dataclass(frozen=True, slots=True)
class Recipient:
    """Whom the author named in To or Cc."""

    name: str
    address: str


CORRESPONDENTS = (
    Correspondent("Beatriz Moreno", "beatriz.moreno@example.org", "Almacenes Norte"),
    Correspondent("Rajesh Pillai", "r.pillai@trading.example.com", "Pillai Trading"),
    Correspondent("Charlotte Ashdown", "c.ashdown@hotels.example.net", "Ashdown House Hotels"),
    Correspondent("Owen Maddox", "omaddox@freight.example.com", "Maddox Freight"),
    Correspondent("Lucía Ferrán", "lucia@daily.example.net", "The Daily Ledger"),
    Correspondent("Accounts, Brightwater Paper", "accounts@paper.example.org", "Brightwater Paper"),
    Correspondent("Siobhán Keane", "skeane@clinic.example.net", "Keane Dental Clinic"),
    Correspondent("Jürgen Groß", "juergen.gross@maschinenbau.example.com", "Groß Maschinenbau", "de"),
    Correspondent("Annegret Schäfer", "a.schaefer@grosshandel.example.org", "Schäfer Großhandel", "de"),
    Correspondent("Åsa Björkman", "asa.bjorkman@butik.example.net", "Björkmans Butik", "sv"),
    Correspondent("佐藤 健", "sato@boeki.example.com", "佐藤貿易", "ja"),
    Correspondent("سلمى منصور", "salma@trade.example.org", "منصور للتجارة", "ar"),
    Correspondent("Shelf & Store Weekly", "news@shelf.example.net", "Shelf & Store", "newsletter"),
)

_NEWSLETTER = """\
<html><body style="margin:0;background:#f4f4f2">
<img src="http://images.shelf.example.net/open.gif?issue={order}" width="1" height="1" alt="">
<table role="presentation" width="600" align="center" cellpadding="16" style="background:#ffffff">
<tr><td><img src="http://images.shelf.example.net/masthead.png" width="560" alt="Shelf &amp; Store">
</td></tr>
<tr><td><h1 style="font-family:Georgia,serif">Counting stock without closing the shop</h1>
<p>Three shops tell how they count <b>{pieces} articles</b> a night,
and what went wrong in the first week.</p>
<p><a href="http://www.shelf.example.net/issues/{order}">Read the article</a></p></td></tr>
<tr><td><img src="http://images.shelf.example.net/shelves.jpg" width="560" alt="Shelves at night">
</td></tr>
<tr><td style="font-size:12px">You receive this because you asked for it.
<a href="http://www.shelf.example.net/leave">Unsubscribe</a></td></tr>
</table></body></html>
"""

TOPICS = (
    Topic(
        "Order {order}: two cartons swapped",
        "Hello,\n\nour delivery of this morning (order {order}) contains two cartons that belong to somebody"
        " else: article {article}-B instead of {article}-D. The labels outside are right, the contents are"
        " not.\n\nCould you send us the missing cartons by Thursday, and tell us where the wrong ones should"
        " go? A picture and the delivery note are attached.\n\nKind regards",
        attachments=("png", "pdf"),
        desks=("support", "returns"),
    ),
    Topic(
        "Purchase order {order}",
        "Dear Sir or Madam,\n\nplease find attached our purchase order {order} over {pieces} pieces of"
        " article {article}, EUR {amount} net. We need it at our dock before noon.\n\nPlease confirm the"
        " delivery date.\n\nBest regards",
        attachments=("pdf", "csv"),
        desks=("orders", "goteborg"),
    ),
    Topic(
        "Invoice {invoice}",
        "Dear accounts team,\n\nattached is invoice {invoice} over EUR {amount}, payable within 30 days."
        " Please quote the number with your payment.\n\nYours sincerely",
        attachments=("pdf",),
        desks=("invoices",),
    ),
    Topic(
        "Reminder: invoice {invoice} is overdue",
        "Hello,\n\naccording to our books invoice {invoice} (EUR {amount}) has been open for nine days. If"
        " your payment crossed with this letter, please ignore it.\n\nThank you",
        desks=("invoices",),
    ),
    Topic(
        "Where is parcel {order}?",
        'Good morning,\n\nthe tracking page has shown parcel {order} as "handed over" since Friday and'
        " nothing since. The driver says it never was on his van. Could you find out?\n\nThanks",
        desks=("support", "orders"),
    ),
    Topic(
        "Return of {pieces} lamps, article {article}",
        "Hello,\n\n{pieces} of the lamps arrived with a cracked socket. We would like to send them back."
        " Which address should we use, and do you need photographs of each one?\n\nRegards",
        attachments=("png",),
        desks=("returns", "support"),
    ),
    Topic(
        "Question for an article on night deliveries",
        "Dear press office,\n\nI am writing about shops that are supplied at night. May I ask how many of"
        " your branches take part, and whether the neighbours noticed? My deadline is tomorrow at"
        " four.\n\nWith thanks",
        desks=("press",),
    ),
    Topic(
        "Stock list week {week}",
        "Hi,\n\nthe stock list of week {week} is attached as usual. Article {article} is down to {pieces}"
        " pieces, the rest looks fine.\n\nCheers",
        attachments=("csv",),
        desks=("goteborg", "spareparts"),
    ),
    Topic(
        "Minutes of yesterday's call",
        "Hi,\n\nhere is what I noted:\n\n- order {order} ships in two parts, the second in week {week}\n"
        "- article {article} gets the new label\n- you send us the drawing of the hinge\n\nAnything"
        " missing?\n\nBest",
    ),
    Topic(
        "Rückfrage zu Auftrag {order}",
        "Sehr geehrte Damen und Herren,\n\nin Auftrag {order} fehlt uns die Größe der Dichtung für Artikel"
        " {article}. Könnten Sie uns das Maß bis Donnerstag nennen? Sonst können wir den Prüfstand nicht"
        " rüsten.\n\nMit freundlichen Grüßen",
        language="de",
        charset="iso-8859-1",
    ),
    Topic(
        "Rechnung {invoice}",
        "Guten Tag,\n\nanbei erhalten Sie die Rechnung {invoice} über {amount} €. Bitte überweisen Sie den"
        " Betrag innerhalb von 14 Tagen.\n\nFreundliche Grüße",
        language="de",
        attachments=("pdf",),
        desks=("invoices",),
    ),
    Topic(
        "Påfyllning till butiken, vecka {week}",
        "Hej!\n\nVi behöver {pieces} stycken av artikel {article} före lördag, hyllan är tom. Går det att"
        " få med dem på torsdagsbilen?\n\nVänliga hälsningar",
        language="sv",
        charset="iso-8859-15",
    ),
    Topic(
        "注文番号 {order} の納期について",
        "お世話になっております。\n\n注文番号 {order}(品番 {article}、{pieces}個)の納期をご連絡いただけますで"
        "しょうか。来週の便に間に合うと助かります。\n\nよろしくお願いいたします。",
        language="ja",
        charset="iso-2022-jp",
    ),
    Topic(
        "استفسار عن الطلب رقم {order}",
        "السلام عليكم،\n\nنرجو إفادتنا بموعد شحن الطلب رقم {order} وعدد القطع {pieces}. كما نرجو إرسال"
        " الفاتورة إلى هذا العنوان.\n\nمع خالص التحية",
        language="ar",
    ),
    Topic(
        "Shelf & Store Weekly, issue {week}: counting stock at night",
        "Counting stock without closing the shop\n\nThree shops tell how they count {pieces} articles a"
        " night, and what went wrong in the first week.\n\nhttp://www.shelf.example.net/issues/{order}\n",
        language="newsletter",
        html=_NEWSLETTER,
        headers=(
            ("List-Id", "Shelf & Store Weekly <weekly.shelf.example.net>"),
            ("List-Unsubscribe", "<http://www.shelf.example.net/leave>"),
            ("Precedence", "bulk"),
        ),
    ),
)

_ANSWERS = (
    "Thank you, that helps. One more question: does this also hold for order {order}?",
    "Perfect. We expect the rest in week {week} then.",
    "I am afraid that did not arrive. Could you send it again?",
    "Agreed. {pieces} pieces it is, please go ahead.",
)


class Correspondence:
    """Everybody outside and what they wrote before, so that they can come back to it."""

    def __init__(self, dice: Random, now: Callable[[], datetime]) -> None:
        self._dice = dice
        self._now = now
        self._earlier: defaultdict[str, deque[Mail]] = defaultdict(lambda: deque(maxlen=4))

    def write(self, to: Sequence[Recipient], cc: Sequence[Recipient] = ()) -> Mail:
        """A new message, or now and then a reply in a thread with the first of `to`."""
        thread = self._earlier[to[0].address]
        if thread and self._dice.randrange(100) < REPLIES_IN_A_HUNDRED:
            mail = self._reply(self._dice.choice(list(thread)), to, cc)
        else:
            mail = self._new(to, cc)
        if mail.author.language != "newsletter":
            thread.append(mail)
        return mail

    def _new(self, to: Sequence[Recipient], cc: Sequence[Recipient]) -> Mail:
        topic = self._dice.choice(_topics_for(to[0]))
        author = self._dice.choice([author for author in CORRESPONDENTS if author.language == topic.language])
        facts = self._facts()
        message = self._message(author, topic.subject.format_map(facts), to, cc)
        for name, value in topic.headers:
            message[name] = value
        text = topic.text.format_map(facts) + f"\n\n{author.name}\n{author.company}\n"
        _set_text(message, text, topic.charset)
        if topic.html:
            message.add_alternative(topic.html.format_map(facts), subtype="html", cte="quoted-printable")
        for kind in topic.attachments:
            _attach(message, kind, facts)
        return self._finish(author, message, text)

    def _reply(self, earlier: Mail, to: Sequence[Recipient], cc: Sequence[Recipient]) -> Mail:
        subject = earlier.subject if earlier.subject.startswith("Re: ") else "Re: " + earlier.subject
        message = self._message(earlier.author, subject, to, cc)
        message["In-Reply-To"] = earlier.message_id
        message["References"] = earlier.message_id
        quoted = "\n".join("> " + line for line in earlier.text.splitlines())
        answer = self._dice.choice(_ANSWERS).format_map(self._facts())
        text = f"{answer}\n\n{earlier.author.name}\n\n{quoted}\n"
        _set_text(message, text, "utf-8")
        return self._finish(earlier.author, message, text)

    def _message(
        self, author: Correspondent, subject: str, to: Sequence[Recipient], cc: Sequence[Recipient]
    ) -> EmailMessage:
        message = EmailMessage(policy=SMTP)
        message["From"] = _address(author.name, author.address)
        message["To"] = [_address(recipient.name, recipient.address) for recipient in to]
        if cc:
            message["Cc"] = [_address(recipient.name, recipient.address) for recipient in cc]
        message["Subject"] = subject
        message["Date"] = self._now() - timedelta(seconds=self._dice.randrange(20, 1800))
        message["Message-ID"] = f"<{self.token()}@{author.host}>"
        return message

    def _finish(self, author: Correspondent, message: EmailMessage, text: str) -> Mail:
        for part in message.walk():
            if part.is_multipart():
                part.set_boundary("=_" + self.token())
        sent_at: datetime = message["Date"].datetime
        return Mail(
            author=author,
            sent_at=sent_at,
            message_id=str(message["Message-ID"]),
            subject=str(message["Subject"]),
            text=text,
            raw=self._trace(author, sent_at) + message.as_bytes(),
        )

    def _trace(self, author: Correspondent, sent_at: datetime) -> bytes:
        """Two hops: the author's computer to the author's server, and from there to the outside."""
        desk = f"from [192.0.2.{self._dice.randrange(2, 250)}] by {author.host} with ESMTPSA"
        relay = f"from {author.host} by mx.example.net with ESMTPS"
        lines = (
            f"Received: {relay} id {self.token()};\r\n\t{format_datetime(sent_at + timedelta(seconds=3))}\r\n"
            f"Received: {desk} id {self.token()};\r\n\t{format_datetime(sent_at + timedelta(seconds=1))}\r\n"
        )
        return lines.encode()

    def token(self) -> str:
        """Something unique enough for a Message-ID, a queue id or a boundary."""
        return f"{self._dice.getrandbits(64):016x}"

    def _facts(self) -> dict[str, object]:
        pick = self._dice.randrange
        return {
            "order": f"20-{pick(1000, 9999)}",
            "invoice": f"2026-{pick(1000, 9999)}",
            "article": pick(1100, 9900),
            "pieces": pick(3, 400),
            "week": pick(1, 53),
            "amount": f"{pick(40, 9000)}.{pick(0, 100):02}",
        }


def _topics_for(recipient: Recipient) -> list[Topic]:
    """What everybody gets, and twice as likely what is this desk's own business."""
    desk = recipient.address.partition("@")[0]
    own = [topic for topic in TOPICS if desk in topic.desks]
    return own * 2 + [topic for topic in TOPICS if not topic.desks]


def _address(name: str, address: str) -> Address:
    return Address(display_name=name, addr_spec=address)


def _set_text(message: EmailMessage, text: str, charset: str) -> None:
    encoding = "7bit" if charset == "iso-2022-jp" else "quoted-printable"
    message.set_content(text, charset=charset, cte=encoding)


# Attachments, made here so that no file of anyone else is shipped


def _attach(message: EmailMessage, kind: str, facts: dict[str, object]) -> None:
    if kind == "pdf":
        content = pdf(f"Document {facts['order']}: article {facts['article']}, EUR {facts['amount']}")
        message.add_attachment(
            content, maintype="application", subtype="pdf", filename=f"document-{facts['order']}.pdf"
        )
    elif kind == "png":
        message.add_attachment(
            png(48, 32), maintype="image", subtype="png", filename=f"carton-{facts['article']}.png"
        )
    else:
        rows = f"article;pieces;week\r\n{facts['article']}-B;{facts['pieces']};{facts['week']}\r\n"
        message.add_attachment(
            rows.encode(), maintype="text", subtype="csv", filename=f"list-{facts['order']}.csv"
        )


def pdf(line: str) -> bytes:
    """A PDF 1.4 file of one page with one line of ASCII text."""
    drawing = f"BT /F1 14 Tf 56 770 Td ({line}) Tj ET".encode("ascii")
    objects = (
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 595 842]/Contents 4 0 R/Resources<</Font<</F1 5 0 R>>>>>>",
        b"<</Length %d>>stream\n%b\nendstream" % (len(drawing), drawing),
        b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
    )
    body, offsets = b"%PDF-1.4\n", []
    for number, content in enumerate(objects, start=1):
        offsets.append(len(body))
        body += b"%d 0 obj%bendobj\n" % (number, content)
    table = b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    count = len(objects) + 1
    return (
        body
        + b"xref\n0 %d\n0000000000 65535 f \n%b" % (count, table)
        + b"trailer<</Size %d/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF\n" % (count, len(body))
    )


def png(width: int, height: int) -> bytes:
    """A picture in true colour: a brown carton with a lighter strip of tape."""
    tape = range(width // 2 - 3, width // 2 + 3)
    row = b"\x00" + b"".join(b"\xe6\xd5\xa8" if x in tape else b"\xb0\x83\x4a" for x in range(width))
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(row * height)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, content) for kind, content in chunks)


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
