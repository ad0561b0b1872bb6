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
    """SMTP callback verification. Passive, it serves scripts; active, it sets smtp_cbv_result and never rejects."""

    phase: Literal["mailfrom", "rcptto"] = option(
        "mailfrom", doc="Phase in which the active module asks: about the sender, or about each recipient."
    )
    after_recipient: bool = option(
        False, doc="Active in mailfrom: ask only once the MTA behind has accepted a recipient."
    )
    mailfrom: str = option("", doc="Sender that probes give in MAIL FROM; empty is the null sender.")
    mailfrom_fallback: str = option(
        "", doc="Sender given instead where the null sender is refused; an address that takes mail. Empty: no other."
    )
    map: Mapping[str, HostText] = option(
        default_factory=dict, doc='Hosts asked instead of a domain\'s MX, as `[ example.com = "host" ]`.'
    )
    enforce: bool = option(True, doc="Let verdicts count; otherwise they are logged, and every answer is pass.")

    exempt_recipients: tuple[str, ...] = option(
        ("postmaster", "abuse"), doc="Local parts of recipients for whom callbacks at RCPT always answer pass."
    )
    skip_variables: Mapping[str, str] = option(
        default_factory=lambda: dict(_FORGED),
        doc="Context variables, each with the value at which a sender is known to be forged and is not asked about.",
    )
    no_probe_domains: DomainPatterns = option(DomainPatterns(()), doc="Domains that are never asked.")
    no_probe_exchangers: DomainPatterns = option(
        DomainPatterns(("*.olc.protection.outlook.com",)),
        doc="Exchangers, by name, that are never asked; Microsoft's consumer service forbids it.",
    )
    no_probe_networks: tuple[Network, ...] = option((), doc="Networks whose exchangers are never asked.")

    port: int = option(25, zero="refused", doc="Port of the exchangers.", ge=1, le=65535)
    bind_address: tuple[str, ...] = option(
        (),
        doc="Our addresses that probes leave from, one of IPv4, one of IPv6; the system's choice unless set.",
    )
    tls: Literal["ifavailable", "no"] = option(
        "ifavailable",
        doc="Begin TLS where it is offered; where the handshake fails, ask once more in the clear.",
    )
    allow_networks: tuple[Network, ...] = option(
        (), doc="Networks that are probed though their addresses are not global."
    )
    unroutable: Literal["fail", "error"] = option(
        "fail", doc="What a domain is whose exchangers have no global address."
    )
    null_refused: Literal["error", "fail"] = option(
        "error", doc="What a domain is whose exchanger refuses bounces, which RFC 5321 forbids."
    )
    catchall: bool = option(
        False,
        doc="Ask also for an address that cannot exist: who takes both tells nothing. Once a domain a week.",
    )
    reply_texts: ConfigPath | None = option(
        None, doc="A table of your own of what exchangers' words mean; it comes before the one that ships."
    )

    timeout: Seconds = option(
        25.0, zero="refused", doc="For a whole probe, DNS and all hosts included.", unit="seconds"
    )
    wait: Seconds = option(
        10.0,
        zero="off",
        doc="For whoever asks; then the answer is transient, and the probe goes on. 0: at once.",
        unit="seconds",
    )
    max_probes: int = option(
        1000, zero="refused", doc="Conversations at once, a worker; more wait within the timeout.", ge=1
    )
    max_probes_per_mx: int = option(
        4, zero="refused", doc="Conversations at once with one exchanger; more wait within the timeout.", ge=1
    )

    probes_per_domain: ThrottleValue = option(
        Throttle(30, 60), zero="no limit", doc="Probes of one organisational domain; more are transient."
    )
    probes_per_mx: ThrottleValue = option(
        Throttle(60, 60), zero="no limit", doc="Conversations with the exchangers of one network, a /24 or a /48."
    )
    unknown_users_per_mx: ThrottleValue = option(
        Throttle(20, 3600),
        zero="no limit",
        doc="Unknown users that such a network may tell us of before it is left alone.",
    )
    probes_per_client: ThrottleValue = option(
        Throttle(30, 60), zero="no limit", doc="Probes on behalf of one client, an IPv6 /64 being one."
    )
    client_share: int = option(
        25,
        zero="refused",
        doc="Per cent of each of these budgets, a domain's or an exchanger's, that one client network may use, a /24 or"
        " a /48; beyond it the answer for that client is transient (client_throttled). 100: no limit.",
        ge=1,
        le=100,
    )
    breaker_time: Seconds = option(
        3600.0, zero="off", doc="An exchanger that turns us away is left alone for so long.", unit="seconds"
    )
    forgery_storm: ThrottleValue = option(
        Throttle(10, 300),
        zero="off",
        doc="As many unknown users of one domain from as many client networks in so many seconds: it is not asked for"
        " as long.",
    )

    store: StoreValue | None = option(
        None,
        doc="Where verdicts and budgets are kept: memory, sqlite:///file, redis://host. Beside State_Directory.",
        secret=True,
    )
    store_secret: ConfigPath | None = option(
        None, doc="A file with a secret: only keyed hashes of addresses are kept then.", secret=True
    )
    cache_pass: Seconds = option(
        86400.0, zero="off", doc="An address that exists is remembered so long.", unit="seconds"
    )
    cache_fail: Seconds = option(
        7200.0, zero="off", doc="An address that does not exist is remembered so long.", unit="seconds"
    )
    cache_transient: Seconds = option(
        300.0,
        zero="off",
        doc="A passing failure is remembered so long; each further one twice as long.",
        unit="seconds",
    )
    cache_transient_most: Seconds = option(
        3600.0, zero="off", doc="But no longer than this; 0: always as long as the first.", unit="seconds"
    )
    cache_error: Seconds = option(
        3600.0, zero="off", doc="A refusal that is about us is remembered so long.", unit="seconds"
    )
    cache_domain: Seconds = option(
        3600.0, zero="off", doc="That a domain does not exist, or takes no mail, is remembered so long.", unit="seconds"
    )
    cache_size: int = option(100000, zero="refused", doc="Addresses remembered in memory, a worker.", ge=1)


SPEC = ModuleSpec(
    type="smtp_cbv",
    options=SmtpCbvOptions,
    summary="SMTP callback verification: asks the sender's own mail exchanger whether the address exists.",
)
