"""The global options: what is taken for granted, and that the names of the contract bind."""

from __future__ import annotations

import pytest

from config.schema.values import Endpoint
from proxy.options.core import CoreOptions
from tests.support.worker import assembly


def test_nothing_is_relayed_and_nobody_trusted_unless_it_is_written() -> None:
    defaults = {name: field.default for name, field in CoreOptions.model_fields.items()}
    assert (defaults["relay_hosts"], defaults["open_relay"], len(defaults["relay_domains"])) == ((), False, 0)


@pytest.mark.parametrize(
    ("name", "seconds"),
    [
        ("connect_timeout", 30.0),
        ("mailfrom_timeout", 60.0),
        ("rcptto_timeout", 60.0),
        ("body_timeout", 540.0),
        ("data_timeout", 120.0),
        ("idle_time", 300.0),
    ],
)
def test_our_patience_ends_before_the_clients(name: str, seconds: float) -> None:
    # RFC 5321 section 4.5.3.2: a client waits 5 minutes for RCPT, 10 for the answer to its dot
    assert getattr(assembly().core, name) == seconds


def test_the_names_of_the_contract_bind() -> None:
    options = assembly(
        2526,
        Relay_Hosts="( 10.0.0.0/8 )",
        Nameservers='( "127.0.0.1:5353" )',
    ).core
    assert str(options.relay_hosts[0]) == "10.0.0.0/8"
    assert options.nameservers == (Endpoint("127.0.0.1", 5353),)
    assert options.remote_smtp_port == 2526
    assert options.gateway is not None
    assert (options.gateway.host, options.hostname) == ("127.0.0.1", "ringback.test")
    assert options.relay_domains.matches("example.com")
