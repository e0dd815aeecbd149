"""The servers of `tests.servers` as fixtures: one Dovecot and one authority for all tests, SMTP per test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.postgres import PostgreSQL
from tests.servers import Certificates, Dovecot, SmtpSink, needs


@pytest.fixture(scope="session")
def certificates() -> Iterator[Certificates]:
    with Certificates.made() as made:
        yield made


@pytest.fixture(scope="session")
def dovecot(certificates: Certificates) -> Iterator[Dovecot]:
    """A running Dovecot without people: every test adds its own users, by names of its own."""
    needs("dovecot")
    with Dovecot(certificates) as running:
        yield running


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgreSQL]:
    """A running PostgreSQL without databases: every test makes its own."""
    with PostgreSQL() as running:
        yield running


@pytest.fixture
def smtp_sink() -> Iterator[SmtpSink]:
    """An SMTP server in the clear that asks nobody to sign in."""
    with SmtpSink() as running:
        yield running
