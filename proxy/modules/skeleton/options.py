"""The options of `skeleton`."""

from __future__ import annotations

from typing import Literal

from config.schema.options import Options, option
from config.schema.specs import ModuleSpec
from config.schema.values import DomainPatterns


class SkeletonOptions(Options):
    """Names that no client may have."""

    names: DomainPatterns = option(DomainPatterns(), doc="Names in EHLO that are refused; `*.example.com` works too.")
    action: Literal["reject", "accept"] = option(
        "reject", doc="Refuse such a client with 550, or accept it and let scripts decide."
    )


SPEC = ModuleSpec(
    type="skeleton",
    options=SkeletonOptions,
    summary="Skeleton: clients are refused by the name that they give in EHLO.",
)
