from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from imapclient import IMAPClient

from mailboxes.demo import office
from mailboxes.demo.office import Office
from mailboxes.demo.servers import HOST, DemoServers

PASSWORD = "Gänseblümchen 7"


@pytest.fixture(scope="session")
def demo_office() -> Office:
    return office.read()


@pytest.fixture(scope="module")
def servers(demo_office: Office) -> Iterator[DemoServers]:
    with DemoServers(office.people(demo_office, PASSWORD)) as running:
        yield running


@pytest.fixture
def sign_in(servers: DemoServers) -> Iterator[Callable[[str], IMAPClient]]:
    clients: list[IMAPClient] = []

    def connect(name: str) -> IMAPClient:
        client = IMAPClient(HOST, servers.imap_port, ssl=False, timeout=10)
        clients.append(client)
        client.plain_login(name, PASSWORD)
        client.select_folder("INBOX")
        return client

    yield connect
    for client in clients:
        client.logout()
