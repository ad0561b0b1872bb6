"""The module: a stanza without options, which files of Momentum 2.2 have."""

from __future__ import annotations

from config.schema.options import Options
from config.schema.specs import ModuleSpec
from proxy.modules.base import PlainModule


class CidrdbOptions(Options):
    """None: `define_cidr` says everything of a list."""


CIDRDB = PlainModule(
    ModuleSpec(
        type="cidrdb",
        options=CidrdbOptions,
        lines=("Module generic/cidrdb",),
        summary="Lists of networks for scripts (`define_cidr`). They work without this stanza.",
    )
)
