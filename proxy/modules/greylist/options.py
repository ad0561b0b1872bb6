"""The options of `greylist`."""

from __future__ import annotations

from typing import Literal

from pydantic import model_validator

from config.schema.options import Options, option
from config.schema.specs import ModuleSpec
from config.schema.values import ConfigPath, Seconds


class GreylistOptions(Options):
    """Greylisting: the first attempt by an unknown client, sender and recipient is deferred."""

    delay: Seconds = option(60.0, zero="refused", doc="How long a new triplet is deferred.")
    window: Seconds = option(
        172_800.0,
        zero="refused",
        doc="How long after the first attempt a retry may pass. A later one counts as a first attempt.",
    )
    life: Seconds = option(
        3_024_000.0, zero="refused", doc="How long a triplet that passed is remembered after its last message."
    )
    whitelist_after: int = option(
        5, zero="off", doc="Delivered messages after which a client or an SPF domain is no longer deferred.", ge=0
    )
    ipv4_prefix: int = option(
        24,
        zero="refused",
        doc="Prefix length of an IPv4 network that is one client.",
        ge=8,
        le=32,
    )
    ipv6_prefix: int = option(
        64, zero="refused", doc="Prefix length of an IPv6 network that is one client.", ge=16, le=128
    )
    spf_domain: bool = option(True, doc="If SPF passes, the SPF domain replaces the client's network.")
    whitelist_clients: tuple[ConfigPath, ...] = option(
        (),
        doc="Files of clients that are never deferred, in postgrey's form: names, addresses, `/patterns/`.",
    )
    whitelist_recipients: tuple[ConfigPath, ...] = option(
        (), doc="Files of recipients whose mail is never deferred, in postgrey's form."
    )
    exempt_recipients: tuple[str, ...] = option(
        ("postmaster", "abuse"), doc="Local parts of recipients whose mail is never deferred."
    )
    on_store_error: Literal["accept", "defer"] = option("accept", doc="Action while the shared store does not answer.")
    text: str = option(
        "4.7.1 Greylisted, try again in %s seconds",
        doc="Text of the 451 reply, with the enhanced code. `%s` is the number of seconds left.",
    )
    shadow: bool = option(False, doc="Only log what would be deferred.")

    @model_validator(mode="after")
    def _in_order(self) -> GreylistOptions:
        if not self.delay < self.window <= self.life:
            raise ValueError("delay must be shorter than window, and window not longer than life")
        return self


SPEC = ModuleSpec(
    type="greylist",
    options=GreylistOptions,
    summary="Greylisting: defers the first attempt of an unknown client, sender and recipient.",
)
