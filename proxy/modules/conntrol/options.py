"""The options of `conntrol`: Momentum's pause_time and early_talker."""

from __future__ import annotations

from typing import Literal

from config.schema.options import Options, option
from config.schema.specs import ModuleSpec
from config.schema.values import Seconds


class ConntrolOptions(Options):
    """Who speaks before the greeting is seldom a mail server (RFC 5321 section 3.1); those who send spam often do."""

    pause_time: Seconds = option(
        5.0,
        zero="off",
        doc="Pause before the greeting, in which a client must be silent; relay hosts do not wait.",
        unit="seconds",
    )
    early_talker: Literal["reject", "accept"] = option(
        "reject",
        doc="A client that is not: answer 554 and close, or go on; scripts see the context variable early_talker.",
    )


SPEC = ModuleSpec(
    type="conntrol",
    options=ConntrolOptions,
    summary="Connection control: a pause before the greeting, and what becomes of clients that speak in it.",
)
