"""How servers hand a copy on: five ways, each with the headers that it leaves behind.

==================  ===================================================================================
Outlook, Exchange   "forward as attachment": a new mail of the user's, with the original in it as
                    message/rfc822
Exchange            "redirect": the original below Resent-From and X-MS-Exchange-Inbox-Rules-Loop
Gmail               automatic forwarding: X-Forwarded-To, X-Forwarded-For ("from to") and Delivered-To
                    above the original, and a return path with +caf_=
Pigeonhole          Sieve "redirect": X-Sieve and X-Sieve-Redirected-From above the original, which
                    LMTP had marked with Delivered-To
Postfix             pipe(8) with flags=DO: X-Original-To and Delivered-To above the original
==================  ===================================================================================

Each function gives the envelope's sender and the octets.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from email.utils import format_datetime, formataddr

from .correspondence import Mail
from .office import Occupant


def header_lines(*lines: str) -> bytes:
    return "".join(line + "\r\n" for line in lines).encode()


@dataclass(frozen=True, slots=True)
class Copy:
    """A mail at the moment when the server of `holder` hands it on to `collection`."""

    mail: Mail
    holder: Occupant
    collection: str
    token: str

    @property
    def domain(self) -> str:
        return self.holder.address.partition("@")[2]

    @property
    def arrived_at(self) -> datetime:
        return self.mail.sent_at + timedelta(seconds=5)

    @property
    def received(self) -> bytes:
        """The Received line of the holder's server, which every delivered original begins with."""
        return header_lines(
            f"Received: from mx.example.net by mx1.{self.domain} with ESMTPS id {self.token}\r\n"
            f"\tfor <{self.holder.address}>; {format_datetime(self.arrived_at)}"
        )


def outlook_attachment(copy: Copy) -> tuple[str, bytes]:
    """Outlook's rule "forward to people as an attachment", sent by Exchange for the user."""
    boundary = f"_004_{copy.token}_"
    subject = copy.mail.subject if copy.mail.subject.isascii() else "forwarded message"
    outer = header_lines(
        f"From: {formataddr((copy.holder.name, copy.holder.address))}",
        f"To: <{copy.collection}>",
        f"Subject: FW: {subject}",
        f"Date: {format_datetime(copy.arrived_at)}",
        f"Message-ID: <{copy.token}@mx1.{copy.domain}>",
        "Content-Language: en-US",
        "X-MS-Has-Attach: yes",
        "X-Auto-Response-Suppress: DR, OOF, AutoReply",
        f"X-MS-Exchange-Inbox-Rules-Loop: {copy.holder.address}",
        "x-ms-exchange-generated-message-source: Mailbox Rules Agent",
        f"x-ms-exchange-parent-message-id: {copy.mail.message_id}",
        "auto-submitted: auto-generated",
        "MIME-Version: 1.0",
        f'Content-Type: multipart/mixed;\r\n\tboundary="{boundary}"',
    )
    cover = header_lines('Content-Type: text/plain; charset="us-ascii"', "Content-Transfer-Encoding: 7bit")
    attached = header_lines("Content-Type: message/rfc822", "Content-Disposition: attachment")
    dash, end = f"--{boundary}\r\n".encode(), f"\r\n--{boundary}--\r\n".encode()
    parts = (outer, b"\r\n", dash, cover, b"\r\n\r\n", dash, attached, b"\r\n")
    return copy.holder.address, b"".join(parts) + copy.received + copy.mail.raw + end


def exchange_redirect(copy: Copy) -> tuple[str, bytes]:
    """An Exchange inbox rule "redirect": sender, To and Message-ID stay the author's."""
    above = header_lines(
        f"Received: from mx1.{copy.domain} by mx2.{copy.domain} with Microsoft SMTP Server id {copy.token};"
        f"\r\n\t{format_datetime(copy.arrived_at)}",
        f"Resent-From: <{copy.holder.address}>",
        f"X-MS-Exchange-Inbox-Rules-Loop: {copy.holder.address}",
        "x-ms-exchange-generated-message-source: Mailbox Rules Agent",
        f"x-ms-exchange-parent-message-id: {copy.mail.message_id}",
        "auto-submitted: auto-generated",
    )
    return copy.mail.author.address, above + copy.received + copy.mail.raw


def gmail_forward(copy: Copy) -> tuple[str, bytes]:
    """Gmail's automatic forwarding; the return path names the copy's destination (+caf_=)."""
    local_part = copy.holder.address.partition("@")[0]
    sender = f"{local_part}+caf_={copy.collection.replace('@', '=')}@{copy.domain}"
    above = header_lines(
        f"X-Gm-Message-State: {copy.token.upper()}",
        f"X-Received: by 2002:a05:6000::{copy.token[:4]} with SMTP id {copy.token};"
        f"\r\n\t{format_datetime(copy.arrived_at)}",
        f"X-Forwarded-To: {copy.collection}",
        f"X-Forwarded-For: {copy.holder.address} {copy.collection}",
        f"Delivered-To: {copy.holder.address}",
        f"Received: by 2002:a05:6000::{copy.token[4:8]} with SMTP id {copy.token[::-1]};"
        f"\r\n\t{format_datetime(copy.arrived_at)}",
        f"Return-Path: <{copy.mail.author.address}>",
    )
    return sender, above + copy.received + copy.mail.raw


def sieve_redirect(copy: Copy) -> tuple[str, bytes]:
    """Pigeonhole's redirect: it drops Return-Path, and keeps what LMTP had written below its own."""
    above = header_lines(
        "X-Sieve: Pigeonhole Sieve 0.5.19 (4eae2f79)",
        f"X-Sieve-Redirected-From: {copy.holder.address}",
        f"Delivered-To: {copy.holder.address}",
        f"Received: from mx1.{copy.domain} by imap.{copy.domain} with LMTP id {copy.token}\r\n"
        f"\t(envelope-from <{copy.mail.author.address}>) for <{copy.holder.address}>;"
        f"\r\n\t{format_datetime(copy.arrived_at)}",
    )
    return copy.mail.author.address, above + copy.received + copy.mail.raw


def postfix_forward(copy: Copy) -> tuple[str, bytes]:
    """A transport of Postfix's pipe(8) with flags=DO, whose command sends the copy on."""
    above = header_lines(
        f"X-Original-To: {copy.holder.address}",
        f"Delivered-To: {copy.holder.address}",
    )
    return copy.mail.author.address, above + copy.received + copy.mail.raw
