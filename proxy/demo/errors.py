"""Messages for everything that keeps the demo from running."""

from __future__ import annotations


def no_loopback_addresses(address: str, reason: str) -> str:
    """Linux accepts all of 127.0.0.0/8. On other systems, each address except 127.0.0.1 must be added."""
    return (
        f"cannot listen on {address}: {reason}. The demo's exchangers need 127.0.0.2 to 127.0.0.4; "
        "On macOS and the BSDs, add them first: ifconfig lo0 alias 127.0.0.2 (and .3, .4)"
    )


def no_configuration(looked_in: str) -> str:
    """Neither an installed package nor a checkout has the shipped configuration."""
    return f"the configuration that ships with Ringback is not there: looked in {looked_in}"


def no_common_port(attempts: int) -> str:
    """Every port that was free on one exchanger's address was in use on another's."""
    return f"no port is free on 127.0.0.2 to 127.0.0.4 together; tried {attempts} times"
