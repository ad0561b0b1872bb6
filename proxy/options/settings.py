"""The options of ecelerity.conf that Ringback acts on, each declared once: name, type, unit, default, meaning.

Binding, checking, fallback between scopes and the generated reference page follow from these declarations. Modules
declare theirs in `proxy.modules`. Outbound times are shorter than Momentum's: a live relay must answer before its own
client gives up.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, model_validator

from config.language.nodes import String, Value, Word
from config.schema.options import Options, option
from config.schema.readers import Reader, Reading, reader_for
from config.schema.values import Bytes, ConfigPath, DomainPatterns, Network, Seconds
from config.scopes.listener import Listeners
from proxy.base.apart import Apart, Failed
from proxy.options.names import BannerValue, DomainValue, NameserverValue, OtherNameValue, OwnNameValue
from proxy.options.route import GatewayValue, RouteValue
from proxy.options.throttle import NO_THROTTLE, Throttle, ThrottleValue
from proxy.options.tls_versions import ALL_PROTOCOLS, ProtocolsValue

_INBOUND = ("esmtp_listener", "listener", "listen", "peer")
_LISTENING = ("esmtp_listener", "listener", "listen")
_OUTBOUND = ("binding_group", "binding", "domain")
_BOTH = _INBOUND + _OUTBOUND


def _read_workers(value: Value, reading: Reading) -> object:
    if isinstance(value, Word | String) and value.text.lower() == "auto":
        return 0
    return reader_for(int).read(value, reading)


WorkerCount = Annotated[int, Reader(_read_workers, "an integer, or `auto`")]


LONGEST_UP_TO_RCPT = 270.0
LONGEST_AT_DOT = 540.0
"""Seconds until a client hears of a recipient, and of its message: less than its patience (RFC 5321 4.5.3.2)."""


def _longer_than_a_beat(seconds: float) -> float:
    if 0 < seconds < 1:
        raise ValueError("a worker that is well would be killed; write at least 1s, or 0 for never")
    return seconds


OWN_NAME_SECONDS = 5.0
"""For the system's resolver to say the machine's full name; its short name is taken then."""


@cache
def own_name() -> str:
    """Return the machine's own full name, asked for once: in a child, since the system's resolver may hang."""
    try:
        return Apart(lambda _tell: socket.getfqdn(), OWN_NAME_SECONDS).wait()
    except (Failed, OSError):
        return socket.gethostname()


class TlsOptions(Options):
    """What TLS is spoken with, towards clients and towards the MTA behind."""

    tls_certificate: ConfigPath | None = option(
        None, doc="Our certificate, with its chain, a PEM file; set, STARTTLS is offered to clients.", scopes=_BOTH
    )
    tls_key: ConfigPath | None = option(
        None, doc="Its key, a PEM file; TLS_Certificate's own file unless set.", secret=True, scopes=_BOTH
    )
    tls_ciphers: str = option(
        "", doc="Ciphers up to TLS 1.2, as OpenSSL names them; its choice unless set.", scopes=_BOTH
    )
    tls_protocols: ProtocolsValue = option(
        ALL_PROTOCOLS,
        doc="Versions that may be spoken, `+` or `-` before each; of those named TLSv1.2 and TLSv1.3 are.",
        scopes=_BOTH,
    )


class InboundOptions(TlsOptions):
    """What holds for clients: the global scope, a listener, an address, or a network of clients."""

    proxy_protocol_networks: tuple[Network, ...] = option(
        (),
        doc="Load balancers: each of their connections must begin with a PROXY header, which names the client.",
        scopes=_LISTENING,
    )
    xclient_hosts: tuple[Network, ...] = option(
        (), doc="Networks that may say who their client is, by XCLIENT.", scopes=_LISTENING
    )
    implicit_tls: bool = option(
        False, doc="Speak TLS from the first byte, as on port 465 (RFC 8314).", scopes=_LISTENING
    )

    starttls_injection_policy: Literal["reject", "ignore", "allow"] = option(
        "reject",
        doc="What was sent behind STARTTLS before TLS: refuse and close, or drop it; `allow` is not done, it rejects.",
        scopes=_INBOUND,
    )
    reconfig_message: str = option(
        "4.3.2 Reconfiguration in progress",
        doc="What a client between two commands hears with 421 on a reload.",
        scopes=_LISTENING,
    )

    hostname: OwnNameValue = option(
        default_factory=own_name, doc="Name in the banner, in Received and in our EHLO; the machine's unless set."
    )
    tls_server_names: Mapping[str, ConfigPath] = option(
        default_factory=dict,
        doc="Other certificates by the name that a client asks for, each a PEM file with its key.",
        scopes=_INBOUND,
    )
    tls_minimum_version: Literal["TLSv1.2", "TLSv1.3"] = option(
        "TLSv1.2", doc="Oldest TLS that is spoken with clients.", scopes=_INBOUND
    )
    tls_client_ca: ConfigPath | None = option(
        None,
        doc="Authorities that clients' certificates may come from, a PEM file; set, clients are asked for one.",
        scopes=_INBOUND,
    )
    tls_verify_mode: Literal["optional", "require", "none"] = option(
        "optional",
        doc="Whether the handshake fails without a certificate, or none is asked for; one that is not valid is for "
        "scripts to judge.",
        scopes=_INBOUND,
    )
    tls_verified_peer_can_relay: bool = option(
        False, doc="A client whose certificate is valid may send to any domain.", scopes=_INBOUND
    )
    banner_hostname: OtherNameValue = option("", doc="Name in the banner instead of Hostname.", scopes=_INBOUND)
    static_banner: BannerValue = option("", doc="The whole text of the banner, after the code.", scopes=_INBOUND)
    received_hostname: OtherNameValue = option("", doc="Name in Received instead of Hostname.", scopes=_INBOUND)
    relay_domains: DomainPatterns = option(
        DomainPatterns(()), doc="Recipient domains that mail is taken for, from anybody; `*.x` takes subdomains."
    )
    relay_hosts: tuple[Network, ...] = option((), doc="Client networks that may send to any domain.", scopes=_INBOUND)
    relay_for_sending_domains: DomainPatterns = option(
        DomainPatterns(()),
        doc="Sender domains that may send to any domain; a sender is easily forged.",
        scopes=_INBOUND,
    )
    open_relay: bool = option(False, doc="Take mail from anybody to anybody.", scopes=_INBOUND)

    idle_time: Seconds = option(
        300.0,
        zero="no limit",
        doc="For the client's next command (RFC 5321 section 4.5.3.2.7); with 0 only Session_Time ends the session.",
        unit="seconds",
        scopes=_INBOUND,
    )
    data_timeout: Seconds = option(
        120.0,
        zero="no limit",
        doc="For the client's next bytes within a message; Min_Data_Rate, else Session_Time, ends one with 0.",
        unit="seconds",
        scopes=_INBOUND,
    )
    min_data_rate: int = option(
        100,
        zero="off",
        doc="Slowest within a message, after half a minute's waiting.",
        unit="octets a second",
        ge=0,
        scopes=_INBOUND,
    )
    session_time: Seconds = option(
        7200.0, zero="no limit", doc="A session ends between commands after so long.", unit="seconds", scopes=_INBOUND
    )
    stress_sessions: int = option(
        0,
        zero="off",
        doc="Sessions on all addresses, a worker, beyond which clients have Stress_Idle_Time only.",
        ge=0,
        scopes=_INBOUND,
    )
    stress_idle_time: Seconds = option(
        10.0, zero="off", doc="Idle_Time under stress; 0: no shorter one.", unit="seconds", scopes=_INBOUND
    )
    max_connections_per_client: int = option(
        0,
        zero="no limit",
        doc="Sessions at once of one client, an IPv6 /64 being one; relay hosts are exempt.",
        ge=0,
        scopes=_INBOUND,
    )
    connection_rate_per_client: ThrottleValue = option(
        NO_THROTTLE, zero="no limit", doc="Sessions that one client may begin; relay hosts are exempt.", scopes=_INBOUND
    )
    message_rate_per_client: ThrottleValue = option(
        NO_THROTTLE, zero="no limit", doc="MAIL commands of one client; relay hosts are exempt.", scopes=_INBOUND
    )
    recipient_rate_per_client: ThrottleValue = option(
        NO_THROTTLE, zero="no limit", doc="RCPT commands of one client; relay hosts are exempt.", scopes=_INBOUND
    )
    tls_rate_per_client: ThrottleValue = option(
        NO_THROTTLE, zero="no limit", doc="STARTTLS commands of one client; relay hosts are exempt.", scopes=_INBOUND
    )
    listener_sessions: int = option(
        0, zero="no limit", doc="Sessions at once on the address, a worker.", ge=0, scopes=_INBOUND
    )
    service_sessions: int = option(
        0, zero="no limit", doc="Sessions at once on all addresses, a worker.", ge=0, scopes=_INBOUND
    )
    max_message_size: Bytes = option(
        0, zero="no limit", doc="Octets of a message.", unit="octets", aliases=("message_size",), scopes=_INBOUND
    )
    max_header_size: Bytes = option(
        1_048_576,
        zero="no limit",
        doc="Octets of a message's header section, which is held in memory.",
        unit="octets",
        scopes=_INBOUND,
    )
    max_recipients_per_message: int = option(
        1000, zero="no limit", doc="Recipients of one transaction.", ge=0, scopes=_INBOUND
    )
    max_recipients_per_connection: int = option(
        0, zero="no limit", doc="Recipients of one session.", ge=0, scopes=_INBOUND
    )
    max_receptions_per_connection: int = option(
        0, zero="no limit", doc="Messages of one session.", ge=0, scopes=_INBOUND
    )
    max_received_headers: int = option(50, zero="refused", doc="Received fields beyond which a message loops.", ge=1)

    authentication: Literal["no", "upstream", "file"] = option(
        "no",
        doc="Offer AUTH, which opens relaying; passwords are judged by the MTA behind, or by Authentication_File.",
        scopes=_INBOUND,
    )
    authentication_file: ConfigPath | None = option(
        None, doc="Users with their passwords' hashes, made by `ringback password`.", secret=True, scopes=_INBOUND
    )
    authentication_without_tls: bool = option(
        False, doc="Offer AUTH in the clear, too: anybody on the way can read the passwords.", scopes=_INBOUND
    )

    authentication_failure_rate: ThrottleValue = option(
        Throttle(10, 600),
        zero="no limit",
        doc="Wrong passwords of one client network, or of one user from there, beyond which AUTH is 454 4.7.0; "
        "a network that logged in within a day is exempt; 0: no limit.",
        scopes=_INBOUND,
    )

    multi_recipient: Literal["one_at_a_time", "dsn"] = option(
        "one_at_a_time",
        doc="Where a verdict on one recipient comes after the dot: take one recipient a message, or several, "
        "and report refusals to the sender.",
        scopes=_INBOUND,
    )

    require_ehlo: bool = option(False, doc="Refuse MAIL FROM before EHLO or HELO.", scopes=_INBOUND)
    allow_null_envelope_sender: bool = option(True, doc="Take bounces: MAIL FROM:<>.", scopes=_INBOUND)
    allow_ip_literal: bool = option(True, doc="Take addresses such as user@[192.0.2.1].", scopes=_INBOUND)
    allow_trailing_whitespace_in_commands: bool = option(
        True, doc="Take commands that end in blanks, as some old clients send them.", scopes=_INBOUND
    )
    domain_for_unqualified_recipient_addresses: DomainValue = option(
        "",
        doc="Domain added to a recipient without one; such recipients are refused unless it is set.",
        scopes=_INBOUND,
    )
    domain_for_unqualified_sender_address: DomainValue = option(
        "",
        doc="Domain added to a sender without one; such senders are refused unless it is set.",
        scopes=_INBOUND,
    )
    strict_addresses: bool = option(
        False,
        doc="Refuse what RFC 5321 does not allow in MAIL and RCPT, in place of repairing it: addresses without "
        "brackets or domain, with blanks around them, with dots out of place.",
        scopes=_INBOUND,
    )

    @property
    def relaying_timeout(self) -> float:
        """For the MTA behind to take octets of a message: it has a deadline whatever its client has."""
        return self.data_timeout or LONGEST_AT_DOT

    @property
    def endless(self) -> str:
        """Why a session, or a message, might never end; empty if each does."""
        if not self.session_time and not self.idle_time:
            return "Idle_Time and Session_Time are both 0, so a silent client would never be sent away: set one of them"
        if not (self.session_time or self.data_timeout or self.min_data_rate):
            return (
                "Data_Timeout, Min_Data_Rate and Session_Time are all 0, so a message might never end: set one of them"
            )
        return ""


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
        "no", doc="Tell the MTA behind, for its log, whose message it gets, by XFORWARD.", scopes=_OUTBOUND
    )
    upstream_proxy_protocol: Literal["no", "v2"] = option(
        "no",
        doc="Begin each connection to the MTA behind with a PROXY header that names the client.",
        scopes=_OUTBOUND,
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
        scopes=_OUTBOUND,
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


class CoreOptions(InboundOptions, OutboundOptions):
    """Every option of the global scope."""

    workers: WorkerCount = option(
        1,
        zero="automatic",
        doc="Processes that serve, each on a core with limits and caches of its own; 0 or `auto`: one a core.",
        ge=0,
        le=256,
    )

    worker_timeout: Annotated[Seconds, AfterValidator(_longer_than_a_beat)] = option(
        30.0,
        zero="off",
        doc="A worker that hangs so long is killed and replaced, its stack in the log.",
        unit="seconds",
        scopes=(),
    )

    server_max_outbound_connections: int = option(
        20_000, zero="refused", doc="Connections to all MTAs behind together, a worker.", ge=1, scopes=()
    )

    esmtp_listener: Listeners = option(doc="Addresses and ports on which SMTP is spoken.")
    spool_directory: ConfigPath | None = option(
        None,
        doc="Where a message that policy reads whole is kept beyond 1 MiB; the system's temporary folder unless set.",
    )
    state_directory: ConfigPath = option(
        Path("/var/lib/ringback"),
        doc="Where is kept what outlives a restart: verdicts, which memory holds instead, and the outbox.",
    )
    outbox_size: Bytes = option(
        1 << 30,
        zero="no limit",
        doc="Octets of messages of Ringback's own that wait; mail that would make another hears 452.",
        unit="octets",
        scopes=(),
    )
    outbox_letters: int = option(
        10_000,
        zero="no limit",
        doc="Such messages that wait; mail that would make another hears 452.",
        ge=0,
        scopes=(),
    )
    letter_key: ConfigPath | None = option(
        None,
        secret=True,
        doc="A file with a secret of 16 octets or more, by which Ringback's own messages are known when they come "
        "back; the same on all servers of a site. Unless set, each makes its own in State_Directory.",
        scopes=(),
    )
    nameservers: tuple[NameserverValue, ...] = option(
        (), doc="DNS servers, `address` or `address:port`; the system's unless set."
    )

    @property
    def processes(self) -> int:
        """How many workers serve: as many as were asked for, or one for each core that this process may use."""
        return self.workers or len(os.sched_getaffinity(0))

    @model_validator(mode="after")
    def _has_somewhere_to_relay_to(self) -> CoreOptions:
        if self.gateway is None and not self.routes:
            raise ValueError("neither Gateway nor Routes is set: say where the MTA behind is")
        return self

    @model_validator(mode="after")
    def _ends_sessions(self) -> CoreOptions:
        if self.endless:
            raise ValueError(self.endless)
        return self
