"""The options of `mail_loop`: Momentum's max_received_headers, use_ip and code."""

from __future__ import annotations

from config.schema.options import Options, option
from config.schema.specs import ModuleSpec
from proxy.options.codes import RefusalCode


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
    code: RefusalCode = option(554, zero="refused", doc="Reply code for loops. 250: reject nothing; scripts decide.")


SPEC = ModuleSpec(
    type="mail_loop",
    options=MailLoopOptions,
    summary="Mail loops: rejects messages that passed too many servers, and a machine that delivers to itself.",
)
