"""The ledger of a mailbox: what it tells, and Reconcile now."""

from __future__ import annotations

import pytest
from django.test import Client
from django.urls import reverse

from mailboxes import alerts
from mailboxes.models import Direction, FolderGeneration, Reconciliation, SkippedMessage, SyncState
from tests.conftest import Office

pytestmark = pytest.mark.django_db


def page(client: Client, office: Office) -> str:
    return client.get(reverse("mailbox-ledger", args=[office.collection.pk])).content.decode()


def test_before_the_first_cycle_it_says_so(amaras: Client, office: Office) -> None:
    says = page(amaras, office)
    assert "Nothing seen yet" in says
    assert "Not compared yet" in says


def test_it_tells_what_was_seen_and_where_it_is(amaras: Client, office: Office) -> None:
    FolderGeneration.objects.create(mailbox=office.collection, folder="INBOX", generation="77", seen=3)
    SkippedMessage.objects.create(
        mailbox=office.collection, folder="INBOX", generation="77", remote_id="1", why="too_old"
    )
    Reconciliation.objects.create(
        mailbox=office.collection, folder="INBOX", generation="77", on_server=3, skipped=1, missing=2
    )
    says = page(amaras, office)
    assert "Received before Process Email From" in says
    assert "<dd>2, collected in the next cycle</dd>" in says
    assert 'data-label="Difference">2<' in says
    alerts.ledger_differs(office.collection, alerts.ledger_cause(office.collection.pk), 2, 0)
    assert "2 messages are not accounted for" in page(amaras, office)
    form = amaras.get(reverse("mailbox-edit", args=[office.collection.pk])).content.decode()
    assert ">differs</a>" in form


def test_reconcile_now_makes_it_due_and_says_what_keeps_it_from_running(
    amaras: Client, office: Office
) -> None:
    address = reverse("mailbox-reconcile", args=[office.collection.pk])
    says = amaras.post(address, follow=True).content.decode()
    assert "Not collected:" in says
    state = office.collection.state(Direction.INCOMING)
    SyncState.objects.filter(pk=state.pk).update(
        enabled=True,
        test_status="success",
        tested_mailbox_version=office.collection.connection_version,
        tested_profile_version=office.collection.profile_version,
    )
    says = amaras.post(address, follow=True).content.decode()
    assert "is reconciled as soon as a worker is free" in says
    state.refresh_from_db()
    assert state.reconcile_asked_at is not None
    assert "it comes with the next cycle" in says
