"""The transports: one per protocol, all behind the seam of `seam.py`, found through `TRANSPORTS`."""

from __future__ import annotations

from typing import TypedDict

from emailprofiles.transports.imap import Imap
from emailprofiles.transports.pop3 import Pop3
from emailprofiles.transports.seam import IncomingTransport, OutgoingTransport, Transport
from emailprofiles.transports.smtp import Smtp


class Transports(TypedDict):
    """Which class speaks which protocol, by direction."""

    incoming: dict[str, type[IncomingTransport]]
    outgoing: dict[str, type[OutgoingTransport]]


TRANSPORTS: Transports = {"incoming": {"imap": Imap, "pop3": Pop3}, "outgoing": {"smtp": Smtp}}

__all__ = ["TRANSPORTS", "IncomingTransport", "OutgoingTransport", "Transport", "Transports"]
