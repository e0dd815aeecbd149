"""The trust boundary: what stands above the first line of a foreign server, and who vouches for a sender."""

from dataclasses import replace

import pytest

from mailboxes.parsing import Parsed
from mailboxes.routing import HeaderRule, Reason, Route, Rule, Rules, route, without_tag
from mailboxes.trace import Servers, fault, hop, read

from .test_routing import COLLECTION, EXCHANGE_FORWARD_AS_ATTACHMENT, GMAIL_FORWARDING, SUPPORT, mail, office

OURS = Servers.listed("contoso.com\nimap1\n10.1.0.0/16\n2001:db8:1::/48")
RULES = Rules(servers=OURS)


def routed(written: str, rules: Rules = RULES) -> Route:
    return route(mail(written), COLLECTION, office(), rules)


def names(decision: Route) -> list[str]:
    return [target.name for target in decision.targets]


FOREIGN = "Received: from mail.fabrikam.com (mail.fabrikam.com [203.0.113.9]) by mx.contoso.com (Postfix) with ESMTPS id 1; Mon, 1 Jan 2024"


@pytest.mark.parametrize(
    ("line", "is_inside"),
    [
        (
            "from mx.contoso.com (mx.contoso.com [198.51.100.7]) by imap.contoso.com (Postfix) with ESMTPS id 1",
            True,
        ),
        (
            "from mail.fabrikam.com (mail.fabrikam.com [203.0.113.9]) by mx.contoso.com (Postfix) with ESMTP",
            False,
        ),
        # A stranger who greets in our name.
        ("from mx.contoso.com (evil.example [203.0.113.9]) by mx.contoso.com (Postfix) with ESMTP", False),
        ("from mx.contoso.com (unknown [203.0.113.9]) by mx.contoso.com (Postfix) with ESMTP id 2", False),
        (
            "from mx.contoso.com (mx.contoso.com [203.0.113.9] (may be forged)) by mx.contoso.com (8.15.2)",
            False,
        ),
        ("from [127.0.0.1] (unknown [203.0.113.9]) by mx.contoso.com (Postfix) with ESMTP id 2", False),
        ("from [203.0.113.9] (helo=[127.0.0.1]) by mx.contoso.com with esmtp (Exim 4.96) id 3", False),
        (
            "from evil.example ([203.0.113.9] helo=mx.contoso.com) by mx.contoso.com with esmtp (Exim 4.96)",
            False,
        ),
        ("from unknown (HELO mx.contoso.com) (203.0.113.9) by mx.contoso.com with SMTP", False),
        (
            "from mx.contoso.com (203.0.113.9) by exch.contoso.com (10.1.0.2) with Microsoft SMTP Server id 15",
            False,
        ),
        # Our own, by name, by network, by protocol, or through no network at all.
        ("from out.contoso.com ([198.51.100.7]) by mx.contoso.com with esmtps (Exim 4.96) id 3", True),
        ("from whatever (unknown [10.1.2.3]) by mx.contoso.com (Postfix) with ESMTP id 2", True),
        ("from exch2 (2001:db8:1::5) by exch1.contoso.com (10.1.0.2) with Microsoft SMTP Server id 15", True),
        ("from localhost (localhost [127.0.0.1]) by mx.contoso.com (Postfix) with ESMTP id 4", True),
        (
            "from mx.contoso.com ([198.51.100.7]) by imap1 (Dovecot) with LMTP id abc (envelope-from <b@x>)",
            True,
        ),
        ("from mx.contoso.com by imap1 with ESMTP", True),
        ("by mx.contoso.com (Postfix, from userid 1000) id 5", True),
        ("(qmail 1234 invoked from network)", True),
        # Written by a server that is not ours.
        ("from mx.contoso.com (mx.contoso.com [10.1.0.1]) by mail.fabrikam.com (Postfix)", False),
        ("by mail.fabrikam.com (Postfix) id 6", False),
        ("from mx.notcontoso.com (mx.notcontoso.com [203.0.113.9]) by mx.contoso.com (Postfix)", False),
        ("from sub.imap1 (sub.imap1 [203.0.113.9]) by mx.contoso.com (Postfix)", False),
        ("from", False),
    ],
)
def test_a_line_between_our_own_servers(line: str, is_inside: bool) -> None:
    assert hop(0, f"{line}; Mon, 1 Jan 2024").is_inside(OURS) == is_inside


def test_the_boundary_is_the_first_line_from_elsewhere() -> None:
    parsed = mail(
        "Delivered-To: a@x\nReceived: by mx.contoso.com id 1\nX-Original-To: b@x\n"
        f"{FOREIGN}\nDelivered-To: c@x\nReceived: by mx.contoso.com id 0\n\n"
    )
    trace = read(parsed.headers, OURS)
    assert trace.boundary is not None
    assert (trace.boundary.index, trace.boundary.sender) == (3, "mail.fabrikam.com [203.0.113.9]")
    assert [trace.is_below(index) for index in range(6)] == [False] * 4 + [True] * 2
    assert read(parsed.headers, Servers()).is_below(5) is None


REDIRECTED = f"""
    Return-Path: <ben@fabrikam.com>
    Delivered-To: forwardmailbox@contoso.com
    Received: from mx.contoso.com ([10.1.0.1]) by imap1 (Dovecot) with LMTP id a; Mon, 1 Jan 2024
    Received: by mx.contoso.com (Postfix) id 4T4; Mon, 1 Jan 2024
    Delivered-To: amara@contoso.com
    {FOREIGN}
    X-Original-To: chidi@contoso.com
    From: Ben Fischer <ben@fabrikam.com>

    Hello
    """


def test_a_header_that_the_sender_wrote_is_passed_over_and_told() -> None:
    decision = routed(REDIRECTED)
    assert names(decision) == ["Amara Okafor"]
    assert decision.considered[1] == (
        "The X-Original-To header names chidi@contoso.com, but stands below the first line of a foreign server: "
        "anyone may have written it."
    )
    assert names(routed(REDIRECTED, Rules())) == ["Chidi Eze"]


def test_a_header_that_is_not_trusted_counts_anywhere_but_last_and_says_so() -> None:
    doubted = replace(RULES, headers=(HeaderRule("X-Original-To", False), HeaderRule("Delivered-To")))
    assert names(routed(REDIRECTED, doubted)) == ["Amara Okafor"]
    alone = routed(REDIRECTED, replace(doubted, headers=doubted.headers[:1]))
    assert names(alone) == ["Chidi Eze"]
    assert alone.explanation.endswith("Anyone may have written this header.")
    above = routed(f"X-Original-To: chidi@contoso.com\n{FOREIGN}\n\n", doubted)
    assert not above.explanation.endswith("written this header.")


def test_gmail_s_own_word_counts_once_google_is_named() -> None:
    written = "Received: from mail-sor.google.com (mail-sor.google.com [209.85.220.41]) by mx.contoso.com (Postfix)\n"
    copied = written + GMAIL_FORWARDING.strip() + "\n"
    google = Servers.listed("contoso.com\ngoogle.com\n2002:a00::/24")
    without_station = replace(
        RULES, headers=tuple(one for one in RULES.headers if one.name != "Delivered-To")
    )
    assert routed(copied, without_station).targets[0].rule is Rule.TO_AND_CC
    assert routed(copied, replace(without_station, servers=google)).targets[0].header == "X-Forwarded-For"


# --- verified forwarders

INSIDE = "Received: by mx.contoso.com (Postfix, from userid 1000) id 5; Mon, 1 Jan 2024\n"


def forwarded(above: str) -> Route:
    return routed(above + EXCHANGE_FORWARD_AS_ATTACHMENT.strip() + "\n")


@pytest.mark.parametrize(
    ("above", "evidence"),
    [
        (INSIDE, "It never left our own servers."),
        (
            "Authentication-Results: mx.contoso.com; dmarc=pass (p=none dis=none) header.from=contoso.com\n",
            "dmarc=pass.",
        ),
        (
            "Authentication-Results: spf=pass (sender IP is 192.0.2.1) smtp.mailfrom=amara@contoso.com;\n dkim=none\n",
            "spf=pass.",
        ),
        (
            "Authentication-Results: mx.contoso.com 1; spf=fail smtp.mailfrom=x.example; dkim=pass header.d=mail.contoso.com\n",
            "dkim=pass.",
        ),
        (
            "Authentication-Results: mx.contoso.com; dkim=pass header.i=@contoso.com header.s=s1\n",
            "dkim=pass.",
        ),
    ],
)
def test_a_forwarder_is_verified(above: str, evidence: str) -> None:
    decision = forwarded(above if above == INSIDE else above + FOREIGN + "\n")
    assert [target.rule for target in decision.targets] == [Rule.FORWARDED_AS_ATTACHMENT]
    assert decision.explanation.endswith(evidence)


@pytest.mark.parametrize(
    "results",
    [
        "",
        "mx.contoso.com; dmarc=fail header.from=contoso.com",
        "mx.contoso.com; dmarc=pass header.from=evil.example",
        "mx.contoso.com; dmarc=pass",
        "mx.contoso.com; dkim=pass header.d=evil.example",
        "mx.contoso.com; dkim=pass header.d=com",
        "mx.contoso.com; spf=pass smtp.mailfrom=bounce@notcontoso.com",
        "mx.contoso.com; spf=pass smtp.helo=contoso.com",
        "mx.contoso.com; (dmarc=pass header.from=contoso.com)",
        "mx.evil.example; dmarc=pass header.from=contoso.com",
    ],
)
def test_a_forged_sender_is_no_forwarder(results: str) -> None:
    decision = forwarded(f"Authentication-Results: {results}\n{FOREIGN}\n" if results else f"{FOREIGN}\n")
    assert all(target.rule is not Rule.FORWARDED_AS_ATTACHMENT for target in decision.targets)
    assert decision.considered[0] == (
        "Not forwarded as attachment: it came from outside (mail.fabrikam.com [203.0.113.9]), and no server of ours "
        "confirms that Amara@contoso.com sent it."
    )


def test_what_a_stranger_confirms_below_the_boundary_counts_for_nothing() -> None:
    decision = forwarded(
        f"{FOREIGN}\nAuthentication-Results: mx.contoso.com; dmarc=pass header.from=contoso.com\n"
    )
    assert all(target.rule is not Rule.FORWARDED_AS_ATTACHMENT for target in decision.targets)


# --- plus-addresses, additional addresses


def test_a_plus_address_leads_to_its_address_unless_it_is_known_itself() -> None:
    decision = routed("Delivered-To: Amara+orders@contoso.com\n\n")
    assert decision.explanation == (
        "The Delivered-To header names Amara+orders@contoso.com, a plus-address of the user Amara Okafor."
    )
    own = office(**{"amara+orders": SUPPORT})
    assert names(route(mail("Delivered-To: amara+orders@contoso.com\n\n"), COLLECTION, own, RULES)) == [
        "Support"
    ]
    assert (
        routed("Delivered-To: amara+x@contoso.com\n\n", replace(RULES, use_plus_addresses=False)).targets
        == ()
    )
    assert (
        routed("Delivered-To: forwardmailbox+amara@contoso.com\n\n")
        .considered[1]
        .endswith("a forward mailbox.")
    )


def test_the_evidence_names_an_additional_address() -> None:
    further = office(sales=replace(SUPPORT, is_additional=True))
    decision = route(mail("Delivered-To: sales@contoso.com\n\n"), COLLECTION, further, RULES)
    assert decision.explanation.endswith("an additional address of the queue Support.")


@pytest.mark.parametrize(
    ("address", "bare"),
    [("a+b@x", "a@x"), ("a+b+c@x", "a@x"), ("a@x", ""), ("+a@x", ""), ('"a+b"@x', ""), ("a+@x", "a@x")],
)
def test_plus_addresses(address: str, bare: str) -> None:
    assert without_tag(address) == bare


# --- loops


@pytest.mark.parametrize(
    ("written", "why"),
    [
        (
            f"Delivered-To: forwardmailbox@contoso.com\n{INSIDE}Delivered-To: ForwardMailbox@contoso.com\n",
            "It reached forwardmailbox@contoso.com more than once, as its Delivered-To headers tell",
        ),
        (
            "X-Sieve-Redirected-From: forwardmailbox@contoso.com\n",
            "forwardmailbox@contoso.com itself sent it on, as its X-Sieve-Redirected-From header tells",
        ),
        (INSIDE * 51, "It went through 51 servers"),
    ],
)
@pytest.mark.parametrize("rules", [RULES, Rules()])
def test_what_goes_in_a_circle_waits(written: str, why: str, rules: Rules) -> None:
    decision = routed(f"{written}X-Original-To: amara@contoso.com\n\n", rules)
    assert (decision.targets, decision.reason, decision.waiting_for) == ((), Reason.LOOP, None)
    assert decision.explanation.startswith(why)


@pytest.mark.parametrize(
    "written",
    [
        f"Delivered-To: forwardmailbox@contoso.com\nX-Original-To: forwardmailbox@contoso.com\n{INSIDE}",
        f"Delivered-To: forwardmailbox@contoso.com\nDelivered-To: forwardmailbox@contoso.com\n{INSIDE}",
        INSIDE * 50,
        "X-Loop: somebody@contoso.com\n",
    ],
)
def test_what_came_once_goes_on(written: str) -> None:
    assert names(routed(f"{written}Delivered-To: amara@contoso.com\n\n")) == ["Amara Okafor"]


# --- one bad target, and the list of servers


def test_who_may_not_receive_is_told_beside_those_who_do() -> None:
    may_not = replace(SUPPORT, may_receive=False, why_not=Reason.MAILBOX_INACTIVE)
    parsed = mail("To: amara@contoso.com, support@contoso.com\n\n")
    decision = route(parsed, COLLECTION, office(support=may_not), RULES)
    assert names(decision) == ["Amara Okafor"]
    assert [(one.name, one.why) for one in decision.refused] == [("Support", Reason.MAILBOX_INACTIVE)]


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("mx.contoso.com", ""),
        ("imap1", ""),
        ("10.0.0.0/8", ""),
        ("192.0.2.1", ""),
        ("2001:db8::/32", ""),
        ("*.contoso.com", "write contoso.com"),
        (".contoso.com", "write contoso.com"),
        ("0.0.0.0/0", "too wide: /8"),
        ("2000::/3", "too wide: /16"),
        ("http://contoso.com", "write the name"),
        ("10.0.0", "write the name"),
        ("a b", "write the name"),
        ("amara@contoso.com", "write the name"),
    ],
)
def test_a_line_of_our_own_servers(line: str, sentence: str) -> None:
    assert sentence in fault(line)
    assert bool(fault(line)) == bool(sentence)


def test_nothing_that_strangers_write_is_slow() -> None:
    for piece in ("(", "((b)", "from ", "[1.2.3.4] ", "helo= "):
        hop(0, piece * 8000)
    assert read(Parsed().headers, OURS).boundary is None
