"""Listing, fetching and disposing at a real Dovecot, beside other programs that use the same folder."""

from __future__ import annotations

import datetime as dt

import pytest

from emailprofiles.errors import CapabilityMissing, ConnectionLost, FolderReadOnly
from emailprofiles.transports import imap as imap_module
from emailprofiles.transports.imap import Imap
from emailprofiles.wire import UNDELIVERABLE, Disposal, Password
from tests.servers import Certificates, Dovecot
from tests.transports.conftest import SECRET, Opener


def letters(count: int) -> list[bytes]:
    return [b"Subject: letter %d\r\n\r\nDear all,\r\n" % number for number in range(1, count + 1)]


def ids(imap: Imap, after: str | None = None, limit: int = 1000) -> list[str]:
    return [listed.remote_id for listed in imap.listed(after, limit)]


def kept(dovecot: Dovecot, user: str, folder: str = "INBOX") -> list[int]:
    return [message.uid for message in dovecot.messages(user, folder)]


def test_messages_are_listed_oldest_first_with_size_and_time(
    dovecot: Dovecot, amara: str, mailbox: Opener
) -> None:
    received = dt.datetime(2019, 2, 3, 12, 30, tzinfo=dt.timezone(dt.timedelta(hours=2)))
    dovecot.append(amara, b"Subject: one\r\n\r\nhello\r\n", internaldate=received)
    dovecot.append(amara, b"Subject: two\r\n\r\n")
    first, second = mailbox().listed(None, 10)
    assert (first.remote_id, first.size, first.received_at) == ("1", 23, received)
    assert first.received_at is not None
    assert first.received_at.tzinfo is dt.UTC
    assert second.remote_id == "2"


def test_listing_goes_on_after_an_id_and_keeps_the_limit(
    dovecot: Dovecot, amara: str, mailbox: Opener
) -> None:
    dovecot.append_many(amara, letters(7))
    imap = mailbox()
    assert ids(imap, None, 3) == ["1", "2", "3"]
    assert ids(imap, "3", 3) == ["4", "5", "6"]
    assert ids(imap, "6", 3) == ["7"]


def test_after_the_last_there_is_nothing_though_the_protocol_names_the_last_again(
    dovecot: Dovecot, amara: str, mailbox: Opener
) -> None:
    dovecot.append_many(amara, letters(2))
    imap = mailbox()
    assert ids(imap, "2") == []
    assert ids(imap, "9000") == []
    assert ids(imap, "4294967295") == []


def test_an_empty_folder_lists_nothing(mailbox: Opener) -> None:
    assert mailbox().listed(None, 10) == []


def test_gaps_between_ids_are_crossed(
    dovecot: Dovecot, amara: str, mailbox: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    dovecot.append_many(amara, letters(300))
    with dovecot.client(amara, "INBOX") as other:
        other.delete_messages(range(2, 291))
        other.uid_expunge(range(2, 291))
    monkeypatch.setattr(imap_module, "FIRST_WINDOW", 5)
    imap = mailbox()
    assert ids(imap, None, 4) == ["1", "291", "292", "293"]
    assert ids(imap, "200", 2) == ["291", "292"]
    assert ids(imap) == ["1", *map(str, range(291, 301))]


def test_mail_that_arrives_later_is_listed_too(dovecot: Dovecot, amara: str, mailbox: Opener) -> None:
    dovecot.append_many(amara, letters(1))
    imap = mailbox()
    assert ids(imap) == ["1"]
    dovecot.append(amara, b"Subject: later\r\n\r\n")
    assert imap.open().messages == 2
    assert ids(imap, "1") == ["2"]


def test_messages_are_fetched_octet_by_octet_and_stay_unread(
    dovecot: Dovecot, amara: str, mailbox: Opener
) -> None:
    raws = [
        b"Subject: eight bits \xe4\xf6\r\n\r\n\xff\xfe \x80\r\n",
        b"no header at all",
        b"Subject: looks like IMAP\r\n\r\n* 1 FETCH (UID 99 BODY[] {3}\r\nabc)\r\n{5}\r\n",
        b"Subject: long\r\n\r\n" + b"x" * 300_000 + b"\r\n",
        b'Subject: "quoted \\" (\r\n\r\n)\r\n',
    ]
    for raw in raws:
        dovecot.append(amara, raw)
    imap = mailbox()
    fetched = list(imap.fetch(ids(imap)))
    assert [message.raw for message in fetched] == raws
    assert all(message.received_at for message in fetched)
    assert not any(r"\Seen" in message.flags for message in dovecot.messages(amara))


def test_fetching_keeps_the_order_asked_for_and_leaves_out_what_is_gone(
    dovecot: Dovecot, amara: str, mailbox: Opener
) -> None:
    dovecot.append_many(amara, letters(3))
    imap = mailbox()
    with dovecot.client(amara, "INBOX") as other:
        other.delete_messages([2])
        other.uid_expunge([2])
    assert [message.remote_id for message in imap.fetch(["3", "2", "1", "77"])] == ["3", "1"]
    assert list(imap.fetch(["2"])) == []
    assert list(imap.fetch([])) == []


def test_a_thousand_messages_come_in_batches(dovecot: Dovecot, amara: str, mailbox: Opener) -> None:
    dovecot.append_many(amara, letters(1000))
    imap = mailbox()
    found = ids(imap)
    assert len(found) == 1000
    fetched = [message for start in range(0, 1000, 200) for message in imap.fetch(found[start : start + 200])]
    assert [message.raw for message in fetched] == letters(1000)


def test_deleting_takes_exactly_these(dovecot: Dovecot, amara: str, mailbox: Opener) -> None:
    dovecot.append_many(amara, letters(6))
    with dovecot.client(amara, "INBOX") as other:
        other.add_flags([2, 5], [rb"\Deleted"])
    disposed = mailbox().dispose(["1", "3", "4"], Disposal.DELETE)
    assert sorted(disposed.done) == ["1", "3", "4"]
    assert disposed.vanished == ()
    left = dovecot.messages(amara)
    assert [message.uid for message in left] == [2, 5, 6]
    assert [r"\Deleted" in message.flags for message in left] == [True, True, False]


def test_leaving_does_not_delete_what_others_marked(dovecot: Dovecot, amara: str, mailbox: Opener) -> None:
    dovecot.append_many(amara, letters(2))
    imap = mailbox()
    with dovecot.client(amara, "INBOX") as other:
        other.add_flags([1], [rb"\Deleted"])
    imap.dispose(["2"], Disposal.DELETE)
    imap.close()
    assert kept(dovecot, amara) == [1]


def test_deleting_again_finds_them_vanished(dovecot: Dovecot, amara: str, mailbox: Opener) -> None:
    dovecot.append_many(amara, letters(3))
    imap = mailbox()
    imap.dispose(["1", "2"], Disposal.DELETE)
    again = imap.dispose(["1", "2", "3"], Disposal.DELETE)
    assert (again.done, again.vanished) == (("3",), ("1", "2"))
    assert imap.dispose([], Disposal.DELETE).done == ()


def test_mail_marked_as_read_stays(dovecot: Dovecot, amara: str, mailbox: Opener) -> None:
    dovecot.append_many(amara, letters(3))
    imap = mailbox()
    disposed = imap.dispose(["1", "3", "44"], Disposal.MARK_READ)
    assert (sorted(disposed.done), disposed.vanished) == (["1", "3"], ("44",))
    assert [r"\Seen" in message.flags for message in dovecot.messages(amara)] == [True, False, True]
    assert imap.dispose(["1"], Disposal.MARK_READ).done == ("1",)


def test_a_folder_that_can_only_be_read_is_listed_and_not_changed(
    dovecot: Dovecot, amara: str, mailbox: Opener
) -> None:
    dovecot.make_folder(amara, "Archive")
    dovecot.append(amara, b"Subject: old\r\n\r\n", "Archive")
    dovecot.set_rights(amara, "Archive", "lr")
    imap = mailbox("Archive")
    assert ids(imap) == ["1"]
    assert len(list(imap.fetch(["1"]))) == 1
    for disposal in Disposal:
        with pytest.raises(FolderReadOnly):
            imap.dispose(["1"], disposal)


def test_without_uidplus_messages_move_to_the_trash(certificates: Certificates) -> None:
    with Dovecot(certificates, extra="imap_capability = IMAP4rev1 MOVE SPECIAL-USE\n") as server:
        server.add_user("amara", SECRET)
        server.append_many("amara", letters(3))
        with server.client("amara", "INBOX") as other:
            other.add_flags([1], [rb"\Deleted"])
        with Imap(server.endpoint(), Password("amara", SECRET)) as imap:
            imap.connect()
            imap.open()
            assert imap.dispose(["2"], Disposal.DELETE).done == ("2",)
        assert kept(server, "amara") == [1, 3]
        assert [message.raw for message in server.messages("amara", "Trash")] == [letters(2)[1]]


def test_without_uidplus_and_move_nothing_is_deleted(certificates: Certificates) -> None:
    with Dovecot(certificates, extra="imap_capability = IMAP4rev1\n") as server:
        server.add_user("amara", SECRET)
        server.append_many("amara", letters(2))
        with Imap(server.endpoint(), Password("amara", SECRET)) as imap:
            imap.connect()
            assert not imap.open().may_delete
            with pytest.raises(CapabilityMissing):
                imap.dispose(["1"], Disposal.DELETE)
        assert [message.flags & {r"\Deleted"} for message in server.messages("amara")] == [set(), set()]


def test_a_folder_that_was_renewed_has_another_generation(
    dovecot: Dovecot, amara: str, mailbox: Opener
) -> None:
    dovecot.append_many(amara, letters(2))
    imap = mailbox()
    before = imap.open()
    imap.close()
    dovecot.renew_generation(amara)
    after = mailbox().open()
    assert before.generation != after.generation
    assert after.messages == 2


def test_a_closed_transport_says_so_and_may_be_closed_again(dovecot: Dovecot, amara: str) -> None:
    imap = Imap(dovecot.endpoint(), Password(amara, SECRET))
    imap.close()
    with imap:
        imap.connect()
    imap.close()
    with pytest.raises(ConnectionLost):
        imap.open()


def test_a_server_that_went_away_is_a_lost_connection(certificates: Certificates) -> None:
    with Dovecot(certificates) as server:
        server.add_user("amara", SECRET)
        with Imap(server.endpoint(timeout=3), Password("amara", SECRET)) as imap:
            imap.connect()
            imap.open()
            server.crash()
            with pytest.raises(ConnectionLost):
                imap.listed(None, 10)


@pytest.mark.parametrize(
    ("capabilities", "goes"), [("MOVE", True), ("UIDPLUS", True), ("UIDPLUS NAMESPACE", True), ("", False)]
)
def test_putting_aside_moves_exactly_these_or_nothing(
    certificates: Certificates, capabilities: str, goes: bool
) -> None:
    with Dovecot(certificates, extra=f"imap_capability = IMAP4rev1 {capabilities}\n") as server:
        server.add_user("amara", SECRET)
        server.append_many("amara", letters(3))
        with server.client("amara", "INBOX") as other:
            other.add_flags([1], [rb"\Deleted"])
        with Imap(server.endpoint(), Password("amara", SECRET)) as imap:
            imap.connect()
            imap.open()
            if goes:
                assert imap.dispose(["2"], Disposal.PUT_ASIDE).done == ("2",)
                assert imap.dispose(["3"], Disposal.PUT_ASIDE).done == ("3",)
            else:
                with pytest.raises(CapabilityMissing):
                    imap.dispose(["2"], Disposal.PUT_ASIDE)
        assert kept(server, "amara") == ([1] if goes else [1, 2, 3])
        if goes:
            aside = server.messages("amara", UNDELIVERABLE)
            assert [message.raw for message in aside] == letters(3)[1:]
            assert not any(r"\Deleted" in message.flags for message in aside)


def test_nothing_is_put_aside_into_the_folder_it_lies_in(
    dovecot: Dovecot, amara: str, mailbox: Opener
) -> None:
    dovecot.make_folder(amara, UNDELIVERABLE)
    dovecot.append(amara, letters(1)[0], UNDELIVERABLE)
    with pytest.raises(FolderReadOnly):
        mailbox(UNDELIVERABLE).dispose(["1"], Disposal.PUT_ASIDE)
    assert kept(dovecot, amara, UNDELIVERABLE) == [1]


def test_folders_are_kept_where_the_account_keeps_them(certificates: Certificates) -> None:
    """Some servers have every folder below the INBOX (RFC 2342)."""
    below = "namespace inbox {\n  prefix = INBOX/\n}\n"
    with Dovecot(certificates, extra=below) as server:
        server.add_user("amara", SECRET)
        server.append_many("amara", letters(1))
        with Imap(server.endpoint(), Password("amara", SECRET)) as imap:
            imap.connect()
            imap.open()
            assert imap.dispose(["1"], Disposal.PUT_ASIDE).done == ("1",)
        assert [m.raw for m in server.messages("amara", f"INBOX/{UNDELIVERABLE}")] == letters(1)
