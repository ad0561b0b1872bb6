"""An IPv4 address that is written as IPv6 is IPv4, in every list that holds it and wherever it comes from."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

from config.ip import plain_address, read_address, unmapped, unmapped_network
from proxy.app import load
from proxy.callback.neighbour import network_of
from proxy.callback.resolve import Host
from proxy.callback.verifier import Spared
from proxy.dns import _reversed
from proxy.smtp.access import any_holds
from proxy.smtp.entrance import Entrance
from proxy.sockets import comes_to_us
from tests.proxy.stage import ALICE, BOB, assembly, serving
from tests.support.exchanger import Exchanger

NETWORKS = [
    ("::ffff:192.0.2.1", "192.0.2.1/32"),
    ("::ffff:192.0.2.0/120", "192.0.2.0/24"),
    ("::FFFF:C000:201", "192.0.2.1/32"),
    ("0:0:0:0:0:ffff:c000:201", "192.0.2.1/32"),
    ("::ffff:0:0/96", "0.0.0.0/0"),
    ("192.0.2.0/24", "192.0.2.0/24"),
    ("2001:db8::/32", "2001:db8::/32"),
    ("::/0", "::/0"),
    ("::ffff:0:0/95", "::fffe:0:0/95"),
]
OPTIONS = ["Proxy_Protocol_Networks", "Xclient_Hosts", "Relay_Hosts"]


@pytest.mark.parametrize(("written", "meant"), NETWORKS, ids=[each for each, _ in NETWORKS])
def test_a_network_of_mapped_addresses_is_one_of_ipv4(written: str, meant: str) -> None:
    assert unmapped_network(ip_network(written, strict=False)) == ip_network(meant)


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize(
    ("written", "client"), [("::ffff:192.0.2.1", "192.0.2.1"), ("::ffff:192.0.2.0/120", "192.0.2.7")]
)
@pytest.mark.parametrize("form", ["plain", "mapped"])
def test_an_option_that_holds_networks_matches_in_either_form(
    option: str, written: str, client: str, form: str
) -> None:
    networks = getattr(assembly(**{option: f'( "{written}" )'}).core, option.lower())
    assert any_holds(networks, client if form == "plain" else f"::ffff:{client}")
    assert not any_holds(networks, "198.51.100.1")


@pytest.mark.parametrize("option", ["no_probe_networks", "allow_networks"])
def test_the_networks_of_callbacks_match(option: str, tmp_path: Path) -> None:
    path = tmp_path / "r.conf"
    path.write_text(
        "ESMTP_Listener = ( 127.0.0.1:0 )\nHostname = ringback.test\nGateway = 192.0.2.25\n"
        f'smtp_cbv {{\n  {option} = ( "::ffff:10.0.0.0/104" )\n}}\n'
    )
    (module,) = load(path)[0].settings.modules
    networks = getattr(module.options, option)
    assert any_holds(networks, "10.1.2.3")
    assert Spared(networks=networks).holds(Host("mx.test", ("::ffff:10.1.2.3",)))


def test_a_peer_of_a_listener_matches(tmp_path: Path) -> None:
    path = tmp_path / "r.conf"
    path.write_text(
        'Hostname = ringback.test\nGateway = 192.0.2.25\nESMTP_Listener {\n  Listen "127.0.0.1:0" {}\n'
        '  Peer "::ffff:192.0.2.0/120" {\n    Open_Relay = true\n  }\n}\n'
    )
    settings = load(path)[0].settings
    entrance = Entrance(settings.core.esmtp_listener[0], settings)
    assert [entrance.options(each).open_relay for each in ("192.0.2.9", "::ffff:192.0.2.9", "192.0.3.9")] == [
        True,
        True,
        False,
    ]


async def test_a_load_balancer_that_is_written_so_must_send_its_header() -> None:
    async with Exchanger() as upstream, serving(upstream, Proxy_Protocol_Networks='( "::ffff:127.0.0.1" )') as stage:
        client = await stage.connection()
        await client.send_raw(b"PROXY TCP4 198.51.100.7 127.0.0.1 40025 25\r\n")
        assert (await client.reply()).startswith("220 ")
        await client.ehlo()
        assert (await client.ask(f"MAIL FROM:<{ALICE}>")).startswith("250 ")
        assert (await client.ask(f"RCPT TO:<{BOB}>")).startswith("250 ")


def test_budgets_of_exchangers_and_names_of_clients_are_those_of_the_ipv4_address() -> None:
    assert network_of("::ffff:192.0.2.9") == network_of("192.0.2.1") == "192.0.2.0/24"
    assert _reversed("::ffff:192.0.2.9") == "9.2.0.192.in-addr.arpa"


def test_our_own_listener_is_known_in_either_form() -> None:
    core = assembly().core
    port = core.esmtp_listener[0].port
    assert comes_to_us("::ffff:127.0.0.1", port, core.esmtp_listener) is not None


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
