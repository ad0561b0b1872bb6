"""The module: a stanza without options, which files of Momentum 2.2 have."""

from __future__ import annotations

from config.schema.options import Options
from config.schema.specs import ModuleSpec
from proxy.modules.base import PlainModule


class SievelibOptions(Options):
    """None."""


SIEVELIB = PlainModule(
    ModuleSpec(
        type="sievelib",
        options=SievelibOptions,
        lines=("Module generic/sievelib",),
        summary="More script functions in Momentum 2.2. They work without this stanza.",
    )
)
