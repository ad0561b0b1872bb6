"""Properties of the message and its transaction."""

from __future__ import annotations

from sieve.library import sieve_function
from sieve.run.runtime import Frame


@sieve_function()
def ec_get_message_code(frame: Frame) -> str:
    """Return the reply that the script has set so far, as a complete SMTP reply with its line end."""
    *others, last = (frame.text or "OK").split("\n")
    return "".join([*(f"{frame.code}-{line}\r\n" for line in others), f"{frame.code} {last}\r\n"])


@sieve_function()
def ec_get_message_creation_time(frame: Frame) -> int:
    """Return when the message's transaction began, in whole seconds since 1970."""
    return int(frame.host.transaction.created)


@sieve_function()
def ec_get_message_id(frame: Frame) -> str:
    """Return the server's id for the message."""
    return frame.host.transaction.id


@sieve_function()
def ec_get_message_mailfrom(frame: Frame) -> str:
    """Return the sender as an SMTP command: `MAIL FROM:<someone@example.com>`."""
    return f"MAIL FROM:<{frame.host.sender}>"


@sieve_function()
def ec_get_message_rcptto(frame: Frame) -> str:
    """Return the first recipient as an SMTP command: `RCPT TO:<someone@example.com>`."""
    return f"RCPT TO:<{next(iter(frame.host.recipients), '')}>"


@sieve_function()
def ec_get_message_num_retries() -> int:
    """Return the number of delivery retries: always 0, because a message is relayed while its client waits."""
    return 0


@sieve_function()
def ec_get_message_protocol() -> str:
    """Return the protocol that the message was received with: always `ESMTP`.

    This is what Momentum calls its SMTP listeners. With TLS, after AUTH and after HELO it is `ESMTP` too. Use
    `vctx_conn "tls"` and `vctx_conn "auth_user"` instead.
    """
    return "ESMTP"


@sieve_function()
def ec_get_message_received_from(frame: Frame) -> str:
    """Return the client's IP address."""
    return frame.host.connection.client.address


@sieve_function()
def ec_get_message_received_from_port(frame: Frame) -> int:
    """Return the client's port."""
    return frame.host.connection.client.port


@sieve_function()
def ec_get_message_received_via(frame: Frame) -> str:
    """Return the local IP address that received the message."""
    return frame.host.connection.local.address


@sieve_function()
def ec_get_message_received_via_port(frame: Frame) -> int:
    """Return the local port that received the message."""
    return frame.host.connection.local.port


@sieve_function()
def ec_get_message_size(frame: Frame) -> str:
    """Return the size of the message in bytes, as a string; `0` before it has arrived."""
    content = frame.host.content
    return "0" if content is None else str(content.size)


@sieve_function()
def ec_get_message_spool_name() -> str:
    """Return the name of the message's spool file: always empty, because nothing is queued."""
    return ""
