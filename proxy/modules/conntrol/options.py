"""The options of `conntrol`: Momentum's pause_time and early_talker."""

from __future__ import annotations

from typing import Literal

from config.schema.options import Options, option
from config.schema.specs import ModuleSpec
from config.schema.values import Seconds


class ConntrolOptions(Options):
    """Early talkers: spam senders often talk before the greeting, mail servers rarely (RFC 5321 section 3.1)."""

    pause_time: Seconds = option(
        5.0,
        zero="off",
        doc="Pause before the greeting; a client must be silent until then. Relay hosts do not wait.",
        unit="seconds",
    )
    early_talker: Literal["reject", "accept"] = option(
        "reject",
        doc="Action when a client talks early: reject with 554, or accept. Scripts see the variable early_talker.",
    )


SPEC = ModuleSpec(
    type="conntrol",
    options=ConntrolOptions,
    summary="Connection control: pauses before the greeting, and rejects clients that talk early.",
)
