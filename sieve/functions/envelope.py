"""Read and change the envelope: the sender and the recipients."""

from __future__ import annotations

from sieve.library import sieve_function
from sieve.message.addresses import AddressPart, part_of
from sieve.phases import Effect
from sieve.run.addresses import address_of
from sieve.run.runtime import NO_REPLY, Frame


@sieve_function(first=True, choices={"part_name": ("from", "to")})
def envelope(frame: Frame, part_name: tuple[str, ...], *, part: AddressPart = AddressPart.ALL) -> tuple[str, ...]:
    """Return the sender (`"from"`) or the recipients (`"to"`), without angle brackets.

    An assignment takes the first value; a test compares all of them. `:localpart`, `:domain`, `:user` and `:detail`
    select a part of each address. The null sender is empty. Addresses are normalized: no unnecessary quotes in the
    local part, the domain in lower-case A-labels.
    """
    addresses: list[str] = []
    for name in part_name:
        lowered = name.lower()
        if lowered == "from":
            addresses.append(frame.host.sender)
        elif lowered == "to":
            addresses.extend(frame.host.recipients)
    if part is AddressPart.ALL:
        return tuple(addresses)
    return tuple(piece for piece in (part_of(address, part) for address in addresses) if piece is not None)


@sieve_function(effect=Effect.MESSAGE)
def ec_rewrite_mailfrom(frame: Frame, address: str, counter: str | None = None) -> None:
    """Replace the envelope sender. An empty address is the null sender. The message itself does not change."""
    frame.host.envelope.set_sender(address_of(address) if address else "")
    frame.count(NO_REPLY, counter)


@sieve_function(effect=Effect.RECIPIENT, checks={"address": address_of})
def add_recipient(frame: Frame, address: str) -> None:
    """Add a recipient: a bare address, or one with a display name. The message itself does not change."""
    frame.host.envelope.copy(address_of(address))


@sieve_function(terminal=True, effect=Effect.RECIPIENT, checks={"address": address_of})
def redirect(frame: Frame, address: str) -> None:
    """Replace the recipient with another address, and end the phase.

    In a phase that is not about one recipient, such as `data`, the address replaces all recipients. Wins over a
    `discard` next to it.
    """
    _redirect(frame, address)
    frame.count(NO_REPLY, None)


@sieve_function(terminal=True, effect=Effect.RECIPIENT, checks={"address": address_of})
def ec_redirect(frame: Frame, address: str, counter: str | None = None) -> None:
    """Replace the recipient with another address, like `redirect`. Also increases the counter, if given."""
    _redirect(frame, address)
    frame.count(NO_REPLY, counter)


def _redirect(frame: Frame, address: str) -> None:
    # Set this even if the address is invalid: an error must not lose mail (RFC 5228, 2.10.6).
    frame.kept = True
    frame.host.envelope.redirect(address_of(address))
    frame.ended = True
