"""Access checks: settings that let too many clients relay or forge their address, or reject all mail."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from typing import cast

from config.diagnostics import Diagnostic, Severity, Span
from config.schema.values import Network
from config.scopes.places import Setting
from config.settings import Settings
from proxy.checks.places import everywhere, in_force, within
from proxy.options.inbound import InboundOptions

_TRUSTS = {
    "relay_hosts": ("Relay_Hosts", "may send to any domain", "an open relay is used within hours"),
    "proxy_protocol_networks": (
        "Proxy_Protocol_Networks",
        "may name its client in a PROXY header, and all other clients are rejected",
        "anyone who reaches this port can choose the address that policy sees",
    ),
    "xclient_hosts": (
        "Xclient_Hosts",
        "may name its client with XCLIENT",
        "anyone who reaches this port can choose the address that policy sees",
    ),
}
"""Options that trust networks: the name to show, what the networks may do, and what happens if all may do it."""

_SHORTEST_V4 = 8
_SHORTEST_V6 = 16
"""Shortest plausible prefix of an operator's own network: no one owns more than a /8, or a /16 of global IPv6."""
_GLOBAL_V6 = ipaddress.IPv6Network("2000::/3")


def doors(settings: Settings) -> Iterator[Diagnostic]:
    """Yield settings that grant access to everyone, or to no one."""
    yield from _injection(settings)
    yield from _open_relay(settings)
    for option, (written, may, follows) in _TRUSTS.items():
        for setting in everywhere(settings, option):
            for network, said in _wide(cast(tuple[Network, ...], setting.value)):
                yield Diagnostic(
                    f"{written}: every host in {network} {may}",
                    _place(setting, said),
                    hint=f"list your own networks, such as 192.0.2.0/24: {follows}",
                    severity=Severity.WARNING,
                )
    if not any(_admits_something(options) for options in in_force(settings)):
        yield Diagnostic(
            "no mail is accepted: every recipient is rejected with 550 5.7.1",
            next((setting.origin for setting in everywhere(settings, "relay_domains")), None),
            hint="list your domains in Relay_Domains, or your clients in Relay_Hosts",
            severity=Severity.WARNING,
        )


def _admits_something(options: InboundOptions) -> bool:
    return bool(
        options.relay_domains
        or options.relay_hosts
        or options.relay_for_sending_domains
        or options.open_relay
        or options.tls_verified_peer_can_relay
        or options.authentication != "no"  # `authentication` reports that AUTH is never offered
    )


def _open_relay(settings: Settings) -> Iterator[Diagnostic]:
    for setting in everywhere(settings, "open_relay"):
        if setting.value:
            yield Diagnostic(
                "Open_Relay accepts mail from any client to any domain",
                setting.origin,
                hint="list your domains in Relay_Domains and your clients in Relay_Hosts: an open relay is used within "
                "hours",
                severity=Severity.WARNING,
            )
    for setting in everywhere(settings, "relay_for_sending_domains"):
        if setting.value:
            yield Diagnostic(
                "Relay_For_Sending_Domains accepts mail to any domain from any client that names such a sender",
                setting.origin,
                hint="a sender is easily forged; list your clients in Relay_Hosts",
                severity=Severity.WARNING,
            )


def _wide(networks: tuple[Network, ...]) -> Iterator[tuple[Network, tuple[Network, ...]]]:
    """Yield networks too wide to be the operator's own. Merge halves, and add the networks as written."""
    four = [network for network in networks if isinstance(network, ipaddress.IPv4Network)]
    six = [network for network in networks if isinstance(network, ipaddress.IPv6Network)]
    for whole in ipaddress.collapse_addresses(four):
        if whole.prefixlen < _SHORTEST_V4:
            yield whole, tuple(network for network in four if network.subnet_of(whole))
    for broad in ipaddress.collapse_addresses(six):
        if broad.prefixlen < _SHORTEST_V6 and broad.overlaps(_GLOBAL_V6):
            yield broad, tuple(network for network in six if network.subnet_of(broad))


def _place(setting: Setting, said: tuple[Network, ...]) -> Span | None:
    """Return the place of the network if only one is at fault, else of the whole list."""
    return within(setting.origin, str(said[0])) if len(said) == 1 else setting.origin


def _injection(settings: Settings) -> Iterator[Diagnostic]:
    """Warn that commands pipelined after STARTTLS are never run, even if the configuration allows them."""
    for setting in everywhere(settings, "starttls_injection_policy"):
        if setting.value == "allow":
            yield Diagnostic(
                "Starttls_Injection_Policy = allow is not supported and rejects",
                setting.origin,
                hint="a man in the middle could inject commands into the client's session (CVE-2011-0411)",
                severity=Severity.WARNING,
            )
