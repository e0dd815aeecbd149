"""How mail reaches the forward mailbox: every way in which real servers hand a copy on, and the rest.

A user's or queue's own server has one way of forwarding and keeps to it (`forwarding`). What is dealt
next comes from a deck of cards in which every way occurs, so that each hour of the demo shows the
office's whole life, and rare things stay rare.
"""

from __future__ import annotations

import logging
import smtplib
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from itertools import chain
from random import Random

from . import forwarding
from .breakages import BREAKAGES
from .correspondence import Correspondence, Mail, Recipient
from .office import Occupant, Office, collection_address, occupants

log = logging.getLogger(__name__)

BURST = 60
PAUSE_SECONDS = (2.0, 15.0)
SMTP_SECONDS = 10.0


class How(StrEnum):
    """How a letter came to the servers' door."""

    OUTLOOK_ATTACHMENT = "forwarded as attachment by Outlook"
    EXCHANGE_REDIRECT = "redirected by Exchange"
    GMAIL_FORWARD = "forwarded by Gmail"
    SIEVE_REDIRECT = "redirected by Sieve"
    POSTFIX_FORWARD = "forwarded by Postfix"
    NAMED_IN_TO_OR_CC = "named in To or Cc only"
    TWO_COPIES = "one mail that comes in two copies"
    OWN_MAILBOX = "sent to a mailbox that is collected itself"
    WAITS_FOR_APPROVAL = "for someone whose address waits for approval"
    MATCHES_NOBODY = "for nobody here"
    BROKEN = "broken"


FORWARDINGS: Mapping[How, Callable[[forwarding.Copy], tuple[str, bytes]]] = {
    How.OUTLOOK_ATTACHMENT: forwarding.outlook_attachment,
    How.EXCHANGE_REDIRECT: forwarding.exchange_redirect,
    How.GMAIL_FORWARD: forwarding.gmail_forward,
    How.SIEVE_REDIRECT: forwarding.sieve_redirect,
    How.POSTFIX_FORWARD: forwarding.postfix_forward,
}

DECK: Mapping[How, int] = {
    How.OUTLOOK_ATTACHMENT: 6,
    How.EXCHANGE_REDIRECT: 6,
    How.GMAIL_FORWARD: 5,
    How.SIEVE_REDIRECT: 5,
    How.POSTFIX_FORWARD: 5,
    How.NAMED_IN_TO_OR_CC: 4,
    How.TWO_COPIES: 2,
    How.OWN_MAILBOX: 3,
    How.WAITS_FOR_APPROVAL: 2,
    How.MATCHES_NOBODY: 3,
    How.BROKEN: 2,
}


@dataclass(frozen=True, slots=True)
class Letter:
    """What crosses SMTP: the envelope and the octets (CRLF), and for whom a reader would say it is.

    `meant_for` are addresses of the office; empty if nobody there can be told from the letter.
    """

    envelope_from: str
    envelope_to: str
    raw: bytes = field(repr=False)
    how: How
    meant_for: tuple[str, ...] = ()


def letters(
    office: Office, seed: int, now: Callable[[], datetime] = lambda: datetime.now(UTC)
) -> Iterator[Letter]:
    """Letters without end; the same office, seed and clock give the same octets."""
    return iter(_Sorting(office, _dice(seed), now))


def post(letter: Letter, host: str, port: int) -> None:
    """Hand one letter to the inbound server. Raises OSError or SMTPException as smtplib does."""
    with smtplib.SMTP(host, port, local_hostname="mx.example.net", timeout=SMTP_SECONDS) as server:
        server.sendmail(letter.envelope_from, [letter.envelope_to], letter.raw)


class Postman(threading.Thread):
    """Brings a burst of letters at once, then one every few seconds, until `stop()`.

    A server that can't be reached gets the same letter again after the next pause.
    """

    def __init__(
        self,
        bag: Iterator[Letter],
        host: str,
        port: int,
        *,
        burst: int = BURST,
        pause_seconds: tuple[float, float] = PAUSE_SECONDS,
        seed: int = 0,
    ) -> None:
        super().__init__(name="postman", daemon=True)
        self.posted = 0
        self._bag = bag
        self._host = host
        self._port = port
        self._burst = burst
        self._pause_seconds = pause_seconds
        self._dice = _dice(seed)
        self._stopped = threading.Event()

    def run(self) -> None:
        for letter in self._bag:
            while not self._stopped.is_set() and not self._post(letter):
                self._pause()
            if self._stopped.is_set():
                return
            if self.posted >= self._burst:
                self._pause()

    def stop(self, timeout: float = SMTP_SECONDS) -> None:
        """Bring no further letter; return once the one in hand is posted."""
        self._stopped.set()
        if self.is_alive():
            self.join(timeout)

    def _post(self, letter: Letter) -> bool:
        """Whether this letter is done with; what the server refuses for good is not brought again."""
        try:
            post(letter, self._host, self._port)
        except (smtplib.SMTPResponseException, smtplib.SMTPRecipientsRefused) as error:
            log.warning("A letter (%s) was refused: %s", letter.how, error)
            return True
        except OSError as error:
            log.warning("A letter (%s) could not be posted: %s", letter.how, error)
            return False
        self.posted += 1
        return True

    def _pause(self) -> None:
        self._stopped.wait(self._dice.uniform(*self._pause_seconds))


def _dice(seed: int) -> Random:
    return Random(seed)  # noqa: S311 (letters that can be repeated; nothing here is a secret)


# Who gets what


class _Sorting:
    """Deals the deck, again and again."""

    def __init__(self, office: Office, dice: Random, now: Callable[[], datetime]) -> None:
        self._dice = dice
        self._now = now
        self._people = Correspondence(dice, now)
        self._collection = collection_address(office)
        everybody = occupants(office)
        self._own = [one for one in everybody if one.incoming == "server_side"]
        self._waiting = [one for one in everybody if one.incoming == "forward" and not one.approved]
        self._forwarding = [one for one in everybody if one.incoming == "forward" and one.approved]
        ways = list(FORWARDINGS)
        self._ways: dict[str, How] = {
            one.address: ways[place % len(ways)] for place, one in enumerate(self._forwarding + self._waiting)
        }
        self._dealers: Mapping[How, Callable[[], Iterator[Letter]]] = {
            How.NAMED_IN_TO_OR_CC: self._named,
            How.TWO_COPIES: self._two_copies,
            How.OWN_MAILBOX: self._own_mailbox,
            How.WAITS_FOR_APPROVAL: self._waits_for_approval,
            How.MATCHES_NOBODY: self._matches_nobody,
            How.BROKEN: self._broken,
        }

    def __iter__(self) -> Iterator[Letter]:
        while True:
            deck = list(chain.from_iterable([how] * count for how, count in DECK.items()))
            self._dice.shuffle(deck)
            for how in deck:
                yield from self._deal(how)

    def _deal(self, how: How) -> Iterator[Letter]:
        dealer = self._dealers.get(how)
        return dealer() if dealer else self._forwarded(how)

    def _forwarded(self, how: How) -> Iterator[Letter]:
        holder = self._dice.choice([one for one in self._forwarding if self._ways[one.address] == how])
        other = self._dice.choice(self._forwarding)
        cc = [_recipient(other)] if other is not holder and self._dice.randrange(4) == 0 else []
        mail = self._people.write([_recipient(holder)], cc)
        yield self._forward(mail, holder, how)

    def _forward(self, mail: Mail, holder: Occupant, how: How) -> Letter:
        way = self._ways[holder.address]
        copy = forwarding.Copy(mail, holder, self._collection, self._people.token())
        envelope_from, raw = FORWARDINGS[way](copy)
        return Letter(envelope_from, self._collection, raw, how, (holder.address,))

    def _named(self) -> Iterator[Letter]:
        """A gateway adds the collecting mailbox to the envelope and writes nothing into the mail."""
        first, second = self._dice.sample(self._forwarding, 2)
        both = self._dice.randrange(2) == 0
        mail = self._people.write([_recipient(first)], [_recipient(second)] if both else [])
        named = (first.address, second.address) if both else (first.address,)
        yield self._direct(mail, self._collection, How.NAMED_IN_TO_OR_CC, named)

    def _two_copies(self) -> Iterator[Letter]:
        """Both recipients forward theirs, or a gateway has sent one for both before."""
        first, second = self._dice.sample(self._forwarding, 2)
        mail = self._people.write([_recipient(first), _recipient(second)])
        if self._dice.randrange(2) == 0:
            yield self._forward(mail, first, How.TWO_COPIES)
        else:
            yield self._direct(mail, self._collection, How.TWO_COPIES, (first.address, second.address))
        yield self._forward(mail, second, How.TWO_COPIES)

    def _own_mailbox(self) -> Iterator[Letter]:
        owner = self._dice.choice(self._own)
        mail = self._people.write([_recipient(owner)])
        yield self._direct(mail, owner.address, How.OWN_MAILBOX, (owner.address,))

    def _waits_for_approval(self) -> Iterator[Letter]:
        holder = self._dice.choice(self._waiting)
        yield self._forward(self._people.write([_recipient(holder)]), holder, How.WAITS_FOR_APPROVAL)

    def _matches_nobody(self) -> Iterator[Letter]:
        stranger = self._dice.choice(STRANGERS)
        mail = self._people.write([_recipient(stranger)])
        copy = forwarding.Copy(mail, stranger, self._collection, self._people.token())
        envelope_from, raw = self._dice.choice(
            (forwarding.gmail_forward, forwarding.sieve_redirect, forwarding.postfix_forward)
        )(copy)
        yield Letter(envelope_from, self._collection, raw, How.MATCHES_NOBODY)

    def _broken(self) -> Iterator[Letter]:
        holder = self._dice.choice(self._forwarding)
        author = "scanner@device.example.net"
        message = self._dice.choice(BREAKAGES)(holder.address, self._now(), self._people.token())
        trace = forwarding.header_lines(f"X-Original-To: {holder.address}", f"Delivered-To: {holder.address}")
        yield Letter(author, self._collection, trace + message, How.BROKEN, (holder.address,))

    def _direct(self, mail: Mail, address: str, how: How, meant_for: tuple[str, ...]) -> Letter:
        return Letter(mail.author.address, address, mail.raw, how, meant_for)


STRANGERS = (
    Occupant("Accounts", "invoice@contoso.com", "invoice", "forward", approved=False),
    Occupant("Leif Aronsson", "leif.aronsson@contoso.com", "leif", "forward", approved=False),
    Occupant("Contoso service", "service@contoso.com", "service", "forward", approved=False),
)


def _recipient(occupant: Occupant) -> Recipient:
    return Recipient(occupant.name, occupant.address)
