"""Relay access: which mail is accepted. By default there are no relay domains and no relay hosts, so none is.

Source: RFC 5321 section 7.7, and the options Relay_Domains, Relay_Hosts, Relay_For_Sending_Domains, Open_Relay.
"""

from __future__ import annotations

from config.base.ip import any_holds
from proxy.mail.session import Path, Session
from proxy.options.inbound import InboundOptions


def may_send_anywhere(options: InboundOptions, client_ip: str) -> bool:
    """Whether the client is a relay host, or the relay is open to all."""
    if options.open_relay:
        return True
    return any_holds(options.relay_hosts, client_ip)


def is_trusted(session: Session) -> bool:
    """Whether a client may send to any domain without AUTH, because of its address or certificate."""
    options = session.options
    vouched_for = options.tls_verified_peer_can_relay and session.certificate_verified
    return vouched_for or may_send_anywhere(options, session.client_ip)


def admits(options: InboundOptions, session: Session, recipient: Path) -> bool:
    """Whether mail for the recipient is accepted from this client.

    A local part with a second address (`a%b@here`, `b!a@here`, `"a@b"@here`) is not accepted from untrusted clients:
    the next hop could take it for a route.
    """
    if session.can_relay or not recipient.domain:
        return True
    if options.relay_for_sending_domains and options.relay_for_sending_domains.matches(
        session.transaction.reverse_path.domain
    ):
        return True
    raw = recipient.raw  # no domain has these characters
    if b"%" in raw or b"!" in raw or raw.count(b"@") > 1:
        return False
    return options.relay_domains.matches(recipient.domain)
