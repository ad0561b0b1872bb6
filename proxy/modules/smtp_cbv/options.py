"""The options of `smtp_cbv`: Momentum's phase, mailfrom and map, and Ringback's own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from config.schema.options import Options, option
from config.schema.specs import ModuleSpec
from config.schema.values import ConfigPath, DomainPatterns, Network, Seconds
from proxy.options.names import HostText
from proxy.options.throttle import Throttle, ThrottleValue
from proxy.store.url import StoreValue

_FORGED = {"spf_status": "fail", "spfv1_status": "fail", "dmarc_status": "fail"}


class SmtpCbvOptions(Options):
    """SMTP callback verification. Passive: serves scripts. Active: sets smtp_cbv_result, and never rejects."""

    phase: Literal["mailfrom", "rcptto"] = option(
        "mailfrom", doc="Phase in which the active module asks: about the sender, or about each recipient."
    )
    after_recipient: bool = option(
        False, doc="Active in mailfrom: ask only after the next hop has accepted a recipient."
    )
    mailfrom: str = option("", doc="Sender that probes use in MAIL FROM; empty is the null sender.")
    mailfrom_fallback: str = option(
        "", doc="Sender to use if the null sender is refused; an address that accepts mail. Empty: no second attempt."
    )
    map: Mapping[str, HostText] = option(
        default_factory=dict, doc='Hosts asked instead of a domain\'s MX, as `[ example.com = "host" ]`.'
    )
    enforce: bool = option(True, doc="Apply verdicts; if false, they are only logged, and every answer is pass.")

    exempt_recipients: tuple[str, ...] = option(
        ("postmaster", "abuse"), doc="Local parts of recipients that always pass callbacks at RCPT."
    )
    skip_variables: Mapping[str, str] = option(
        default_factory=lambda: dict(_FORGED),
        doc="Context variables, each with the value that marks a sender as forged; a forged sender is not probed.",
    )
    no_probe_domains: DomainPatterns = option(DomainPatterns(()), doc="Domains that are never probed.")
    no_probe_exchangers: DomainPatterns = option(
        DomainPatterns(("*.olc.protection.outlook.com",)),
        doc="Exchangers, by name, that are never probed; Microsoft's consumer service forbids it.",
    )
    no_probe_networks: tuple[Network, ...] = option((), doc="Networks whose exchangers are never probed.")

    port: int = option(25, zero="refused", doc="Port of the exchangers.", ge=1, le=65535)
    bind_address: tuple[str, ...] = option(
        (),
        doc="Our source addresses for probes: at most one IPv4 and one IPv6; unset: the system chooses.",
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
        "error", doc="Verdict on a domain whose exchanger refuses the null sender, which RFC 5321 forbids."
    )
    catchall: bool = option(
        False,
        doc="Also ask about an address that cannot exist, to detect catch-all domains; these are cached for a week.",
    )
    reply_texts: ConfigPath | None = option(
        None, doc="Your own table of reply texts and their meanings; it comes before the built-in table."
    )

    timeout: Seconds = option(
        25.0, zero="refused", doc="Time limit of a whole probe, with DNS and all hosts.", unit="seconds"
    )
    wait: Seconds = option(
        10.0,
        zero="off",
        doc="How long the caller waits; then the answer is transient, and the probe goes on. 0: no wait.",
        unit="seconds",
    )
    max_probes: int = option(
        1000, zero="refused", doc="Concurrent probes per worker; others wait within Timeout.", ge=1
    )
    max_probes_per_mx: int = option(
        4, zero="refused", doc="Concurrent probes to one exchanger; others wait within Timeout.", ge=1
    )

    probes_per_domain: ThrottleValue = option(
        Throttle(30, 60), zero="no limit", doc="Probes of one organisational domain; beyond that, transient."
    )
    probes_per_mx: ThrottleValue = option(
        Throttle(60, 60), zero="no limit", doc="Conversations with the exchangers of one network, a /24 or a /48."
    )
    unknown_users_per_mx: ThrottleValue = option(
        Throttle(20, 3600),
        zero="no limit",
        doc="Unknown users that one such network may report before it is left alone.",
    )
    probes_per_client: ThrottleValue = option(
        Throttle(30, 60), zero="no limit", doc="Probes for one client; an IPv6 /64 counts as one client."
    )
    client_share: int = option(
        25,
        zero="refused",
        doc="Per cent of each domain's and each exchanger's budget that one client network, a /24 or a /48, may use;"
        " beyond it, the answer for that client is transient (client_throttled). 100: no limit.",
        ge=1,
        le=100,
    )
    breaker_time: Seconds = option(
        3600.0, zero="off", doc="How long an exchanger is left alone after it rejects us.", unit="seconds"
    )
    forgery_storm: ThrottleValue = option(
        Throttle(10, 300),
        zero="off",
        doc="After this many unknown users of one domain, from as many client networks, within the period, the domain"
        " is not probed for one period.",
    )

    store: StoreValue | None = option(
        None,
        doc="Where verdicts and budgets are kept: memory, sqlite:///file, redis://host. Beside State_Directory.",
        secret=True,
    )
    store_secret: ConfigPath | None = option(
        None, doc="A file with a secret: only keyed hashes of addresses are kept then.", secret=True
    )
    cache_pass: Seconds = option(86400.0, zero="off", doc="How long an address that exists is cached.", unit="seconds")
    cache_fail: Seconds = option(
        7200.0, zero="off", doc="How long an address that does not exist is cached.", unit="seconds"
    )
    cache_transient: Seconds = option(
        300.0,
        zero="off",
        doc="How long a temporary failure is cached; each further one twice as long.",
        unit="seconds",
    )
    cache_transient_most: Seconds = option(
        3600.0, zero="off", doc="Upper limit for that doubling; 0: no doubling.", unit="seconds"
    )
    cache_error: Seconds = option(
        3600.0, zero="off", doc="How long an error is cached: a refusal that is about us.", unit="seconds"
    )
    cache_domain: Seconds = option(
        3600.0, zero="off", doc="How long a domain that does not exist or accepts no mail is cached.", unit="seconds"
    )
    cache_size: int = option(100000, zero="refused", doc="Verdicts cached in memory per worker.", ge=1)


SPEC = ModuleSpec(
    type="smtp_cbv",
    options=SmtpCbvOptions,
    summary="SMTP callback verification: asks the sender's own mail exchanger whether the address exists.",
)
