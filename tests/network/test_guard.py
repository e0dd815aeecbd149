"""The network guard: what may be connected to, and for how long."""

from __future__ import annotations

import socket
import time
from ipaddress import ip_address

import pytest

from emailprofiles import network
from emailprofiles.errors import (
    AddressRefused,
    ConnectionLost,
    NameNotResolved,
    PortClosed,
    ProtocolError,
    SettingsIncomplete,
    TimedOut,
)
from emailprofiles.wire import Endpoint, Security
from tests.servers import Scripted, free_port


def endpoint(host: str, port: int = 143, timeout: float = 5, *, allow_internal: bool = True) -> Endpoint:
    return Endpoint(host, port, Security.NONE, timeout, allow_internal=allow_internal)


@pytest.mark.parametrize(
    "address",
    [
        "169.254.169.254",
        "169.254.0.7",
        "fe80::1",
        "fd00:ec2::254",
        "100.100.100.200",
        "168.63.129.16",
        "224.0.0.1",
        "ff02::1",
        "0.0.0.0",
        "0.1.2.3",
        "::",
        "255.255.255.255",
        "240.0.0.1",
        "::ffff:169.254.169.254",
        "::ffff:0.0.0.0",
        "::169.254.169.254",
        "2002:a9fe:a9fe::1",
        "64:ff9b::a9fe:a9fe",
        "64:ff9b:1::169.254.169.254",
        "2001:0:4136:e378:8000:63bf:5601:5601",
    ],
)
def test_some_addresses_are_never_connected_to(address: str) -> None:
    assert network.refusal(ip_address(address), allow_internal=True)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "127.8.9.1",
        "::1",
        "10.1.2.3",
        "192.168.7.7",
        "172.16.0.1",
        "100.64.0.1",
        "fd12:3456::1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "64:ff9b::10.0.0.1",
        "2002:a00:1::1",
    ],
)
def test_internal_addresses_are_connected_to_as_the_setting_says(address: str) -> None:
    assert network.refusal(ip_address(address), allow_internal=False)
    assert not network.refusal(ip_address(address), allow_internal=True)


@pytest.mark.parametrize(
    "address", ["93.184.216.34", "2606:4700::1111", "64:ff9b::5db8:d822", "::ffff:8.8.8.8"]
)
def test_public_addresses_are_connected_to(address: str) -> None:
    assert not network.refusal(ip_address(address), allow_internal=False)


def test_a_forbidden_address_is_named() -> None:
    with pytest.raises(AddressRefused, match=r"169\.254\.169\.254"):
        network.resolve(endpoint("169.254.169.254"))
    with pytest.raises(AddressRefused, match=r"127\.0\.0\.1"):
        network.resolve(endpoint("localhost", allow_internal=False))


@pytest.mark.parametrize("disguise", ["2852039166", "0xa9fea9fe", "169.254.43518"])
def test_a_disguised_number_is_no_way_around(disguise: str) -> None:
    with pytest.raises(AddressRefused):
        network.resolve(endpoint(disguise))


@pytest.mark.parametrize("host", ["nosuch.invalid", "x" * 70 + ".example", "nul\0.example", "mail..example"])
def test_a_misspelt_name_is_not_resolved(host: str) -> None:
    with pytest.raises(NameNotResolved):
        network.resolve(endpoint(host))


@pytest.mark.parametrize("host", ["", "  ", ".", "[]"])
def test_an_empty_name_is_not_this_machine(host: str) -> None:
    with pytest.raises(SettingsIncomplete):
        network.resolve(endpoint(host))


@pytest.mark.parametrize("port", [0, -1, 65536])
def test_a_port_is_a_port(port: int) -> None:
    with pytest.raises(SettingsIncomplete):
        network.resolve(endpoint("localhost", port))


def test_brackets_and_the_final_dot_belong_to_no_name() -> None:
    assert network.host_name(endpoint("[::1]")) == "::1"
    assert network.host_name(endpoint(" imap.contoso.com. ")) == "imap.contoso.com"


def test_a_closed_port_is_named() -> None:
    port = free_port()
    place = endpoint("127.0.0.1", port)
    with pytest.raises(PortClosed, match=f"127.0.0.1 port {port}"):
        network.connect(place, network.resolve(place))


def test_the_next_address_is_tried() -> None:
    with Scripted(lambda connection: connection.sendall(b"here")) as server:
        place = endpoint("127.0.0.1", server.port)
        closed = network.Address(socket.AF_INET, ("127.0.0.9", server.port))
        with network.connect(place, (closed, *network.resolve(place))) as sock:
            assert sock.recv(4) == b"here"
            assert network.peer(sock) == f"127.0.0.1 port {server.port}"


def connected(server: Scripted) -> network.BoundedSocket:
    place = server.endpoint()
    return network.connect(place, network.resolve(place))


def drip(connection: socket.socket) -> None:
    while True:
        connection.sendall(b".")
        time.sleep(0.05)


def test_a_drip_runs_out_of_time_as_a_whole() -> None:
    with Scripted(drip) as server, connected(server) as sock, sock.makefile("rb") as stream:
        sock.allow(0.4)
        started = time.monotonic()
        with pytest.raises(TimedOut), network.translated("here"):
            stream.readline()
        assert 0.3 < time.monotonic() - started < 2


def test_what_really_arrives_earns_time() -> None:
    def steady(connection: socket.socket) -> None:
        for _ in range(8):
            connection.sendall(b"x" * 65_536)
            time.sleep(0.1)

    with Scripted(steady) as server, connected(server) as sock, sock.makefile("rb") as stream:
        sock.allow(0.3)
        assert len(stream.read(8 * 65_536)) == 8 * 65_536


def test_an_answer_has_an_upper_bound() -> None:
    with Scripted(lambda connection: connection.sendall(b"x" * 100_000)) as server, connected(server) as sock:
        sock.allow(2, octets=50_000)
        with pytest.raises(ProtocolError), network.translated("here"), sock.makefile("rb") as stream:
            stream.read(100_000)


def test_a_peer_that_does_not_read_runs_out_of_time() -> None:
    with Scripted(lambda connection: time.sleep(5)) as server, connected(server) as sock:
        sock.allow(0.3)
        with pytest.raises(TimedOut), network.translated("here"):
            sock.sendall(b"x" * 50_000_000)


def test_a_connection_that_is_reset_is_lost() -> None:
    def reset(connection: socket.socket) -> None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        connection.recv(1)

    with Scripted(reset) as server, connected(server) as sock:
        sock.sendall(b"x")
        with pytest.raises(ConnectionLost), network.translated("here"):
            sock.recv(10)


def test_sockets_do_not_wait_to_fill_packets() -> None:
    with Scripted(lambda connection: time.sleep(1)) as server, connected(server) as sock:
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
