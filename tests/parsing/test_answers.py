"""What comes back to a mail of ours, as servers and people write it, and as those write it who mean harm."""

from __future__ import annotations

import time
from textwrap import dedent

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mailboxes.answers import (
    Clue,
    Report,
    Status,
    answered,
    clues,
    failed,
    is_automatic,
    reported,
    tokens,
)
from mailboxes.parsing import MAX_REPORT, MAX_RETURNED, Parsed, parse
from mailboxes.reading import dumps, loads
from tests.parsing.limits import says_little

PATIENCE = 10
TOKEN = "abcdefghij234567klmn"
OTHER = "zyxwvutsrq765432zyxw"


def mail(text: str) -> Parsed:
    """As the engine reads it: from the child process, without what it says."""
    raw = dedent(text).lstrip("\n").replace("\n", "\r\n").encode()
    parsed = parse(raw, whole=False)
    assert "the message could not be read" not in parsed.defects
    assert loads(dumps(parsed)) == parsed
    return parsed


def letter(*fields: str) -> Parsed:
    return mail("\n".join(["From: Ben <ben@fabrikam.com>", "Subject: Re: Hello", *fields, "", "Text"]))


def status_of(fields: str) -> Status:
    """What is read of one recipient."""
    report = reported(Parsed(report=f"Reporting-MTA: dns; mx.fabrikam.com\n\n{dedent(fields)}"))
    assert report
    (status,) = report.statuses
    return status


# --- delivery reports ---

POSTFIX = """
    Return-Path: <>
    Delivered-To: amara+so-abcdefghij234567klmn@contoso.com
    Received: by mx.contoso.com (Postfix)
     id 4Yk2Qp1Zz9zB; Mon, 23 Nov 2026 09:00:00 +0100 (CET)
    Date: Mon, 23 Nov 2026 09:00:00 +0100 (CET)
    From: MAILER-DAEMON@mx.contoso.com (Mail Delivery System)
    Subject: Undelivered Mail Returned to Sender
    To: amara+so-abcdefghij234567klmn@contoso.com
    Auto-Submitted: auto-replied
    MIME-Version: 1.0
    Content-Type: multipart/report; report-type=delivery-status;
     boundary="4Yk2Qp1Zz8zA.1795420800/mx.contoso.com"
    Content-Transfer-Encoding: 8bit
    Message-Id: <4Yk2Qp1Zz9zB@mx.contoso.com>

    This is a MIME-encapsulated message.

    --4Yk2Qp1Zz8zA.1795420800/mx.contoso.com
    Content-Description: Notification
    Content-Type: text/plain; charset=utf-8

    Your message could not be delivered to one or more recipients.

    --4Yk2Qp1Zz8zA.1795420800/mx.contoso.com
    Content-Description: Delivery report
    Content-Type: message/delivery-status

    Reporting-MTA: dns; mx.contoso.com
    Original-Envelope-Id: so-77
    X-Postfix-Queue-ID: 4Yk2Qp1Zz8zA
    X-Postfix-Sender: rfc822; amara+so-abcdefghij234567klmn@contoso.com
    Arrival-Date: Mon, 23 Nov 2026 08:59:58 +0100 (CET)

    Final-Recipient: rfc822; ben@inbox.fabrikam.com
    Original-Recipient: rfc822;ben@Fabrikam.com
    Action: failed
    Status: 5.1.1
    Remote-MTA: dns; mx.fabrikam.com
    Diagnostic-Code: smtp; 550 5.1.1 <ben@inbox.fabrikam.com>: Recipient address
        rejected: User unknown in virtual mailbox table

    Final-Recipient: rfc822; chidi@fabrikam.com
    Original-Recipient: rfc822;chidi@fabrikam.com
    Action: delayed
    Status: 4.4.1
    Diagnostic-Code: X-Postfix; connect to mx.fabrikam.com[192.0.2.7]:25:
        Connection timed out

    --4Yk2Qp1Zz8zA.1795420800/mx.contoso.com
    Content-Description: Undelivered Message
    Content-Type: message/rfc822
    Content-Transfer-Encoding: 8bit

    Return-Path: <amara+so-abcdefghij234567klmn@contoso.com>
    From: Amara Okafor <amara@contoso.com>
    To: ben@fabrikam.com
    Subject: Hello
    Message-ID:
     <first@contoso.com>

    Hello Ben
    Message-ID: <not-this@contoso.com>

    --4Yk2Qp1Zz8zA.1795420800/mx.contoso.com--
    """


def test_a_report_of_postfix() -> None:
    parsed = mail(POSTFIX)
    assert reported(parsed) == Report(
        envelope_id="so-77",
        message_id="first@contoso.com",
        statuses=(
            Status(
                "ben@fabrikam.com",
                "failed",
                "5.1.1",
                "550 5.1.1 <ben@inbox.fabrikam.com>: Recipient address rejected: "
                "User unknown in virtual mailbox table",
            ),
            Status(
                "chidi@fabrikam.com",
                "delayed",
                "4.4.1",
                "connect to mx.fabrikam.com[192.0.2.7]:25: Connection timed out",
            ),
        ),
    )
    assert parsed.report.startswith("Reporting-MTA: dns; mx.contoso.com\nOriginal-Envelope-Id: so-77\n")
    assert parsed.returned.splitlines()[-1] == " <first@contoso.com>"
    assert tokens(parsed) == [TOKEN]
    assert is_automatic(parsed) == "it is a delivery report"


def test_a_report_of_success() -> None:
    parsed = mail(POSTFIX.replace("Action: failed\n    Status: 5.1.1", "Action: Relayed\n    Status: 2.0.0"))
    report = reported(parsed)
    assert report
    assert report.statuses[0][:3] == ("ben@fabrikam.com", "relayed", "2.0.0")


def test_a_text_of_exim_is_no_report() -> None:
    parsed = mail("""
        Return-path: <>
        Envelope-to: amara@contoso.com
        Received: from mail by mx.fabrikam.com with local (Exim 4.98)
         id 1tEXuq-0000000Abc-1De2
         for amara@contoso.com; Mon, 23 Nov 2026 09:00:00 +0100
        X-Failed-Recipients: ben@fabrikam.com
        Auto-Submitted: auto-replied
        From: Mail Delivery System <Mailer-Daemon@mx.fabrikam.com>
        To: amara@contoso.com
        References: <first@contoso.com>
        Content-Type: text/plain; charset=us-ascii
        Subject: Mail delivery failed: returning message to sender
        Message-Id: <E1tEXuq-0000000Abc-1De2@mx.fabrikam.com>

        A message that you sent could not be delivered.

          ben@fabrikam.com
            Unrouteable address
        """)
    assert reported(parsed) is None
    assert (parsed.report, parsed.returned) == ("", "")
    assert answered(parsed) == ["first@contoso.com"]
    assert is_automatic(parsed) == "its Return-Path is empty"
    assert failed(parsed) == ["ben@fabrikam.com"]


def test_only_a_mail_server_says_what_failed() -> None:
    named = "X-Failed-Recipients: ava@fabrikam.com, ben@fabrikam.com"
    assert failed(letter(named)) == []
    assert failed(letter(named, "Return-Path: <ben@fabrikam.com>")) == []
    assert failed(letter(named, "Return-Path: <>")) == ["ava@fabrikam.com", "ben@fabrikam.com"]
    assert failed(letter("Return-Path: <>")) == []


def test_what_a_report_names_comes_before_what_it_answers() -> None:
    parsed = mail(POSTFIX.replace("so-77", TOKEN.upper()))
    found = clues(parsed)
    assert found[0] == Clue("delivery report", token=TOKEN)
    assert found[1] == Clue("delivery report", message_id="first@contoso.com")
    assert found[-1] == Clue("token in the address", token=TOKEN)


def test_each_clue_says_where_it_stands() -> None:
    assert clues(
        letter("In-Reply-To: <b@c>", "References: <a@c> <b@c>", f"To: a+so-{TOKEN}@contoso.com")
    ) == [
        Clue("In-Reply-To", message_id="b@c"),
        Clue("References", message_id="a@c"),
        Clue("token in the address", token=TOKEN),
    ]
    assert clues(letter()) == []


def test_a_report_of_exim_has_its_fields_in_another_order() -> None:
    assert status_of("""\
        Action: failed
        Final-Recipient: rfc822;ben@fabrikam.com
        Status: 5.0.0
        Remote-MTA: dns; mx.fabrikam.com
        Diagnostic-Code: smtp; 550 No such user here
        """) == ("ben@fabrikam.com", "failed", "5.0.0", "550 No such user here")


def test_a_report_of_exchange_online() -> None:
    parsed = mail("""
        Received: from DB9PR01MB1234.eurprd01.prod.exchangelabs.com
         (2603:10a6:10:1a1::21) by AM0PR01MB5678.eurprd01.prod.exchangelabs.com with
         HTTPS; Mon, 23 Nov 2026 08:00:05 +0000
        MIME-Version: 1.0
        From: <postmaster@fabrikam.onmicrosoft.com>
        To: <amara@contoso.com>
        Date: Mon, 23 Nov 2026 08:00:04 +0000
        Content-Type: multipart/report; report-type=delivery-status;
        \tboundary="0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9"
        X-MS-Exchange-Message-Is-Ndr:
        Content-Language: en-GB
        Message-ID:
         <0a1b2c3d-4e5f@DB9PR01MB1234.eurprd01.prod.exchangelabs.com>
        In-Reply-To: <first@contoso.com>
        References: <first@contoso.com>
        Thread-Topic: Hello
        Subject: Undeliverable: Hello
        Auto-Submitted: auto-replied

        --0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9
        Content-Type: multipart/alternative; differences=Content-Type;
        \tboundary="inner"

        --inner
        Content-Type: text/plain; charset="us-ascii"

        Your message to bne@fabrikam.com couldn't be delivered.

        --inner
        Content-Type: text/html; charset="us-ascii"

        <p>Your message to bne@fabrikam.com couldn't be delivered.</p>

        --inner--

        --0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9
        Content-Type: message/delivery-status

        Reporting-MTA: dns;DB9PR01MB1234.eurprd01.prod.exchangelabs.com
        Received-From-MTA: dns;mx.contoso.com
        Arrival-Date: Mon, 23 Nov 2026 08:00:03 +0000

        Final-Recipient: rfc822;bne@fabrikam.com
        Action: failed
        Status: 5.1.10
        Diagnostic-Code: smtp;550 5.1.10 RESOLVER.ADR.RecipientNotFound; Recipient bne@fabrikam.com not found by SMTP address lookup
        X-Display-Name: bne@fabrikam.com


        --0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9
        Content-Type: message/rfc822

        Received: from AS9PR06CA0001.eurprd06.prod.outlook.com by
         DB9PR01MB1234.eurprd01.prod.exchangelabs.com with HTTPS
        From: Amara Okafor <amara@contoso.com>
        To: <bne@fabrikam.com>
        Subject: Hello
        Message-ID: <first@contoso.com>

        --0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9--
        """)
    said = "550 5.1.10 RESOLVER.ADR.RecipientNotFound; Recipient bne@fabrikam.com not found by SMTP address lookup"
    status = Status("bne@fabrikam.com", "failed", "5.1.10", said)
    assert reported(parsed) == Report("", "first@contoso.com", (status,))
    assert answered(parsed) == ["first@contoso.com"]


def test_a_report_of_gmail() -> None:
    parsed = mail("""
        Delivered-To: amara@contoso.com
        Return-Path: <>
        Content-Type: multipart/report; boundary="000000000000a1b2c3"; report-type=delivery-status
        To: amara@contoso.com
        From: Mail Delivery Subsystem <mailer-daemon@googlemail.com>
        Subject: Delivery Status Notification (Failure)
        References: <first@contoso.com>
        In-Reply-To: <first@contoso.com>
        X-Failed-Recipients: ben@fabrikam.com
        Auto-Submitted: auto-replied
        Message-ID: <6743.170a0220.1a2b3c.4d5e.GMR@mx.google.com>
        Date: Mon, 23 Nov 2026 00:00:05 -0800 (PST)

        --000000000000a1b2c3
        Content-Type: multipart/related; boundary="000000000000d4e5f6"

        --000000000000d4e5f6
        Content-Type: text/html; charset="UTF-8"

        <p>Address not found</p>

        --000000000000d4e5f6
        Content-Type: image/png; name="icon.png"
        Content-Disposition: attachment; filename="icon.png"
        Content-Transfer-Encoding: base64
        Content-ID: <icon.png>

        iVBORw0KGgo=

        --000000000000d4e5f6--

        --000000000000a1b2c3
        Content-Type: message/delivery-status

        Reporting-MTA: dns; googlemail.com
        Received-From-MTA: dns; amara@contoso.com
        Arrival-Date: Mon, 23 Nov 2026 00:00:04 -0800 (PST)
        X-Original-Message-ID: <first@contoso.com>

        Final-Recipient: rfc822; ben@fabrikam.com
        Action: failed
        Status: 5.1.1
        Remote-MTA: dns; mx.fabrikam.com. (192.0.2.7, the server for the domain
         fabrikam.com.)
        Diagnostic-Code: smtp; 550-5.1.1 The email account that you tried to reach does not exist.
         550 5.1.1 Please check the address
        Last-Attempt-Date: Mon, 23 Nov 2026 00:00:05 -0800 (PST)

        --000000000000a1b2c3
        Content-Type: message/rfc822

        Message-ID: <first@contoso.com>
        Subject: Hello [#ABCDEFGHIJ234567KLMN]

        Hello

        --000000000000a1b2c3--
        """)
    said = "550-5.1.1 The email account that you tried to reach does not exist. 550 5.1.1 Please check the address"
    status = Status("ben@fabrikam.com", "failed", "5.1.1", said)
    assert reported(parsed) == Report("", "first@contoso.com", (status,))


def test_the_header_alone_may_be_given_back() -> None:
    header = """Content-Type: text/rfc822-headers; charset=iso-8859-1


    Subject: Hello
    Message-Id: <second@contoso.com>
    """
    start, end = POSTFIX.index("Content-Type: message/rfc822"), POSTFIX.rindex("    --4Yk2")
    report = reported(mail(POSTFIX[:start] + header + POSTFIX[end:]))
    assert report
    assert report.message_id == "second@contoso.com"


def test_a_report_within_other_parts_is_found() -> None:
    start = POSTFIX.index("Content-Type: multipart/report")
    footer = "\n    --outer\n    Content-Type: text/plain\n\n    Sent on by a list.\n\n    --outer--\n"
    outer = "Content-Type: multipart/mixed; boundary=outer\n\n    --outer\n    "
    report = reported(mail(POSTFIX[:start] + outer + POSTFIX[start:] + footer))
    assert report
    assert (report.envelope_id, len(report.statuses)) == ("so-77", 2)


def test_a_report_that_somebody_sends_on_is_none() -> None:
    parsed = mail(
        """
    From: Ben <ben@fabrikam.com>
    Subject: Fwd: Undelivered
    Content-Type: message/rfc822
    """
        + POSTFIX
    )
    assert reported(parsed) is None
    assert is_automatic(parsed) == ""
    assert parsed.forwarded
    assert reported(parsed.forwarded)


def test_a_report_without_its_fields_still_says_which_mail_it_is_about() -> None:
    parsed = mail(POSTFIX.replace("message/delivery-status", "text/plain"))
    assert parsed.report == ""
    assert reported(parsed) == Report("", "first@contoso.com", ())


def test_a_message_with_a_message_attached_is_no_report() -> None:
    parsed = mail(
        POSTFIX.replace("message/delivery-status", "text/plain").replace(
            "multipart/report", "multipart/mixed"
        )
    )
    assert parsed.forwarded
    assert parsed.returned == ""
    assert reported(parsed) is None


def test_a_receipt_is_no_delivery_report_but_automatic() -> None:
    parsed = letter("Content-Type: multipart/report; report-type=disposition-notification; boundary=x")
    assert reported(parsed) is None
    assert is_automatic(parsed) == "it is a report of a machine"


def test_a_report_in_base64_is_decoded() -> None:
    parsed = mail("""
        From: <>
        Content-Type: message/delivery-status
        Content-Transfer-Encoding: base64

        RmluYWwtUmVjaXBpZW50OiByZmM4MjI7YmVuQGZhYnJpa2FtLmNvbQpBY3Rpb246IGZhaWxlZAo=
        """)
    assert reported(parsed) == Report("", "", (Status("ben@fabrikam.com", "failed", "", ""),))


@pytest.mark.parametrize(
    ("fields", "recipient"),
    [
        ("Final-Recipient: rfc822; ben@FABRIKAM.com", "ben@fabrikam.com"),
        ("Final-Recipient: rfc822; <ben@fabrikam.com>", "ben@fabrikam.com"),
        ("Final-Recipient: utf-8; bén@fabrikam.com", "bén@fabrikam.com"),
        ("Final-Recipient: ben@fabrikam.com", "ben@fabrikam.com"),
        ("Final-Recipient: x-local; ben", "ben"),
        ("Final-Recipient:", ""),
        (
            "Original-Recipient: rfc822;ben+2Btag@fabrikam.com\nFinal-Recipient: rfc822;b@c.d",
            "ben+tag@fabrikam.com",
        ),
        ("Original-Recipient: rfc822;ben+3D1@fabrikam.com", "ben=1@fabrikam.com"),
        ("Original-Recipient: rfc822;ben+42@fabrikam.com", "ben+42@fabrikam.com"),
        ("Original-Recipient: rfc822;\nFinal-Recipient: rfc822;ben@fabrikam.com", "ben@fabrikam.com"),
        ("Original-Recipient: rfc822;unknown\nFinal-Recipient: rfc822;ben@fabrikam.com", "ben@fabrikam.com"),
    ],
)
def test_the_recipient_is_the_one_we_wrote_to(fields: str, recipient: str) -> None:
    assert status_of(fields).recipient == recipient


@pytest.mark.parametrize(
    ("fields", "found"),
    [
        ("Action: FAILED (for good)\nStatus: 5.1.1 (bad mailbox)", ("failed", "5.1.1", "")),
        ("Action: exploded\nStatus: 9.9.9", ("", "", "")),
        ("Status: 5.1\nDiagnostic-Code: 550 gone; sorry", ("", "", "550 gone; sorry")),
        (
            "Action: expanded\nDiagnostic-Code: x-unix;\x1b[31m \u202e red\ttext ",
            ("expanded", "", "[31m red text"),
        ),
    ],
)
def test_what_is_said_of_a_recipient(fields: str, found: tuple[str, str, str]) -> None:
    assert status_of(f"Final-Recipient: rfc822;ben@fabrikam.com\n{fields}")[1:] == found


def test_what_a_server_said_at_length_is_cut() -> None:
    said = status_of(f"Final-Recipient: rfc822;a@b.c\nDiagnostic-Code: smtp; {'no ' * 1000}").said
    assert said.startswith("no no")
    assert len(said) == 500


def test_lines_between_the_groups_may_hold_spaces() -> None:
    report = reported(
        Parsed(
            report="Original-Envelope-Id: a+2Bb+3D\n  \n\n\nFinal-Recipient: x; a@b.c\n \nFinal-Recipient: x; d@e.f"
        )
    )
    assert report
    assert report.envelope_id == "a+b="
    assert [status.recipient for status in report.statuses] == ["a@b.c", "d@e.f"]


# --- hostile reports ---


def huge(status: bytes, header: bytes = b"Message-ID: <first@contoso.com>\n") -> Parsed:
    started = time.monotonic()
    parsed = parse(
        b"From: <>\nContent-Type: multipart/report; report-type=delivery-status; boundary=f\n\n"
        b"--f\nContent-Type: message/delivery-status\n\n"
        + status
        + b"\n--f\nContent-Type: message/rfc822\n\n"
        b"" + header + b"\nText\n--f--\n",
        whole=False,
    )
    says_little(loads(dumps(parsed)))
    assert time.monotonic() - started < PATIENCE
    return parsed


def test_many_recipients_are_read_as_far_as_the_report_is() -> None:
    group = b"Final-Recipient: rfc822;ben%06d@fabrikam.com\nAction: failed\nStatus: 5.1.1\n\n"
    parsed = huge(b"".join(group % number for number in range(200_000)))
    report = reported(parsed)
    assert report
    assert len(parsed.report) <= MAX_REPORT
    assert parsed.defects == ("the delivery report is over 64 KB and was cut",)
    assert 500 < len(report.statuses) <= 1000
    assert report.statuses[-1].recipient == f"ben{len(report.statuses) - 1:06d}@fabrikam.com"
    assert report.message_id == "first@contoso.com"


def test_no_more_than_a_thousand_recipients_are_read() -> None:
    report = reported(Parsed(report="\n\n".join(f"Final-Recipient: x;{n}@b.c" for n in range(1100))))
    assert report
    assert [status.recipient for status in report.statuses] == [f"{n}@b.c" for n in range(1000)]


def test_half_an_address_is_none() -> None:
    assert (
        huge(b"Final-Recipient: rfc822;a@b.c\nX: " + b"x" * MAX_REPORT).report
        == "Final-Recipient: rfc822;a@b.c"
    )
    assert huge(b"", b"Subject: a\nTo: " + b"x" * MAX_RETURNED + b"\n").returned == "Subject: a"


@pytest.mark.parametrize(
    "status",
    [
        b"\n" * 1_000_000,
        b" \n" * 30_000,
        b"\n " * 30_000 + b"x",
        b"X: y\n" + b" y\n" * 20_000,
        b"x" * 64_000,
        b"x:" * 30_000,
        b"Diagnostic-Code: " + b" " * 60_000 + b"x",
        b"Final-Recipient: " + b"a" * 60_000 + b";" + b"<" * 4_000,
        b"Final-Recipient: rfc822;" + b"(" * 60_000,
        b"Action: " + b"(" * 60_000,
        b"Status: " + b"5." * 30_000,
        b"Original-Envelope-Id: +00" + b"+0A+1B+FF" * 6_000,
        b"Final-Recipient: rfc822;a\x00b@c.d\x00\n" * 1000,
        bytes(range(256)) * 250,
    ],
    ids=lambda status: str(status[:12]),
)
def test_what_was_made_to_harm_takes_no_time(status: bytes) -> None:
    huge(status)
    huge(b"Final-Recipient: rfc822;a@b.c\n", status)


def test_a_nul_in_an_envelope_id_is_no_character() -> None:
    report = reported(Parsed(report="Original-Envelope-Id: a+00b"))
    assert report
    assert report.envelope_id == "a b"


def test_reports_within_reports_are_read_once() -> None:
    raw = b"Final-Recipient: rfc822;inner@b.c\n"
    for depth in range(100):
        raw = (
            b"Content-Type: multipart/report; report-type=delivery-status; boundary=f%d\n\n--f%d\n"
            % (depth, depth)
            + (b"Content-Type: message/rfc822\n\n" if depth % 2 else b"")
            + raw
        )
    says_little(parse(raw, whole=False))


@settings(max_examples=300, derandomize=True, deadline=None)
@given(report=st.text(), returned=st.text())
def test_no_text_is_too_odd_for_a_report(report: str, returned: str) -> None:
    says_little(Parsed(report=report, returned=returned))


PIECES = st.sampled_from(
    [line.encode() + b"\n" for line in dedent(POSTFIX).splitlines()]
    + [
        b"Content-Type: message/delivery-status\n",
        b"Content-Type: text/rfc822-headers; charset=utf-16\n",
        b"Content-Type: multipart/report; report-type=delivery-status; boundary=f\n",
        b"--f\n",
        b"In-Reply-To: <a@b.c><",
        b"References: <a@b.c> a@b.c\n",
        b"To: a+so-abcdefghij234567klmn@b.c, (",
        b"Precedence: (",
        b"\x00",
        b"\xff",
        b"+0",
        b"\r",
        b"<",
    ]
)


@settings(max_examples=500, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.one_of(PIECES, st.binary(max_size=6)), max_size=60))
def test_no_bytes_are_too_odd(pieces: list[bytes]) -> None:
    parsed = parse(b"".join(pieces), whole=False)
    assert "the message could not be read" not in parsed.defects
    says_little(parsed)
    assert loads(dumps(parsed)) == parsed


# --- which mail is answered ---


def test_the_message_answered_comes_first_then_the_thread_backwards() -> None:
    parsed = letter("References: <one@x.org>\n <two@x.org> <three@x.org>", "In-Reply-To: <three@x.org>")
    assert answered(parsed) == ["three@x.org", "two@x.org", "one@x.org"]


@pytest.mark.parametrize(
    ("written", "ids"),
    [
        ("Your message of Monday <one@x.org>", ["one@x.org"]),
        ("one@x.org", ["one@x.org"]),
        ("<one\n two@x.org>", ["onetwo@x.org"]),
        ("<one@x.org><two@x.org>", ["one@x.org", "two@x.org"]),
        ("<> < > nobody", []),
        (f"<{'x' * 999}> <one@x.org>", ["one@x.org"]),
        ("<" * 30_000, []),
    ],
)
def test_ids_are_found_however_they_are_written(written: str, ids: list[str]) -> None:
    assert answered(letter(f"In-Reply-To: {written}")) == ids


def test_of_a_long_thread_its_end_counts() -> None:
    thread = "\n ".join(f"<{number}@x.org>" for number in range(500))
    assert answered(letter(f"References: {thread}")) == [f"{number}@x.org" for number in range(499, 449, -1)]


def test_a_message_that_answers_none_says_so() -> None:
    assert answered(letter()) == []
    assert answered(Parsed()) == []


# --- tokens ---


@pytest.mark.parametrize(
    "field",
    [
        f"To: Amara <amara+so-{TOKEN}@contoso.com>",
        f"To: chidi@contoso.com, amara+so-{TOKEN.upper()}@contoso.com",
        f"Cc: amara+tag+so-{TOKEN}@contoso.com",
        f"Delivered-To: amara+so-{TOKEN}@contoso.com",
        f"X-Original-To: <amara+So-{TOKEN}@contoso.com>",
        f"Envelope-to: amara+so-{TOKEN}@contoso.com",
        f"Subject: AW: Hello [#{TOKEN}]",
        f"Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe_=5B=23{TOKEN.upper()}=5D?=",
    ],
)
def test_a_token_is_found(field: str) -> None:
    parsed = mail(f"{field}\nFrom: Ben <ben@fabrikam.com>\n\nText")
    assert tokens(parsed) == [TOKEN]


@pytest.mark.parametrize(
    "field",
    [
        f"From: amara+so-{TOKEN}@contoso.com",
        f"To: amara+so-{TOKEN}x@contoso.com",
        f"To: amara+so-{TOKEN[:-1]}@contoso.com",
        f"To: amara+so-{TOKEN[:-1]}1@contoso.com",
        f"To: amara+so-{TOKEN[:-1]}\u212a@contoso.com",
        f"To: amara-so-{TOKEN}@contoso.com",
        f"To: amara@so-{TOKEN}",
        f"Subject: [{TOKEN}] #{TOKEN}",
        f"X-Subject: [#{TOKEN}]",
    ],
)
def test_what_only_resembles_a_token_is_none(field: str) -> None:
    assert tokens(mail(f"{field}\n\nText")) == []


def test_each_token_is_told_once_and_addresses_come_first() -> None:
    parsed = mail(
        f"Subject: [#{OTHER}] [#{TOKEN}]\nTo: a+so-{TOKEN}@contoso.com\nDelivered-To: a+so-{TOKEN}@contoso.com\n\n"
    )
    assert tokens(parsed) == [TOKEN, OTHER]


# --- mail of machines ---


@pytest.mark.parametrize(
    ("field", "why"),
    [
        ("Auto-Submitted: auto-replied (vacation)", "its Auto-Submitted says auto-replied"),
        ("auto-submitted: Auto-Generated; owner-email=a@b.c", "its Auto-Submitted says auto-generated"),
        ("Auto-Submitted: (a comment) auto-notified", "its Auto-Submitted says auto-notified"),
        ("Precedence: Bulk", "its Precedence says bulk"),
        ("Precedence: list", "its Precedence says list"),
        ("Precedence: junk", "its Precedence says junk"),
        ("List-Id: Friends of mail <friends.example.org>", "it comes from a mailing list"),
        ("List-Unsubscribe: <mailto:leave@example.org>", "it comes from a mailing list"),
        ("Return-Path: <>", "its Return-Path is empty"),
        ("Return-Path: < >", "its Return-Path is empty"),
        ("X-Auto-Response-Suppress: DR, OOF, AutoReply", "its sender wants no automatic answer"),
        ("X-Auto-Response-Suppress: All", "its sender wants no automatic answer"),
        ("Auto-Submitted: no\nAuto-Submitted: auto-replied", "its Auto-Submitted says auto-replied"),
    ],
)
def test_mail_of_a_machine_is_known_by_its_header(field: str, why: str) -> None:
    assert is_automatic(letter(field)) == why


@pytest.mark.parametrize(
    "field",
    [
        "Auto-Submitted: no",
        "Auto-Submitted: No (written by hand)",
        "Auto-Submitted:",
        "Precedence: first-class",
        "Return-Path: <ben@fabrikam.com>",
        "X-Auto-Response-Suppress: None",
        "X-Auto-Response-Suppress: DR, RN, NRN",
        "X-List-Id: mine",
        "Content-Type: multipart/mixed; boundary=report",
    ],
)
def test_mail_of_a_person_is_not_taken_for_a_machine(field: str) -> None:
    assert is_automatic(letter(field)) == ""


@pytest.mark.parametrize(
    "sender",
    [
        "MAILER-DAEMON@mx.contoso.com",
        "MAILER-DAEMON (Mail Delivery System)",
        "Mail <mailer-daemon@googlemail.com>",
        "postmaster@contoso.com",
        "noreply@contoso.com",
        "No-Reply@contoso.com",
        "do_not_reply@contoso.com",
        "shares-noreply@contoso.com",
        "noreply+1234@contoso.com",
        "owner-friends@example.org",
        "friends-request@example.org",
        "MicrosoftExchange329e71ec88ae4615bbc36ab6ce41109e@contoso.com",
    ],
)
def test_nobody_reads_behind_such_a_sender(sender: str) -> None:
    assert is_automatic(mail(f"From: {sender}\n\nText")) == "its sender is a machine"


@pytest.mark.parametrize(
    "sender",
    [
        "ben@noreply.com",
        "casino-reply@x.org",
        "noreplying@x.org",
        "ben.postmaster@x.org",
        "No reply <b@x.org>",
    ],
)
def test_a_person_may_be_named_much_like_a_machine(sender: str) -> None:
    assert is_automatic(mail(f"From: {sender}\n\nText")) == ""
