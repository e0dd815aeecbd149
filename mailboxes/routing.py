"""For whom is this message? A pure decision over frozen values; the rules are domain.md's, in their order.

A message from a user's or queue's own mailbox belongs to that user or queue. One that was collected from a
forward mailbox is a copy that a server's rule made; for whom is read from what that rule left behind:

1. forwarded as attachment: the person who forwarded it;
2. redirected: the headers that servers write when they redirect, in the order of the settings;
3. To and Cc, which the sender wrote: everyone known there;
4. nobody: quarantine.

The first rule that finds a known address decides. Addresses of forward mailboxes are skipped throughout.

Once the settings name our own mail servers, `mailboxes.trace` tells which headers are their word. A *trusted*
routing header then counts only where one of them wrote it; one that is not trusted counts wherever it stands,
but after all trusted ones, and its evidence says so. A forwarder counts in rule 1 only if the mail never came
from outside, or our servers confirmed its sender.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Literal, NamedTuple, Protocol

from mailboxes.addresslist import MAX_ADDRESSES, addresses
from mailboxes.parsing import Header, Parsed
from mailboxes.trace import NOBODY, NOT_JUDGED, Servers, Trace, read, vouched_by

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
MAX_HOPS = 50

STATIONS = ("Delivered-To", "X-Original-To", "Envelope-To")
"""Headers in which a mailbox that a message reaches is noted, one more with each time."""

SENT_ON_BY = ("X-Sieve-Redirected-From", "X-MS-Exchange-Inbox-Rules-Loop", "X-Loop")
"""Headers in which a mailbox notes that it sent a message on by itself."""


class Rule(StrEnum):
    """How a target was found."""

    OWN_MAILBOX = "own_mailbox"
    FORWARDED_AS_ATTACHMENT = "forwarded_as_attachment"
    REDIRECTED = "redirected"
    TO_AND_CC = "to_and_cc"
    BY_HAND = "by_hand"


class Reason(StrEnum):
    """Why a message waits in quarantine, or is for nobody at all."""

    NO_RECIPIENT_MATCHED = "no_recipient_matched"
    MAILBOX_INACTIVE = "mailbox_inactive"
    METHOD_NOT_FORWARD = "method_not_forward"
    ADDRESS_PENDING = "address_pending"
    ADDRESS_REJECTED = "address_rejected"
    UNREADABLE = "unreadable"
    LOOP = "loop"
    TOO_LARGE = "too_large"
    NOT_HANDED_OVER = "not_handed_over"
    TEST_MESSAGE = "test_message"
    NOT_A_REPLY = "not_a_reply"


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
    Reason.LOOP: "The message goes in a circle",
    Reason.TOO_LARGE: "Larger than the maximum message size",
    Reason.NOT_HANDED_OVER: "The server does not hand it over",
    Reason.TEST_MESSAGE: "A test message of Test & Enable",
    Reason.NOT_A_REPLY: "Not an answer to anything that was sent from here",
}

REFUSALS = {
    Reason.NO_RECIPIENT_MATCHED: "nobody has this address",
    Reason.MAILBOX_INACTIVE: "the mailbox is not active",
    Reason.METHOD_NOT_FORWARD: "its Incoming Email is not Forward Mailbox",
    Reason.ADDRESS_PENDING: "the address waits for approval",
    Reason.ADDRESS_REJECTED: "the address was rejected",
    Reason.UNREADABLE: "the message could not be read",
    Reason.LOOP: "the message goes in a circle",
    Reason.TOO_LARGE: "it is larger than the maximum message size",
    Reason.NOT_HANDED_OVER: "the server does not hand it over",
    Reason.TEST_MESSAGE: "it is a test message of Test & Enable",
    Reason.NOT_A_REPLY: "it answers nothing that was sent from here",
}
"""The reasons within a sentence."""

FOR_NOBODY = frozenset({Reason.TEST_MESSAGE, Reason.NOT_A_REPLY})
"""What is discarded by itself: no person needs to look at it."""


@dataclass(frozen=True, slots=True)
class Source:
    """The mailbox the message was collected from."""

    mailbox_id: int
    kind: Kind
    email_address: str
    name: str


@dataclass(frozen=True, slots=True)
class Entry:
    """Whose address it is, and whether mail may be delivered there; `why_not` is set when it may not.

    `is_additional`: the mailbox has another address, and this is a further one.
    """

    mailbox_id: int
    kind: Kind
    name: str
    may_receive: bool = True
    why_not: Reason | None = None
    is_additional: bool = False


class Directory(Protocol):
    """The known addresses. Comparison is case-insensitive; None for an address nobody here has."""

    def find(self, address: str) -> Entry | None: ...


class HeaderRule(NamedTuple):
    """A routing header: trusted means that our own servers write it."""

    name: str
    is_trusted: bool = True


def trusted(names: Iterable[str]) -> tuple[HeaderRule, ...]:
    """Routing headers of these names, all trusted."""
    return tuple(HeaderRule(name) for name in names)


@dataclass(frozen=True, slots=True)
class Rules:
    """What the settings say about routing; `headers` stand in the order in which they count."""

    headers: tuple[HeaderRule, ...] = trusted(ROUTING_HEADERS)
    use_to_and_cc: bool = True
    use_plus_addresses: bool = True
    servers: Servers = NOBODY


@dataclass(frozen=True, slots=True)
class Target:
    """One user or queue the message is delivered to; `evidence` says in one sentence what pointed there."""

    mailbox_id: int
    name: str
    rule: Rule
    header: str
    address: str
    evidence: str


class Refused(NamedTuple):
    """One who was found and may not receive, and why."""

    mailbox_id: int
    name: str
    evidence: str
    why: Reason


@dataclass(frozen=True, slots=True)
class Route:
    """The decision: targets, or else a reason. `refused` are those who were found and may not receive.

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
    refused: tuple[Refused, ...] = ()


def route(parsed: Parsed, source: Source, directory: Directory, rules: Rules = Rules()) -> Route:
    """Decide for whom `parsed`, collected from `source`, is."""
    return Letter(parsed, rules).route(source, directory)


def addresses_in(parsed: Parsed, rules: Rules = Rules()) -> set[str]:
    """Every address route() may ask the directory for, in lower case."""
    return Letter(parsed, rules).addresses()


class Letter:
    """A message with what routing reads in its header, looked through once for both questions."""

    def __init__(self, parsed: Parsed, rules: Rules) -> None:
        self.parsed = parsed
        self._rules = rules
        self._named = _by_name(parsed.headers)
        self._occurrences = _occurrences(self._named, rules.headers)

    def addresses(self) -> set[str]:
        """Every address that its route may depend on, in lower case."""
        parsed = self.parsed
        written = {address for occurrence in self._occurrences for address in occurrence.addresses}
        asked = {address for address in (*written, parsed.sender, *parsed.to, *parsed.cc) if address}
        bare = {without_tag(address) for address in asked} if self._rules.use_plus_addresses else set()
        return {address.lower() for address in asked | bare if address}

    def route(self, source: Source, directory: Directory) -> Route:
        """For whom it is, when it was collected from `source`."""
        if source.kind != "forward":
            return _to_own_mailbox(self.parsed, source)
        servers = self._rules.servers
        trace = read(self.parsed.headers, servers) if servers else NOT_JUDGED
        search = _Search(self.parsed, source, directory, self._named, self._occurrences, self._rules, trace)
        if circle := search.went_in_a_circle():
            return search.decide([], Reason.LOOP, circle)
        hits = search.forwarded_as_attachment() or search.redirected() or search.to_and_cc()
        return search.decide(hits)


def without_tag(address: str) -> str:
    """The address of which this is a plus-address (RFC 5233): amara@ of amara+orders@; "" when it is none."""
    local, _, domain = address.rpartition("@")
    base, plus, _ = local.partition("+")
    return f"{base}@{domain}" if base and plus and not local.startswith('"') else ""


def without_unanswering(route: Route, strict: Collection[int]) -> Route:
    """The same without those targets that take replies only: `strict` are the mailboxes of whom this message answers
    nothing, though they take nothing else."""
    left_out = [target for target in route.targets if target.mailbox_id in strict]
    if not left_out:
        return route
    because = [f"{target.evidence} {_takes_replies_only(target.name)}" for target in left_out]
    rest = tuple(target for target in route.targets if target.mailbox_id not in strict)
    found = replace(route, targets=rest, considered=(*route.considered, *because))
    if rest:
        return replace(found, explanation=" ".join(target.evidence for target in rest))
    waiting = next((one for one in route.refused if one.mailbox_id not in strict), None)
    if waiting is None:
        return replace(found, reason=Reason.NOT_A_REPLY, explanation=" ".join(because))
    explanation = f"{waiting.evidence} {_not_there(waiting.why)}"
    return replace(found, reason=waiting.why, waiting_for=waiting.mailbox_id, explanation=explanation)


def _takes_replies_only(name: str) -> str:
    return f"{name} takes Replies only (Convert incoming email to activities), and it answers nothing sent from there."


class _Occurrence(NamedTuple):
    """One routing header of the message: its place there, what a sentence calls it, and what counts in it."""

    header: str
    phrase: str
    addresses: tuple[str, ...]
    place: int
    is_trusted: bool


_Named = dict[str, list[tuple[int, str]]]


def _by_name(headers: Sequence[Header]) -> _Named:
    """Name (lower case) → place and value of each header of this name."""
    named: _Named = {}
    for index, header in enumerate(headers):
        named.setdefault(header.name.lower(), []).append((index, header.written))
    return named


def _occurrences(named: _Named, headers: Sequence[HeaderRule]) -> list[_Occurrence]:
    """The trusted ones first, in the order of `headers`, and the topmost first within one name."""
    ordered = sorted(headers, key=lambda rule: not rule.is_trusted)
    return [occurrence for rule in ordered for occurrence in _of_one_name(named, rule)]


def _of_one_name(named: _Named, rule: HeaderRule) -> Iterator[_Occurrence]:
    name = rule.name
    written = named.get(name.lower(), [])
    limit = 1 if name.lower() in FIRST_ADDRESS_ONLY else MAX_ADDRESSES
    for number, (index, value) in enumerate(written):
        phrase = f"The {_ordinal(number)} {name} header" if len(written) > 1 else f"The {name} header"
        found = tuple(found.address for found in addresses(value, limit))
        yield _Occurrence(name, phrase, found, index, rule.is_trusted)


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
    named: _Named
    occurrences: list[_Occurrence]
    rules: Rules
    trace: Trace
    considered: list[str] = field(default_factory=list)

    def went_in_a_circle(self) -> str:
        """Why this message would come back again and again, as a sentence; "" when it would not."""
        here = self.source.email_address
        hops = len(self.named.get("received", []))
        if hops > MAX_HOPS:
            return f"It went through {hops} servers: more than {MAX_HOPS} is a circle."
        if name := next((name for name in STATIONS if self._stops_here(name) > 1), ""):
            return f"It reached {here} more than once, as its {name} headers tell: something sends it back."
        if name := next((name for name in SENT_ON_BY if self._names_source(name)), ""):
            return f"{here} itself sent it on, as its {name} header tells, and it came back."
        return ""

    def _stops_here(self, name: str) -> int:
        """How often it reached the collecting mailbox; two notes of one server are one time."""
        places = self._names_source(name)
        hops = [index for index, _ in self.named.get("received", [])]
        return len({sum(hop < place for hop in hops) for place in places})

    def _names_source(self, name: str) -> list[int]:
        written = self.named.get(name.lower(), [])
        return [i for i, value in written if any(self._is_source(one.address) for one in addresses(value))]

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
        if not (vouched := self._sender_is_verified()):
            return self._pass_over(f"Not forwarded as attachment: {self._unconfirmed()}")
        where = f"The message was forwarded as an attachment by {self.parsed.sender}"
        return [self._hit(Rule.FORWARDED_AS_ATTACHMENT, "From", self.parsed.sender, sender, where, vouched)]

    def _sender_is_verified(self) -> str:
        """Why the outer sender is believed, as a sentence; "" when it is not."""
        if not self.trace.is_judged:
            return "Nothing confirms this sender: the settings name no mail servers of our own."
        if self.trace.boundary is None:
            return "It never left our own servers."
        domain = self.parsed.sender.rpartition("@")[2]
        method = vouched_by(self.parsed.headers, self.trace, self.rules.servers, domain)
        return f"Our server confirmed the sender: {method}=pass." if method else ""

    def _unconfirmed(self) -> str:
        came_from = self.trace.boundary.sender if self.trace.boundary else "outside"
        return (
            f"it came from outside ({came_from}), and no server of ours confirms that {self.parsed.sender} "
            "sent it."
        )

    def redirected(self) -> list[_Hit]:
        """Rule 2: the first known address, by the order of the headers, then from the top."""
        for one in self.occurrences:
            is_below = self.trace.is_below(one.place)
            if one.is_trusted and is_below:
                self._pass_over_below(one)
                continue
            doubt = "" if one.is_trusted or is_below is False else "Anyone may have written this header."
            for address in one.addresses:
                if entry := self._look_up(address, one.phrase):
                    where = f"{one.phrase} names {address}"
                    return [self._hit(Rule.REDIRECTED, one.header, address, entry, where, doubt)]
            if not one.addresses:
                self._pass_over(f"{one.phrase} names no address.")
        return [] if self.occurrences else self._pass_over("It has no header of a redirected copy.")

    def _pass_over_below(self, one: _Occurrence) -> None:
        named = ", ".join(one.addresses[:3]) or "no address"
        self._pass_over(
            f"{one.phrase} names {named}, but stands below the first line of a foreign server: anyone may have "
            "written it."
        )

    def to_and_cc(self) -> list[_Hit]:
        """Rule 3: everyone known whom the sender wrote to, each once."""
        if not self.rules.use_to_and_cc:
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

    def decide(
        self,
        hits: list[_Hit],
        reason: Reason = Reason.NO_RECIPIENT_MATCHED,
        sentence: str = "No address of a user or queue was found in the message.",
    ) -> Route:
        """Deliver to those who may receive; one who may not never holds up the others."""
        refused = [hit for hit in hits if not hit.entry.may_receive]
        targets = tuple(hit.target() for hit in hits if hit.entry.may_receive)
        if not hits:
            return self._route(targets, reason, sentence, [])
        if not targets:
            explanation = f"{refused[0].evidence} {_refusal(refused[0].entry)}"
            return self._route((), _why(refused[0].entry), explanation, refused)
        for hit in refused:
            self._pass_over(f"{hit.evidence} {_refusal(hit.entry)}")
        return self._route(targets, None, " ".join(target.evidence for target in targets), refused)

    def _route(
        self,
        targets: tuple[Target, ...],
        reason: Reason | None,
        explanation: str,
        refused: list[_Hit],
    ) -> Route:
        waiting = refused[0] if refused and not targets else None
        deciding = waiting.rule if waiting else next((target.rule for target in targets), None)
        inner = self.parsed.forwarded if deciding is Rule.FORWARDED_AS_ATTACHMENT else None
        return Route(
            targets=targets,
            reason=reason,
            explanation=explanation,
            waiting_for=waiting.entry.mailbox_id if waiting else None,
            considered=self._lines(),
            message=inner or self.parsed,
            refused=tuple(
                Refused(hit.entry.mailbox_id, hit.entry.name, hit.evidence, _why(hit.entry))
                for hit in refused
            ),
        )

    def _lines(self) -> tuple[str, ...]:
        more = len(self.considered) - MAX_CONSIDERED
        return (*self.considered[:MAX_CONSIDERED], *([f"… and {more} more."] if more > 0 else []))

    def _hit(self, rule: Rule, header: str, address: str, entry: Entry, where: str, remark: str = "") -> _Hit:
        evidence = f"{where}, {self._what(address, entry)} of the {entry.kind} {entry.name}."
        return _Hit(rule, header, address, entry, " ".join(filter(None, (evidence, remark))))

    def _what(self, address: str, entry: Entry) -> str:
        if self.directory.find(address) is None:
            return "a plus-address"
        return "an additional address" if entry.is_additional else "the address"

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
        return self._find(address)

    def _find(self, address: str) -> Entry | None:
        """By the full address, or else by the one of which it is a plus-address."""
        entry = self.directory.find(address)
        bare = without_tag(address) if self.rules.use_plus_addresses else ""
        return self.directory.find(bare) if entry is None and bare else entry

    def _is_forward(self, address: str) -> bool:
        entry = self._find(address)
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


def _why(entry: Entry) -> Reason:
    return entry.why_not or Reason.MAILBOX_INACTIVE


def _refusal(entry: Entry) -> str:
    return _not_there(_why(entry))


def _not_there(why: Reason) -> str:
    return f"It can't be delivered there: {REFUSALS[why]}."


def _to_own_mailbox(parsed: Parsed, source: Source) -> Route:
    evidence = (
        f"It was collected from {source.email_address}, the mailbox of the {source.kind} {source.name}."
    )
    target = Target(source.mailbox_id, source.name, Rule.OWN_MAILBOX, "", source.email_address, evidence)
    return Route((target,), None, evidence, None, (), parsed)
