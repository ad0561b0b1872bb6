"""How long clients wait for a reply, which limits how long we wait for the next hop (RFC 5321 4.5.3.2)."""

from __future__ import annotations

LONGEST_UP_TO_RCPT = 270.0
LONGEST_AT_DOT = 540.0
"""Seconds until the client gets the reply to RCPT, and to the message: just under the client timeouts."""
