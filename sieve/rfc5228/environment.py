"""The surroundings of a script (RFC 5183), and the extensions at hand (RFC 5463)."""

from __future__ import annotations

from importlib import metadata

from sieve.library import Counts, sieve_function
from sieve.rfc5228.extensions import GRAMMAR, SUPPORTED, WITH_FILEINTO
from sieve.run.patience import Soon
from sieve.run.runtime import Frame
from sieve.run.values import ScriptError

NAME = "Ringback"


@sieve_function(dialect="rfc5228", extension="environment", counts=Counts.KNOWN)
def environment(frame: Frame, name: str) -> Soon[tuple[str, ...]]:
    """Compare an item of the environment (RFC 5183, 4.1).

    The items are `domain`, `host`, `location` (`MTA`), `name`, `phase` (`pre`), `remote-host`, `remote-ip` and
    `version`. Other items match nothing.
    """
    item = name.lower()
    if item == "remote-host":
        return _remote_host(frame)
    fixed = {"location": "MTA", "name": NAME, "phase": "pre"}
    if item == "version":
        return (metadata.version("ringback"),)
    if item in fixed:
        return (fixed[item],)
    connection = frame.host.connection
    if item == "host":
        return (connection.hostname,)
    if item == "domain":
        return (connection.hostname.partition(".")[2] or connection.hostname,)
    return (connection.client.address,) if item == "remote-ip" else ()


async def _remote_host(frame: Frame) -> tuple[str, ...]:
    """Return the client's name, looked up; empty if it has no name."""
    name = await frame.host.connection.client_name()
    return ("" if name == "unknown" else name,)


@sieve_function(dialect="rfc5228", extension="ihave", constants=("capabilities",))
def ihave(frame: Frame, capabilities: tuple[str, ...]) -> bool:
    """Tell whether extensions are available; then the script may use them without `require` (RFC 5463, 4)."""
    known = SUPPORTED | WITH_FILEINTO if frame.settings.fileinto_header else SUPPORTED
    return known - GRAMMAR >= {*capabilities}


@sieve_function(dialect="rfc5228", extension="ihave")
def error(message: str) -> None:
    """End the script with a run-time error (RFC 5463, 5)."""
    raise ScriptError(message)
