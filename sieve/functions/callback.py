"""Ask a sender's own mail server whether the sender exists."""

from __future__ import annotations

from collections.abc import Awaitable

from sieve.host import CallbackAnswer
from sieve.library import sieve_function
from sieve.message.addresses import address_in
from sieve.run.patience import Soon
from sieve.run.runtime import Frame


@sieve_function(module="smtp_cbv")
def smtp_callback_verify(frame: Frame, email_address: str, sender_address: str | None = None) -> Soon[tuple[str, ...]]:
    """Ask the mail exchanger of an address whether it accepts mail for the address.

    Returns `[status, message]`. The status is `pass`, `fail`, `transient` or `error`; the message is the exchanger's
    full reply. A sender address replaces the configured probe sender. For an empty or malformed address the status is
    `error`, so that bounces, whose sender is empty, stay deliverable.
    """
    is_sender = email_address == frame.host.sender  # SMTP's grammar has read it
    address = email_address if is_sender else address_in(email_address)
    sender = sender_address and address_in(sender_address)
    if not address or (sender_address and sender is None):
        return ("error", "not a mail address")
    answer = frame.host.callback(address, sender)
    return (answer.status, answer.message) if isinstance(answer, CallbackAnswer) else _awaited(answer)


async def _awaited(answer: Awaitable[CallbackAnswer]) -> tuple[str, ...]:
    found = await answer
    return (found.status, found.message)
