"""The world outside the office: what becomes of a mail to an address elsewhere, and what comes back.

==============  =======================================================================
local part      what its server does
==============  =======================================================================
`nobody`        refuses the address for good (550)
`later`         asks to try later, whenever it is asked (450)
`silent`        hears the whole message and hangs up without a word
`gone`          takes the message and sends a delivery report: it could not be delivered
any other       takes it, and a person answers the first message of each conversation
==============  =======================================================================

Nothing leaves this machine. What comes back is mail like any other: it is delivered, forwarded and collected.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email import message_from_bytes, policy
from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import format_datetime

from .correspondence import CORRESPONDENTS
from .forwarding import header_lines

REFUSALS: Mapping[str, str] = {
    "nobody": "550 5.1.1 <{address}>: Recipient address rejected: there is nobody of this name",
    "later": "450 4.2.0 <{address}>: Recipient address rejected: please try again later",
}
HANGS_UP = "silent"
BOUNCES = "gone"

_NAMES = {one.address: one.name for one in CORRESPONDENTS}
_THANKS = (
    "Hello,\n\nthank you for your message, I have read it and will come back to it this week.\n\nKind regards"
)


@dataclass(frozen=True, slots=True)
class Returned:
    """What a server outside hands in for the sender: envelope sender ("" for none) and octets with CRLF."""

    envelope_from: str
    raw: bytes = field(repr=False)


class Outside:
    """Everybody elsewhere; it knows which mails it wrote, so that it answers no answer to them."""

    def __init__(self) -> None:
        self._written: set[str] = set()

    def refuses(self, address: str) -> str:
        """The reply to RCPT that refuses this address, or "" for one that is taken."""
        return REFUSALS.get(_local_part(address), "").format(address=address)

    def hangs_up(self, address: str) -> bool:
        return _local_part(address) == HANGS_UP

    def returns(self, sender: str, address: str, raw: bytes) -> Returned | None:
        """What comes back to `sender` for a message to `address`, if anything."""
        message = message_from_bytes(raw, policy=policy.SMTP)
        if _local_part(address) == BOUNCES:
            return Returned("", _report(sender, address, raw))
        thread = f"{message['In-Reply-To'] or ''} {message['References'] or ''}".split()
        if not self._written.isdisjoint(thread) or message["Auto-Submitted"]:
            return None
        answer = _answer(message, sender, address)
        self._written.add(answer["Message-ID"])
        return Returned(address, answer.as_bytes())


def _local_part(address: str) -> str:
    return address.partition("@")[0].partition("+")[0].casefold()


def _domain(address: str) -> str:
    return address.rpartition("@")[2]


def _answer(message: EmailMessage, sender: str, address: str) -> EmailMessage:
    name, subject = _name(message, address), str(message["Subject"] or "")
    answer = EmailMessage(policy=policy.SMTP)
    answer["From"] = Address(display_name=name, addr_spec=address)
    answer["To"] = str(message["Reply-To"] or message["From"] or sender)
    answer["Subject"] = subject if subject.lower().startswith("re:") else f"Re: {subject}"
    answer["Date"] = datetime.now(UTC)
    answer["Message-ID"] = f"<{secrets.token_hex(8)}@mail.{_domain(address)}>"
    if asked := message["Message-ID"]:
        answer["In-Reply-To"] = str(asked)
        answer["References"] = f"{message['References'] or ''} {asked}".strip()
    body = message.get_body(("plain",))
    quoted = "".join(f"> {line}\n" for line in str(body.get_content() if body else "").splitlines())
    answer.set_content(f"{_THANKS}\n\n{name}\n\n{quoted}", cte="quoted-printable")
    return answer


def _name(message: EmailMessage, address: str) -> str:
    """As the office's people know them, else as the writer named them, else made of the address."""
    named = [one for header in ("To", "Cc") if message[header] for one in message[header].addresses]
    written = (one.display_name for one in named if one.addr_spec.casefold() == address.casefold())
    made = _local_part(address).replace(".", " ").replace("-", " ").title()
    return _NAMES.get(address) or next(filter(None, written), "") or made


def _report(sender: str, address: str, raw: bytes) -> bytes:
    """A delivery report of three parts (RFC 3462, RFC 3464), in which only the head of the message comes back."""
    server, boundary = f"mail.{_domain(address)}", f"=_{secrets.token_hex(8)}"
    said = f"550 5.1.1 <{address}>: this person does not work here any more"
    head = raw.partition(b"\r\n\r\n")[0] + b"\r\n"
    part = header_lines("", f"--{boundary}")
    return b"".join(
        (
            header_lines(
                f"From: Mail Delivery System <MAILER-DAEMON@{server}>",
                f"To: {sender}",
                "Subject: Undelivered Mail Returned to Sender",
                f"Date: {format_datetime(datetime.now(UTC))}",
                f"Message-ID: <{secrets.token_hex(8)}@{server}>",
                "Auto-Submitted: auto-replied",
                "MIME-Version: 1.0",
                f'Content-Type: multipart/report; report-type=delivery-status; boundary="{boundary}"',
            ),
            part,
            header_lines("Content-Type: text/plain; charset=utf-8", ""),
            header_lines(f"Your message could not be delivered to {address}:", "", said),
            part,
            header_lines("Content-Type: message/delivery-status", ""),
            header_lines(f"Reporting-MTA: dns; {server}", ""),
            header_lines(f"Final-Recipient: rfc822; {address}", "Action: failed", "Status: 5.1.1"),
            header_lines(f"Diagnostic-Code: smtp; {said}"),
            part,
            header_lines("Content-Type: text/rfc822-headers", ""),
            head,
            header_lines("", f"--{boundary}--"),
        )
    )
