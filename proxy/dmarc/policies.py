"""The DMARC policy of a domain that mail claims to come from, and nothing else.

A forger chooses the domain, so the question is bounded: at most nine look-ups, remembered, within one deadline.
"""

from __future__ import annotations

import asyncio

from config.base.domains import normal_domain
from proxy.dmarc.author import is_domain
from proxy.dmarc.record import Policy
from proxy.dmarc.walk import PolicyUnknown, published
from proxy.dns.remembered import Remembered

SECONDS = 5.0
"""For one policy."""


class DomainPolicies:
    """Asks for policies. One for each worker."""

    def __init__(self, lookups: Remembered) -> None:
        """`lookups` remembers."""
        self._lookups = lookups

    async def of(self, domain: str, seconds: float = SECONDS) -> Policy | None:
        """Return what a domain's owner asks for if mail fails; None if there is no record, or no clear answer."""
        name = normal_domain(domain)
        if not is_domain(name):
            return None
        try:
            async with asyncio.timeout(seconds):
                found = await published(name, self._lookups.ask)
        except (PolicyUnknown, TimeoutError):
            return None
        return None if found is None else found.policy
