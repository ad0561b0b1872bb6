"""The options of what scripts, limits and greylisting count together."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator

from config.schema.options import Options, option
from proxy.options.cluster import ClusterValue
from proxy.options.store import StoreValue

_SITE = re.compile(r"[A-Za-z0-9._-]{1,64}")


def _plain_name(text: str) -> str:
    if _SITE.fullmatch(text) is None:
        raise ValueError("write 1 to 64 letters, digits, dots, hyphens or underscores")
    return text


class CountingOptions(Options):
    """Options of the global scope."""

    script_store: StoreValue | None = option(
        None,
        doc="Where counts are kept: scripts' throttles, gauges, series and caches, greylisting, and limits per client. "
        "`memory`: for this machine, until Ringback restarts; `sqlite:///file`: greylisting and series that scripts "
        "serialize also survive a restart; Redis or Valkey: for all machines that use it. Default: `counting.db` in "
        "State_Directory, if that is writable.",
        secret=True,
        scopes=(),
    )
    script_store_site: Annotated[str, AfterValidator(_plain_name)] = option(
        "ringback",
        doc="Prefix of all keys in Redis. Machines with the same prefix count together.",
        scopes=(),
    )
    on_store_error: Literal["accept", "defer"] = option(
        "accept",
        doc="What happens while Script_Store, or the process that counts for all workers, does not answer. `accept`: "
        "each process counts alone; `defer`: anything that cannot be counted is refused for now, with 421 or 451.",
        scopes=(),
    )
    cluster: ClusterValue = option(
        (),
        doc='Momentum\'s stanza. `Replicate "cache" { replication_name = "NAME" }` declares a cache for '
        "`ec_cluster_cache_get`. Script_Store decides which machines share counts; the topology has no effect.",
        scopes=(),
    )
    siv_throttle_cache_size: int = option(
        1000,
        zero="refused",
        doc="How many of the scripts' throttles are kept; the least recently used is forgotten first.",
        ge=1,
        le=1_000_000,
        scopes=(),
    )

    @property
    def replicated_caches(self) -> frozenset[str]:
        """The caches that the configuration declares."""
        return frozenset([each.name for each in self.cluster if each.kind == "cache"])

    @property
    def shares_counts(self) -> bool:
        """Whether machines count together."""
        return self.script_store is not None and self.script_store.is_for_machines
