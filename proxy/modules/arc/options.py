"""The options of `arc`."""

from __future__ import annotations

from typing import Literal

from config.schema.options import Options, option
from config.schema.specs import ModuleSpec
from config.schema.values import DomainPatterns, Seconds


class ArcOptions(Options):
    """ARC chains. Scripts see arc_status and arc_sealer. It refuses nothing."""

    trusted_sealers: DomainPatterns = option(
        DomainPatterns(()),
        doc="Domains whose seals you trust. If the newest sealer of a valid chain is one of them, DMARC's policy is "
        "not enforced.",
    )
    keycache_size: int = option(2048, zero="off", doc="Most public keys to keep.", ge=0)
    pos_keycache_ttl: Seconds = option(300.0, zero="off", doc="How long to keep a key.", unit="seconds")
    neg_keycache_ttl: Seconds = option(
        3600.0, zero="off", doc="How long to remember that a domain has no usable key.", unit="seconds"
    )
    on_error: Literal["accept", "defer"] = option("accept", doc="What happens to mail if the module fails.")
    timeout: Seconds = option(
        10.0,
        zero="refused",
        doc="Time limit for all keys of a message; after it the result is temperror.",
        unit="seconds",
        ge=0.1,
    )
    shadow: bool = option(False, doc="No effect, because this module refuses nothing.")


SPEC = ModuleSpec(
    type="arc",
    options=ArcOptions,
    summary="ARC: whether forwarders vouch for a message with an unbroken chain of seals.",
)
OPENARC_SPEC = ModuleSpec(type="openarc", options=ArcOptions, summary="Momentum's name for `arc`.")
