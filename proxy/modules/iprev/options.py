"""The options of `iprev`."""

from __future__ import annotations

from typing import Literal

from config.schema.options import Options, option
from config.schema.specs import ModuleSpec
from config.schema.values import Seconds
from proxy.options.codes import PASSES, RefusalCode


class IprevOptions(Options):
    """Reverse names of clients (FCrDNS). Scripts see iprev_status and iprev_name. Relay hosts are not checked."""

    fail_code: RefusalCode = option(
        PASSES,
        zero="refused",
        doc="Reply code if none of the client's names resolves back to its address. 250: the client is not refused; "
        "scripts decide.",
    )
    missing_code: RefusalCode = option(
        PASSES, zero="refused", doc="Reply code if the client's address has no name (permerror)."
    )
    temperror_code: RefusalCode = option(
        PASSES, zero="refused", doc="Reply code if DNS gives no clear answer. 451 makes the client try again."
    )
    reject_at: Literal["connect", "mailfrom", "rcptto"] = option(
        "rcptto", doc="The phase in which the client is refused. The look-ups begin when it connects."
    )
    exempt_recipients: tuple[str, ...] = option(
        ("postmaster", "abuse"), doc="Local parts of recipients that get mail even from rejected clients."
    )
    timeout: Seconds = option(
        5.0,
        zero="refused",
        doc="Time limit for all look-ups together; after it the result is temperror.",
        unit="seconds",
        ge=0.1,
    )
    shadow: bool = option(False, doc="Only log what would be rejected.")


SPEC = ModuleSpec(
    type="iprev",
    options=IprevOptions,
    summary="Reverse names: whether a name of the client's address resolves back to it.",
)
