"""Routing: mail as servers' forwarding rules really send it, and whom it reaches."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailboxes.parsing import Header, Parsed, parse
from mailboxes.routing import (
    REASON_LABELS,
    REFUSALS,
    ROUTING_HEADERS,
    RULE_LABELS,
    Entry,
    Reason,
    Route,
    Rule,
    Rules,
    Source,
    addresses_in,
    route,
    trusted,
)

COLLECTION = Source(1, "forward", "forwardmailbox@contoso.com", "Collection 1")
AMARA = Entry(10, "user", "Amara Okafor")
CHIDI = Entry(11, "user", "Chidi Eze")
SUPPORT = Entry(20, "queue", "Support")
PEOPLE = {
    "forwardmailbox@contoso.com": Entry(1, "forward", "Collection 1"),
    "collection2@contoso.com": Entry(2, "forward", "Collection 2"),
    "amara@contoso.com": AMARA,
    "amara.okafor@gmail.com": AMARA,
    "chidi@contoso.com": CHIDI,
    "support@contoso.com": SUPPORT,
}


@dataclass
class Office:
    """A directory in memory, which remembers what it was asked."""

    entries: Mapping[str, Entry]

    def __post_init__(self) -> None:
        self.asked: set[str] = set()

    def find(self, address: str) -> Entry | None:
        self.asked.add(address.lower())
        return self.entries.get(address.lower())


def office(**changed: Entry) -> Office:
    """Everyone; `office(amara=…)` has another entry for amara@contoso.com."""
    return Office(PEOPLE | {f"{name}@contoso.com": entry for name, entry in changed.items()})


def mail(written: str) -> Parsed:
    return parse("".join(line.strip() + "\n" for line in written.strip().splitlines()).encode())


def routed(written: str, headers: Iterable[str] = ROUTING_HEADERS, use_to_and_cc: bool = True) -> Route:
    return route(mail(written), COLLECTION, office(), Rules(trusted(headers), use_to_and_cc))


def pending(entry: Entry) -> Entry:
    return replace(entry, may_receive=False, why_not=Reason.ADDRESS_PENDING)


EXCHANGE_REDIRECT = """
    Received: from AM0PR01MB1234.eurprd01.prod.exchangelabs.com by mail.contoso.com; Mon, 1 Jan 2024
    Resent-From: <amara@contoso.com>
    From: Ben Fischer <ben@fabrikam.com>
    To: "Sales" <sales@contoso.com>
    Subject: Offer
    X-MS-Exchange-Inbox-Rules-Loop: amara@contoso.com
    X-MS-Exchange-Generated-Message-Source: Mailbox Rules Agent
    X-MS-Exchange-Parent-Message-Id: <offer@fabrikam.com>
    Auto-Submitted: auto-generated

    Hello
    """

EXCHANGE_FORWARD_AS_ATTACHMENT = """
    From: Amara Okafor <Amara@Contoso.com>
    To: Collection 1 <forwardmailbox@contoso.com>
    Subject: FW: Offer
    X-MS-Exchange-Generated-Message-Source: Mailbox Rules Agent
    MIME-Version: 1.0
    Content-Type: multipart/mixed; boundary="_004_outer_"

    --_004_outer_
    Content-Type: text/plain; charset="us-ascii"


    --_004_outer_
    Content-Type: message/rfc822

    From: Ben Fischer <ben@fabrikam.com>
    To: Chidi Eze <chidi@contoso.com>
    Subject: Offer

    Hello
    --_004_outer_--
    """

GMAIL_FORWARDING = """
    Delivered-To: forwardmailbox@contoso.com
    Received: by 2002:a05:6512:3ba2:b0:50e:7b1a:1234 with SMTP id g34csp123; Mon, 1 Jan 2024
    Return-Path: <amara.okafor+caf_=forwardmailbox=contoso.com@gmail.com>
    X-Forwarded-Encrypted: i=1; AJvYcCX
    X-Forwarded-To: forwardmailbox@contoso.com
    X-Forwarded-For: amara.okafor@gmail.com forwardmailbox@contoso.com
    Delivered-To: amara.okafor@gmail.com
    Received-SPF: pass (google.com: domain of ben@fabrikam.com designates 192.0.2.1 as permitted sender)
    From: Ben Fischer <ben@fabrikam.com>
    To: amara.okafor@gmail.com
    Subject: Offer

    Hello
    """

SIEVE_REDIRECT = """
    Return-Path: <ben@fabrikam.com>
    X-Sieve: Pigeonhole Sieve 0.5.21 (f6cd4b8e)
    X-Sieve-Redirected-From: chidi@contoso.com
    Received: from mail.fabrikam.com by mx.contoso.com (Dovecot) with LMTP id abc; Mon, 1 Jan 2024
    From: Ben Fischer <ben@fabrikam.com>
    To: everyone@contoso.com
    Subject: Offer

    Hello
    """

POSTFIX_ALIAS = """
    Return-Path: <ben@fabrikam.com>
    X-Original-To: support@contoso.com
    Delivered-To: forwardmailbox@contoso.com
    Received: from mail.fabrikam.com by mx.contoso.com (Postfix) with ESMTPS id 4T3; Mon, 1 Jan 2024
    From: Ben Fischer <ben@fabrikam.com>
    To: help@contoso.com
    Subject: Offer

    Hello
    """

POSTFIX_FORWARD_FILE = """
    Return-Path: <ben@fabrikam.com>
    X-Original-To: forwardmailbox@contoso.com
    Delivered-To: forwardmailbox@contoso.com
    Received: by mx.contoso.com (Postfix) id 4T4; Mon,  1 Jan 2024 10:00:00 +0000
    Delivered-To: amara@contoso.com
    Received: from mail.fabrikam.com by mx.contoso.com (Postfix); Mon,  1 Jan 2024 10:00:00 +0000
    From: Ben Fischer <ben@fabrikam.com>
    To: team@contoso.com
    Subject: Offer

    Hello
    """

POSTFIX_RECIPIENT_BCC = """
    Return-Path: <ben@fabrikam.com>
    X-Original-To: forwardmailbox@contoso.com
    Delivered-To: forwardmailbox@contoso.com
    From: Ben Fischer <ben@fabrikam.com>
    To: Amara Okafor <amara@contoso.com>, ben@fabrikam.com
    Cc: SUPPORT@contoso.com, amara.okafor@gmail.com
    Subject: Offer

    Hello
    """

EXIM_ENVELOPE_TO = """
    Envelope-To: nobody@contoso.com, chidi@contoso.com
    From: Ben Fischer <ben@fabrikam.com>
    To: list@lists.example

    Hello
    """


@pytest.mark.parametrize(
    ("written", "rule", "reached", "evidence"),
    [
        (
            EXCHANGE_REDIRECT,
            Rule.REDIRECTED,
            {10},
            "The Resent-From header names amara@contoso.com, the address of the user Amara Okafor.",
        ),
        (
            EXCHANGE_FORWARD_AS_ATTACHMENT,
            Rule.FORWARDED_AS_ATTACHMENT,
            {10},
            "The message was forwarded as an attachment by Amara@contoso.com, "
            "the address of the user Amara Okafor. Nothing confirms this sender: the settings name no mail "
            "servers of our own.",
        ),
        (
            GMAIL_FORWARDING,
            Rule.REDIRECTED,
            {10},
            "The second Delivered-To header names amara.okafor@gmail.com, "
            "the address of the user Amara Okafor.",
        ),
        (
            SIEVE_REDIRECT,
            Rule.REDIRECTED,
            {11},
            "The X-Sieve-Redirected-From header names chidi@contoso.com, the address of the user Chidi Eze.",
        ),
        (
            POSTFIX_ALIAS,
            Rule.REDIRECTED,
            {20},
            "The X-Original-To header names support@contoso.com, the address of the queue Support.",
        ),
        (
            POSTFIX_FORWARD_FILE,
            Rule.REDIRECTED,
            {10},
            "The second Delivered-To header names amara@contoso.com, the address of the user Amara Okafor.",
        ),
        (
            POSTFIX_RECIPIENT_BCC,
            Rule.TO_AND_CC,
            {10, 20},
            "To names amara@contoso.com, the address of the user Amara Okafor. "
            "Cc names SUPPORT@contoso.com, the address of the queue Support.",
        ),
        (
            EXIM_ENVELOPE_TO,
            Rule.REDIRECTED,
            {11},
            "The Envelope-To header names chidi@contoso.com, the address of the user Chidi Eze.",
        ),
    ],
)
def test_mail_of_servers(written: str, rule: Rule, reached: set[int], evidence: str) -> None:
    decision = routed(written)
    assert {target.mailbox_id for target in decision.targets} == reached
    assert {target.rule for target in decision.targets} == {rule}
    assert decision.explanation == evidence
    assert (decision.reason, decision.waiting_for) == (None, None)


def test_what_was_forwarded_as_attachment_is_what_is_delivered() -> None:
    decision = routed(EXCHANGE_FORWARD_AS_ATTACHMENT)
    assert (decision.message.sender, decision.message.subject) == ("ben@fabrikam.com", "Offer")
    redirected = mail(EXCHANGE_REDIRECT)
    assert route(redirected, COLLECTION, office()).message is redirected


def test_what_was_passed_over_is_told() -> None:
    assert routed(POSTFIX_FORWARD_FILE).considered == (
        "Not forwarded as attachment: it does not carry exactly one message.",
        "The X-Original-To header names forwardmailbox@contoso.com, which is a forward mailbox.",
        "The first Delivered-To header names forwardmailbox@contoso.com, which is a forward mailbox.",
    )


# --- rule 1


@pytest.mark.parametrize(
    ("changed", "to", "line"),
    [
        (
            "From: Amara",
            "From: Eve <eve@evil.example>\nX-Was: ",
            "its sender, eve@evil.example, is not a known address.",
        ),
        ("From: Amara", "X-Was: ", "its sender, nobody, is not a known address."),
        ("message/rfc822", "text/plain", "it does not carry exactly one message."),
        (
            "To: Coll",
            "Cc: chidi@contoso.com\nTo: Coll",
            "forwardmailbox@contoso.com is not its only known recipient.",
        ),
        (
            "To: Coll",
            "Delivered-To: support@contoso.com\nTo: C",
            "forwardmailbox@contoso.com is not its only known recipient.",
        ),
        (
            "<forwardmailbox@contoso.com>",
            "<other@contoso.com>",
            "forwardmailbox@contoso.com is not its only known recipient.",
        ),
    ],
)
def test_when_a_mail_was_not_forwarded_as_attachment(changed: str, to: str, line: str) -> None:
    written = EXCHANGE_FORWARD_AS_ATTACHMENT.replace(changed, to, 1)
    decision = routed(written)
    assert all(target.rule is not Rule.FORWARDED_AS_ATTACHMENT for target in decision.targets)
    assert decision.considered[0] == f"Not forwarded as attachment: {line}"
    assert decision.message.subject == "FW: Offer"


def test_strangers_and_other_forward_mailboxes_may_be_among_the_recipients() -> None:
    written = EXCHANGE_FORWARD_AS_ATTACHMENT.replace(
        "To: Coll", "Cc: stranger@fabrikam.com, collection2@contoso.com\nTo: Coll", 1
    )
    assert [target.rule for target in routed(written).targets] == [Rule.FORWARDED_AS_ATTACHMENT]


def test_a_forwarder_who_may_not_receive_waits_and_no_lower_rule_is_tried() -> None:
    parsed = mail(EXCHANGE_FORWARD_AS_ATTACHMENT)
    decision = route(parsed, COLLECTION, office(amara=pending(AMARA)))
    assert decision.targets == ()
    assert (decision.reason, decision.waiting_for) == (Reason.ADDRESS_PENDING, 10)
    assert decision.message is parsed.forwarded


# --- rule 2


def test_the_order_of_the_settings_decides_between_headers() -> None:
    written = "X-Original-To: amara@contoso.com\nResent-From: chidi@contoso.com\n\n"
    assert routed(written).targets[0].name == "Amara Okafor"
    assert routed(written, ["Resent-From", "X-Original-To"]).targets[0].name == "Chidi Eze"
    assert routed(written, ["resent-from"]).targets[0].header == "resent-from"
    assert routed(written, []).reason is Reason.NO_RECIPIENT_MATCHED


def test_the_topmost_known_address_of_one_header_decides() -> None:
    written = (
        "Delivered-To: x@contoso.com\nDelivered-To: chidi@contoso.com\nDelivered-To: amara@contoso.com\n\n"
    )
    assert [target.name for target in routed(written).targets] == ["Chidi Eze"]


def test_only_the_first_address_of_x_forwarded_for_counts() -> None:
    assert routed("X-Forwarded-For: stranger@x.com amara@contoso.com\n\n").targets == ()
    assert (
        routed("X-Forwarded-For: amara@contoso.com chidi@contoso.com\n\n").targets[0].name == "Amara Okafor"
    )


def test_redirected_to_one_who_may_not_receive_waits_though_to_names_another() -> None:
    parsed = mail("Delivered-To: amara@contoso.com\nTo: chidi@contoso.com\n\nHello")
    inactive = replace(AMARA, may_receive=False, why_not=Reason.MAILBOX_INACTIVE)
    decision = route(parsed, COLLECTION, office(amara=inactive))
    assert decision.targets == ()
    assert (decision.reason, decision.waiting_for) == (Reason.MAILBOX_INACTIVE, 10)
    assert decision.explanation == (
        "The Delivered-To header names amara@contoso.com, the address of the user Amara Okafor. "
        "It can't be delivered there: the mailbox is not active."
    )


def test_a_display_name_is_not_an_address() -> None:
    written = 'Resent-From: "chidi@contoso.com" <amara@contoso.com>\n\n'
    assert [target.name for target in routed(written).targets] == ["Amara Okafor"]
    written = "Resent-From: =?utf-8?q?chidi=40contoso=2Ecom=2C?= <amara@contoso.com>\n\n"
    assert [target.name for target in routed(written).targets] == ["Amara Okafor"]


# --- rule 3


def test_one_bad_target_of_to_and_cc_never_holds_up_the_others() -> None:
    parsed = mail("To: amara@contoso.com, chidi@contoso.com\nCc: support@contoso.com\n\nHello")
    decision = route(parsed, COLLECTION, office(chidi=pending(CHIDI)))
    assert [target.mailbox_id for target in decision.targets] == [10, 20]
    assert (decision.reason, decision.waiting_for) == (None, None)
    assert decision.considered[-1] == (
        "To names chidi@contoso.com, the address of the user Chidi Eze. "
        "It can't be delivered there: the address waits for approval."
    )


def test_when_none_of_to_and_cc_may_receive_the_first_one_s_reason_counts() -> None:
    parsed = mail("To: amara@contoso.com\nCc: support@contoso.com\n\nHello")
    not_forward = replace(SUPPORT, may_receive=False, why_not=Reason.METHOD_NOT_FORWARD)
    decision = route(parsed, COLLECTION, office(amara=pending(AMARA), support=not_forward))
    assert decision.targets == ()
    assert (decision.reason, decision.waiting_for) == (Reason.ADDRESS_PENDING, 10)


def test_a_person_with_two_addresses_is_one_target() -> None:
    decision = routed("To: amara@contoso.com, amara.okafor@gmail.com\n\n")
    assert [target.address for target in decision.targets] == ["amara@contoso.com"]


def test_to_and_cc_can_be_switched_off() -> None:
    decision = routed("To: amara@contoso.com\n\n", use_to_and_cc=False)
    assert decision.reason is Reason.NO_RECIPIENT_MATCHED
    assert decision.considered[-1] == "To and Cc are not used: this is switched off in the settings."


# --- nobody


@pytest.mark.parametrize(
    "written",
    [
        "To: unlisted-recipients:; (no To-header on input)\n\nHello",
        "To: forwardmailbox@contoso.com\n\nHello",
        "Delivered-To: collection2@contoso.com\nTo: stranger@fabrikam.com\n\nHello",
        "",
    ],
)
def test_nobody(written: str) -> None:
    decision = routed(written)
    assert decision.targets == ()
    assert (decision.reason, decision.waiting_for) == (Reason.NO_RECIPIENT_MATCHED, None)
    assert decision.explanation == "No address of a user or queue was found in the message."
    assert decision.considered


def test_the_collecting_address_is_skipped_even_if_the_directory_does_not_know_it() -> None:
    decision = route(mail("Delivered-To: ForwardMailbox@contoso.com\n\n"), COLLECTION, Office({}))
    assert decision.considered[1].endswith("which is a forward mailbox.")


def test_a_thousand_strangers_leave_a_list_that_can_be_read() -> None:
    decision = routed("To: " + ", ".join(f"user{number}@x.com" for number in range(1000)) + "\n\n")
    assert len(decision.considered) == 101
    assert decision.considered[-1] == "… and 902 more."


# --- own mailboxes


@pytest.mark.parametrize("kind", ["user", "queue"])
def test_mail_of_an_own_mailbox_is_its_own_whatever_it_says(kind: str) -> None:
    source = Source(20, "queue" if kind == "queue" else "user", "support@contoso.com", "Support")
    parsed = mail(EXCHANGE_REDIRECT)
    decision = route(parsed, source, office())
    (target,) = decision.targets
    assert (target.mailbox_id, target.rule) == (20, Rule.OWN_MAILBOX)
    assert target.evidence == f"It was collected from support@contoso.com, the mailbox of the {kind} Support."
    assert decision.message is parsed


# --- promises


def test_every_rule_and_reason_has_its_words() -> None:
    assert set(RULE_LABELS) == set(Rule)
    assert set(REASON_LABELS) == set(REFUSALS) == set(Reason)


ADDRESSES = st.sampled_from([*PEOPLE, "stranger@x.com", "FORWARDMAILBOX@contoso.com", "Amara@Contoso.com"])
MESSAGES = st.builds(
    Parsed,
    sender=ADDRESSES | st.just(""),
    to=st.lists(ADDRESSES, max_size=4).map(tuple),
    cc=st.lists(ADDRESSES, max_size=4).map(tuple),
    headers=st.lists(
        st.builds(Header, st.sampled_from([*ROUTING_HEADERS, "Subject"]), ADDRESSES | st.text(max_size=30)),
        max_size=5,
    ).map(tuple),
    forwarded=st.none() | st.just(Parsed(subject="inner")),
)
SOURCES = st.sampled_from([COLLECTION, Source(10, "user", "amara@contoso.com", "Amara Okafor")])


@given(MESSAGES, SOURCES, st.booleans(), st.sets(st.sampled_from(sorted(PEOPLE))))
def test_always_a_decision_and_never_a_forward_mailbox(
    parsed: Parsed, source: Source, use_to_and_cc: bool, unapproved: set[str]
) -> None:
    entries = {
        address: pending(entry) if address in unapproved else entry for address, entry in PEOPLE.items()
    }
    directory = Office(entries)
    decision = route(parsed, source, directory, Rules(use_to_and_cc=use_to_and_cc))
    assert bool(decision.targets) == (decision.reason is None)
    assert not {target.mailbox_id for target in decision.targets} & {1, 2}
    assert len({target.mailbox_id for target in decision.targets}) == len(decision.targets)
    assert decision.explanation
    assert directory.asked <= addresses_in(parsed)
