"""The transports: one per protocol, all behind the seam of `seam.py`, found through `TRANSPORTS`."""

from __future__ import annotations

from typing import TypedDict

from emailprofiles.transports.seam import IncomingTransport, OutgoingTransport, Transport


class Transports(TypedDict):
    """Which class speaks which protocol, by direction."""

    incoming: dict[str, type[IncomingTransport]]
    outgoing: dict[str, type[OutgoingTransport]]


TRANSPORTS: Transports = {"incoming": {}, "outgoing": {}}

__all__ = ["TRANSPORTS", "IncomingTransport", "OutgoingTransport", "Transport", "Transports"]
