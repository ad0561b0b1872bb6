"""The message's header section."""

from __future__ import annotations

from sieve.library import sieve_function
from sieve.phases import Need
from sieve.runtime import Frame


@sieve_function(needs=Need.HEADERS, first=True)
def header(frame: Frame, header_names: tuple[str, ...]) -> tuple[str, ...]:
    """Compare the bodies of all fields with one of these names: `header :contains "subject" "offer"`."""
    message = frame.host.message
    if message is None:
        return ()
    return tuple(body.strip(" \t") for name in header_names for body in message.header(name))
