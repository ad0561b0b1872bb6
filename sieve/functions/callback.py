"""Asking a sender's own mail server whether the sender exists."""

from __future__ import annotations

from sieve.library import sieve_function
from sieve.message.addresses import address_in
from sieve.run.runtime import Frame


@sieve_function(module="smtp_cbv")
async def smtp_callback_verify(frame: Frame, email_address: str, sender_address: str | None = None) -> tuple[str, ...]:
    """Ask the mail exchanger of an address whether it would take mail for it.

    Returns `[status, message]`: the status is `pass`, `fail`, `transient` or `error`, the message the exchanger's
    full answer. With a sender address the question is asked in its name instead of the configured one. An address
    that is empty or malformed is an `error`, so that a bounce, whose sender is empty, stays deliverable.
    """
    address, sender = address_in(email_address), sender_address and address_in(sender_address)
    if address is None or (sender_address and sender is None):
        return ("error", "not a mail address")
    answer = await frame.host.callback(address, sender)
    return (answer.status, answer.message)
