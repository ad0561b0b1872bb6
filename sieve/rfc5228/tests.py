"""The tests of standard Sieve that differ from Sieve++."""

from __future__ import annotations

from sieve.functions.headers import addresses_in
from sieve.library import sieve_function
from sieve.message.addresses import AddressPart, part_of
from sieve.message.encoded_words import decoded_words
from sieve.phases import Need
from sieve.run.content import judged
from sieve.run.patience import Soon
from sieve.run.runtime import Frame


def bodies(frame: Frame, names: tuple[str, ...], index: int | None, *, last: bool) -> list[str]:
    """Return the bodies of the named fields: all of them, or the one with this number for each name (RFC 5260, 6)."""
    message = frame.host.message
    texts: list[str] = []
    for name in names:
        fields = [] if message is None else list(message.header(name))
        if index is not None:
            fields = fields[::-1] if last else fields
            fields = fields[index - 1 : index] if index > 0 else []
        texts += fields
    return texts


@sieve_function(dialect="rfc5228", needs=Need.HEADERS)
def header(
    frame: Frame, header_names: tuple[str, ...], *, index: int | None = None, last: bool = False
) -> Soon[tuple[str, ...]]:
    """Compare the bodies of fields, with encoded words decoded (RFC 5228, 5.7)."""
    found = tuple(bodies(frame, header_names, index, last=last))
    return judged(found, lambda texts: tuple(decoded_words(text).strip(" \t") for text in texts))


@sieve_function(dialect="rfc5228", needs=Need.HEADERS)
def address(
    frame: Frame,
    header_list: tuple[str, ...],
    *,
    index: int | None = None,
    last: bool = False,
    part: AddressPart = AddressPart.ALL,
) -> Soon[tuple[str, ...]]:
    """Compare the addresses in fields (RFC 5228, 5.1)."""
    found = tuple(bodies(frame, header_list, index, last=last))
    return judged(found, lambda texts: addresses_in(texts, part))


@sieve_function(dialect="rfc5228", needs=Need.HEADERS)
def exists(frame: Frame, header_names: tuple[str, ...]) -> bool:
    """Tell whether the message has a field for each of these names (RFC 5228, 5.5)."""
    return all(bodies(frame, (name,), None, last=False) for name in header_names)


@sieve_function(dialect="rfc5228", extension="envelope", choices={"envelope_part": ("from", "to")})
def envelope(frame: Frame, envelope_part: tuple[str, ...], *, part: AddressPart = AddressPart.ALL) -> tuple[str, ...]:
    """Compare the sender (`from`) or the recipients (`to`) of the envelope (RFC 5228, 5.4)."""
    addresses: list[str] = []
    for name in envelope_part:
        known = {"from": (frame.host.sender,), "to": tuple(frame.host.recipients)}
        addresses += known.get(name.lower(), ())
    parts = [part_of(address, part) if address else "" for address in addresses]
    return tuple(piece for piece in parts if piece is not None)


@sieve_function(dialect="rfc5228", needs=Need.BODY, one_of=("over", "under"))
def size(frame: Frame, *, over: int | None = None, under: int | None = None) -> bool:
    """Compare the size of the message in octets (RFC 5228, 5.9)."""
    octets = 0 if frame.host.content is None else frame.host.content.size
    return octets > over if over is not None else under is not None and octets < under


@sieve_function(dialect="rfc5228", extension="variables")
def string(source: tuple[str, ...]) -> tuple[str, ...]:
    """Compare strings, usually with variables in them (RFC 5229, 5)."""
    return source
