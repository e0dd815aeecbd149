"""What a page showed of a record, carried by its form: so nobody overwrites what they have not seen.

It is a signed text of short keyed digests, one for each field. No value can be read from it, of a
password it holds a digest of the sealed text, and it is of use for one record only.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from django import forms
from django.core import signing
from django.db import models
from django.utils.crypto import salted_hmac

NAME = "shown"


def digest(name: str, text: str) -> str:
    return salted_hmac(f"{__name__}.{name}", text, algorithm="sha256").hexdigest()[:20]


@dataclass(frozen=True, slots=True)
class Shown:
    """Field → digest of what the page showed; empty when the page cannot say."""

    digests: dict[str, str] = field(default_factory=dict)
    at: datetime | None = None

    @classmethod
    def opened(cls, record: models.Model, sealed: str) -> Shown:
        """What a posted text says; nothing when it is missing, altered, or of another record."""
        try:
            at, digests = signing.loads(sealed, salt=_salt(record))
        except signing.BadSignature:
            return cls()
        return cls(digests, datetime.fromtimestamp(at, UTC))

    def sealed(self, record: models.Model) -> str:
        """The text for the page; without a time it is shown now."""
        at = self.at.timestamp() if self.at else time.time()
        return signing.dumps((at, self.digests), salt=_salt(record))

    def of(self, name: str, text: str) -> bool:
        """Whether the field showed this text."""
        return self.digests.get(name) == digest(name, text)


def _salt(record: models.Model) -> str:
    return f"{__name__}.{record._meta.label_lower}.{record.pk}"


def as_sent(control: forms.Field, value: Any) -> str:
    """What a browser sends back for a control that shows this value, and nobody touches."""
    if isinstance(control, forms.BooleanField):
        return str(bool(value))
    written = control.widget.format_value(control.prepare_value(value))
    return in_lines(written[0] if isinstance(written, list) and written else written)


def in_lines(value: Any) -> str:
    """A value as it was sent, whatever the browser ends its lines with."""
    if value is None or value == []:
        return ""
    return "\n".join(line.rstrip() for line in str(value).strip().splitlines())
