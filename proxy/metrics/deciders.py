"""Who may decide about a command: the first words of a reply's `by` that do not name a stanza of a module.

Metrics, inbound_audit and `ringback why` read this table, and `tests/proxy/metrics/test_deciders.py` finds a word that
is not in it. A module's word is the name of its stanza: metrics count it under the type of the module.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Decider:
    """One word."""

    source: str
    """The source in `ringback_refusals_total`."""
    is_policy: bool = True
    """Whether it decides about the client or its mail; `inbound_audit` counts only such refusals as rejections."""


LIMITS = (
    "connection_rate_per_client", "message_rate_per_client", "recipient_rate_per_client", "tls_rate_per_client",
    "authentication_failure_rate", "max_connections_per_client", "listener_sessions", "service_sessions",
    "max_receptions_per_connection", "max_recipients_per_message", "max_recipients_per_connection", "multi_recipient",
    "max_message_size", "max_header_size", "max_received_headers", "max_outbound_connections", "outbox_size",
    "idle_time", "inbound_throttle_messages",
)  # fmt: skip
"""Options that `ringback_limit_hits_total` counts, too."""

DECIDERS: Mapping[str, Decider] = {
    **{name: Decider("limit") for name in LIMITS},
    "idle_time": Decider("limit", is_policy=False),
    "too_many_errors": Decider("limit"),
    "outbox_size": Decider("outbox"),
    "outbox": Decider("outbox"),
    "relay_domains": Decider("access"),
    "xclient_hosts": Decider("access"),
    "proxy_protocol_networks": Decider("access"),
    "refuse_lists": Decider("list"),
    "list": Decider("list"),
    "authentication": Decider("authentication"),
    "authentication_without_tls": Decider("authentication"),
    "too_many_passwords": Decider("authentication"),
    "script": Decider("script"),
    "handler": Decider("python"),
    "protocol": Decider("protocol", is_policy=False),
    "require_ehlo": Decider("protocol"),
    "early_talker": Decider("protocol"),
    "upstream": Decider("upstream", is_policy=False),
    "routes": Decider("upstream", is_policy=False),
    "": Decider("upstream", is_policy=False),
    "operator": Decider("operator", is_policy=False),
    "shutdown": Decider("shutdown", is_policy=False),
    "ringback": Decider("ringback", is_policy=False),
    "on_store_error": Decider("ringback", is_policy=False),
}
"""An empty word: the reply is the next hop's."""


def decider_of(by: str) -> Decider | None:
    """Return who decided; None if it is a module."""
    return DECIDERS.get(by.partition(" ")[0])
