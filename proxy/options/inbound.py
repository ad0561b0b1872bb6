"""The options for clients: listening, TLS with them, relaying, times, limits, AUTH, and what is taken."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from functools import cache
from typing import Literal

from config.schema.options import option
from config.schema.values import Bytes, ConfigPath, DomainPatterns, Network, Seconds
from proxy.base.apart import ChildTask, Failed
from proxy.options.client_patience import LONGEST_AT_DOT
from proxy.options.names import BannerValue, DomainValue, OtherNameValue, OwnNameValue
from proxy.options.scopes import INBOUND, LISTENING
from proxy.options.throttle import NO_THROTTLE, Throttle, ThrottleValue
from proxy.options.tls import TlsOptions

OWN_NAME_SECONDS = 5.0
"""For the system's resolver to say the machine's full name; its short name is taken then."""


@cache
def own_name() -> str:
    """Return the machine's own full name, asked for once: in a child, since the system's resolver may hang."""
    try:
        return ChildTask(lambda _tell: socket.getfqdn(), OWN_NAME_SECONDS).wait()
    except (Failed, OSError):
        return socket.gethostname()


class InboundOptions(TlsOptions):
    """What holds for clients: the global scope, a listener, an address, or a network of clients."""

    proxy_protocol_networks: tuple[Network, ...] = option(
        (),
        doc="Load balancers: each of their connections must begin with a PROXY header, which names the client.",
        scopes=LISTENING,
    )
    xclient_hosts: tuple[Network, ...] = option(
        (), doc="Networks that may say who their client is, by XCLIENT.", scopes=LISTENING
    )
    implicit_tls: bool = option(
        False, doc="Speak TLS from the first byte, as on port 465 (RFC 8314).", scopes=LISTENING
    )

    starttls_injection_policy: Literal["reject", "ignore", "allow"] = option(
        "reject",
        doc="What was sent behind STARTTLS before TLS: refuse and close, or drop it; `allow` is not done, it rejects.",
        scopes=INBOUND,
    )
    reconfig_message: str = option(
        "4.3.2 Reconfiguration in progress",
        doc="What a client between two commands hears with 421 on a reload.",
        scopes=LISTENING,
    )

    hostname: OwnNameValue = option(
        default_factory=own_name, doc="Name in the banner, in Received and in our EHLO; the machine's unless set."
    )
    tls_server_names: Mapping[str, ConfigPath] = option(
        default_factory=dict,
        doc="Other certificates by the name that a client asks for, each a PEM file with its key.",
        scopes=INBOUND,
    )
    tls_minimum_version: Literal["TLSv1.2", "TLSv1.3"] = option(
        "TLSv1.2", doc="Oldest TLS that is spoken with clients.", scopes=INBOUND
    )
    tls_client_ca: ConfigPath | None = option(
        None,
        doc="Authorities that clients' certificates may come from, a PEM file; set, clients are asked for one.",
        scopes=INBOUND,
    )
    tls_verify_mode: Literal["optional", "require", "none"] = option(
        "optional",
        doc="Whether the handshake fails without a certificate, or none is asked for; one that is not valid is for "
        "scripts to judge.",
        scopes=INBOUND,
    )
    tls_verified_peer_can_relay: bool = option(
        False, doc="A client whose certificate is valid may send to any domain.", scopes=INBOUND
    )
    banner_hostname: OtherNameValue = option("", doc="Name in the banner instead of Hostname.", scopes=INBOUND)
    static_banner: BannerValue = option("", doc="The whole text of the banner, after the code.", scopes=INBOUND)
    received_hostname: OtherNameValue = option("", doc="Name in Received instead of Hostname.", scopes=INBOUND)
    relay_domains: DomainPatterns = option(
        DomainPatterns(()), doc="Recipient domains that mail is taken for, from anybody; `*.x` takes subdomains."
    )
    relay_hosts: tuple[Network, ...] = option((), doc="Client networks that may send to any domain.", scopes=INBOUND)
    relay_for_sending_domains: DomainPatterns = option(
        DomainPatterns(()),
        doc="Sender domains that may send to any domain; a sender is easily forged.",
        scopes=INBOUND,
    )
    open_relay: bool = option(False, doc="Take mail from anybody to anybody.", scopes=INBOUND)

    idle_time: Seconds = option(
        300.0,
        zero="no limit",
        doc="For the client's next command (RFC 5321 section 4.5.3.2.7); with 0 only Session_Time ends the session.",
        unit="seconds",
        scopes=INBOUND,
    )
    data_timeout: Seconds = option(
        120.0,
        zero="no limit",
        doc="For the client's next bytes within a message; Min_Data_Rate, else Session_Time, ends one with 0.",
        unit="seconds",
        scopes=INBOUND,
    )
    min_data_rate: int = option(
        100,
        zero="off",
        doc="Slowest within a message, after half a minute's waiting.",
        unit="octets a second",
        ge=0,
        scopes=INBOUND,
    )
    session_time: Seconds = option(
        7200.0, zero="no limit", doc="A session ends between commands after so long.", unit="seconds", scopes=INBOUND
    )
    stress_sessions: int = option(
        0,
        zero="off",
        doc="Sessions on all addresses, a worker, beyond which clients have Stress_Idle_Time only.",
        ge=0,
        scopes=INBOUND,
    )
    stress_idle_time: Seconds = option(
        10.0, zero="off", doc="Idle_Time under stress; 0: no shorter one.", unit="seconds", scopes=INBOUND
    )
    max_connections_per_client: int = option(
        0,
        zero="no limit",
        doc="Sessions at once of one client, an IPv6 /64 being one; relay hosts are exempt.",
        ge=0,
        scopes=INBOUND,
    )
    connection_rate_per_client: ThrottleValue = option(
        NO_THROTTLE, zero="no limit", doc="Sessions that one client may begin; relay hosts are exempt.", scopes=INBOUND
    )
    message_rate_per_client: ThrottleValue = option(
        NO_THROTTLE, zero="no limit", doc="MAIL commands of one client; relay hosts are exempt.", scopes=INBOUND
    )
    recipient_rate_per_client: ThrottleValue = option(
        NO_THROTTLE, zero="no limit", doc="RCPT commands of one client; relay hosts are exempt.", scopes=INBOUND
    )
    tls_rate_per_client: ThrottleValue = option(
        NO_THROTTLE, zero="no limit", doc="STARTTLS commands of one client; relay hosts are exempt.", scopes=INBOUND
    )
    listener_sessions: int = option(
        0, zero="no limit", doc="Sessions at once on the address, a worker.", ge=0, scopes=INBOUND
    )
    service_sessions: int = option(
        0, zero="no limit", doc="Sessions at once on all addresses, a worker.", ge=0, scopes=INBOUND
    )
    max_message_size: Bytes = option(
        0, zero="no limit", doc="Octets of a message.", unit="octets", aliases=("message_size",), scopes=INBOUND
    )
    max_header_size: Bytes = option(
        1_048_576,
        zero="no limit",
        doc="Octets of a message's header section, which is held in memory.",
        unit="octets",
        scopes=INBOUND,
    )
    max_recipients_per_message: int = option(
        1000, zero="no limit", doc="Recipients of one transaction.", ge=0, scopes=INBOUND
    )
    max_recipients_per_connection: int = option(
        0, zero="no limit", doc="Recipients of one session.", ge=0, scopes=INBOUND
    )
    max_receptions_per_connection: int = option(
        0, zero="no limit", doc="Messages of one session.", ge=0, scopes=INBOUND
    )
    max_received_headers: int = option(50, zero="refused", doc="Received fields beyond which a message loops.", ge=1)

    authentication: Literal["no", "upstream", "file"] = option(
        "no",
        doc="Offer AUTH, which opens relaying; passwords are judged by the MTA behind, or by Authentication_File.",
        scopes=INBOUND,
    )
    authentication_file: ConfigPath | None = option(
        None, doc="Users with their passwords' hashes, made by `ringback password`.", secret=True, scopes=INBOUND
    )
    authentication_without_tls: bool = option(
        False, doc="Offer AUTH in the clear, too: anybody on the way can read the passwords.", scopes=INBOUND
    )

    authentication_failure_rate: ThrottleValue = option(
        Throttle(10, 600),
        zero="no limit",
        doc="Wrong passwords of one client network, or of one user from there, beyond which AUTH is 454 4.7.0; "
        "a network that logged in within a day is exempt; 0: no limit.",
        scopes=INBOUND,
    )

    multi_recipient: Literal["one_at_a_time", "dsn"] = option(
        "one_at_a_time",
        doc="Where a verdict on one recipient comes after the dot: take one recipient a message, or several, "
        "and report refusals to the sender.",
        scopes=INBOUND,
    )

    require_ehlo: bool = option(False, doc="Refuse MAIL FROM before EHLO or HELO.", scopes=INBOUND)
    allow_null_envelope_sender: bool = option(True, doc="Take bounces: MAIL FROM:<>.", scopes=INBOUND)
    allow_ip_literal: bool = option(True, doc="Take addresses such as user@[192.0.2.1].", scopes=INBOUND)
    allow_trailing_whitespace_in_commands: bool = option(
        True, doc="Take commands that end in blanks, as some old clients send them.", scopes=INBOUND
    )
    domain_for_unqualified_recipient_addresses: DomainValue = option(
        "",
        doc="Domain added to a recipient without one; such recipients are refused unless it is set.",
        scopes=INBOUND,
    )
    domain_for_unqualified_sender_address: DomainValue = option(
        "",
        doc="Domain added to a sender without one; such senders are refused unless it is set.",
        scopes=INBOUND,
    )
    strict_addresses: bool = option(
        False,
        doc="Refuse what RFC 5321 does not allow in MAIL and RCPT, in place of repairing it: addresses without "
        "brackets or domain, with blanks around them, with dots out of place.",
        scopes=INBOUND,
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
