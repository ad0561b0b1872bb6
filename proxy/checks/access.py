"""Who may do what: doors that stand wider open than anyone means to, and a server that takes no mail at all."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator
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
        "may say in a PROXY header who its client is, and nobody else is served",
        "whoever reaches this port chooses the address that policy sees",
    ),
    "xclient_hosts": (
        "Xclient_Hosts",
        "may say by XCLIENT who its client is",
        "whoever reaches this port chooses the address that policy sees",
    ),
}
"""Options that trust networks: how they are written, what the networks may, and what follows if it is everybody."""

_SHORTEST_V4 = 8
_SHORTEST_V6 = 16
"""Bits of a network below which it is nobody's own: no one holds more than a /8, or a /16 of global addresses."""
_GLOBAL_V6 = ipaddress.IPv6Network("2000::/3")


def doors(settings: Settings) -> Iterator[Diagnostic]:
    """Yield what is open to everybody, and what is open to nobody."""
    yield from _injection(settings)
    yield from _open_relay(settings)
    for option, (written, may, follows) in _TRUSTS.items():
        for setting in everywhere(settings, option):
            for network, said in _wide(cast(tuple[Network, ...], setting.value)):
                yield Diagnostic(
                    f"{written}: everybody in {network} {may}",
                    _place(setting, said),
                    hint=f"list your own networks, such as 192.0.2.0/24: {follows}",
                    severity=Severity.WARNING,
                )
    if not any(_admits_something(options) for options in in_force(settings)):
        yield Diagnostic(
            "no mail is admitted: every recipient is refused with 550 5.7.1",
            next((each.origin for each in everywhere(settings, "relay_domains")), None),
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
        or options.authentication != "no"  # that AUTH is never offered is said there
    )


def _open_relay(settings: Settings) -> Iterator[Diagnostic]:
    for setting in everywhere(settings, "open_relay"):
        if setting.value:
            yield Diagnostic(
                "Open_Relay takes mail from anybody to anybody",
                setting.origin,
                hint="list your domains in Relay_Domains and your clients in Relay_Hosts: an open relay is used within "
                "hours",
                severity=Severity.WARNING,
            )
    for setting in everywhere(settings, "relay_for_sending_domains"):
        if "*" in cast(Iterable[str], setting.value):
            yield Diagnostic(
                "Relay_For_Sending_Domains takes mail from anybody to anybody",
                setting.origin,
                hint="a sender is easily forged; list your clients in Relay_Hosts",
                severity=Severity.WARNING,
            )


def _wide(networks: tuple[Network, ...]) -> Iterator[tuple[Network, tuple[Network, ...]]]:
    """Yield what is too wide to be anyone's own, halves joined, with the networks as written that make it up."""
    four = [each for each in networks if isinstance(each, ipaddress.IPv4Network)]
    six = [each for each in networks if isinstance(each, ipaddress.IPv6Network)]
    for whole in ipaddress.collapse_addresses(four):
        if whole.prefixlen < _SHORTEST_V4:
            yield whole, tuple(each for each in four if each.subnet_of(whole))
    for broad in ipaddress.collapse_addresses(six):
        if broad.prefixlen < _SHORTEST_V6 and broad.overlaps(_GLOBAL_V6):
            yield broad, tuple(each for each in six if each.subnet_of(broad))


def _place(setting: Setting, said: tuple[Network, ...]) -> Span | None:
    """Return the one network that says it, or the whole list if several do."""
    return within(setting.origin, str(said[0])) if len(said) == 1 else setting.origin


def _injection(settings: Settings) -> Iterator[Diagnostic]:
    """Say that commands behind STARTTLS are never done, whatever the configuration allows."""
    for setting in everywhere(settings, "starttls_injection_policy"):
        if setting.value == "allow":
            yield Diagnostic(
                "Starttls_Injection_Policy = allow is never done: it rejects",
                setting.origin,
                hint="whoever sits between could say commands in the client's name (CVE-2011-0411)",
                severity=Severity.WARNING,
            )
