"""The options towards the MTA behind: which it is, how it is spoken to, times and limits.

Times are shorter than Momentum's: a live relay must answer before its own client gives up.
"""

from __future__ import annotations

from typing import Literal

from config.schema.options import option
from config.schema.values import ConfigPath, Seconds
from proxy.options.names import OtherNameValue
from proxy.options.route import GatewayValue, RouteValue
from proxy.options.scopes import OUTBOUND
from proxy.options.tls import TlsOptions


class OutboundOptions(TlsOptions):
    """What holds towards the MTA behind: the global scope, a binding or a recipient's domain."""

    gateway: GatewayValue | None = option(
        None,
        doc="The MTA behind: a host name, an address or a Unix socket. It goes before Routes of the same scope.",
    )
    routes: tuple[RouteValue, ...] = option(
        (),
        doc="MTAs behind, preferred first: `host`, `smtp://host?pref=N&port=N&type=a|mx` or `unix:/path?pref=N`.",
    )
    remote_smtp_port: int = option(
        25, zero="refused", doc="Port of the MTA behind, where its name carries none.", ge=1, le=65535
    )
    lmtp_port: int = option(2003, zero="refused", doc="The same where LMTP is spoken.", ge=1, le=65535)
    delivery_method: Literal["ESMTP", "SMTP", "LMTP"] = option("ESMTP", doc="What the MTA behind is spoken to.")
    ehlo_hostname: OtherNameValue = option("", doc="Our name in EHLO to the MTA behind; Hostname unless set.")
    xclient: Literal["no", "ifavailable", "required"] = option(
        "no", doc="Tell the MTA behind who the client is, by XCLIENT."
    )
    xforward: Literal["no", "ifavailable", "required"] = option(
        "no", doc="Tell the MTA behind, for its log, whose message it gets, by XFORWARD.", scopes=OUTBOUND
    )
    upstream_proxy_protocol: Literal["no", "v2"] = option(
        "no",
        doc="Begin each connection to the MTA behind with a PROXY header that names the client.",
        scopes=OUTBOUND,
    )

    tls: Literal["no", "ifavailable", "required"] = option("no", doc="Speak TLS to the MTA behind, by STARTTLS.")
    tls_ifavailable_fallback: bool = option(
        True,
        doc="With `ifavailable`: go on in the clear if STARTTLS is refused or the handshake fails. An MTA that does "
        "not offer STARTTLS gets mail in the clear either way; `TLS = required` forbids that.",
    )
    tls_verify: Literal["no", "ca", "host"] = option(
        "no", doc="Ask the MTA behind for a certificate that is valid, and in its own name."
    )
    tls_ca: ConfigPath | None = option(None, doc="Authorities that such a certificate may come from, a PEM file.")

    connect_timeout: Seconds = option(
        30.0,
        zero="automatic",
        doc="To connect to the MTA behind and read its greeting; 0: what the others up to RCPT leave of 270.",
        unit="seconds",
    )
    ehlo_timeout: Seconds = option(
        30.0,
        zero="automatic",
        doc="For the answer to EHLO from the MTA behind; 0: what the others up to RCPT leave of 270.",
        unit="seconds",
    )
    mailfrom_timeout: Seconds = option(
        60.0,
        zero="automatic",
        doc="For the answer to MAIL FROM from the MTA behind; 0: what the others up to RCPT leave of 270.",
        unit="seconds",
    )
    rcptto_timeout: Seconds = option(
        60.0,
        zero="automatic",
        doc="For the answer to RCPT TO from the MTA behind; 0: what the others up to RCPT leave of 270.",
        unit="seconds",
    )
    body_timeout: Seconds = option(
        540.0, zero="automatic", doc="For the answer to the message from the MTA behind; 0: 540.", unit="seconds"
    )
    rset_timeout: Seconds = option(
        10.0, zero="automatic", doc="For the answer to RSET from the MTA behind; 0: 270.", unit="seconds"
    )
    idle_timeout: Seconds = option(
        30.0, zero="off", doc="An unused connection to the MTA behind is kept so long; 0: it is ended.", unit="seconds"
    )
    recipient_verdicts: Literal["live", "deferred"] = option(
        "live", doc="Ask the MTA behind about a recipient at its RCPT, or only when the message is there."
    )
    upstream_hold: Seconds = option(
        5.0,
        zero="off",
        doc="A client that idles within a transaction holds a connection no longer; 0: none while it idles.",
        unit="seconds",
        scopes=OUTBOUND,
    )
    host_failure_retry: Seconds = option(
        120.0, zero="off", doc="An address of the MTA behind that failed is tried last for so long.", unit="seconds"
    )
    retry_interval: Seconds = option(
        300.0,
        zero="refused",
        doc="First pause before a message of Ringback's own is tried again; it doubles each time.",
        unit="seconds",
    )
    max_retry_interval: Seconds = option(7200.0, zero="refused", doc="The longest such pause.", unit="seconds")
    message_expiration: Seconds = option(
        432_000.0,
        zero="off",
        doc="After so long such a message is given up and its sender told; 0: after one try.",
        unit="seconds",
    )
    max_deliveries_per_connection: int = option(0, zero="no limit", doc="Messages over one connection.", ge=0)
    max_outbound_connections: int = option(100, zero="refused", doc="Connections to one MTA behind, a worker.", ge=1)
