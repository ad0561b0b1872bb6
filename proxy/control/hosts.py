"""Whether a request's Host is ours. A stranger's web page can reach us under its own name (DNS rebinding)."""

from __future__ import annotations

from config.base.hosts import is_address


def is_ours(host: str, names: frozenset[str]) -> bool:
    """Return whether a Host is an address or one of these names, which are in lower case."""
    name = host.rpartition("]")[0].lstrip("[") if host.startswith("[") else host.partition(":")[0]
    name = name.lower().removesuffix(".")
    return is_address(name) or name in names
