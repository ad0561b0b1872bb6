"""IPv4 addresses that are written as IPv6, and networks of them."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest

from config.base.ip import plain_address, read_address, read_network, unmapped

NETWORKS = [
    ("::ffff:192.0.2.1", "192.0.2.1/32"),
    ("::ffff:192.0.2.0/120", "192.0.2.0/24"),
    ("192.0.2.1/24", "192.0.2.0/24"),
    ("::FFFF:C000:201", "192.0.2.1/32"),
    ("0:0:0:0:0:ffff:c000:201", "192.0.2.1/32"),
    ("::ffff:0:0/96", "0.0.0.0/0"),
    ("192.0.2.0/24", "192.0.2.0/24"),
    ("2001:db8::/32", "2001:db8::/32"),
    ("::/0", "::/0"),
    ("::ffff:0:0/95", "::fffe:0:0/95"),
]


@pytest.mark.parametrize(("written", "meant"), NETWORKS, ids=range(len(NETWORKS)))
def test_a_network_of_mapped_addresses_is_one_of_ipv4(written: str, meant: str) -> None:
    assert read_network(written) == ip_network(meant)


def test_addresses_are_read_in_one_form() -> None:
    assert read_address("::ffff:192.0.2.1%eth0") == ip_address("192.0.2.1")
    assert unmapped(ip_address("2001:db8::1")) == ip_address("2001:db8::1")
    assert [plain_address(each) for each in ("::ffff:c000:201", "fe80::1%lo", "*", "mx:ffff:test", "::1")] == [
        "192.0.2.1",
        "fe80::1%lo",
        "*",
        "mx:ffff:test",
        "::1",
    ]
