"""Read and change the message's header section."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from sieve.library import Lines, sieve_function
from sieve.message.addresses import AddressPart, mailboxes, part_of
from sieve.message.spelling import canonical_in_field
from sieve.phases import Effect, Need
from sieve.run import reasons
from sieve.run.content import judged
from sieve.run.patience import Soon
from sieve.run.runtime import Frame
from sieve.run.values import ScriptError, flat

_FIELD_NAME = re.compile(r"[!-9;-~]{1,200}\Z")


def _bodies(frame: Frame, names: tuple[str, ...]) -> tuple[str, ...]:
    message = frame.host.message
    if message is None:
        return ()
    return tuple([body.strip(" \t") for name in names for body in message.header(name)])


@sieve_function(needs=Need.HEADERS, first=True)
def header(frame: Frame, header_names: tuple[str, ...]) -> tuple[str, ...]:
    """Compare the bodies of all fields with these names: `header :contains "subject" "offer"`."""
    return _bodies(frame, header_names)


@sieve_function(needs=Need.HEADERS)
def exists(frame: Frame, header_names: tuple[str, ...]) -> bool:
    """Tell whether the message has a field for each of these names."""
    message = frame.host.message
    return message is not None and all(message.header(name) for name in header_names)


@sieve_function(needs=Need.HEADERS, first=True)
def address(
    frame: Frame, header_element: tuple[str, ...], *, part: AddressPart = AddressPart.ALL
) -> Soon[tuple[str, ...]]:
    """Compare the addresses in these fields: `address :domain "from" "example.com"`.

    An assignment takes the first address; a test compares all of them. Display names, comments, group names and
    unnecessary quotes are dropped. A non-ASCII domain is compared as A-labels.
    """
    return judged(_bodies(frame, header_element), lambda bodies: addresses_in(bodies, part))


def addresses_in(bodies: Sequence[str], part: AddressPart) -> tuple[str, ...]:
    """Return a part of each address in these field bodies. Addresses without that part are left out."""
    addresses = [each for body in bodies for _, each in mailboxes(body)]
    found = (part_of(canonical_in_field(each), part) for each in addresses)
    return tuple([each for each in found if each is not None])


@sieve_function(needs=Need.HEADERS)
def ec_header_get(frame: Frame, field_name: str) -> tuple[str, ...]:
    """Return the bodies of all fields with this name, top to bottom."""
    return _bodies(frame, (field_name,))


def _checked(name: str) -> str:
    if _FIELD_NAME.match(name) is None:
        raise ScriptError(reasons.not_a_field_name(name))
    return name


@sieve_function(needs=Need.HEADERS, effect=Effect.MESSAGE)
def ec_header_add(frame: Frame, field_name: str, field_body: Lines, *, folded: bool = False) -> None:
    """Add a field at the top of the header section. The last field added comes first. Line breaks become spaces.

    With `:folded`, lines longer than 78 characters are folded at spaces. Ringback's own Received field stays above it.
    """
    frame.host.edits.add_header(_checked(field_name), flat(field_body), folded=folded)


@sieve_function(needs=Need.HEADERS, effect=Effect.MESSAGE)
def ec_header_delete(frame: Frame, field_name: str) -> None:
    """Remove every field with this name."""
    frame.host.edits.delete_header(_checked(field_name))


@sieve_function(needs=Need.HEADERS, effect=Effect.MESSAGE)
def ec_header_prefix(frame: Frame, field_name: str, field_body: Lines) -> None:
    """Insert text before the body of the first field with this name, if there is one."""
    _change(frame, field_name, lambda body: f"{flat(field_body)}{body}")


@sieve_function(needs=Need.HEADERS, effect=Effect.MESSAGE)
def ec_header_postfix(frame: Frame, field_name: str, field_body: Lines) -> None:
    """Append text to the body of the first field with this name, if there is one."""
    _change(frame, field_name, lambda body: f"{body}{flat(field_body)}")


def _change(frame: Frame, name: str, change: Callable[[str], str]) -> None:
    bodies = _bodies(frame, (_checked(name),))
    if bodies:
        frame.host.edits.change_header(name, 0, change(bodies[0]))


@sieve_function(needs=Need.HEADERS, effect=Effect.MESSAGE)
def ec_trace_context(frame: Frame) -> None:
    """Add a field `X-Trace-Context` with all context variables, for debugging. Recipients can read it."""
    pairs = [
        f"{kind}.{key}={value}"
        for kind, context in (("conn", frame.host.vctx_conn), ("mess", frame.host.vctx_mess))
        for key, value in sorted(context.items())
    ]
    frame.host.edits.add_header("X-Trace-Context", flat("; ".join(pairs)))
