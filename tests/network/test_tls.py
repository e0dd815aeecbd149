"""TLS: who is at the other end, and what is said when it is somebody else."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from emailprofiles import network
from emailprofiles.errors import (
    CertificateExpired,
    CertificateUntrusted,
    CertificateWrongName,
    ConnectionLost,
    MailError,
    NotTls,
    SettingsIncomplete,
    TimedOut,
    TlsFailed,
)
from emailprofiles.wire import Endpoint, Security
from tests.servers import Certificates, Scripted


@contextmanager
def tls_server(context: ssl.SSLContext) -> Iterator[Scripted]:
    def play(connection: socket.socket) -> None:
        with context.wrap_socket(connection, server_side=True) as tls:
            tls.sendall(b"hello")
            tls.recv(1)

    with Scripted(play) as server:
        yield server


def encrypted(server: Scripted, ca_file: str, host: str = "localhost", timeout: float = 5) -> str:
    place = Endpoint(host, server.port, Security.TLS, timeout, ca_file)
    sock = network.connect(place, network.resolve(place))
    tls, seen = network.start_tls(sock, place)
    with tls:
        assert tls.recv(5) == b"hello"
    return seen


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "LocalHost."])
def test_a_good_certificate_is_described(certificates: Certificates, host: str) -> None:
    with tls_server(certificates.server_context()) as server:
        seen = encrypted(server, certificates.ca_file, host)
    assert seen == "TLS 1.3, certificate from Contoso CA, expires 1 Jan 3000"


@pytest.mark.parametrize(
    ("certificate", "error"),
    [
        ("expired", CertificateExpired),
        ("wrong-name", CertificateWrongName),
        ("untrusted", CertificateUntrusted),
    ],
)
def test_a_bad_certificate_is_called_what_it_is(
    certificates: Certificates, certificate: str, error: type[MailError]
) -> None:
    with (
        tls_server(certificates.server_context(certificate)) as server,
        pytest.raises(error, match="localhost") as raised,
    ):
        encrypted(server, certificates.ca_file)
    assert raised.value.server_words


def test_a_certificate_must_name_the_ip_address(certificates: Certificates) -> None:
    with tls_server(certificates.server_context("wrong-name")) as server, pytest.raises(CertificateWrongName):
        encrypted(server, certificates.ca_file, "127.0.0.1")


def test_without_the_private_authority_its_certificates_are_not_trusted(certificates: Certificates) -> None:
    with tls_server(certificates.server_context()) as server, pytest.raises(CertificateUntrusted):
        encrypted(server, "")


def test_a_missing_ca_file_is_a_matter_of_settings(certificates: Certificates) -> None:
    with (
        tls_server(certificates.server_context()) as server,
        pytest.raises(SettingsIncomplete, match="nonexistent"),
    ):
        encrypted(server, "/nonexistent/no.pem")


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
def test_old_tls_is_refused(certificates: Certificates) -> None:
    context = certificates.server_context()
    context.minimum_version = ssl.TLSVersion.TLSv1
    context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")
    with tls_server(context) as server, pytest.raises(TlsFailed):
        encrypted(server, certificates.ca_file)


@pytest.mark.parametrize("banner", [b"* OK ready\r\n", b"220 mail.contoso.com ESMTP\r\n", b"+OK\r\n"])
def test_tls_against_a_plain_port_is_told_apart(certificates: Certificates, banner: bytes) -> None:
    def plain(connection: socket.socket) -> None:
        connection.sendall(banner)
        connection.recv(10_000)

    with Scripted(plain) as server, pytest.raises(NotTls):
        encrypted(server, certificates.ca_file)


def test_a_handshake_has_a_deadline(certificates: Certificates) -> None:
    started = time.monotonic()
    with Scripted(lambda connection: time.sleep(5)) as server, pytest.raises(TimedOut):
        encrypted(server, certificates.ca_file, timeout=0.4)
    assert time.monotonic() - started < 3


def test_a_handshake_that_breaks_off_is_a_lost_connection(certificates: Certificates) -> None:
    with Scripted(lambda connection: connection.recv(10_000)) as server, pytest.raises(ConnectionLost):
        encrypted(server, certificates.ca_file)


def test_a_drip_inside_tls_runs_out_of_time(certificates: Certificates) -> None:
    context, stop = certificates.server_context(), threading.Event()

    def play(connection: socket.socket) -> None:
        with context.wrap_socket(connection, server_side=True) as tls:
            while not stop.wait(0.05):
                tls.sendall(b".")

    with Scripted(play) as server:
        place = Endpoint("localhost", server.port, Security.TLS, 5, certificates.ca_file)
        tls, _seen = network.start_tls(network.connect(place, network.resolve(place)), place)
        tls.allow(0.4)
        with tls, tls.makefile("rb") as stream, pytest.raises(TimedOut), network.translated("here"):
            stream.readline()
        stop.set()
