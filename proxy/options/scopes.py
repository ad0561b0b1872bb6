"""The scopes beside the global one where options may stand, as their declarations name them."""

from __future__ import annotations

LISTENING = ("esmtp_listener", "listener", "listen")
"""What holds for an address, whoever its client is."""

INBOUND = (*LISTENING, "peer")
OUTBOUND = ("binding_group", "binding", "domain")
BOTH = INBOUND + OUTBOUND
