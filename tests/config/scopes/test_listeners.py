"""Listeners: which options hold for which client."""

from ipaddress import ip_address, ip_network

import pytest

from config.scopes.listener import Listener, Peer
from config.scopes.places import Setting


def peer(network: str, *, proceeds: bool = True, **options: object) -> Peer:
    settings = {name: Setting(value) for name, value in options.items()}
    return Peer(ip_network(network), settings, proceeds)


def names(listener: Listener, client: str) -> list[list[str]]:
    return [sorted(layer) for layer in listener.layers(ip_address(client))]


def test_the_most_specific_network_decides_then_the_address_then_the_listener() -> None:
    listener = Listener(
        "*",
        25,
        options={"address": Setting(1)},
        shared={"listener": Setting(1)},
        peers=(peer("10.0.0.0/8", wide=1), peer("10.1.0.0/16", narrow=1), peer("192.0.2.0/24", elsewhere=1)),
    )
    assert names(listener, "10.1.2.3") == [["narrow"], ["wide"], ["address"], ["listener"]]
    assert names(listener, "10.2.2.3") == [["wide"], ["address"], ["listener"]]
    assert names(listener, "172.16.0.1") == [["address"], ["listener"]]


def test_of_equal_networks_that_of_the_address_decides_before_that_of_the_listener() -> None:
    listener = Listener("*", 25, peers=(peer("10.0.0.0/8", address=1), peer("10.0.0.0/8", listener=1)))
    assert names(listener, "10.1.2.3")[:2] == [["address"], ["listener"]]


@pytest.mark.parametrize(
    ("client", "layers"),
    [
        ("10.1.2.3", [["second"], ["first"]]),
        ("10.2.2.3", [["second"]]),
        ("192.0.2.1", [["last"]]),
    ],
)
def test_rules_in_order_end_at_the_first_that_does_not_go_on_and_later_ones_decide(
    client: str, layers: list[list[str]]
) -> None:
    listener = Listener(
        "*",
        25,
        in_order=True,
        peers=(
            peer("10.1.0.0/16", first=1),
            peer("10.0.0.0/8", proceeds=False, second=1),
            peer("0.0.0.0/0", proceeds=False, last=1),
        ),
    )
    assert names(listener, client) == [*layers, [], []]


def test_an_ipv4_client_of_an_ipv6_socket_is_judged_by_its_ipv4_address() -> None:
    listener = Listener("*", 25, peers=(peer("10.0.0.0/8", four=1), peer("::/0", six=1)))
    assert names(listener, "::ffff:10.1.2.3")[0] == ["four"]
    assert names(listener, "2001:db8::1")[0] == ["six"]


def test_without_a_client_only_the_address_and_the_listener_count() -> None:
    listener = Listener("*", 25, options={"a": Setting(1)}, peers=(peer("0.0.0.0/0", b=1),))
    assert [sorted(layer) for layer in listener.layers(None)] == [["a"], []]


def test_a_listener_is_printed_as_its_address_is_written() -> None:
    assert str(Listener("::1", 25)) == "[::1]:25"
    assert str(Listener("*", 587)) == "*:587"
