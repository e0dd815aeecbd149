"""What a message says: read when somebody looks, and kept from then on."""

from __future__ import annotations

from .models import Body, Message, MessageState
from .reading import Words
from .routing import Reason
from .sync.parser import Poison, words_of

NOTHING = Words("", "")


def of(message: Message) -> tuple[Words, str]:
    """Its words, and a sentence when they could not be read.

    A header alone says nothing, and a message that nobody could route yet is not opened here.
    """
    kept = Body.objects.filter(message=message).first()
    if kept is not None:
        return Words(kept.text, kept.html), ""
    if message.is_stub or message.state == MessageState.RECEIVED or message.reason == Reason.UNREADABLE:
        return NOTHING, ""
    found = words_of(message.raw, message.shows_forwarded)
    if isinstance(found, Poison):
        return NOTHING, found.reason
    Body.objects.get_or_create(message=message, defaults=found._asdict())
    return found, ""
