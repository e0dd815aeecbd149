"""A mailbox as offices have it, made from a seed: the same bytes each time.

Sizes are log-normal around 8 KB with a tail to 1 MB (the mean is near 26 KB). The letters are plain, HTML, both,
with attachments, in the character sets of the last thirty years, and forwarded as attachment; each came through
a few servers and was redirected to the forward mailbox for one of `targets` people, by one of the ways that
servers have of saying for whom.
"""

from __future__ import annotations

import base64
import binascii
import random
from collections.abc import Callable, Iterator
from email.header import Header

DOMAIN = "contoso.com"
FORWARD = f"forwardmailbox@{DOMAIN}"
MEDIAN, SPREAD, LARGEST, HUGE = 8_192, 1.5, 1_000_000, 48_500_000
LINE = 72

SENTENCES = (
    "the order of Monday was changed, and the delivery note says so; please see the table below for the rooms and "
    "hours. We met at noon, spoke about the budget of the next quarter and agreed on three of the five points. "
    "Kind regards from the whole team, who wish you a pleasant week. The invoice is attached as agreed upon."
)
LATIN = SENTENCES.split()
SPEECHES = {
    "iso-8859-1": "Grüße aus Köln, die Übergabe der Schlüssel erfolgt am Dienstag im Café gegenüber, très élégant",
    "iso-8859-15": "Der Preis beträgt 40 € für Müller und Söhne, señor Muñoz paga el año próximo",
    "iso-8859-2": "Zażółć gęślą jaźń, příliš žluťoučký kůň úpěl ďábelské ódy",
    "windows-1252": "“Quoted” – naïve façade, the price is 12 € … and œuvre",
    "windows-1251": "Съешь ещё этих мягких французских булок, да выпей чаю",
    "koi8-r": "Широкая электрификация южных губерний даст мощный толчок подъёму",
    "iso-2022-jp": "会議は月曜日の午前十時から三階の会議室で行います",
    "shift_jis": "お世話になっております。請求書を添付いたします",
    "gb2312": "请查收附件中的发票，谢谢您的合作",
    "euc-kr": "회의는 월요일 오전 열 시에 시작합니다",
    "utf-8": "Всем привет, 你好, γειά σου, שלום, grüß Gott, 🙂 and a good day",
}
SENDERS = (
    "Ines Duarte",
    "Jürgen Groß",
    "Zoë O’Hara",
    "Mail Robot",
    "佐藤 健",
    "Łukasz Wójcik",
    "The Newsletter",
)
FILES = (
    ("application/pdf", "Invoice 2026-11.pdf", b"%PDF-1.7\n"),
    ("image/png", "scan.png", b"\x89PNG\r\n\x1a\n"),
    ("image/jpeg", "IMG_0042.JPG", b"\xff\xd8\xff\xe0\x00\x10JFIF"),
    (
        "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
        "Übersicht.docx",
        b"PK\x03\x04",
    ),
    ("text/csv", "rooms.csv", b"room;from;to\r\n"),
)


def letters(
    number: int, *, seed: int = 1, targets: int = 500, median: int = MEDIAN, largest: bool = False
) -> Iterator[bytes]:
    """So many letters for so many people: `address(0)` to `address(targets - 1)`.

    `median` is of their sizes; with `largest` each is of 50 MB instead.
    """
    dice = random.Random(seed)
    for n in range(number):
        size = HUGE if largest else size_of(dice, median)
        yield letter(dice, n, address(dice.randrange(targets)), size)


def address(target: int) -> str:
    return f"person{target}@{DOMAIN}"


def letter(dice: random.Random, number: int, target: str, size: int) -> bytes:
    weights = WEIGHTS if size <= 60_000 else WEIGHTS_OF_LARGE if size < HUGE else WEIGHTS_OF_HUGE
    make = dice.choices(MAKERS, weights)[0]
    way = dice.choices(WAYS, WAY_WEIGHTS)[0]
    above, to = way(target)
    head = "".join((above, _journey(dice), _said(dice, number, to)))
    return head.encode("ascii") + make(dice, max(size - len(head), 40))


def size_of(dice: random.Random, median: int = MEDIAN) -> int:
    return min(max(int(median * dice.lognormvariate(0, SPREAD)), 600), LARGEST)


# --- ways of saying for whom: what a server puts on top, and what the sender wrote --------------------------


def _postfix(target: str) -> tuple[str, str]:
    return f"Delivered-To: {FORWARD}\r\nX-Original-To: {target}\r\nDelivered-To: {target}\r\n", target


def _sieve(target: str) -> tuple[str, str]:
    above = (
        f"X-Sieve: Pigeonhole Sieve 0.5.21\r\nX-Sieve-Redirected-From: {target}\r\nDelivered-To: {target}\r\n"
    )
    return f"Delivered-To: {FORWARD}\r\n{above}", f"all@{DOMAIN}"


def _exim(target: str) -> tuple[str, str]:
    return (
        f"Envelope-To: {target}\r\nX-Envelope-To: {target}\r\nDelivery-date: Mon, 23 Nov 2026 09:00:02 +0100\r\n",
        target,
    )


def _gmail(target: str) -> tuple[str, str]:
    return (
        f"Delivered-To: {FORWARD}\r\nX-Forwarded-To: {FORWARD}\r\nX-Forwarded-For: {target} {FORWARD}\r\nDelivered-To: {target}\r\n",
        target,
    )


def _exchange(target: str) -> tuple[str, str]:
    above = (
        f"Resent-From: <{target}>\r\nX-MS-Exchange-Organization-AuthAs: Internal\r\n"
        "X-MS-Exchange-Organization-AuthMechanism: 04\r\nX-MS-Exchange-Organization-SCL: -1\r\n"
        f"X-MS-Exchange-Organization-AutoForwarded: true\r\nX-MS-Exchange-Inbox-Rules-Loop: {target}\r\n"
    )
    return above, target


def _nothing(target: str) -> tuple[str, str]:
    """No server says anything: To and Cc decide."""
    return "", f"Somebody <{target}>, elsewhere@example.net"


def _stranger(target: str) -> tuple[str, str]:
    """For nobody here: it waits in quarantine."""
    return f"Delivered-To: {FORWARD}\r\n", "nobody@example.net"


WAYS = (_postfix, _sieve, _exim, _gmail, _exchange, _nothing, _stranger)
WAY_WEIGHTS = (30, 15, 15, 15, 13, 10, 2)


# --- the header ---------------------------------------------------------------------------------------------


def _journey(dice: random.Random) -> str:
    hops = "".join(_hop(dice, n) for n in range(dice.randrange(2, 6)))
    signature = base64.b64encode(dice.randbytes(256)).decode()
    folded = "\r\n\t ".join(signature[at : at + 64] for at in range(0, len(signature), 64))
    return (
        f"{hops}Authentication-Results: mx.{DOMAIN}; spf=pass smtp.mailfrom=example.org; dkim=pass header.d=example.org\r\n"
        "DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed; d=example.org; s=mail2026; t=1795420800;\r\n"
        f"\th=from:to:subject:date:message-id; bh={signature[:43]}=;\r\n\tb={folded}\r\n"
    )


def _hop(dice: random.Random, number: int) -> str:
    peer = ".".join(str(dice.randrange(1, 255)) for _ in range(4))
    return (
        f"Received: from mail{number}.example.org (mail{number}.example.org [{peer}])\r\n"
        f"\tby mx{number}.{DOMAIN} (Postfix) with ESMTPS id {dice.getrandbits(40):010X}\r\n"
        f"\t(using TLSv1.3 with cipher TLS_AES_256_GCM_SHA384 (256/256 bits));\r\n\tMon, 23 Nov 2026 09:00:0{number} +0100 (CET)\r\n"
    )


def _said(dice: random.Random, number: int, to: str) -> str:
    subject = f"{number}: {' '.join(dice.choices(LATIN, k=6))}"
    if dice.random() < 0.3:
        subject = Header(f"{number}: {dice.choice(list(SPEECHES.values()))}", "utf-8", maxlinelen=75).encode(
            linesep="\r\n"
        )
    name = Header(dice.choice(SENDERS), "utf-8").encode(linesep="\r\n")
    thread = "".join(f" <{dice.getrandbits(64):x}@example.org>" for _ in range(dice.randrange(4)))
    return (
        f"From: {name} <sender{dice.randrange(2000)}@example.org>\r\nTo: {to}\r\nSubject: {subject}\r\n"
        f"Date: Mon, 23 Nov 2026 09:{number % 60:02}:00 +0100\r\nMessage-ID: <{number}.{dice.getrandbits(64):x}@example.org>\r\n"
        + (f"References:{thread}\r\n" if thread else "")
        + "MIME-Version: 1.0\r\nX-Mailer: Office Mail 16.0\r\n"
    )


# --- bodies -------------------------------------------------------------------------------------------------


def _plain(dice: random.Random, size: int) -> bytes:
    return b"Content-Type: text/plain; charset=us-ascii\r\nContent-Transfer-Encoding: 7bit\r\n\r\n" + _prose(
        dice, size
    )


def _old_charset(dice: random.Random, size: int) -> bytes:
    charset, speech = dice.choice(list(SPEECHES.items()))
    line = speech.encode(charset) + b"\r\n"
    return _encoded(dice, f"text/plain; charset={charset}", line * (size // len(line) // 2 + 1))


def _html(dice: random.Random, size: int) -> bytes:
    return _encoded(dice, "text/html; charset=utf-8", _page(dice, size * 9 // 10))


def _alternative(dice: random.Random, size: int) -> bytes:
    plain = _encoded(dice, "text/plain; charset=utf-8", _prose(dice, size // 4))
    return _multipart(
        "alternative", dice, plain, _encoded(dice, "text/html; charset=utf-8", _page(dice, size * 2 // 3))
    )


def _attached(dice: random.Random, size: int) -> bytes:
    text = _alternative(dice, min(size // 3, 12_000))
    return _multipart("mixed", dice, text, _file(dice, (size - min(size // 3, 12_000)) * 3 // 4))


def _forwarded(dice: random.Random, size: int) -> bytes:
    inner = _said(dice, dice.randrange(9_000), f"person{dice.randrange(100)}@{DOMAIN}").encode() + _plain(
        dice, size // 2
    )
    note = _plain(dice, 200)
    return _multipart(
        "mixed",
        dice,
        note,
        b"Content-Type: message/rfc822\r\nContent-Disposition: attachment\r\n\r\n" + inner,
    )


MAKERS: tuple[Callable[[random.Random, int], bytes], ...] = (
    _plain,
    _old_charset,
    _html,
    _alternative,
    _attached,
    _forwarded,
)
WEIGHTS = (20, 15, 15, 33, 15, 2)
WEIGHTS_OF_LARGE = (2, 2, 6, 10, 75, 5)
WEIGHTS_OF_HUGE = (0, 0, 0, 0, 1, 0)


def _prose(dice: random.Random, size: int) -> bytes:
    paragraph = []
    while sum(map(len, paragraph)) < min(size, 2_000):
        paragraph.append(" ".join(dice.choices(LATIN, k=11))[:LINE] + "\r\n")
    text = "".join([*paragraph, "\r\n"]).encode()
    return (text * (size // len(text) + 1))[: max(size - 2, 1)] + b"\r\n"


def _page(dice: random.Random, size: int) -> bytes:
    rows = []
    for _ in range(12):
        words = " ".join(dice.choices(LATIN, k=9))
        rows.append(
            f'<tr><td style="padding:4px 8px;font:14px Arial,sans-serif;color:#333">{words}</td>'
            f'<td align="right"><a href="https://example.org/click/{dice.getrandbits(64):x}">Öffnen &raquo;</a></td></tr>\r\n'
        )
    table = "".join(rows).encode()
    start = b"<!DOCTYPE html><html><head><style>.x{color:#123456}</style></head><body><table width=600>\r\n"
    return start + table * max(size // len(table), 1) + b"</table></body></html>\r\n"


def _file(dice: random.Random, size: int) -> bytes:
    kind, name, magic = dice.choice(FILES)
    content = magic + dice.randbytes(max(size - len(magic), 16))
    shown = Header(name, "utf-8").encode() if not name.isascii() else name
    return (
        f'Content-Type: {kind}; name="{shown}"\r\nContent-Disposition: attachment; filename="{shown}"\r\n'
        "Content-Transfer-Encoding: base64\r\n\r\n"
    ).encode() + _base64(content)


def _encoded(dice: random.Random, kind: str, content: bytes) -> bytes:
    chance = dice.random()
    if chance < 0.55:
        return _part(
            kind, "quoted-printable", binascii.b2a_qp(content.replace(b"\r\n", b"\n")).replace(b"\n", b"\r\n")
        )
    if chance < 0.8:
        return _part(kind, "base64", _base64(content))
    return _part(kind, "8bit", content)


def _part(kind: str, encoding: str, content: bytes) -> bytes:
    return f"Content-Type: {kind}\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n".encode() + content


def _base64(content: bytes) -> bytes:
    return base64.encodebytes(content).replace(b"\n", b"\r\n")


def _multipart(kind: str, dice: random.Random, *parts: bytes) -> bytes:
    boundary = f"----=_Part_{dice.getrandbits(48):012x}"
    head = f'Content-Type: multipart/{kind};\r\n\tboundary="{boundary}"\r\n\r\n'.encode()
    line = f"--{boundary}\r\n".encode()
    return head + b"".join(line + part + b"\r\n" for part in parts) + f"--{boundary}--\r\n".encode()
