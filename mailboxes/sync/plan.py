"""How a list of messages becomes batches: pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime

from emailprofiles.wire import Listed

BATCH_MESSAGES = 200
BATCH_OCTETS = 8 * 1024 * 1024


def batches(listed: Iterable[Listed]) -> Iterator[list[Listed]]:
    """Runs of at most BATCH_MESSAGES messages and BATCH_OCTETS; a larger message stands alone."""
    batch: list[Listed] = []
    octets = 0
    for message in listed:
        if batch and (len(batch) >= BATCH_MESSAGES or octets + message.size > BATCH_OCTETS):
            yield batch
            batch, octets = [], 0
        batch.append(message)
        octets += message.size
    if batch:
        yield batch


def wanted(batch: Iterable[Listed], process_from: datetime | None) -> list[Listed]:
    """Without what the server received before *Process Email From*; an unknown date is wanted."""
    return [
        m for m in batch if process_from is None or m.received_at is None or m.received_at >= process_from
    ]


def by_size(messages: Iterable[Listed], limit: int) -> tuple[list[Listed], list[Listed]]:
    """(those of at most `limit` octets, larger ones), as the server announces them."""
    small: list[Listed] = []
    large: list[Listed] = []
    for message in messages:
        (small if message.size <= limit else large).append(message)
    return small, large
