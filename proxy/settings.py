"""The global options of ecelerity.conf that Ringback acts on, each declared once: name, type, unit, default, meaning.

Binding, checking and the generated reference page follow from these declarations. Modules declare theirs in
`proxy.modules`. Outbound times are shorter than Momentum's: a live relay must answer before its own client gives up.
"""

from __future__ import annotations

import socket

from config import Bytes, DomainPatterns, Endpoint, Listeners, Network, Options, Seconds, option


def own_name() -> str:
    """Return the machine's own full name; it may ask the system's resolver, so never call it while serving."""
    return socket.getfqdn()


class CoreOptions(Options):
    """Options of the global scope."""

    esmtp_listener: Listeners = option(doc="Addresses and ports on which SMTP is spoken.")
    hostname: str = option(
        default_factory=own_name, doc="Name in the banner, in Received and in our EHLO; the machine's unless set."
    )
    relay_domains: DomainPatterns = option(
        DomainPatterns(()), doc="Recipient domains that mail is taken for, from anybody; `*.x` takes subdomains."
    )
    relay_hosts: tuple[Network, ...] = option((), doc="Client networks that may send to any domain.")
    gateway: Endpoint = option(doc="The MTA behind: a host name or an address.")
    remote_smtp_port: int = option(25, doc="Port of the MTA behind, where Gateway names none.", ge=1, le=65535)
    nameservers: tuple[Endpoint, ...] = option(
        (), doc="DNS servers, `address` or `address:port`; the system's unless set."
    )

    connect_timeout: Seconds = option(30.0, doc="To connect to the MTA behind and read its greeting.", unit="seconds")
    ehlo_timeout: Seconds = option(30.0, doc="For the answer to EHLO from the MTA behind.", unit="seconds")
    mailfrom_timeout: Seconds = option(60.0, doc="For the answer to MAIL FROM from the MTA behind.", unit="seconds")
    rcptto_timeout: Seconds = option(60.0, doc="For the answer to RCPT TO from the MTA behind.", unit="seconds")
    body_timeout: Seconds = option(540.0, doc="For the answer to the message from the MTA behind.", unit="seconds")
    rset_timeout: Seconds = option(10.0, doc="For the answer to RSET from the MTA behind.", unit="seconds")
    idle_timeout: Seconds = option(30.0, doc="An unused connection to the MTA behind is kept so long.", unit="seconds")
    max_outbound_connections: int = option(100, doc="Connections to the MTA behind, a worker.", ge=1)

    command_timeout: Seconds = option(
        300.0, doc="For the client's next command (RFC 5321 section 4.5.3.2.7).", unit="seconds"
    )
    data_timeout: Seconds = option(120.0, doc="For the client's next bytes within a message.", unit="seconds")
    max_message_size: Bytes = option(0, doc="Octets of a message; 0 sets no limit of ours.", unit="octets")
    max_recipients_per_message: int = option(1000, doc="Recipients of one transaction; 0 sets no limit.", ge=0)
    max_received_headers: int = option(50, doc="Received fields beyond which a message loops.", ge=1)
