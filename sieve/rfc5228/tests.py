"""The tests of standard Sieve that differ from Sieve++."""

from __future__ import annotations

from sieve.functions.headers import addresses_in
from sieve.library import Counts, sieve_function
from sieve.message.addresses import AddressPart, mailboxes, part_of
from sieve.message.encoded_words import decoded_words
from sieve.message.spelling import canonical_in_field, unquoted
from sieve.phases import Need
from sieve.rfc5228.checking import ADDRESS_FIELDS
from sieve.run import reasons
from sieve.run.content import judged
from sieve.run.patience import Soon
from sieve.run.runtime import Frame
from sieve.run.values import ScriptError, as_whole

_AS_WRITTEN = frozenset({AddressPart.ALL, AddressPart.DOMAIN})


def positive(number: str) -> int:
    """Return the number of a field.

    Raises:
        ScriptError: it is 0.
    """
    counted = as_whole(number)
    if counted < 1:
        raise ScriptError(reasons.must_be_positive(":index"))
    return counted


def bodies(frame: Frame, names: tuple[str, ...], index: int | None, *, last: bool) -> list[str]:
    """Return the bodies of the named fields: all of them, or the one with this number.

    Fields with several names are counted together, in the order of the names (RFC 5260, 6).
    """
    message = frame.host.message
    fields = [] if message is None else [body for name in names for body in message.header(name)]
    if index is None:
        return fields
    fields = fields[::-1] if last else fields
    return fields[index - 1 : index] if index > 0 else []


@sieve_function(dialect="rfc5228", needs=Need.HEADERS, only_with={"last": "index"}, checks={"index": positive})
def header(
    frame: Frame, header_names: tuple[str, ...], *, index: int | None = None, last: bool = False
) -> Soon[tuple[str, ...]]:
    """Compare the bodies of fields, with encoded words decoded (RFC 5228, 5.7)."""
    found = tuple(bodies(frame, header_names, index, last=last))
    return judged(found, lambda texts: tuple(decoded_words(text).strip(" \t") for text in texts))


@sieve_function(dialect="rfc5228", needs=Need.HEADERS, only_with={"last": "index"}, checks={"index": positive})
def address(
    frame: Frame,
    header_list: tuple[str, ...],
    *,
    index: int | None = None,
    last: bool = False,
    part: AddressPart = AddressPart.ALL,
) -> Soon[tuple[str, ...]]:
    """Compare the addresses in fields (RFC 5228, 5.1). Fields that do not contain addresses match nothing."""
    names = tuple([name for name in header_list if name.lower() in ADDRESS_FIELDS])
    found = tuple(bodies(frame, names, index, last=last))
    return judged(found, lambda texts: tuple([each for text in texts for each in _addresses(text, part)]))


def _addresses(body: str, part: AddressPart) -> tuple[str, ...]:
    """Return a part of each address. What is not an address has no local part and no domain (RFC 5228, 2.7.4)."""
    if part is AddressPart.ALL:
        return addresses_in((body,), part) or ("",)
    written = [(address, address.rpartition("@")) for _, address in mailboxes(body)]
    parts = [_part(canonical_in_field(address), part) for address, (local, _, domain) in written if local and domain]
    return tuple([address for address in parts if address is not None])


def _part(address: str, part: AddressPart) -> str | None:
    """Return a part of an address. Quotes are not part of what they quote (RFC 5322, 3.2.4)."""
    found = part_of(address, part)
    return found if found is None or part in _AS_WRITTEN else unquoted(found)


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
    parts = [_part(address, part) if address else "" for address in addresses]
    return tuple(piece for piece in parts if piece is not None)


@sieve_function(dialect="rfc5228", needs=Need.BODY, one_of=("over", "under"))
def size(frame: Frame, *, over: int | None = None, under: int | None = None) -> bool:
    """Compare the size of the message in octets (RFC 5228, 5.9)."""
    octets = 0 if frame.host.content is None else frame.host.content.size
    return octets > over if over is not None else under is not None and octets < under


@sieve_function(dialect="rfc5228", extension="variables", counts=Counts.NOT_EMPTY)
def string(source: tuple[str, ...]) -> tuple[str, ...]:
    """Compare strings, usually with variables in them (RFC 5229, 5). An empty string counts as 0."""
    return source
