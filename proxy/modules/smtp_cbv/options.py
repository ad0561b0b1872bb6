"""The options of `smtp_cbv`: Momentum's phase, mailfrom and map, and Ringback's own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from config import ModuleSpec, Network, Options, Seconds, option


class SmtpCbvOptions(Options):
    """SMTP callback verification. Passive, it serves scripts; active, it sets smtp_cbv_result and never rejects."""

    phase: Literal["mailfrom", "rcptto"] = option(
        "mailfrom", doc="Phase in which the active module asks: about the sender, or about each recipient."
    )
    mailfrom: str = option("", doc="Sender that probes give in MAIL FROM; empty is the null sender.")
    map: Mapping[str, str] = option(
        default_factory=dict, doc='Hosts asked instead of a domain\'s MX, as `[ example.com = "host" ]`.'
    )
    exempt_recipients: tuple[str, ...] = option(
        ("postmaster", "abuse"), doc="Local parts of recipients for whom callbacks at RCPT always answer pass."
    )
    port: int = option(25, doc="Port of the exchangers.", ge=1, le=65535)
    timeout: Seconds = option(25.0, doc="For a whole probe, DNS and all hosts included.", unit="seconds")
    allow_networks: tuple[Network, ...] = option(
        (), doc="Networks that are probed though their addresses are not global."
    )
    max_probes: int = option(1000, doc="Conversations at once, a worker; more wait within the timeout.", ge=1)
    max_probes_per_mx: int = option(
        4, doc="Conversations at once with one address; more wait within the timeout.", ge=1
    )
    cache_pass: Seconds = option(86400.0, doc="An address that exists is remembered so long.", unit="seconds")
    cache_fail: Seconds = option(7200.0, doc="An address that does not exist is remembered so long.", unit="seconds")
    cache_transient: Seconds = option(300.0, doc="A passing failure is remembered so long.", unit="seconds")
    cache_error: Seconds = option(3600.0, doc="A refusal that is about us is remembered so long.", unit="seconds")
    cache_size: int = option(100000, doc="Addresses remembered, a worker.", ge=1)


SPEC = ModuleSpec(
    type="smtp_cbv",
    options=SmtpCbvOptions,
    summary="SMTP callback verification: asks the sender's own mail exchanger whether the address exists.",
)
