"""The session and the server: EHLO capabilities, routing, configuration, the host machine."""

from __future__ import annotations

import re

from sieve.library import Value, sieve_function
from sieve.phases import Effect
from sieve.run import reasons
from sieve.run.runtime import Frame
from sieve.run.values import ScriptError

_CAPABILITY = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]*(?: [!-~]+)*\Z")
_HOST = re.compile(r"[A-Za-z0-9_.:\[\]-]{1,255}\Z")


def _capability(text: str) -> str:
    if _CAPABILITY.match(text) is None:
        raise ScriptError(reasons.not_a_capability(text))
    return text


@sieve_function()
def advertize_esmtp_capability(frame: Frame, string: str) -> None:
    """Add a line to the reply to EHLO."""
    frame.host.control.advertise(_capability(string))


@sieve_function()
def disable_esmtp_capability(frame: Frame, string: str) -> None:
    """Remove a capability from the reply to EHLO."""
    frame.host.control.withdraw(_capability(string))


@sieve_function(effect=Effect.RECIPIENT)
def ec_set_routing_gateway(frame: Frame, address: str) -> None:
    """Set the next hop for this recipient: a host name or an IP address, optionally with a port."""
    if _HOST.match(address) is None:
        raise ScriptError(reasons.not_a_gateway(address))
    frame.host.control.route(address)


@sieve_function()
def ec_valid_binding(frame: Frame, name: str) -> bool:
    """Tell whether the configuration has a binding with this name. `default` counts as one."""
    return frame.host.control.has_binding(name)


@sieve_function()
def ec_valid_binding_group(frame: Frame, name: str) -> bool:
    """Tell whether the configuration has a binding group with this name."""
    return frame.host.control.has_binding_group(name)


@sieve_function(effect=Effect.MESSAGE)
def ec_set_binding(frame: Frame, name: str) -> None:
    """Relay the message through a binding: a `Binding` stanza with routes, source address, EHLO name and TLS.

    Each binding has its own connections. `default` is the configured route. An unknown name is logged as an error, and
    nothing changes. Momentum allows this function only in set_binding. If a script calls it in mailfrom or rcptto, the
    binding's next hop also answers RCPT. In a later phase, the previous next hop has already answered RCPT, and
    Ringback sends the recipients again, to the binding's next hop.
    """
    if not frame.host.control.bind(name):
        frame.host.script_failed(frame.at.source.name, frame.at.line, reasons.unknown_binding("binding", name))


@sieve_function(effect=Effect.MESSAGE)
def ec_set_binding_group(frame: Frame, name: str) -> None:
    """Relay the message through one binding of a group, chosen at random, like `ec_set_binding`."""
    if not frame.host.control.bind_to_one_of(name):
        frame.host.script_failed(frame.at.source.name, frame.at.line, reasons.unknown_binding("binding group", name))


@sieve_function(choices={"action": ("get", "eval")})
def ec_config(frame: Frame, action: str, *path: str) -> Value:
    """Return the effective value of an option: `ec_config "get" "Gateway"`.

    The last argument is the option; the arguments before it are its scopes: `ec_config "get" "Domain" "example.com"
    "Gateway"`. A list option returns a list, and an unknown option an empty string.
    """
    if action.lower() not in {"get", "eval"} or not path:
        raise ScriptError(reasons.bad_config_action(action))
    value = frame.host.control.option(path[:-1], path[-1])
    if value is None:
        return ""
    return value if isinstance(value, str) else tuple(value)


@sieve_function()
def ec_interfaces(frame: Frame) -> tuple[str, ...]:
    """Return the IPv4 addresses of this machine, except loopback."""
    return tuple(frame.host.control.interfaces())


@sieve_function()
def ec_mem_usage(frame: Frame) -> int:
    """Return the server's memory usage in MiB."""
    return frame.host.control.memory()
