"""The body test of standard Sieve (RFC 5173)."""

from __future__ import annotations

from collections.abc import Iterator

from sieve.library import sieve_function
from sieve.message.mime import Structure
from sieve.message.mime_parts import Part
from sieve.phases import Need
from sieve.run.content import beside_the_loop, message_structure
from sieve.run.patience import settled
from sieve.run.runtime import Frame


@sieve_function(
    dialect="rfc5228",
    extension="body",
    needs=Need.BODY,
    exclusive=(("raw", "text", "content"),),
    captures=False,
)
async def body(
    frame: Frame,
    *,
    raw: bool = False,
    text: bool = False,  # noqa: ARG001 - the default, which may be written
    content: tuple[str, ...] | None = None,
) -> tuple[str, ...]:
    """Compare the body (RFC 5173). A message without an empty line after its header section has no body.

    `:text`, the default, compares every text part, decoded. `:raw` compares the body unchanged. `:content` compares the
    decoded parts of these types: for a multipart, that is the text before its first part and after its last; for an
    attached message, its header section. Parts of attached messages are included. If mail programs may read a part in
    several ways, each reading is compared.
    """
    view = frame.host.content
    if view is None or not view.has_body:
        return ()
    message = await message_structure(frame)
    if raw:
        return (message.body.decode("utf-8", "surrogateescape"),)
    kinds = ("text",) if content is None else tuple(kind.lower() for kind in content)
    return await settled(beside_the_loop(len(message.raw), lambda: _compared(message, kinds)))


def _compared(message: Structure, kinds: tuple[str, ...]) -> tuple[str, ...]:
    parts = [part for part in message.all_leaves() if part.is_of(kinds)]
    multiparts = [part for part in message.parts if part.is_multipart and part.is_of(kinds)]
    around = [each for part in multiparts for each in message.around(part)]
    return (
        *message.read(parts, lambda part: _texts(message, part)),
        *(each.decode("utf-8", "surrogateescape") for each in around),
    )


def _texts(message: Structure, part: Part) -> Iterator[str]:
    """Yield the part's text, of an attached message its header section without the empty line (RFC 5173, 5.2)."""
    for text in message.texts(part):
        yield text.removesuffix("\r\n") if part.holds_message and text.endswith("\r\n\r\n") else text
