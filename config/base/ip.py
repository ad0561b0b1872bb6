"""Normalize IP addresses and networks: an IPv4-mapped IPv6 address (`::ffff:192.0.2.1`) becomes IPv4.

All code that compares addresses parses them here. Otherwise a mapped address would bypass a list of networks.
"""

from __future__ import annotations

from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

_MAPPED_BITS = 96
_MAPPED = IPv6Network("::ffff:0:0/96")


@lru_cache(maxsize=1024)
def read_address(text: str) -> IPv4Address | IPv6Address:
    """Parse an address. Its zone is dropped, because it means nothing on another link.

    Raises:
        ValueError: the text is not an address.
    """
    return unmapped(ip_address(text.partition("%")[0]))


@lru_cache(maxsize=4096)
def packed_address(text: str) -> bytes:
    """Return an address as 4 or 16 octets. Counters ask this many times for each client.

    Raises:
        ValueError: the text is not an address.
    """
    return read_address(text).packed


def read_network(text: str) -> IPv4Network | IPv6Network:
    """Parse a network, or an address as a network of one. Host bits are dropped.

    Raises:
        ValueError: the text is neither.
    """
    return unmapped_network(ip_network(text, strict=False))


def plain_address(text: str) -> str:
    """Return an address's text, IPv4-mapped as IPv4; any other text unchanged."""
    if ":ffff:" not in text.lower():  # nearly all: no need to parse
        return text
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return text
    plain = unmapped(address)
    return text if plain is address else str(plain)


def unmapped(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    """Return an IPv4-mapped address as IPv4 (RFC 4291 section 2.5.5.2)."""
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


def unmapped_network(network: IPv4Network | IPv6Network) -> IPv4Network | IPv6Network:
    """Return a network of IPv4-mapped addresses as an IPv4 network."""
    if not isinstance(network, IPv6Network) or not network.subnet_of(_MAPPED):
        return network
    inner = network.network_address.packed[-4:]
    return IPv4Network((IPv4Address(inner), network.prefixlen - _MAPPED_BITS))


def any_holds(networks: tuple[IPv4Network | IPv6Network, ...], client_ip: str) -> bool:
    """Whether one of the networks contains the address; IPv4-mapped counts as IPv4."""
    if not networks:
        return False
    ip = read_address(client_ip)
    return any(ip.version == network.version and ip in network for network in networks)
