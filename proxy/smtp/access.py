"""Who may send where: mail is taken for the relay domains, and from the relay hosts. By default nothing is taken.

Source: RFC 5321 section 7.7 and the Relay_Domains, Relay_Hosts options.
"""

from __future__ import annotations

import ipaddress
from functools import lru_cache

from config import DomainPatterns, Network
from proxy.session import Path, Session


class RelayControl:
    """Decides by the client's address and the recipient's final domain."""

    def __init__(self, domains: DomainPatterns, hosts: tuple[Network, ...]) -> None:
        """Take Relay_Domains and Relay_Hosts."""
        self._domains = domains
        self._hosts = hosts
        self._trusts = lru_cache(maxsize=4096)(self._trusts_address)

    def trusts(self, session: Session) -> bool:
        """Whether the client may send anywhere: its address is among the relay hosts."""
        return bool(self._hosts) and self._trusts(session.client_ip)

    def _trusts_address(self, address: str) -> bool:
        ip = ipaddress.ip_address(address.partition("%")[0])
        if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped is not None:
            ip = ip.ipv4_mapped
        return any(ip.version == network.version and ip in network for network in self._hosts)

    def admits(self, session: Session, recipient: Path) -> bool:
        """Whether mail for the recipient is taken from this client.

        A stranger's local part may not carry a second address (`a%b@here`, `b!a@here`, `"a@b"@here`): the MTA behind
        could take it for a route.
        """
        if session.can_relay or not recipient.domain:
            return True
        if any(sign in recipient.local_part for sign in "%!@"):
            return False
        return self._domains.matches(recipient.domain)
