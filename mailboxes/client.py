"""Where a request comes from: the address that counts attempts, and that a person finds in the list of sessions."""

from __future__ import annotations

from ipaddress import IPv6Address, ip_address, ip_network

from django.conf import settings
from django.http import HttpRequest

# A household or a rented server owns a network of this length, so one address of it says nothing.
_IPV6_NETWORK = 64


def client_address(request: HttpRequest) -> str | None:
    """The client's address; None when there is none, as on a socket file.

    Behind a proxy it is the last one in X-Forwarded-For, which the proxy itself has added: all before it are
    the client's own words. Without a proxy the header is not looked at.
    """
    if settings.BEHIND_PROXY:
        said = request.META.get("HTTP_X_FORWARDED_FOR", "").rpartition(",")[2]
        if address := _valid(said):
            return address
    return _valid(request.META.get("REMOTE_ADDR", ""))


def counted_address(request: HttpRequest) -> str | None:
    """The address under which attempts are counted: of IPv6 the network, which one person has as a whole."""
    address = client_address(request)
    if address is None or ":" not in address:
        return address
    return str(ip_network(f"{address}/{_IPV6_NETWORK}", strict=False).network_address)


def _valid(said: str) -> str | None:
    try:
        address = ip_address(said.strip().partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return str(mapped or address)
