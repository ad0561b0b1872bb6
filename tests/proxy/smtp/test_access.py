"""Who may send where: relay domains for strangers, everything for relay hosts, nothing by default."""

from __future__ import annotations

import asyncio

import pytest

from proxy.mail.session import Path, Session
from proxy.smtp.access import admits, may_send_anywhere
from tests.support.worker import assembly


def path(address: str) -> Path:
    local_part, _, domain = address.rpartition("@")
    return Path(address.encode(), local_part, domain)


@pytest.mark.parametrize(
    ("client", "trusted"),
    [
        ("192.0.2.9", True),
        ("198.51.100.1", True),
        ("198.51.100.2", False),
        ("203.0.113.1", False),
        ("::ffff:192.0.2.9", True),
        ("::ffff:203.0.113.1", False),
        ("2001:db8::5", True),
        ("2001:db9::5", False),
        ("fe80::1%eth0", False),
    ],
)
def test_a_relay_host_is_known_by_its_address(client: str, trusted: bool) -> None:  # noqa: FBT001 - a case
    options = assembly(Relay_Hosts='( 192.0.2.0/24 198.51.100.1 "2001:db8::/32" )').core
    assert may_send_anywhere(options, client) is trusted


@pytest.mark.parametrize("client", ["127.0.0.1", "::1", "10.0.0.1"])
def test_nobody_is_trusted_by_default(client: str) -> None:
    assert not may_send_anywhere(assembly().core, client)


@pytest.mark.parametrize(
    ("address", "taken"),
    [
        ("bob@example.com", True),
        ("bob@EXAMPLE.Com", True),
        ("postmaster", True),
        ("bob@sub.example.net", True),
        ("bob@a.b.example.net", True),
        ("bob@example.net", False),
        ("bob@notexample.com", False),
        ("bob@sub.example.com", False),
        ("bob@[127.0.0.1]", False),
        ("bob%evil.test@example.com", False),
        ("evil.test!bob@example.com", False),
        ('"bob@evil.test"@example.com', False),
    ],
)
async def test_a_stranger_may_send_to_the_relay_domains_only(address: str, taken: bool) -> None:  # noqa: FBT001 - a case
    recipient = Path(b"postmaster", "postmaster", "") if address == "postmaster" else path(address)
    lines = assembly(Relay_Domains="( example.com *.example.net )")
    session = Session(asyncio.get_running_loop(), ("203.0.113.1", 1), ("127.0.0.1", 25), lines.core)
    assert admits(lines.core, session, recipient) is taken
    session.can_relay = True
    assert admits(lines.core, session, recipient)


async def test_without_relay_domains_nothing_is_taken() -> None:
    options = assembly(Relay_Domains="( )").core
    session = Session(asyncio.get_running_loop(), ("203.0.113.1", 1), ("127.0.0.1", 25), options)
    assert not admits(options, session, path("bob@example.com"))
