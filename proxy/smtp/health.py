"""Health checks: connections of a load balancer, or from this machine, that bring no mail. Counted, not logged."""

from __future__ import annotations

import asyncio
import time

from config.base.ip import any_holds, read_address
from proxy.base.log import get_logger
from proxy.mail.session import Session
from proxy.options.inbound import InboundOptions

log = get_logger()

TELL_SECONDS = 60.0
"""How often the number is logged, if there were any."""

CHECKS_SAY = frozenset({"EHLO", "HELO", "NOOP", "RSET", "QUIT"})
"""The commands of a balancer's health check."""

LONGEST_CHECK = 10.0
"""Seconds that a health check takes at most."""


class HealthChecks:
    """The checks since they were logged last. The worker's event loop owns it."""

    __slots__ = ("_count", "_timer")

    def __init__(self) -> None:
        """Start with none."""
        self._count = 0
        self._timer: asyncio.TimerHandle | None = None

    def count(self) -> None:
        """Count one, and log the number within a minute."""
        self._count += 1
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(TELL_SECONDS, self.tell)

    def tell(self) -> None:
        """Log the number, if there were any."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._count:
            log.info("health_checks", checks=self._count)
            self._count = 0


def is_health_check(session: Session, own_options: InboundOptions, reason: str) -> bool:
    """Whether a session that has ended was a health check: a balancer's own, or one from this machine without EHLO."""
    tally, client = session.tally, session.client_ip
    if (
        tally.acted
        or session.via
        or reason not in {"quit", "client gone"}
        or time.monotonic() - tally.started > LONGEST_CHECK
    ):
        return False
    if any_holds(own_options.proxy_protocol_networks, client):
        return True
    return session.host_name is None and read_address(client).is_loopback
