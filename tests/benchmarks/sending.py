"""Ways to hand mail to an SMTP server, each in a process of its own; the same messages, which are ready before the clock
starts.

    python -m tests.benchmarks.sending smtplib PORT NUMBER   `sendmail` in a loop, one connection
    python -m tests.benchmarks.sending django PORT NUMBER    Django's SMTP backend, a new connection each
    python -m tests.benchmarks.sending ours PORT NUMBER      the transport, offer and hand over, one connection
"""

from __future__ import annotations

import smtplib
import sys
from collections.abc import Callable, Sequence

from tests.benchmarks import clock

HOST = "127.0.0.1"
SENDER, RECIPIENT = "support@contoso.com", "person1@fabrikam.com"
OCTETS = 3_000
Work = Callable[[], None]
LINE = b"the order of Monday was changed, and the delivery note says so as well\r\n"


def letter(number: int) -> bytes:
    """A plain text message of OCTETS; one of its lines begins with a dot."""
    head = (
        f"From: Support <{SENDER}>\r\nTo: {RECIPIENT}\r\nSubject: Order {number}\r\n"
        f"Message-ID: <{number}.sending@contoso.com>\r\nDate: Mon, 30 Nov 2026 09:00:00 +0000\r\n"
        "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=us-ascii\r\n\r\n.dotted\r\n"
    ).encode()
    body = LINE * (OCTETS // len(LINE))
    return head + body[: OCTETS - len(head) - 2] + b"\r\n"


def with_smtplib(port: int, letters: Sequence[bytes]) -> Work:
    def send() -> None:
        with smtplib.SMTP(HOST, port) as server:
            for raw in letters:
                assert server.sendmail(SENDER, [RECIPIENT], raw) == {}

    return send


def with_django(port: int, letters: Sequence[bytes]) -> Work:
    from django.conf import settings
    from django.core.mail import EmailMessage, get_connection

    class Ready(EmailMessage):
        """A message as the others get it, so that only the backend is measured, and not how a message is made."""

        def __init__(self, raw: bytes) -> None:
            super().__init__(from_email=SENDER, to=[RECIPIENT])
            self.raw = raw

        def message(self) -> Ready:  # type: ignore[override]
            return self

        def as_bytes(self, linesep: str) -> bytes:
            assert linesep == "\r\n"
            return self.raw

    def send() -> None:
        for raw in letters:
            assert get_connection().send_messages([Ready(raw)]) == 1

    settings.configure(EMAIL_HOST=HOST, EMAIL_PORT=port)
    get_connection()
    return send


def with_ours(port: int, letters: Sequence[bytes]) -> Work:
    from emailprofiles.transports.smtp import Smtp
    from emailprofiles.wire import Anonymous, Endpoint, Envelope, Security

    def send() -> None:
        with Smtp(Endpoint(HOST, port, Security.NONE), Anonymous()) as server:
            server.connect()
            for raw in letters:
                envelope = Envelope(SENDER, (RECIPIENT,), len(raw), raw.isascii())
                assert server.offer(envelope) == {RECIPIENT: None}
                server.hand_over(raw)

    return send


# Each imports what it takes, and returns what is measured.
WAYS: dict[str, Callable[[int, Sequence[bytes]], Work]] = {
    "smtplib": with_smtplib,
    "django": with_django,
    "ours": with_ours,
}


def main(way: str, port: str, number: str) -> None:
    letters = [letter(n) for n in range(int(number))]
    clock.tell(WAYS[way](int(port), letters))


if __name__ == "__main__":
    main(*sys.argv[1:])
