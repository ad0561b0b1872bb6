"""How long a client waits for an answer, which bounds our own waiting for the MTA behind (RFC 5321 4.5.3.2)."""

from __future__ import annotations

LONGEST_UP_TO_RCPT = 270.0
LONGEST_AT_DOT = 540.0
"""Seconds until a client hears of a recipient, and of its message: less than its patience."""
