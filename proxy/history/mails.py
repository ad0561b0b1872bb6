"""A fast reader for the two events that make up nearly all lines."""

from __future__ import annotations

import msgspec


class Mail(msgspec.Struct, gc=False):
    """A `message` or a `recipient`, as far as it becomes a row."""

    timestamp: str
    session: str
    transaction: str
    client: str
    helo: str
    tls: str
    cipher: str
    user: str
    sender: str
    phase: str
    disposition: str
    decided_by: str
    reply: str
    upstream: str
    taken_by: str
    queue_id: str
    callback_status: str = ""
    callback_reason: str = ""
    callback_text: str = ""
    recipient: str = ""
    recipients: list[str] = []
    recipient_count: int = 0
    message_id: str = ""
    size: int = 0
    client_ms: float = 0.0
    policy_ms: float = 0.0
    callback_ms: float = 0.0
    upstream_ms: float = 0.0


decode_mail = msgspec.json.Decoder(Mail).decode
