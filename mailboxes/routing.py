"""For whom is this message? A pure decision over frozen values; the rules are domain.md's, in their order.

A message from a user's or queue's own mailbox belongs to that user or queue. One that was collected from a
forward mailbox is a copy that a server's rule made; for whom is read from what that rule left behind:

1. forwarded as attachment: the person who forwarded it;
2. redirected: the headers that servers write when they redirect, in the order of the settings;
3. To and Cc, which the sender wrote: everyone known there;
4. nobody: quarantine.

The first rule that finds a known address decides. Addresses of forward mailboxes are skipped throughout.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal, NamedTuple, Protocol

from mailboxes.addresslist import MAX_ADDRESSES, addresses
from mailboxes.parsing import Parsed

Kind = Literal["user", "queue", "forward"]

ROUTING_HEADERS = (
    "X-Original-To",
    "Delivered-To",
    "Envelope-To",
    "X-Forwarded-For",
    "X-Sieve-Redirected-From",
    "Resent-From",
    "Resent-To",
    "X-Forwarded-To",
)
"""Headers by which a redirected copy is recognised, the most trusted first."""

FIRST_ADDRESS_ONLY = frozenset({"x-forwarded-for"})
"""Gmail lists the whole way of a copy here; only its beginning says whose mail it was."""

MAX_CONSIDERED = 100


class Rule(StrEnum):
    """How a target was found."""

    OWN_MAILBOX = "own_mailbox"
    FORWARDED_AS_ATTACHMENT = "forwarded_as_attachment"
    REDIRECTED = "redirected"
    TO_AND_CC = "to_and_cc"
    BY_HAND = "by_hand"


class Reason(StrEnum):
    """Why a message waits in quarantine."""

    NO_RECIPIENT_MATCHED = "no_recipient_matched"
    MAILBOX_INACTIVE = "mailbox_inactive"
    METHOD_NOT_FORWARD = "method_not_forward"
    ADDRESS_PENDING = "address_pending"
    ADDRESS_REJECTED = "address_rejected"
    UNREADABLE = "unreadable"
    TOO_LARGE = "too_large"
    NOT_HANDED_OVER = "not_handed_over"


RULE_LABELS = {
    Rule.OWN_MAILBOX: "Own mailbox",
    Rule.FORWARDED_AS_ATTACHMENT: "Forwarded as attachment",
    Rule.REDIRECTED: "Redirected",
    Rule.TO_AND_CC: "To and Cc",
    Rule.BY_HAND: "By hand",
}

REASON_LABELS = {
    Reason.NO_RECIPIENT_MATCHED: "No recipient matched",
    Reason.MAILBOX_INACTIVE: "The mailbox is not active",
    Reason.METHOD_NOT_FORWARD: "Incoming Email is not Forward Mailbox",
    Reason.ADDRESS_PENDING: "The address waits for approval",
    Reason.ADDRESS_REJECTED: "The address was rejected",
    Reason.UNREADABLE: "The message could not be read",
    Reason.TOO_LARGE: "Larger than the maximum message size",
    Reason.NOT_HANDED_OVER: "The server does not hand it over",
}

REFUSALS = {
    Reason.NO_RECIPIENT_MATCHED: "nobody has this address",
    Reason.MAILBOX_INACTIVE: "the mailbox is not active",
    Reason.METHOD_NOT_FORWARD: "its Incoming Email is not Forward Mailbox",
    Reason.ADDRESS_PENDING: "the address waits for approval",
    Reason.ADDRESS_REJECTED: "the address was rejected",
    Reason.UNREADABLE: "the message could not be read",
    Reason.TOO_LARGE: "it is larger than the maximum message size",
    Reason.NOT_HANDED_OVER: "the server does not hand it over",
}
"""The reasons within a sentence."""


@dataclass(frozen=True, slots=True)
class Source:
    """The mailbox the message was collected from."""

    mailbox_id: int
    kind: Kind
    email_address: str
    name: str


@dataclass(frozen=True, slots=True)
class Entry:
    """Whose address it is, and whether mail may be delivered there; `why_not` is set when it may not."""

    mailbox_id: int
    kind: Kind
    name: str
    may_receive: bool = True
    why_not: Reason | None = None


class Directory(Protocol):
    """The known addresses. Comparison is case-insensitive; None for an address nobody here has."""

    def find(self, address: str) -> Entry | None: ...


@dataclass(frozen=True, slots=True)
class Target:
    """One user or queue the message is delivered to; `evidence` says in one sentence what pointed there."""

    mailbox_id: int
    name: str
    rule: Rule
    header: str
    address: str
    evidence: str


@dataclass(frozen=True, slots=True)
class Route:
    """The decision: targets, or else a reason.

    `explanation` is the decision in a sentence or two; `considered` has a line for all that was passed over.
    `waiting_for` is the mailbox whose change would let the message through. `message` is what is to be
    delivered: the inner message when it was forwarded as attachment.
    """

    targets: tuple[Target, ...]
    reason: Reason | None
    explanation: str
    waiting_for: int | None
    considered: tuple[str, ...]
    message: Parsed


def route(
    parsed: Parsed,
    source: Source,
    directory: Directory,
    headers: Sequence[str] = ROUTING_HEADERS,
    use_to_and_cc: bool = True,
) -> Route:
    """Decide for whom `parsed`, collected from `source`, is. `headers` are the names for rule 2, in order."""
    if source.kind != "forward":
        return _to_own_mailbox(parsed, source)
    search = _Search(parsed, source, directory, _occurrences(parsed, headers), use_to_and_cc)
    hits = search.forwarded_as_attachment() or search.redirected() or search.to_and_cc()
    return search.decide(hits)


def addresses_in(parsed: Parsed, headers: Sequence[str] = ROUTING_HEADERS) -> set[str]:
    """Every address route() may ask the directory for, in lower case."""
    written = {address for occurrence in _occurrences(parsed, headers) for address in occurrence.addresses}
    return {address.lower() for address in (*written, parsed.sender, *parsed.to, *parsed.cc) if address}


class _Occurrence(NamedTuple):
    """One routing header of the message, what a sentence calls it, and the addresses that count in it."""

    header: str
    phrase: str
    addresses: tuple[str, ...]


def _occurrences(parsed: Parsed, headers: Sequence[str]) -> list[_Occurrence]:
    """In the order of `headers`, and the topmost first within one name."""
    return [occurrence for name in headers for occurrence in _of_one_name(parsed, name)]


def _of_one_name(parsed: Parsed, name: str) -> Iterator[_Occurrence]:
    written = [header.written for header in parsed.headers if header.name.lower() == name.lower()]
    limit = 1 if name.lower() in FIRST_ADDRESS_ONLY else MAX_ADDRESSES
    for number, value in enumerate(written):
        phrase = f"The {_ordinal(number)} {name} header" if len(written) > 1 else f"The {name} header"
        yield _Occurrence(name, phrase, tuple(found.address for found in addresses(value, limit)))


def _ordinal(number: int) -> str:
    words = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth")
    return words[number] if number < len(words) else f"{number + 1}th"


class _Hit(NamedTuple):
    """A known address of a user or queue, and the sentence that says where it stood."""

    rule: Rule
    header: str
    address: str
    entry: Entry
    evidence: str

    def target(self) -> Target:
        return Target(
            self.entry.mailbox_id, self.entry.name, self.rule, self.header, self.address, self.evidence
        )


@dataclass(slots=True)
class _Search:
    """One message on its way through the rules, and the lines this leaves for "Why was this routed here?"."""

    parsed: Parsed
    source: Source
    directory: Directory
    occurrences: list[_Occurrence]
    use_to_and_cc: bool
    considered: list[str] = field(default_factory=list)

    def forwarded_as_attachment(self) -> list[_Hit]:
        """Rule 1: who sent it, if it was sent only to the collecting mailbox and carries one message."""
        sender = self._known(self.parsed.sender)
        if self.parsed.forwarded is None:
            return self._pass_over("Not forwarded as attachment: it does not carry exactly one message.")
        if sender is None:
            who = self.parsed.sender or "nobody"
            return self._pass_over(f"Not forwarded as attachment: its sender, {who}, is not a known address.")
        if not self._sent_here_only():
            here = self.source.email_address
            return self._pass_over(f"Not forwarded as attachment: {here} is not its only known recipient.")
        where = f"The message was forwarded as an attachment by {self.parsed.sender}"
        return [self._hit(Rule.FORWARDED_AS_ATTACHMENT, "From", self.parsed.sender, sender, where)]

    def redirected(self) -> list[_Hit]:
        """Rule 2: the first known address, by the order of the headers, then from the top."""
        for header, phrase, found in self.occurrences:
            for address in found:
                entry = self._look_up(address, phrase)
                if entry is not None:
                    return [self._hit(Rule.REDIRECTED, header, address, entry, f"{phrase} names {address}")]
            if not found:
                self._pass_over(f"{phrase} names no address.")
        return [] if self.occurrences else self._pass_over("It has no header of a redirected copy.")

    def to_and_cc(self) -> list[_Hit]:
        """Rule 3: everyone known whom the sender wrote to, each once."""
        if not self.use_to_and_cc:
            return self._pass_over("To and Cc are not used: this is switched off in the settings.")
        hits: dict[int, _Hit] = {}
        for header, found in (("To", self.parsed.to), ("Cc", self.parsed.cc)):
            for address in found:
                entry = self._look_up(address, header)
                if entry is not None:
                    hit = self._hit(Rule.TO_AND_CC, header, address, entry, f"{header} names {address}")
                    hits.setdefault(entry.mailbox_id, hit)
        if not (self.parsed.to or self.parsed.cc):
            self._pass_over("To and Cc name no address.")
        return list(hits.values())

    def decide(self, hits: list[_Hit]) -> Route:
        """Deliver to those who may receive; one who may not never holds up the others."""
        refused = [hit for hit in hits if not hit.entry.may_receive]
        targets = tuple(hit.target() for hit in hits if hit.entry.may_receive)
        if not hits:
            sentence = "No address of a user or queue was found in the message."
            return self._route(targets, Reason.NO_RECIPIENT_MATCHED, sentence)
        if not targets:
            return self._waiting(refused[0])
        for hit in refused:
            self._pass_over(f"{hit.evidence} {_refusal(hit.entry)}")
        return self._route(targets, None, " ".join(target.evidence for target in targets))

    def _waiting(self, hit: _Hit) -> Route:
        reason = hit.entry.why_not or Reason.MAILBOX_INACTIVE
        return self._route((), reason, f"{hit.evidence} {_refusal(hit.entry)}", hit)

    def _route(
        self,
        targets: tuple[Target, ...],
        reason: Reason | None,
        explanation: str,
        waiting: _Hit | None = None,
    ) -> Route:
        deciding = waiting.rule if waiting else next((target.rule for target in targets), None)
        inner = self.parsed.forwarded if deciding is Rule.FORWARDED_AS_ATTACHMENT else None
        return Route(
            targets=targets,
            reason=reason,
            explanation=explanation,
            waiting_for=waiting.entry.mailbox_id if waiting else None,
            considered=self._lines(),
            message=inner or self.parsed,
        )

    def _lines(self) -> tuple[str, ...]:
        more = len(self.considered) - MAX_CONSIDERED
        return (*self.considered[:MAX_CONSIDERED], *([f"… and {more} more."] if more > 0 else []))

    def _hit(self, rule: Rule, header: str, address: str, entry: Entry, where: str) -> _Hit:
        evidence = f"{where}, the address of the {entry.kind} {entry.name}."
        return _Hit(rule, header, address, entry, evidence)

    def _look_up(self, address: str, phrase: str) -> Entry | None:
        """The user or queue of an address that `phrase` names; leaves a line when it is none."""
        entry = self._known(address)
        if entry is None:
            what = "a forward mailbox" if self._is_forward(address) else "not a known address"
            self._pass_over(f"{phrase} names {address}, which is {what}.")
        return entry

    def _known(self, address: str) -> Entry | None:
        if not address or self._is_forward(address):
            return None
        return self.directory.find(address)

    def _is_forward(self, address: str) -> bool:
        entry = self.directory.find(address)
        return self._is_source(address) or (entry is not None and entry.kind == "forward")

    def _is_source(self, address: str) -> bool:
        return address.lower() == self.source.email_address.lower()

    def _sent_here_only(self) -> bool:
        """The collecting mailbox is the only known recipient; other forward mailboxes don't count."""
        written = (address for occurrence in self.occurrences for address in occurrence.addresses)
        recipients = {*written, *self.parsed.to, *self.parsed.cc}
        others = any(self._known(address) for address in recipients)
        return not others and any(map(self._is_source, recipients))

    def _pass_over(self, line: str) -> list[_Hit]:
        self.considered.append(line)
        return []


def _refusal(entry: Entry) -> str:
    reason = entry.why_not or Reason.MAILBOX_INACTIVE
    return f"It can't be delivered there: {REFUSALS[reason]}."


def _to_own_mailbox(parsed: Parsed, source: Source) -> Route:
    evidence = (
        f"It was collected from {source.email_address}, the mailbox of the {source.kind} {source.name}."
    )
    target = Target(source.mailbox_id, source.name, Rule.OWN_MAILBOX, "", source.email_address, evidence)
    return Route((target,), None, evidence, None, (), parsed)
