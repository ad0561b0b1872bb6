"""Default timeouts towards the next hop, for options set to 0: the longest that end before the client gives up."""

from __future__ import annotations

from proxy.options.client_patience import LONGEST_AT_DOT, LONGEST_UP_TO_RCPT
from proxy.options.outbound import OutboundOptions

_UP_TO_RCPT = ("connect_timeout", "ehlo_timeout", "mailfrom_timeout", "rcptto_timeout")
_LEAST = 10.0
"""Least seconds for a step, however little the others leave."""


def patient(policy: OutboundOptions) -> OutboundOptions:
    """Return the options with every 0 replaced by a timeout."""
    open_ones = [name for name in _UP_TO_RCPT if not getattr(policy, name)]
    left = LONGEST_UP_TO_RCPT - sum(getattr(policy, name) for name in _UP_TO_RCPT)
    chosen = {name: max(left / len(open_ones), _LEAST) for name in open_ones}
    if not policy.body_timeout:
        chosen["body_timeout"] = LONGEST_AT_DOT
    if not policy.rset_timeout:
        chosen["rset_timeout"] = LONGEST_UP_TO_RCPT  # between transactions: no client waits for it
    return policy.model_copy(update=chosen) if chosen else policy
