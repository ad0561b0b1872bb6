"""Messages that a script sends."""

from __future__ import annotations

from sieve.library import sieve_function
from sieve.phases import Need
from sieve.run import reasons
from sieve.run.addresses import address_of
from sieve.run.content import raw_message
from sieve.run.runtime import NO_REPLY, Frame
from sieve.run.values import Hash, ScriptError, as_text

MOST_RECIPIENTS = 100
"""Limit per call, because the addresses can come from a message that a stranger wrote."""


def _checked(sender: str, recipients: tuple[str, ...]) -> tuple[str, tuple[str, ...]]:
    """Return the sender's address and the recipients' addresses without duplicates.

    Raises:
        ScriptError: one is not an address, or there are too many recipients.
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
    """Forward the message: each recipient gets a new message with this text and the original attached.

    The default subject is `Fwd:` followed by the original subject. An empty sender is the null sender: there is then no
    bounce if the forward cannot be delivered. The script continues and decides about the message itself. The forward is
    sent when the message is accepted or discarded, or when this script rejects it. It waits in the outbox until the
    next hop has accepted it, so `State_Directory` must be writable. Messages that Ringback created are not forwarded
    again. An automatic message (`Auto-Submitted`, RFC 3834) is not forwarded to its own sender.
    """
    sender, recipients = _checked(sender_address, recipient_address)
    message = frame.host.message
    if subject is None:
        subject = "Fwd: " + next(iter(message.header("Subject") if message is not None else ()), "")
    frame.host.mail.forward(sender, recipients, text, subject.rstrip(), await raw_message(frame))
    frame.count(NO_REPLY, counter)


@sieve_function()
def generate_mail_raw(frame: Frame, from_addr: str, to_addr: tuple[str, ...], text: str) -> None:
    """Send a complete message that the script wrote: header fields, an empty line, the body.

    Missing standard fields are added, as is `Auto-Submitted: auto-generated`, so that autoresponders do not reply. The
    new message is sent when the current message is accepted or discarded, or when this script rejects it; before MAIL
    it is sent at once. An empty sender is the null sender. Nothing is sent if the current message is automatic
    (`Auto-Submitted` with a value other than `no`, RFC 3834) or created by Ringback.
    """
    sender, recipients = _checked(from_addr, to_addr)
    frame.host.mail.send(sender, recipients, text)


@sieve_function()
async def ec_dkim_sign(frame: Frame, settings: Hash) -> None:
    """Sign the messages that this script has made so far (`generate_mail_raw`, `ec_forward`) with DKIM.

    The current message is never signed: Ringback passes on what others have signed. The hash needs `base_domain` or
    `signing_domain`, `selector`, and `keyfile` or `keybuf` (the key without its first and last line). `headerlist`
    names the fields, separated by colons: `name` is signed once, even if it is missing; `name?` only if it is present;
    `name+` as often as it is present; `name*` too, but at least once. `header_canon` and `body_canon` are
    `simple` or `relaxed`. `identity`, `lifetime` (hours) and `body_length_limit` are optional. `digest` may be
    `rsa-sha1`, but signatures are made with SHA-256, because verifiers no longer accept others (RFC 8301).
    """
    await frame.host.mail.sign({name: as_text(value) for name, value in settings.items()})
