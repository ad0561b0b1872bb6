"""The options of `smtp_cbv`: Momentum's phase, mailfrom and map, and Ringback's own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import model_validator

from config.schema.options import Options, option
from config.schema.specs import ModuleSpec
from config.schema.values import ConfigPath, DomainPatterns, Network, Seconds
from proxy.options.names import HostText
from proxy.options.store import StoreValue
from proxy.options.throttle import Throttle, ThrottleValue

_FORGED = {"spf_status": "fail", "spfv1_status": "fail", "dmarc_status": "fail"}


class SmtpCbvOptions(Options):
    """SMTP callback verification. Passive: serves scripts. Active: sets smtp_cbv_result, and never rejects."""

    phase: Literal["mailfrom", "rcptto"] = option(
        "mailfrom", doc="Phase in which the active module makes callbacks: about the sender, or about each recipient."
    )
    after_recipient: bool = option(
        False, doc="If active in mailfrom: make the callback only after the next hop has accepted a recipient."
    )
    mailfrom: str = option("", doc="Sender that probes use in MAIL FROM; empty is the null sender.")
    mailfrom_fallback: str = option(
        "", doc="Sender to use if the null sender is rejected; it must accept mail. Empty: no second attempt."
    )
    map: Mapping[str, HostText] = option(
        default_factory=dict, doc='Hosts asked instead of a domain\'s MX, as `[ example.com = "host" ]`.'
    )
    enforce: bool = option(True, doc="Apply verdicts. If false, verdicts are only logged, and every answer is pass.")
    shadow: bool = option(False, doc="The opposite of `enforce`, under the console's name: `shadow = true` only logs.")

    exempt_recipients: tuple[str, ...] = option(
        ("postmaster", "abuse"), doc="Local parts of recipients that always pass callbacks at RCPT."
    )
    skip_variables: Mapping[str, str] = option(
        default_factory=lambda: dict(_FORGED),
        doc="Context variables, each with the value that marks a sender as forged. Forged senders are not probed.",
    )
    dmarc_reject_unprobed: bool = option(
        False,
        doc="A sender is not probed if SPF did not pass and its domain's DMARC policy is reject. yes: its verdict is "
        "fail, and the active module refuses it with 550.",
    )
    no_probe_domains: DomainPatterns = option(DomainPatterns(()), doc="Domains that are never probed.")
    no_probe_exchangers: DomainPatterns = option(
        DomainPatterns(("*.olc.protection.outlook.com",)),
        doc="Names of exchangers that are never probed. Microsoft's consumer service forbids probes.",
    )
    no_probe_networks: tuple[Network, ...] = option((), doc="Networks whose exchangers are never probed.")

    port: int = option(25, zero="refused", doc="Port to probe on the exchangers.", ge=1, le=65535)
    bind_address: tuple[str, ...] = option(
        (),
        doc="Our source addresses for probes: at most one IPv4 and one IPv6. Unset: the system chooses.",
    )
    tls: Literal["ifavailable", "no"] = option(
        "ifavailable",
        doc="ifavailable: use STARTTLS if it is offered; if the handshake fails, ask again without TLS.",
    )
    allow_networks: tuple[Network, ...] = option(
        (), doc="Networks that may be probed although their addresses are not global."
    )
    unroutable: Literal["fail", "error"] = option(
        "fail", doc="Verdict on a domain whose exchangers have no global address."
    )
    null_refused: Literal["error", "fail"] = option(
        "error", doc="Verdict if a domain's exchanger rejects the null sender, which RFC 5321 forbids."
    )
    catchall: bool = option(
        False,
        doc="Also ask about an address that cannot exist, to detect catch-all domains. They are cached for a week.",
    )
    reply_texts: ConfigPath | None = option(
        None, doc="Your own table of reply texts and their meanings, used before the built-in table."
    )

    timeout: Seconds = option(
        25.0, zero="refused", doc="Time limit for a whole probe, including DNS and all hosts.", unit="seconds"
    )
    wait: Seconds = option(
        10.0,
        zero="off",
        doc="How long the caller waits. After that, the answer is transient, and the probe continues. 0: no wait.",
        unit="seconds",
    )
    max_probes: int = option(1000, zero="refused", doc="Concurrent probes; others wait within Timeout.", ge=1)
    max_probes_per_mx: int = option(
        4, zero="refused", doc="Concurrent probes to one exchanger; others wait within Timeout.", ge=1
    )

    probes_per_domain: ThrottleValue = option(
        Throttle(30, 60),
        zero="no limit",
        doc="Probes per organisational domain. Above this limit, the answer is transient.",
    )
    probes_per_mx: ThrottleValue = option(
        Throttle(60, 60), zero="no limit", doc="Connections to the exchangers of one network (/24 or /48)."
    )
    unknown_users_per_mx: ThrottleValue = option(
        Throttle(20, 3600),
        zero="no limit",
        doc="Unknown users that one such network may report before probes to it stop.",
    )
    probes_per_client: ThrottleValue = option(
        Throttle(30, 60), zero="no limit", doc="Probes per client. An IPv6 /64 counts as one client."
    )
    client_share: int = option(
        25,
        zero="refused",
        doc="Per cent of each domain's and each exchanger's budget that one client network (/24 or /48) may use."
        " Above it, the answer for that client is transient (client_throttled). 100: no limit.",
        ge=1,
        le=100,
    )
    breaker_time: Seconds = option(
        3600.0, zero="off", doc="How long to stop probing an exchanger that rejects us.", unit="seconds"
    )
    forgery_storm: ThrottleValue = option(
        Throttle(10, 300),
        zero="off",
        doc="If this many unknown users of one domain arrive from as many client networks within the period, the domain"
        " is not probed for one period.",
    )

    store: StoreValue | None = option(
        None,
        doc="Where to keep verdicts and budgets: memory, sqlite:///file, redis://host. Default: in State_Directory.",
        secret=True,
    )
    store_secret: ConfigPath | None = option(
        None, doc="A file with a secret. If set, only keyed hashes of addresses are stored.", secret=True
    )
    cache_pass: Seconds = option(86400.0, zero="off", doc="How long to cache an address that exists.", unit="seconds")
    cache_fail: Seconds = option(
        7200.0, zero="off", doc="How long to cache an address that does not exist.", unit="seconds"
    )
    cache_transient: Seconds = option(
        300.0,
        zero="off",
        doc="How long to cache a temporary failure. The time doubles with each further failure.",
        unit="seconds",
    )
    cache_transient_most: Seconds = option(
        3600.0, zero="off", doc="Upper limit for Cache_Transient when it doubles; 0: no doubling.", unit="seconds"
    )
    cache_error: Seconds = option(
        3600.0,
        zero="off",
        doc="How long to cache an error: a rejection that concerns us, not the address.",
        unit="seconds",
    )
    cache_domain: Seconds = option(
        3600.0, zero="off", doc="How long to cache a domain that does not exist or accepts no mail.", unit="seconds"
    )
    cache_size: int = option(
        100000, zero="refused", doc="Verdicts cached in the memory of each process, at most 400 bytes each.", ge=1
    )

    @model_validator(mode="after")
    def _is_told_once(self) -> SmtpCbvOptions:
        if {"enforce", "shadow"} <= self.model_fields_set:
            raise ValueError("enforce and shadow are both set, and say the same: remove one of them")
        return self


SPEC = ModuleSpec(
    type="smtp_cbv",
    options=SmtpCbvOptions,
    live=("phase", "after_recipient", "enforce", "exempt_recipients", "skip_variables"),
    summary="SMTP callback verification: asks the sender's own mail exchanger whether the address exists.",
)
