"""The envelope: who sends, and to whom."""

from __future__ import annotations

from sieve.addresses import part_of
from sieve.library import AddressPart, sieve_function
from sieve.runtime import Frame


@sieve_function(first=True)
def envelope(frame: Frame, part_name: tuple[str, ...], *, part: AddressPart = AddressPart.ALL) -> tuple[str, ...]:
    """Return the sender (`"from"`) or the recipients (`"to"`), without angle brackets.

    An assignment takes the first, a test tries all. `:localpart`, `:domain`, `:user` and `:detail` take a part of
    each address. The null sender is empty.
    """
    found: list[str] = []
    for name in part_name:
        lowered = name.lower()
        if lowered == "from":
            found.append(frame.host.sender)
        elif lowered == "to":
            found.extend(frame.host.recipients)
    if part is AddressPart.ALL:
        return tuple(found)
    return tuple(each for each in (part_of(address, part) for address in found) if each is not None)
