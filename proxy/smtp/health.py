"""Which sessions are health checks: of a load balancer, or from this machine, without mail."""

from __future__ import annotations

import time

from config.base.ip import any_holds, read_address
from proxy.mail.session import Session
from proxy.options.inbound import InboundOptions

LONGEST_CHECK = 10.0
"""The longest duration of a health check, in seconds."""


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
