"""The options of `skeleton`."""

from __future__ import annotations

from typing import Literal

from config.schema.options import Options, option
from config.schema.specs import ModuleSpec
from config.schema.values import DomainPatterns


class SkeletonOptions(Options):
    """Host names that are not allowed."""

    names: DomainPatterns = option(DomainPatterns(), doc="EHLO names to reject; `*.example.com` works too.")
    action: Literal["reject", "accept"] = option(
        "reject", doc="Action on such a client: reject with 550, or accept and let scripts decide."
    )


SPEC = ModuleSpec(
    type="skeleton",
    options=SkeletonOptions,
    summary="Skeleton: rejects clients by their EHLO name.",
)
