"""The options for next hops: which to use, the protocol, timeouts and limits.

Timeouts are shorter than Momentum's: a live relay must reply before its client gives up.
"""

from __future__ import annotations

from typing import Literal

from config.schema.options import option
from config.schema.values import ConfigPath, Seconds
from proxy.options.names import OtherNameValue, SourcesValue
from proxy.options.route import GatewayValue, RouteValue
from proxy.options.scopes import OUTBOUND
from proxy.options.tls import TlsOptions


class OutboundOptions(TlsOptions):
    """Options of the global scope, a binding, or a recipient's domain."""

    gateway: GatewayValue | None = option(
        None,
        doc="The next hop: a host name, an address or a Unix socket. Takes precedence over Routes in the same scope.",
    )
    routes: tuple[RouteValue, ...] = option(
        (),
        doc="Next hops, in order of preference: `host`, `smtp://host?pref=N&port=N&type=a|mx` or `unix:/path?pref=N`.",
    )
    remote_smtp_port: int = option(
        25, zero="refused", doc="Port of the next hop, if its address has none.", ge=1, le=65535
    )
    lmtp_port: int = option(
        2003, zero="refused", doc="Port of the next hop for LMTP, if its address has none.", ge=1, le=65535
    )
    delivery_method: Literal["ESMTP", "SMTP", "LMTP"] = option("ESMTP", doc="Protocol to use with the next hop.")
    bind_address: SourcesValue = option(
        (),
        doc="Our source addresses for connections to the next hop: at most one IPv4 and one IPv6. Unset: the system "
        "chooses.",
        scopes=OUTBOUND,
    )
    ehlo_hostname: OtherNameValue = option("", doc="Our name in EHLO to the next hop. Default: Hostname.")
    xclient: Literal["no", "ifavailable", "required"] = option(
        "no", doc="Pass the client's identity to the next hop with XCLIENT."
    )
    xclient_port: bool = option(
        True,
        doc="Pass the client's port with XCLIENT, too. Each session then needs its own connection. Without the port, "
        "sessions share connections if XCLIENT says the same about them: address, name, HELO, protocol, login, and "
        "the address and port that they connected to.",
        scopes=OUTBOUND,
    )
    xforward: Literal["no", "ifavailable", "required"] = option(
        "no", doc="Pass the client's identity to the next hop, for its log, with XFORWARD.", scopes=OUTBOUND
    )
    upstream_proxy_protocol: Literal["no", "v2"] = option(
        "no",
        doc="Begin each connection to the next hop with a PROXY header that names the client.",
        scopes=OUTBOUND,
    )

    tls: Literal["no", "ifavailable", "required"] = option("no", doc="Use STARTTLS with the next hop.")
    tls_ifavailable_fallback: bool = option(
        True,
        doc="With `TLS = ifavailable`: continue without TLS if STARTTLS is rejected or the handshake fails. A next hop "
        "that does not offer STARTTLS gets mail without TLS either way; `TLS = required` forbids that.",
    )
    tls_verify: Literal["no", "ca", "host", "optional"] = option(
        "no",
        doc="Verify the next hop's certificate: not at all, its issuer, or its issuer and host name. `optional` "
        "delivers whether or not that succeeds, so it is the same as `no`.",
    )
    tls_ca: ConfigPath | None = option(None, doc="PEM file of the authorities that issue next hops' certificates.")

    connect_timeout: Seconds = option(
        30.0,
        zero="automatic",
        doc="Time to connect to the next hop and read its greeting. 0: what the other timeouts up to RCPT leave of 270 "
        "seconds.",
        unit="seconds",
    )
    ehlo_timeout: Seconds = option(
        30.0,
        zero="automatic",
        doc="Time for the next hop's reply to EHLO. 0: what the other timeouts up to RCPT leave of 270 seconds.",
        unit="seconds",
    )
    mailfrom_timeout: Seconds = option(
        60.0,
        zero="automatic",
        doc="Time for the next hop's reply to MAIL FROM. 0: what the other timeouts up to RCPT leave of 270 seconds.",
        unit="seconds",
    )
    rcptto_timeout: Seconds = option(
        60.0,
        zero="automatic",
        doc="Time for the next hop's reply to RCPT TO. 0: what the other timeouts up to RCPT leave of 270 seconds.",
        unit="seconds",
    )
    body_timeout: Seconds = option(
        540.0, zero="automatic", doc="Time for the next hop's reply to the message. 0: 540 seconds.", unit="seconds"
    )
    rset_timeout: Seconds = option(
        10.0, zero="automatic", doc="Time for the next hop's reply to RSET. 0: 270 seconds.", unit="seconds"
    )
    idle_timeout: Seconds = option(
        30.0,
        zero="off",
        doc="How long to keep an unused connection to the next hop. 0: close it at once.",
        unit="seconds",
    )
    recipient_verdicts: Literal["live", "deferred"] = option(
        "live", doc="When to ask the next hop about a recipient: at its RCPT, or only once the message has arrived."
    )
    upstream_hold: Seconds = option(
        5.0,
        zero="off",
        doc="How long a client that idles within a transaction keeps its connection to the next hop. 0: not at all.",
        unit="seconds",
        scopes=OUTBOUND,
    )
    host_failure_retry: Seconds = option(
        120.0, zero="off", doc="How long a next-hop address that failed is tried last.", unit="seconds"
    )
    retry_interval: Seconds = option(
        300.0,
        zero="refused",
        doc="Wait before the first retry of one of Ringback's own messages. It doubles with each retry.",
        unit="seconds",
    )
    max_retry_interval: Seconds = option(
        7200.0,
        zero="refused",
        doc="Longest wait between two retries of one of Ringback's own messages.",
        unit="seconds",
    )
    message_expiration: Seconds = option(
        432_000.0,
        zero="off",
        doc="Age at which one of Ringback's own messages expires and its sender is notified. 0: after one try.",
        unit="seconds",
    )
    max_deliveries_per_connection: int = option(0, zero="no limit", doc="Maximum messages per connection.", ge=0)
    max_outbound_connections: int = option(
        100, zero="refused", doc="Maximum connections to one next hop, for all workers together.", ge=1
    )
