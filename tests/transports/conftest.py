"""People of their own for each test, at the one Dovecot that all tests share."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator

import pytest

from emailprofiles.transports.imap import Imap
from emailprofiles.wire import Password, Security
from tests.servers import Dovecot

SECRET = "correct horse"


@pytest.fixture
def amara(dovecot: Dovecot) -> str:
    """Someone with an empty mailbox and the password SECRET."""
    user = f"amara-{uuid.uuid4().hex[:8]}"
    dovecot.add_user(user, SECRET)
    return user


Opener = Callable[..., Imap]


@pytest.fixture
def mailbox(dovecot: Dovecot, amara: str) -> Iterator[Opener]:
    """`mailbox("INBOX")`: Amara's folder, connected and opened."""
    opened: list[Imap] = []

    def open_folder(folder: str = "INBOX") -> Imap:
        imap = Imap(dovecot.endpoint(Security.NONE), Password(amara, SECRET), folder)
        opened.append(imap)
        imap.connect()
        imap.open()
        return imap

    yield open_folder
    for imap in opened:
        imap.close()
