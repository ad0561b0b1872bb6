"""The message's body and its MIME parts."""

from __future__ import annotations

from sieve import mime, reasons
from sieve.content import beside_the_loop, message_structure
from sieve.disclaimer import with_text
from sieve.library import Effect, Hash, sieve_function
from sieve.phases import Need
from sieve.runtime import Frame
from sieve.values import ScriptError, as_text

METADATA = ("filename", "content-type")


@sieve_function(needs=Need.BODY, one_of=("over", "under"))
def size(frame: Frame, *, over: int | None = None, under: int | None = None) -> bool:
    """Compare the size of the message: `size :over 1M`, `size :under 100`.

    Counted is what comes over the wire: header section, body, and one byte more for each line that begins with a dot.
    """
    content = frame.host.content
    octets = 0 if content is None else content.size + content.stuffed_lines
    if over is not None:
        return octets > over
    return under is not None and octets < under


@sieve_function(needs=Need.BODY)
async def body(
    frame: Frame,
    *,
    raw: bool = False,
    text: bool = False,  # noqa: ARG001 - the default, which may be written
    content: tuple[str, ...] | None = None,
    binary: bool = False,
    offset: int | None = None,
) -> tuple[str, ...]:
    """Compare the body: `body :contains "offer"`, `body :content "text/html" :regex "..."` (RFC 5173).

    `:text`, the default, looks at every text part, decoded. `:raw` looks at the body as it is, `:content` at the
    decoded parts of these types. With `:binary` bytes are compared in lower-case hexadecimal with blanks between
    them, `"44 3c 00"`, from `:offset` on.
    """
    message = await message_structure(frame)
    kinds = ("text",) if content is None else tuple(kind.lower() for kind in content)

    def compared() -> tuple[str, ...]:
        if raw:
            return tuple(_shown([message.body], offset or 0, binary=binary))
        parts = [part for part in message.leaves() if _is_of(part, kinds)]
        if binary:
            return tuple(_shown([message.decoded(part) for part in parts], offset or 0, binary=True))
        return tuple(message.text(part) for part in parts)

    return await beside_the_loop(len(message.raw), compared)


def _shown(found: list[bytes], start: int, *, binary: bool) -> list[str]:
    """Return bytes from an offset on as text, or in hexadecimal."""
    return [each[start:].hex(" ") if binary else each[start:].decode("utf-8", "surrogateescape") for each in found]


def _is_of(part: mime.Part, kinds: tuple[str, ...]) -> bool:
    """Tell whether a part is of one of these types: `text/html`, a whole `text`, or anything, which is empty."""
    main = part.content_type.partition("/")[0]
    return any(kind in {"", main, part.content_type} for kind in kinds)


@sieve_function(needs=Need.BODY, choices={"metadata": METADATA})
async def ec_mime_parts(frame: Frame, metadata: str) -> tuple[str, ...]:
    """Compare what the message's parts say of themselves: `ec_mime_parts :regex "filename" "[.](exe|scr)$"`.

    `filename` is the name in the part's disposition or content type; `content-type` is its type.
    """
    wanted = metadata.lower()
    if wanted not in METADATA:
        raise ScriptError(reasons.unknown_metadata(metadata))
    message = await message_structure(frame)
    if wanted == "filename":
        return tuple(part.filename for part in message.parts if part.filename)
    return tuple(part.content_type for part in message.parts)


@sieve_function(needs=Need.BODY)
async def ec_valid_mime(frame: Frame) -> bool:
    """Tell whether the message's multiparts are whole: each is closed and holds a part."""
    return (await message_structure(frame)).is_valid


@sieve_function(needs=Need.BODY, effect=Effect.MESSAGE)
async def disclaimer_add(frame: Frame, hash_: Hash) -> None:
    """Add text below the message: the hash's `plain` to every plain text part, its `html` to every HTML part.

    Each part keeps its charset and encoding; if its charset lacks a character of the text, an HTML part gets a
    character reference, and a plain part becomes UTF-8. Attachments, attached messages and what is signed (S/MIME,
    PGP/MIME) or encrypted stay as they are, and so does a part that cannot be read for certain: broken base64, an
    unknown charset. A BINARYMIME message that holds line breaks other than CR LF stays as it is, too. A DKIM signature
    no longer holds afterwards.
    """
    plain, html = as_text(hash_.get("plain", "")), as_text(hash_.get("html", ""))
    message = await message_structure(frame)
    changed = await beside_the_loop(len(message.raw), lambda: with_text(message, plain, html))
    if changed.body == message.body:
        return
    edits, head = frame.host.edits, frame.host.message
    edits.replace_body(changed.body)
    for name, value in changed.fields:
        if head is not None and head.header(name):
            edits.change_header(name, 0, value)
        else:
            edits.add_header(name, value)
