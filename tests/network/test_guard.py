"""The network guard: what may be connected to, and for how long."""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Callable
from ipaddress import ip_address
from typing import Any

import pytest

from emailprofiles import network
from emailprofiles.errors import (
    AddressRefused,
    ConnectionLost,
    MailError,
    NameNotResolved,
    PortClosed,
    ProtocolError,
    SettingsIncomplete,
    TimedOut,
)
from emailprofiles.transports.imap import Imap
from emailprofiles.transports.pop3 import Pop3
from emailprofiles.transports.seam import Transport
from emailprofiles.transports.smtp import Smtp
from emailprofiles.wire import Endpoint, Password, Security
from tests.servers import Scripted, free_port

REAL_GETADDRINFO = socket.getaddrinfo


def endpoint(host: str, port: int = 143, timeout: float = 5, *, allow_internal: bool = True) -> Endpoint:
    return Endpoint(host, port, Security.NONE, timeout, allow_internal=allow_internal)


NEVER = {
    "link-local": "169.254.0.7 169.254.255.254 fe80::1 febf::1",
    "metadata": "169.254.169.254 fd00:ec2::254 100.100.100.200 168.63.129.16 192.0.0.192",
    "multicast": "224.0.0.1 239.255.255.250 ff02::1 ff0e::1",
    "unspecified": "0.0.0.0 0.1.2.3 ::",
    "broadcast and reserved": "255.255.255.255 240.0.0.1 4000::1 5f00::1",
    "IPv4-mapped": "::ffff:169.254.169.254 ::ffff:0.0.0.0 ::ffff:255.255.255.255 ::ffff:224.0.0.1",
    "IPv4-translated": "::ffff:0:169.254.169.254 ::ffff:0:127.0.0.1",
    "IPv4-compatible": "::169.254.169.254 ::255.255.255.255",
    "6to4": "2002:a9fe:a9fe::1 2002:e000:1::1 2002::1",
    "Teredo": "2001:0:4136:e378:8000:63bf:5601:5601",
    "NAT64": "64:ff9b::a9fe:a9fe 64:ff9b::224.0.0.1",
    "local NAT64, by each length of its prefix": "64:ff9b:1::169.254.169.254 64:ff9b:1:fffe::a9fe:a9fe "
    "64:ff9b:1:7:a9:fea9:fe08:808 64:ff9b:1:a9:fe:a9fe:808:808 64:ff9b:1:a9fe:a9:fe00:808:808",
}
INTERNAL = {
    "loopback": "127.0.0.1 127.255.255.254 ::1",
    "private": "10.0.0.1 10.255.255.255 172.16.0.1 172.31.255.255 192.168.0.1 192.168.255.255",
    "carrier-grade NAT": "100.64.0.1 100.127.255.254",
    "unique local and site-local": "fc00::1 fd12:3456::1 fdff::1 fec0::1 feff::1",
    "documentation": "192.0.2.1 198.51.100.7 203.0.113.255 2001:db8::1 3fff::1 3fff:fff::1",
    "measurements": "198.18.0.1 198.19.255.255 2001:2::1",
    "IPv4-mapped": "::ffff:127.0.0.1 ::ffff:10.0.0.1 ::ffff:100.64.0.1 ::ffff:192.168.1.1",
    "IPv4-compatible": "::127.0.0.1 ::10.0.0.1",
    "6to4": "2002:a00:1::1 2002:7f00:1::1 2002:c0a8:101::1",
    "Teredo": "2001:0:4136:e378:8000:63bf:80ff:fffe 2001:0:4136:e378:8000:63bf:f5ff:fffe",
    "NAT64": "64:ff9b::10.0.0.1 64:ff9b::7f00:1 64:ff9b:1::10.0.0.1 64:ff9b:1:a00:0:100:808:808",
}
PUBLIC = {
    "IPv4": "93.184.216.34 172.32.0.1 100.128.0.1 11.0.0.1",
    "IPv6": "2606:4700::1111 2a00:1450:4001::1",
    "in disguise": "::ffff:8.8.8.8 2002:808:808::1 64:ff9b::5db8:d822 64:ff9b:1::5db8:d822 64:ff9b:1:fffe::808:808",
}


def rows(table: dict[str, str]) -> list[str]:
    return [address for addresses in table.values() for address in addresses.split()]


@pytest.mark.parametrize("address", rows(NEVER))
@pytest.mark.parametrize("allow_internal", [True, False])
def test_some_addresses_are_never_connected_to(address: str, allow_internal: bool) -> None:
    assert network.refusal(ip_address(address), allow_internal=allow_internal)


@pytest.mark.parametrize("address", rows(INTERNAL))
def test_internal_addresses_are_connected_to_as_the_setting_says(address: str) -> None:
    assert network.refusal(ip_address(address), allow_internal=False)
    assert not network.refusal(ip_address(address), allow_internal=True)


@pytest.mark.parametrize("address", rows(PUBLIC))
@pytest.mark.parametrize("allow_internal", [True, False])
def test_public_addresses_are_connected_to(address: str, allow_internal: bool) -> None:
    assert not network.refusal(ip_address(address), allow_internal=allow_internal)


def test_a_forbidden_address_is_named() -> None:
    with pytest.raises(AddressRefused, match=r"169\.254\.169\.254"):
        network.resolve(endpoint("169.254.169.254"))
    with pytest.raises(AddressRefused, match=r"127\.0\.0\.1"):
        network.resolve(endpoint("localhost", allow_internal=False))


@pytest.mark.parametrize(
    ("disguise", "meant"),
    [
        *(
            (number, "169.254.169.254")
            for number in ("2852039166", "0xa9fea9fe", "169.254.43518", "0251.0376.0251.0376")
        ),
        *(
            (number, "127.0.0.1")
            for number in ("2130706433", "0177.0.0.1", "0x7f.1", "127.1", "017700000001")
        ),
        *((f"{host}.", "127.0.0.1") for host in ("127.0.0.1", "localhost", "LOCALHOST", "2130706433")),
        ("[::ffff:127.0.0.1]", "127.0.0.1"),
    ],
)
def test_a_disguised_number_is_no_way_around(disguise: str, meant: str) -> None:
    with pytest.raises(AddressRefused, match=f"{re.escape(meant)}|::1"):
        network.resolve(endpoint(disguise, allow_internal=False))


def answers(*addresses: str) -> list[Any]:
    """What getaddrinfo says of a name with these addresses."""
    families = {4: socket.AF_INET, 6: socket.AF_INET6}
    return [
        (
            families[ip_address(one).version],
            socket.SOCK_STREAM,
            6,
            "",
            (one, 143, *((0, 0) if ":" in one else ())),
        )
        for one in addresses
    ]


@pytest.mark.parametrize(
    ("addresses", "forbidden"),
    [
        (("93.184.216.34", "10.0.0.7"), "10.0.0.7"),
        (("10.0.0.7", "93.184.216.34"), "10.0.0.7"),
        (("93.184.216.34", "2606:4700::1111", "::ffff:127.0.0.1"), "::ffff:127.0.0.1"),
        (("2606:4700::1111", "fe80::1%lo"), "fe80::1%lo"),
    ],
)
def test_one_forbidden_address_forbids_the_name(
    addresses: tuple[str, ...], forbidden: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **kwargs: answers(*addresses))
    with pytest.raises(AddressRefused, match=re.escape(forbidden)):
        network.resolve(endpoint("mail.contoso.example", allow_internal=False))


@pytest.mark.parametrize("transport", [Imap, Pop3, Smtp])
def test_a_name_that_is_bound_anew_after_the_check_is_not_asked_again(
    transport: type[Transport], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first answer is fine, every later one is the trap: on the same port, at another address."""
    asked: list[str] = []
    visitors: list[str] = []

    def at(name: str) -> Callable[[socket.socket], None]:
        return lambda connection: visitors.append(name)

    with Scripted(at("checked")) as server, socket.create_server(("127.0.0.66", server.port)) as trap:

        def rebinding(host: str, port: int, *args: Any, **kwargs: Any) -> list[Any]:
            asked.append(host)
            return REAL_GETADDRINFO("127.0.0.1" if len(asked) == 1 else "127.0.0.66", port, *args, **kwargs)

        monkeypatch.setattr(socket, "getaddrinfo", rebinding)
        with (
            transport(endpoint("mail.contoso.example", server.port), Password("amara", "x")) as line,
            pytest.raises(MailError),
        ):
            line.connect()
        trap.settimeout(0.05)
        with pytest.raises(TimeoutError):
            trap.accept()
    assert asked == ["mail.contoso.example"]
    assert visitors == ["checked"]


@pytest.mark.parametrize(
    "host",
    [
        "nosuch.invalid",
        "127.0.0.1\0.example",
        "127.0.0.1\nexample",
        "x" * 70 + ".example",
        "nul\0.example",
        "mail..example",
    ],
)
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
