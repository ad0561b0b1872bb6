"""The options of `arc`."""

from __future__ import annotations

from typing import Literal

from config.schema.options import option
from config.schema.specs import ModuleSpec
from config.schema.values import DomainPatterns
from proxy.options.keys import KeyOptions


class ArcOptions(KeyOptions):
    """ARC chains. Scripts see arc_status and arc_sealer. It refuses nothing."""

    trusted_sealers: DomainPatterns = option(
        DomainPatterns(()),
        doc="Domains whose seals you trust. If the newest sealer of a valid chain is one of them, DMARC's policy is "
        "not enforced.",
    )
    on_error: Literal["accept", "defer"] = option("accept", doc="Action on mail if the module fails.")
    shadow: bool = option(False, doc="No effect, because this module refuses nothing.")


SPEC = ModuleSpec(
    type="arc",
    options=ArcOptions,
    summary="ARC: whether forwarders vouch for a message with an unbroken chain of seals.",
)
OPENARC_SPEC = ModuleSpec(type="openarc", options=ArcOptions, summary="Momentum's name for `arc`.")
