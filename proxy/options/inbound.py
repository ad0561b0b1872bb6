"""The options for clients: listening, TLS, relaying, timeouts, limits, AUTH, and what mail is accepted."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from functools import cache
from typing import Literal

from config.schema.options import option
from config.schema.values import Bytes, ConfigPath, DomainPatterns, Network, Seconds
from proxy.base.apart import ChildTask, Failed
from proxy.options.client_patience import LONGEST_AT_DOT
from proxy.options.names import BannerValue, DomainValue, ListNameValue, OtherNameValue, OwnNameValue
from proxy.options.scopes import INBOUND, LISTENING
from proxy.options.throttle import NO_THROTTLE, Throttle, ThrottleValue
from proxy.options.tls import TlsOptions

OWN_NAME_SECONDS = 5.0
"""How long the system's resolver may take to find the machine's full name. After that we use the short name."""


@cache
def own_name() -> str:
    """Return the machine's full name. A child process asks, once, because the system's resolver may hang."""
    try:
        return ChildTask(lambda _tell: socket.getfqdn(), OWN_NAME_SECONDS).wait()
    except (Failed, OSError):
        return socket.gethostname()


class InboundOptions(TlsOptions):
    """Options of the global scope, a listener, a listening address, or a network of clients."""

    proxy_protocol_networks: tuple[Network, ...] = option(
        (),
        doc="Load balancers. Each of their connections must begin with a PROXY header that names the client.",
        scopes=LISTENING,
    )
    xclient_hosts: tuple[Network, ...] = option(
        (), doc="Networks that may use XCLIENT to name their client.", scopes=INBOUND
    )
    implicit_tls: bool = option(
        False,
        doc="Speak TLS from the first byte, as on port 465 (RFC 8314).",
        aliases=("use_ssl",),
        scopes=INBOUND,
    )
    context: Mapping[str, str] = option(
        default_factory=dict, doc="Context variables that the connection starts with, for scripts.", scopes=INBOUND
    )

    starttls_injection_policy: Literal["reject", "ignore", "allow"] = option(
        "reject",
        doc="Action on data that follows STARTTLS before the handshake: reject and close, or ignore the data. `allow` "
        "is not supported and rejects.",
        scopes=INBOUND,
    )
    reconfig_message: str = option(
        "4.3.2 Reconfiguration in progress",
        doc="Text of the 421 reply that a client between two commands gets on a reload.",
        scopes=LISTENING,
    )

    hostname: OwnNameValue = option(
        default_factory=own_name,
        live=False,
        doc="Our name in the banner, Received and EHLO. Default: the machine's name.",
    )
    tls_server_names: Mapping[str, ConfigPath] = option(
        default_factory=dict,
        doc="More certificates, by the server name that the client requests (SNI). Each is a PEM file with its key.",
        scopes=INBOUND,
    )
    tls_minimum_version: Literal["TLSv1.2", "TLSv1.3"] = option(
        "TLSv1.2", doc="Oldest TLS version accepted from clients.", scopes=INBOUND
    )
    tls_client_ca: ConfigPath | None = option(
        None,
        doc="PEM file of the authorities that issue client certificates. If set, clients are asked for a certificate.",
        scopes=INBOUND,
    )
    tls_verify_mode: Literal["optional", "require", "none"] = option(
        "optional",
        doc="`require`: the handshake fails without a client certificate. `none`: do not ask for one. Scripts decide "
        "about an invalid certificate.",
        scopes=INBOUND,
    )
    tls_verified_peer_can_relay: bool = option(
        False, doc="Let clients with a valid certificate send to any domain.", scopes=INBOUND
    )
    refuse_lists: tuple[ListNameValue, ...] = option(
        (),
        doc="Refuse clients that are in one of these lists: networks that operators add at the console with "
        "`list add`, or a list that a script defines. The reply is 554 with the reason, at the greeting and at MAIL.",
        scopes=INBOUND,
    )
    banner_hostname: OtherNameValue = option("", doc="Name in the banner, instead of Hostname.", scopes=INBOUND)
    static_banner: BannerValue = option("", doc="Full text of the banner after the code.", scopes=INBOUND)
    received_hostname: OtherNameValue = option("", doc="Name in Received, instead of Hostname.", scopes=INBOUND)
    authserv_id: OtherNameValue = option(
        "",
        doc="Name in Authentication-Results, instead of the name in Received. Several machines may share one, "
        "so that the next hop need trust only this name.",
        scopes=INBOUND,
    )
    relay_domains: DomainPatterns = option(
        DomainPatterns(()), doc="Recipient domains for which any client may send mail. `*.x` matches subdomains."
    )
    relay_hosts: tuple[Network, ...] = option((), doc="Client networks that may send to any domain.", scopes=INBOUND)
    relay_for_sending_domains: DomainPatterns = option(
        DomainPatterns(()),
        doc="Sender domains that may send to any domain. Senders are easily forged.",
        scopes=INBOUND,
    )
    open_relay: bool = option(False, doc="Accept mail from any client to any domain.", scopes=INBOUND)

    idle_time: Seconds = option(
        300.0,
        zero="no limit",
        doc="How long to wait for the client's next command (RFC 5321 section 4.5.3.2.7). With 0 only Session_Time "
        "ends an idle session.",
        unit="seconds",
        scopes=INBOUND,
    )
    data_timeout: Seconds = option(
        120.0,
        zero="no limit",
        doc="How long to wait for more of a message. With 0, Min_Data_Rate or else Session_Time ends it.",
        unit="seconds",
        scopes=INBOUND,
    )
    min_data_rate: int = option(
        100,
        zero="off",
        doc="Minimum rate within a message, enforced after 30 seconds of waiting.",
        unit="octets per second",
        ge=0,
        scopes=INBOUND,
    )
    session_time: Seconds = option(
        7200.0,
        zero="no limit",
        doc="Maximum length of a session. It ends between two commands.",
        unit="seconds",
        scopes=INBOUND,
    )
    stress_sessions: int = option(
        0,
        zero="off",
        doc="Sessions per worker, on all addresses, above which Stress_Idle_Time replaces Idle_Time.",
        ge=0,
        scopes=INBOUND,
    )
    stress_idle_time: Seconds = option(
        10.0,
        zero="off",
        doc="Idle_Time under stress (see Stress_Sessions). 0: do not shorten it.",
        unit="seconds",
        scopes=INBOUND,
    )
    max_connections_per_client: int = option(
        0,
        zero="no limit",
        doc="Concurrent sessions per client; an IPv6 /64 is one client. Relay hosts are exempt.",
        ge=0,
        scopes=INBOUND,
    )
    connection_rate_per_client: ThrottleValue = option(
        NO_THROTTLE, zero="no limit", doc="Rate of new sessions per client. Relay hosts are exempt.", scopes=INBOUND
    )
    message_rate_per_client: ThrottleValue = option(
        NO_THROTTLE, zero="no limit", doc="Rate of MAIL commands per client. Relay hosts are exempt.", scopes=INBOUND
    )
    recipient_rate_per_client: ThrottleValue = option(
        NO_THROTTLE, zero="no limit", doc="Rate of RCPT commands per client. Relay hosts are exempt.", scopes=INBOUND
    )
    tls_rate_per_client: ThrottleValue = option(
        NO_THROTTLE,
        zero="no limit",
        doc="Rate of STARTTLS commands per client. Relay hosts are exempt.",
        scopes=INBOUND,
    )
    inbound_throttle_messages: ThrottleValue = option(
        NO_THROTTLE,
        zero="no limit",
        doc="Rate of MAIL commands from all clients together, over a sliding window. A client that exceeds it waits "
        "up to 60 seconds, and then gets 450. Set globally, it applies to all listeners together; set for a listener, "
        "each of its addresses has its own rate.",
        scopes=LISTENING,
    )
    listener_sessions: int = option(
        0, zero="no limit", doc="Concurrent sessions on this address, for all workers together.", ge=0, scopes=INBOUND
    )
    service_sessions: int = option(
        0, zero="no limit", doc="Concurrent sessions on all addresses, for all workers together.", ge=0, scopes=INBOUND
    )
    max_message_size: Bytes = option(
        0, zero="no limit", doc="Maximum size of a message.", unit="octets", aliases=("message_size",), scopes=INBOUND
    )
    max_header_size: Bytes = option(
        1_048_576,
        zero="no limit",
        doc="Maximum size of a message's header section, which is held in memory.",
        unit="octets",
        scopes=INBOUND,
    )
    max_recipients_per_message: int = option(
        1000, zero="no limit", doc="Maximum recipients per transaction.", ge=0, scopes=INBOUND
    )
    max_recipients_per_connection: int = option(
        0, zero="no limit", doc="Maximum recipients per session.", ge=0, scopes=INBOUND
    )
    max_receptions_per_connection: int = option(
        0, zero="no limit", doc="Maximum messages per session.", ge=0, scopes=INBOUND
    )
    max_received_headers: int = option(
        50, zero="refused", doc="Received fields above which a message is rejected as a mail loop.", ge=1
    )

    authentication: Literal["no", "upstream", "file", "datasource"] = option(
        "no",
        doc="Offer AUTH. The next hop, Authentication_File, or a datasource (Authentication_Scheme) checks passwords. "
        "Authenticated clients may relay.",
        scopes=INBOUND,
    )
    authentication_file: ConfigPath | None = option(
        None, doc="File of users and password hashes, made with `ringback password`.", secret=True, scopes=INBOUND
    )
    authentication_file_form: Literal["hashes", "clear", "digest"] = option(
        "hashes",
        doc="What Authentication_File contains: hashes made with `ringback password`; `clear`, lines of user:password "
        "(`file://` in Momentum); or `digest`, lines of user:realm:MD5 (`digest://`).",
        scopes=INBOUND,
    )
    authentication_scheme: str = option(
        "",
        doc="With `datasource`: the scheme of `auth_ds` that checks logins. See datasources.md.",
        scopes=INBOUND,
    )
    authentication_without_tls: bool = option(
        False, doc="Offer AUTH without TLS as well. Passwords can then be read on the network.", scopes=INBOUND
    )

    authentication_failure_rate: ThrottleValue = option(
        Throttle(10, 600),
        zero="no limit",
        doc="Rate of failed logins, per client network and per user from that network, above which AUTH gets "
        "454 4.7.0. Networks with a successful login within the last day are exempt.",
        scopes=INBOUND,
    )

    multi_recipient: Literal["one_at_a_time", "dsn"] = option(
        "one_at_a_time",
        doc="If recipients may get different verdicts after the dot: accept one recipient per message, or accept "
        "several and report rejections to the sender in a DSN.",
        scopes=INBOUND,
    )

    require_ehlo: bool = option(False, doc="Reject MAIL FROM before EHLO or HELO.", scopes=INBOUND)
    allow_null_envelope_sender: bool = option(True, doc="Accept bounces: MAIL FROM:<>.", scopes=INBOUND)
    allow_ip_literal: bool = option(True, doc="Accept addresses such as user@[192.0.2.1].", scopes=INBOUND)
    allow_trailing_whitespace_in_commands: bool = option(
        True, doc="Accept commands with trailing spaces, which some old clients send.", scopes=INBOUND
    )
    domain_for_unqualified_recipient_addresses: DomainValue = option(
        "",
        doc="Domain to add to recipients without one. If not set, such recipients are rejected.",
        scopes=INBOUND,
    )
    domain_for_unqualified_sender_address: DomainValue = option(
        "",
        doc="Domain to add to senders without one. If not set, such senders are rejected.",
        scopes=INBOUND,
    )
    strict_addresses: bool = option(
        False,
        doc="Reject syntax in MAIL and RCPT that RFC 5321 forbids instead of repairing it: addresses without brackets "
        "or domain, with spaces around them, or with misplaced dots.",
        scopes=INBOUND,
    )

    @property
    def relaying_timeout(self) -> float:
        """How long the next hop may stall while we send a message. Never unlimited, unlike Data_Timeout."""
        return self.data_timeout or LONGEST_AT_DOT

    @property
    def results_name(self) -> str:
        """The name in Authentication-Results."""
        return self.authserv_id or self.received_hostname or self.hostname

    @property
    def endless(self) -> str:
        """Why a session or a message might never end; empty if all of them end."""
        if not self.session_time and not self.idle_time:
            return "Idle_Time and Session_Time are both 0, so an idle session would never end: set one of them"
        if not (self.session_time or self.data_timeout or self.min_data_rate):
            return (
                "Data_Timeout, Min_Data_Rate and Session_Time are all 0, so a message might never end: set one of them"
            )
        return ""
