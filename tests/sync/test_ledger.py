"""Everything the server ever showed is accounted for: generations, vanished and skipped copies, reconciliation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from io import StringIO

import pytest
from django.core.management import call_command
from django.utils import timezone

from emailprofiles.transports import TRANSPORTS, IncomingTransport
from emailprofiles.transports.imap import Imap
from emailprofiles.wire import UNDELIVERABLE, Fetched, Folder
from mailboxes.models import Alert, Message, Reconciliation, SkippedMessage, SyncState
from mailboxes.sync.ledger import balances

from .conftest import Office, enable, letter

pytestmark = pytest.mark.django_db(transaction=True)


def letters(count: int, name: str = "Number") -> list[bytes]:
    return [letter(f"{name} {n}", Delivered_To="noah@contoso.com") for n in range(count)]


def ledger(office: Office) -> list[tuple[int, int, int, int, int]]:
    """(seen, stored, stubs, skipped, moved on) of each generation, the newest first; each is balanced."""
    found = balances(office.forward)
    assert [balance.difference for balance in found] == [0] * len(found)
    return [(b.seen, b.stored, b.stubs, b.skipped, b.moved_on) for b in found]


def keep_on_server(office: Office) -> None:
    office.forward.delete_emails_after_processing = False
    office.forward.save()
    enable(office.forward)


def test_what_is_collected_and_what_is_skipped_is_in_the_ledger(office: Office) -> None:
    office.user("noah")
    office.profile.process_email_from = datetime(2026, 1, 1, tzinfo=UTC)
    office.profile.save()
    for year in (2024, 2025):
        office.dovecot.append(
            office.account, letter("Old", to="x@example.net"), internaldate=datetime(year, 5, 1, tzinfo=UTC)
        )
    office.arrives(*letters(3))
    assert office.synchronize().collected == 3
    assert ledger(office) == [(5, 3, 0, 2, 0)]
    office.again()
    assert ledger(office) == [(5, 3, 0, 2, 0)]
    assert [row.get_why_display() for row in SkippedMessage.objects.all()] == [
        "Received before Process Email From"
    ] * 2


def test_after_a_restore_the_same_mail_is_bound_anew_and_other_mail_collected(office: Office) -> None:
    office.user("noah")
    keep_on_server(office)
    office.arrives(*letters(3))
    office.synchronize()
    office.dovecot.renew_generation(office.account)
    office.arrives(*letters(1, "New"))
    office.again()
    assert sorted(office.delivered()) == ["New 0", "Number 0", "Number 1", "Number 2"]
    assert Message.objects.count() == 4
    assert ledger(office) == [(4, 4, 0, 0, 0), (3, 0, 0, 0, 3)]


def test_nothing_is_deleted_by_a_number_of_an_older_generation(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The copies could not be deleted in time; then the same numbers name other mail."""
    office.user("noah")

    class Undeleting(Imap):
        def dispose(self, ids, disposal):  # type: ignore[no-untyped-def]
            return type(super().dispose([], disposal))(done=())

    with monkeypatch.context() as patch:
        patch.setitem(TRANSPORTS["incoming"], "imap", Undeleting)
        office.arrives(*letters(3))
        office.synchronize()
    maildir = office.dovecot._maildir(office.account, "INBOX") / "cur"
    for path in maildir.iterdir():
        path.unlink()
    office.dovecot.renew_generation(office.account)
    office.arrives(*(letter(f"Stranger {n}", to="x@example.net") for n in range(3)))
    office.again()
    office.again()
    assert len(office.on_server()) == 3  # in quarantine: nobody's mail stays where it is
    assert Message.objects.filter(state="quarantined").count() == 3
    assert Message.objects.filter(state="delivered", disposed_at=None).count() == 3


class Renumbering(Imap):
    """A server that numbers the folder anew at each sign-in."""

    generations: Iterator[int] = iter(range(1000, 2000))

    def open(self) -> Folder:
        return replace(super().open(), generation=str(next(self.generations)))


def test_a_folder_that_is_numbered_anew_all_the_time_is_collected_and_not_deleted_from(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    office.user("noah")
    monkeypatch.setitem(TRANSPORTS["incoming"], "imap", Renumbering)
    for number in range(6):
        office.arrives(*letters(1, f"Round {number}"))
        office.again()
    assert len(office.delivered()) == 6
    assert Message.objects.count() == 6
    assert len(office.on_server()) == 2  # since the fourth change
    assert "numbers its messages anew" in Alert.objects.get(resolved_at=None).title
    ledger(office)
    monkeypatch.undo()
    SyncState.objects.update(renumbered_since=timezone.now() - timedelta(hours=25))
    office.again()
    office.again()
    assert office.on_server() == []
    assert not Alert.objects.filter(resolved_at=None).exists()


class Vanishing(Imap):
    """Somebody deletes the second message between our looking and our fetching."""

    fetch_ahead = IncomingTransport.fetch_ahead

    gone = "2"

    def fetch(self, ids: Sequence[str]) -> Iterator[Fetched]:
        with self._changing() as client:
            client.add_flags(self.gone, [rb"\Deleted"])
            client.uid_expunge(self.gone)
        return super().fetch(ids)


def test_what_vanishes_before_it_is_read_is_skipped_with_its_reason(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    office.user("noah")
    office.arrives(*letters(3))
    monkeypatch.setitem(TRANSPORTS["incoming"], "imap", Vanishing)
    assert office.synchronize().collected == 2
    assert SkippedMessage.objects.get().why == "vanished"
    assert ledger(office) == [(3, 2, 0, 1, 0)]
    assert not Alert.objects.exists()


def reconciled(office: Office) -> tuple[int, str]:
    """(exit code, what it prints) of `synchronize --reconcile`."""
    out = StringIO()
    try:
        call_command("synchronize", reconcile=True, once=True, stdout=out)
    except SystemExit as ended:
        return int(ended.code or 0), out.getvalue()
    return 0, out.getvalue()


def test_reconciling_says_that_everything_is_accounted_for(office: Office) -> None:
    office.user("noah")
    keep_on_server(office)
    office.arrives(*letters(3))
    office.synchronize()
    code, says = reconciled(office)
    assert code == 0
    assert "Collection 1: 3 on the server = 3 stored + 0 stubs + 0 skipped + 0 waiting" in says


def test_a_message_that_was_passed_over_is_found_told_and_collected(office: Office) -> None:
    office.user("noah")
    keep_on_server(office)
    office.arrives(*letters(5))
    office.synchronize()
    lost = Message.objects.get(remote_id="3")
    lost.deliveries.all().delete()
    lost.delete()  # as if an earlier version had lost it
    code, says = reconciled(office)
    assert code == 1
    assert "1 missing" in says
    assert "1 message is not accounted for" in Alert.objects.get(resolved_at=None).title
    office.again()
    assert len(office.delivered()) == 5
    code, says = reconciled(office)
    assert "5 stored" in says


def test_what_others_delete_is_noticed(office: Office) -> None:
    office.user("noah")
    keep_on_server(office)
    office.arrives(*letters(4))
    office.synchronize()
    with office.dovecot.client(office.account, "INBOX") as someone_else:
        someone_else.add_flags([2], [rb"\Deleted"])
        someone_else.uid_expunge([2])
    code, _ = reconciled(office)
    assert code == 0
    assert Reconciliation.objects.get().vanished == 1
    assert Message.objects.get(gone_at__isnull=False).remote_id == "2"
    reconciled(office)
    assert Reconciliation.objects.get().vanished == 0


def test_a_folder_is_reconciled_once_a_day_by_itself(office: Office) -> None:
    office.user("noah")
    office.arrives(*letters(1))
    office.synchronize()
    first = Reconciliation.objects.get().done_at
    office.again()
    assert Reconciliation.objects.get().done_at == first
    Reconciliation.objects.update(done_at=first - timedelta(hours=25))
    office.again()
    assert Reconciliation.objects.get().done_at > first


def test_what_nobody_can_receive_is_moved_to_the_undeliverable_folder(office: Office) -> None:
    waiting = office.user("noah").mailbox
    waiting.approval = "pending"
    waiting.save()
    office.profile.move_undelivered = True
    office.profile.save()
    office.arrives(letter("For nobody", to="x@example.net"), *letters(1, "Waits"))
    office.synchronize()
    assert [one.raw.count(b"Waits") > 0 for one in office.on_server()] == [True]
    [aside] = office.dovecot.messages(office.account, UNDELIVERABLE)
    assert b"For nobody" in aside.raw
    message = Message.objects.get(subject="For nobody")
    assert (message.state, message.disposal) == ("quarantined", "put_aside")
    ledger(office)
