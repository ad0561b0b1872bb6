"""Detect messages that came before (RFC 7352)."""

from __future__ import annotations

import hashlib

from sieve.library import sieve_function
from sieve.message.encoded_words import decoded_words
from sieve.phases import Need
from sieve.rfc5228.state import state_of
from sieve.run.runtime import Frame

USUAL_SECONDS = 7 * 86400
MOST_SECONDS = 30 * 86400


@sieve_function(
    dialect="rfc5228",
    extension="duplicate",
    needs=Need.HEADERS,
    exclusive=(("header", "uniqueid"),),
)
async def duplicate(
    frame: Frame,
    *,
    handle: str = "",
    header: str | None = None,
    uniqueid: str | None = None,
    seconds: int = USUAL_SECONDS,
    last: bool = False,
) -> bool:
    """Tell whether a message with this ID was accepted before (RFC 7352).

    The ID is the `Message-ID`, the field that `:header` names, or the text of `:uniqueid`. It is remembered for
    `:seconds`, at most 30 days, once the next hop has accepted the message; if the transaction ends in any other way,
    nothing is remembered. With `:last`, that time starts again at each duplicate. All workers share what is remembered;
    with Redis or Valkey, all machines do.
    """
    unique = _first(frame, "Message-ID" if header is None else header) if uniqueid is None else uniqueid
    lives = min(seconds, MOST_SECONDS)
    if unique is None or lives <= 0:
        return False
    digest = hashlib.sha256(f"{len(handle)}:{handle}{unique}".encode("utf-8", "surrogateescape")).hexdigest()
    is_known = await frame.host.duplicates.is_known(digest)
    if not is_known:
        state_of(frame).seen[digest] = lives
    elif last:
        await frame.host.duplicates.renew(digest, lives)
    return is_known


def _first(frame: Frame, name: str) -> str | None:
    """Return the first field with this name, as the `header` test reads it, or None."""
    message = frame.host.message
    body = next(iter(message.header(name)), None) if message is not None else None
    return None if body is None else decoded_words(body).strip(" \t")
