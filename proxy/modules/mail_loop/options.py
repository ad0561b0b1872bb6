"""The options of `mail_loop`: Momentum's max_received_headers, use_ip and code."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator

from config.schema.options import Options, option
from config.schema.specs import ModuleSpec

PASSES = 250
"""The code with which nothing is refused."""


def _refuses_or_passes(code: int) -> int:
    if code != PASSES and not 400 <= code <= 599:  # the codes of a refusal
        raise ValueError("a code from 400 to 599 refuses, and 250 only tells scripts")
    return code


class MailLoopOptions(Options):
    """What goes in circles is stopped here, or by scripts (RFC 5321 section 6.3)."""

    max_received_headers: int = option(
        20,
        zero="no limit",
        doc="Received fields beyond which a message loops; its scripts see mail_loop_header_count.",
        ge=0,
    )
    use_ip: bool = option(
        False,
        doc="A client that comes from the address that it connects to, so from this machine, loops, too; scripts see "
        "mail_loop_ip.",
    )
    code: Annotated[int, AfterValidator(_refuses_or_passes)] = option(
        554, zero="refused", doc="Code of the refusal; with 250 nothing is refused, and scripts decide."
    )


SPEC = ModuleSpec(
    type="mail_loop",
    options=MailLoopOptions,
    summary="Mail loops: messages that have passed too many servers, and a machine that delivers to itself.",
)
