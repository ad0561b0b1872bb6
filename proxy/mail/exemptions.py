"""Exemptions from checks of strangers: trusted clients, and recipients that everyone must be able to reach."""

from __future__ import annotations

from collections.abc import Container

from proxy.mail.session import Session


def recipient_is_exempt(session: Session, local_parts: Container[str]) -> bool:
    """Whether the current recipient is one that always gets mail, such as postmaster (RFC 5321 section 4.5.1)."""
    current = session.current_recipient
    return current is not None and current.path.local_part.lower() in local_parts


def all_are_exempt(session: Session, local_parts: Container[str]) -> bool:
    """Whether all accepted recipients always get mail. One who does not is reason enough to judge the message."""
    recipients = session.transaction.recipients
    for each in recipients:
        if each.path.local_part.lower() not in local_parts:
            return False
    return bool(recipients)
