"""An IPv4 address that is written as IPv6 is IPv4, in every list that holds it and wherever it comes from."""

from __future__ import annotations

from pathlib import Path

import pytest

from config.base.ip import any_holds
from proxy.app import load
from proxy.base.listening import comes_to_us
from proxy.callback.around import Spared
from proxy.callback.limits.budgets import network_of
from proxy.callback.resolve import ExchangerHost
from proxy.dns.resolver import _reversed
from proxy.smtp.entrance import Entrance
from tests.support.exchanger import Exchanger
from tests.support.worker import ALICE, BOB, assembly, serving

OPTIONS = ["Proxy_Protocol_Networks", "Xclient_Hosts", "Relay_Hosts"]


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("written", ["::ffff:192.0.2.7", "::ffff:192.0.2.0/120"], ids=["address", "network"])
@pytest.mark.parametrize("client", ["192.0.2.7", "::ffff:192.0.2.7"], ids=["plain", "mapped"])
def test_an_option_that_holds_networks_matches_in_either_form(option: str, written: str, client: str) -> None:
    networks = getattr(assembly(**{option: f'( "{written}" )'}).core, option.lower())
    assert any_holds(networks, client)
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
    assert Spared(networks=networks).holds(ExchangerHost("mx.test", ("::ffff:10.1.2.3",)))


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
