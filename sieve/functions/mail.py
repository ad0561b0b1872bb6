"""Messages that a script makes itself."""

from __future__ import annotations

from sieve.library import sieve_function
from sieve.phases import Need
from sieve.run import reasons
from sieve.run.addresses import address_of
from sieve.run.content import raw_message
from sieve.run.runtime import NO_REPLY, Frame
from sieve.run.values import ScriptError

MOST_RECIPIENTS = 100
"""Of one call: the addresses may come out of a stranger's message."""


def _checked(sender: str, recipients: tuple[str, ...]) -> tuple[str, tuple[str, ...]]:
    """Return the addresses of the sender and of the recipients, each once.

    Raises:
        ScriptError: one is no address, or there are too many.
    """
    if len(set(recipients)) > MOST_RECIPIENTS:
        raise ScriptError(reasons.too_many_recipients(MOST_RECIPIENTS))
    found = tuple(dict.fromkeys(address_of(each) for each in recipients))
    return address_of(sender) if sender else "", found


@sieve_function(needs=Need.BODY)
async def ec_forward(
    frame: Frame,
    sender_address: str,
    recipient_address: tuple[str, ...],
    text: str,
    subject: str | None = None,
    counter: str | None = None,
) -> None:
    """Forward the message: each recipient gets a new message of this text, with the original attached.

    Without a subject it is that of the original behind `Fwd:`. An empty sender is the null sender: nobody is told
    where the forward cannot be delivered. The script goes on, and decides about the message itself. The forward leaves
    when the message is accepted, or thrown away by `discard`; when this very script refuses the message it leaves as
    well. It waits in the outbox until the MTA behind has taken it, so `State_Directory` must be writable. What Ringback
    made itself and comes back is not forwarded again. A message that a program sent (`Auto-Submitted`, RFC 3834) is not
    forwarded to its own sender.
    """
    sender, recipients = _checked(sender_address, recipient_address)
    message = frame.host.message
    if subject is None:
        subject = "Fwd: " + next(iter(message.header("Subject") if message is not None else ()), "")
    frame.host.mail.forward(sender, recipients, text, subject.rstrip(), await raw_message(frame))
    frame.count(NO_REPLY, counter)


@sieve_function()
def generate_mail_raw(frame: Frame, from_addr: str, to_addr: tuple[str, ...], text: str) -> None:
    """Send a message that the script wrote whole: header fields, an empty line, the body.

    Of the fields that every message has, those that are missing are added, and `Auto-Submitted: auto-generated`, which
    keeps responders from answering. It leaves when the message in hand is accepted or discarded, or when this very
    script refuses; before MAIL it leaves at once. An empty sender is the null sender. Nothing is sent for a message
    that a program sent (`Auto-Submitted` with another value than `no`, RFC 3834), nor for one of Ringback's own.
    """
    sender, recipients = _checked(from_addr, to_addr)
    frame.host.mail.send(sender, recipients, text)
