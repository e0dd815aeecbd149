"""An office that collects from a real Dovecot through a proxy for bad days."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from itertools import count

import pytest
from django.utils import timezone

from mailboxes.models import ServerCircuit
from tests.faults.proxy import Proxy
from tests.servers import GOOD, Dovecot
from tests.sync.conftest import Office, enable, office_on

_numbers = count(1)


@pytest.fixture
def proxy(dovecot: Dovecot) -> Iterator[Proxy]:
    with Proxy(GOOD, dovecot.port) as proxy:
        yield proxy


@pytest.fixture
def office(transactional_db: None, dovecot: Dovecot, proxy: Proxy) -> Office:
    """Whose mail comes through the proxy; it waits a second for an answer, and no longer."""
    office = office_on(dovecot, f"faults{next(_numbers)}")
    office.profile.incoming_port, office.profile.timeout_seconds = proxy.port, 1
    office.profile.save()
    confirmed = {"credentials_location_version": office.profile.location_version}
    type(office.forward).objects.filter(pk=office.forward.pk).update(**confirmed)
    office.forward.refresh_from_db()
    enable(office.forward)
    proxy.behave()
    return office


def undisturbed(office: Office, proxy: Proxy) -> None:
    """From now on nothing goes wrong; cycles until there is nothing to do."""
    proxy.behave()
    for _ in range(4):
        ServerCircuit.objects.update(open_until=timezone.now() - timedelta(seconds=1))
        summary = office.again()
        if not summary.collected and not summary.failed and not ServerCircuit.objects.exists():
            return
    raise AssertionError(f"four cycles were not enough: {summary}")
