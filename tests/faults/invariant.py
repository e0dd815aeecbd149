"""What holds after whatever went wrong: nothing lost, nothing twice, nothing of others touched, the status true."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass, field

from mailboxes.models import (
    Alert,
    Delivery,
    Direction,
    Message,
    MessageState,
    ServerCircuit,
    SkippedMessage,
    SyncState,
)
from mailboxes.sync.ledger import balances
from tests.sync.conftest import Office, letter

PEOPLE = ("noah", "priya")
ELSEWHERE = "Elsewhere"


@dataclass
class Sent:
    """The mail of one test, by subject: `mine` reaches the person named, `nobodys` stays where it is in quarantine.

    `theirs` is what somebody else marked as deleted; `taken` is what somebody else moved or deleted meanwhile: it
    was collected before that, or skipped.
    """

    mine: dict[str, str] = field(default_factory=dict)
    nobodys: list[str] = field(default_factory=list)
    theirs: list[str] = field(default_factory=list)
    taken: list[str] = field(default_factory=list)
    digests: dict[str, str] = field(default_factory=dict)

    def letters(self, count: int, kind: str = "Number", body: str = "Hello") -> list[bytes]:
        """Further letters, for one person after the other."""
        raws = []
        for n in range(len(self.mine), len(self.mine) + count):
            who = PEOPLE[n % len(PEOPLE)]
            raws.append(self.note(f"{kind} {n}", Delivered_To=f"{who}@contoso.com", body=body))
            self.mine[f"{kind} {n}"] = who.title()
        return raws

    def note(self, subject: str, **how: str) -> bytes:
        raw = letter(subject, **how)
        self.digests[subject] = hashlib.sha256(raw).hexdigest()
        return raw

    def nobodys_letter(self) -> bytes:
        self.nobodys.append("Nobody's")
        return self.note("Nobody's", to="stranger@example.net")


def fill(office: Office, letters: int = 6, body: str = "Hello") -> Sent:
    """Mail for two people, one for nobody, one that somebody else marked as deleted, and one in another folder."""
    sent = Sent()
    for name in PEOPLE:
        office.user(name)
    office.arrives(*sent.letters(letters, body=body), sent.nobodys_letter())
    with office.dovecot.client(office.account) as someone_else:
        someone_else.create_folder(ELSEWHERE)
        someone_else.append(ELSEWHERE, letter("Filed"))
        theirs = sent.note("Somebody else deletes this", to="x@example.net")
        someone_else.append("INBOX", theirs, [rb"\Deleted"])
    sent.theirs.append("Somebody else deletes this")
    return sent


def holds(office: Office, sent: Sent) -> None:
    """Assert the whole of it, once nothing is disturbed any more."""
    nothing_is_lost_or_twice(office, sent)
    nothing_of_others_is_touched(office, sent)
    processed_mail_is_gone(office, sent)
    the_status_is_good(office)


def nothing_is_lost_or_twice(office: Office, sent: Sent) -> None:
    """Every message is in exactly one legal state, exactly once, its bytes as they were sent."""
    rows = list(Message.objects.values_list("subject", "state", "is_stub", "raw_sha256"))
    assert [subject for subject, n in Counter(row[0] for row in rows).items() if n > 1] == []
    found = {subject: (state, is_stub, digest) for subject, state, is_stub, digest in rows}
    due = {subject: (MessageState.DELIVERED.value, False, sent.digests[subject]) for subject in sent.mine} | {
        subject: (MessageState.QUARANTINED.value, False, sent.digests[subject])
        for subject in (*sent.nobodys, *sent.theirs)
    }
    vanished = set(sent.taken) - set(found)
    assert found == {subject: as_due for subject, as_due in due.items() if subject not in vanished}
    assert SkippedMessage.objects.count() <= len(vanished)  # what was never listed is not known
    reached = {subject: [who] for subject, who in sent.mine.items() if subject not in vanished}
    assert office.delivered() == reached
    assert Delivery.objects.count() == len(reached)
    assert [balance.difference for balance in balances(office.forward)] == [0] * len(balances(office.forward))


def nothing_of_others_is_touched(office: Office, sent: Sent) -> None:
    """What is nobody's, and what somebody else marked as deleted, is there as it was; other folders, too."""
    left = {subject_of(kept.raw): "\\Deleted" in kept.flags for kept in office.on_server()}
    untouched = dict.fromkeys(sent.nobodys, False) | dict.fromkeys(sent.theirs, True)
    assert {subject: left.get(subject) for subject in untouched} == untouched
    filed = [subject_of(kept.raw) for kept in office.dovecot.messages(office.account, ELSEWHERE)]
    assert filed[0] == "Filed"
    assert set(filed[1:]) <= set(sent.taken)


def processed_mail_is_gone(office: Office, sent: Sent) -> None:
    left = {subject_of(kept.raw) for kept in office.on_server()}
    assert left == {*sent.nobodys, *sent.theirs}


def the_status_is_good(office: Office) -> None:
    """Nothing is told that was wrong once and is not any more."""
    state = state_of(office)
    assert (state.failures, state.last_error, state.enabled) == (0, "", True)
    assert (state.lease_holder, state.fetch_window, state.suspect) == ("", 0, "")
    assert list(Alert.objects.filter(resolved_at=None).values_list("title", flat=True)) == []
    assert not ServerCircuit.objects.exists()


def state_of(office: Office) -> SyncState:
    return SyncState.objects.get(mailbox=office.forward, direction=Direction.INCOMING)


def subject_of(raw: bytes) -> str:
    return raw.split(b"Subject: ", 1)[1].split(b"\r\n", 1)[0].decode()
