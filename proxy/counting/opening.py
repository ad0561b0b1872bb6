"""Choose what counts, from the options: memory for one machine, Redis for several."""

from __future__ import annotations

import os
from hashlib import blake2b
from pathlib import Path
from socket import gethostname

from proxy.base.log import get_logger
from proxy.counting.file import FiledCounting
from proxy.counting.local import Meanwhile
from proxy.counting.memory import MemoryCounting
from proxy.counting.sharing import SharedCounting
from proxy.options.core import CoreOptions
from proxy.options.store import StoreUrl

log = get_logger()

FILE = "counting.db"
"""In State_Directory."""


def open_counting(core: CoreOptions, alone: str = "") -> MemoryCounting | SharedCounting:
    """Make what counts for this machine: in the keeper, or in the only worker. It opens nothing before `start`.

    `alone` is the process's name as an owner of places.
    """
    url = store_of(core)
    match url.kind:
        case "memory":
            return MemoryCounting()
        case "sqlite":
            return FiledCounting(Path(url.path))
        case "redis":
            from proxy.counting.redis import RedisCounting  # noqa: PLC0415 - the client takes 4.5 MiB of memory

            shared = RedisCounting(url, core.script_store_site, _machine(core))
            return SharedCounting(shared, meanwhile_of(core, name=str(url)), alone=alone)


def meanwhile_of(core: CoreOptions, name: str, counting: MemoryCounting | None = None) -> Meanwhile:
    """Make what counts in one process while others do not answer."""
    return Meanwhile(name=name, defers=core.on_store_error == "defer", counting=counting)


def store_of(core: CoreOptions) -> StoreUrl:
    """Return where the configuration wants to count."""
    if core.script_store is not None:
        return core.script_store
    folder = core.state_directory
    if folder.is_dir() and os.access(folder, os.W_OK):
        return StoreUrl("sqlite", path=str(folder / FILE))
    return StoreUrl()


def _machine(core: CoreOptions) -> str:
    """Return a name of this service that stays the same across reloads and restarts, and that no other service has."""
    places = [f"{each.address}:{each.port}" for each in core.esmtp_listener]
    return blake2b("\0".join((gethostname(), str(core.state_directory), *places)).encode(), digest_size=8).hexdigest()
