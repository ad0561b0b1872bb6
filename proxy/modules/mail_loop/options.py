"""The options of `mail_loop`: Momentum's max_received_headers, use_ip and code."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator

from config.schema.options import Options, option
from config.schema.specs import ModuleSpec

PASSES = 250
"""The code that rejects nothing."""


def _refuses_or_passes(code: int) -> int:
    if code != PASSES and not 400 <= code <= 599:  # the codes of a refusal
        raise ValueError("write a code from 400 to 599 to reject, or 250 to leave the decision to scripts")
    return code


class MailLoopOptions(Options):
    """Loop detection (RFC 5321 section 6.3)."""

    max_received_headers: int = option(
        20,
        zero="no limit",
        doc="A message with more Received fields than this is looping. Scripts see mail_loop_header_count.",
        ge=0,
    )
    use_ip: bool = option(
        False,
        doc="Also treat a connection from the listener's own address as a loop. Scripts see mail_loop_ip.",
    )
    code: Annotated[int, AfterValidator(_refuses_or_passes)] = option(
        554, zero="refused", doc="Reply code for loops. 250: reject nothing; scripts decide."
    )


SPEC = ModuleSpec(
    type="mail_loop",
    options=MailLoopOptions,
    summary="Mail loops: rejects messages that passed too many servers, and a machine that delivers to itself.",
)
