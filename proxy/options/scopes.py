"""The scopes, besides the global one, that option declarations name."""

from __future__ import annotations

LISTENING = ("esmtp_listener", "listener", "listen")
"""Options of a listening address, for all clients."""

INBOUND = (*LISTENING, "peer")
OUTBOUND = ("binding_group", "binding", "domain")
BOTH = INBOUND + OUTBOUND
