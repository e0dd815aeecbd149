"""Letters come in every way in which servers forward, and the same seed brings the same ones."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime
from email import message_from_bytes
from email.message import Message
from itertools import islice

import pytest

from mailboxes.demo.letters import DECK, How, Letter, letters
from mailboxes.demo.office import Office, collection_address

ONE_DECK = sum(DECK.values()) + DECK[How.TWO_COPIES]


def nine_o_clock() -> datetime:
    return datetime(2026, 11, 24, 9, 0, tzinfo=UTC)


def some(office: Office, count: int, seed: int = 1) -> list[Letter]:
    return list(islice(letters(office, seed, nine_o_clock), count))


@pytest.fixture(scope="module")
def by_way(demo_office: Office) -> dict[How, list[tuple[Letter, Message]]]:
    found = defaultdict(list)
    for letter in some(demo_office, 10 * ONE_DECK):
        found[letter.how].append((letter, message_from_bytes(letter.raw)))
    return found


def test_the_same_seed_brings_the_same_letters(demo_office: Office) -> None:
    assert some(demo_office, 150) == some(demo_office, 150)
    assert some(demo_office, 150) != some(demo_office, 150, seed=2)


def test_every_way_occurs_within_the_first_burst(demo_office: Office) -> None:
    for seed in range(5):
        assert {letter.how for letter in some(demo_office, ONE_DECK, seed)} == set(How)


def test_message_ids_repeat_only_in_the_two_copies_of_one_mail(demo_office: Office) -> None:
    ids = defaultdict(list)
    for letter in some(demo_office, 10 * ONE_DECK):
        ids[message_from_bytes(letter.raw)["Message-ID"]].append(letter.how)
    for message_id, ways in ids.items():
        assert message_id in (None, "<>") or len(ways) == 1 or ways == [How.TWO_COPIES] * 2


def test_all_lines_end_with_crlf(demo_office: Office) -> None:
    for letter in some(demo_office, 10 * ONE_DECK):
        rest = letter.raw.replace(b"\r\n", b"")
        assert b"\n" not in rest
        assert b"\r" not in rest
        assert letter.raw.endswith(b"\r\n")


def test_all_but_individually_collected_mail_goes_to_the_forward_mailbox(
    demo_office: Office, by_way: dict[How, list[tuple[Letter, Message]]]
) -> None:
    for how, found in by_way.items():
        expected = "returns@contoso.com" if how is How.OWN_MAILBOX else collection_address(demo_office)
        assert {letter.envelope_to for letter, _ in found} == {expected}


def test_forwarded_as_attachment_is_a_mail_of_the_user_with_the_original_in_it(
    demo_office: Office, by_way: dict[How, list[tuple[Letter, Message]]]
) -> None:
    for letter, message in by_way[How.OUTLOOK_ATTACHMENT]:
        assert letter.meant_for == (letter.envelope_from,)
        assert letter.envelope_from in message["From"]
        assert message["To"] == f"<{collection_address(demo_office)}>"
        attached = [part for part in message.walk() if part.get_content_type() == "message/rfc822"]
        assert len(attached) == 1
        assert letter.envelope_from in attached[0].get_payload(0)["To"]


def test_an_exchange_redirect_keeps_the_author_and_says_who_resent_it(
    by_way: dict[How, list[tuple[Letter, Message]]],
) -> None:
    for letter, message in by_way[How.EXCHANGE_REDIRECT]:
        assert message["Resent-From"] == f"<{letter.meant_for[0]}>"
        assert message["X-MS-Exchange-Inbox-Rules-Loop"] == letter.meant_for[0]
        assert letter.envelope_from in message["From"]


def test_gmail_says_from_which_to_which_address_it_forwarded(
    demo_office: Office, by_way: dict[How, list[tuple[Letter, Message]]]
) -> None:
    collection = collection_address(demo_office)
    for letter, message in by_way[How.GMAIL_FORWARD]:
        assert message["X-Forwarded-To"] == collection
        assert message["X-Forwarded-For"] == f"{letter.meant_for[0]} {collection}"
        assert message["Delivered-To"] == letter.meant_for[0]
        assert "+caf_=forwardmailbox=contoso.com@" in letter.envelope_from


def test_sieve_and_postfix_name_the_address_that_forwarded(
    by_way: dict[How, list[tuple[Letter, Message]]],
) -> None:
    for letter, message in by_way[How.SIEVE_REDIRECT]:
        assert message["X-Sieve"].startswith("Pigeonhole Sieve")
        assert message["X-Sieve-Redirected-From"] == message["Delivered-To"] == letter.meant_for[0]
    for letter, message in by_way[How.POSTFIX_FORWARD]:
        assert message["X-Original-To"] == message["Delivered-To"] == letter.meant_for[0]


def test_what_matches_nobody_names_no_address_of_the_office(
    demo_office: Office, by_way: dict[How, list[tuple[Letter, Message]]]
) -> None:
    known = [entry["email_address"].encode() for kind in ("user", "queue") for entry in demo_office[kind]]
    for letter, _ in by_way[How.MATCHES_NOBODY]:
        assert not letter.meant_for
        assert not any(address in letter.raw for address in known)


def test_broken_mail_is_broken_in_each_of_its_ways(
    by_way: dict[How, list[tuple[Letter, Message]]],
) -> None:
    raws = [letter.raw for letter, _ in by_way[How.BROKEN]]
    for sign in (
        b"x-scanjet-7",
        b"=_scan",
        b"\x00",
        b"Door left open",
        b"unlisted-recipients:;",
        b"M\xfcnchen",
    ):
        assert any(sign in raw for raw in raws), sign


def test_mail_is_written_in_many_scripts_with_attachments_threads_and_remote_images(
    demo_office: Office,
) -> None:
    whole = b"".join(letter.raw for letter in some(demo_office, 10 * ONE_DECK))
    for sign in (
        b"iso-2022-jp",
        b"iso-8859-1",
        b"=D8=A7",
        b"In-Reply-To: ",
        b"application/pdf",
        b"image/png",
        b"text/csv",
        b"http://images.shelf.example.net/",
        b"List-Id: ",
    ):
        assert sign in whole, sign


def test_attachments_are_what_they_say(demo_office: Office) -> None:
    starts = {"application/pdf": b"%PDF-1.4", "image/png": b"\x89PNG", "text/csv": b"article;"}
    found = set()
    for part in parts(some(demo_office, 3 * ONE_DECK)):
        if part.get_content_type() in starts and part.get_filename():
            content = part.get_payload(decode=True)
            assert content.startswith(starts[part.get_content_type()])
            found.add(part.get_content_type())
    assert found == set(starts)


def parts(some_letters: list[Letter]) -> Iterator[Message]:
    for letter in some_letters:
        if letter.how is not How.BROKEN:
            yield from message_from_bytes(letter.raw).walk()
