"""The message's body and its MIME parts."""

from __future__ import annotations

from sieve.library import Hash, sieve_function
from sieve.message.disclaimer import with_text
from sieve.phases import Effect, Need
from sieve.run import reasons
from sieve.run.content import beside_the_loop, message_structure
from sieve.run.patience import settled
from sieve.run.runtime import Frame
from sieve.run.values import ScriptError, as_text

METADATA = ("filename", "content-type")


@sieve_function(needs=Need.BODY, one_of=("over", "under"))
def size(frame: Frame, *, over: int | None = None, under: int | None = None) -> bool:
    """Compare the size of the message: `size :over 1M`, `size :under 100`.

    This is the size on the wire: header section, body, and one more byte for each line that begins with a dot.
    """
    content = frame.host.content
    octets = 0 if content is None else content.size + content.stuffed_lines
    if over is not None:
        return octets > over
    return under is not None and octets < under


@sieve_function(needs=Need.BODY, bare={"binary": ("raw", "content")})
async def body(
    frame: Frame,
    *,
    raw: bool = False,
    text: bool = False,  # noqa: ARG001 - the default, which may be written
    content: tuple[str, ...] | None = None,
    binary: tuple[str, ...] | None = None,
    offset: int | None = None,
) -> tuple[str, ...]:
    """Compare the body: `body :contains "offer"`, `body :content "text/html" :regex "..."` (RFC 5173).

    `:text`, the default, compares every text part, decoded. `:raw` compares the body without decoding. `:content`
    compares the decoded parts of these types. Parts of attached messages are included. If mail programs may read a part
    in several ways (two types, encodings or character sets, ambiguous boundaries), each reading is compared. `:binary`
    compares the decoded bytes of the parts of these types from `:offset` on, in lower-case hexadecimal with spaces
    between them: `body :binary ["application"] :offset 1000 :matches "44 3c 00 01*"`. Together with `:content` or
    `:raw`, it takes no types of its own.
    """
    message = await message_structure(frame)
    kinds = tuple(kind.lower() for kind in content or binary or ("text",))

    def compared() -> tuple[str, ...]:
        if raw:
            return tuple(_shown([message.body], offset or 0, binary=binary is not None))
        parts = [part for part in message.all_leaves() if part.is_of(kinds)]
        if binary is not None:
            return tuple(_shown(list(message.read(parts, message.contents)), offset or 0, binary=True))
        return message.read(parts, message.texts)

    return await settled(beside_the_loop(len(message.raw), compared))


def _shown(found: list[bytes], start: int, *, binary: bool) -> list[str]:
    """Return the bytes from an offset on, as text or in hexadecimal."""
    return [each[start:].hex(" ") if binary else each[start:].decode("utf-8", "surrogateescape") for each in found]


@sieve_function(needs=Need.BODY, choices={"metadata": METADATA})
async def ec_mime_parts(frame: Frame, metadata: str) -> tuple[str, ...]:
    """Compare file names or types of the message's parts: `ec_mime_parts :regex "filename" "[.](exe|scr)$"`.

    `filename` is the name in a part's Content-Disposition or Content-Type; `content-type` is its type. Parts of
    attached messages are included. A malformed field is compared in every way that mail programs read it, so `:count`
    can exceed the number of parts. Names are compared as written and with encoded words and `filename*` decoded, and
    also with control characters, folders, and trailing dots and spaces removed.

    Files are not opened: archives, `winmail.dat` (TNEF), attached `.eml` files, uuencode and yEnc in text. Parts after
    the first 1,000 or nested deeper than 100 are not read; `ec_valid_mime` is then false.
    """
    wanted = metadata.lower()
    if wanted not in METADATA:
        raise ScriptError(reasons.unknown_metadata(metadata))
    message = await message_structure(frame)
    parts = message.every_part()
    if wanted == "content-type":
        return tuple(kind for part in parts for kind in part.content_types)
    names = beside_the_loop(len(message.raw), lambda: tuple(name for part in parts for name in part.file_names))
    return await settled(names)


@sieve_function(needs=Need.BODY)
async def ec_valid_mime(frame: Frame) -> bool:
    """Tell whether the message's multiparts are complete: each one is closed and contains a part.

    It is also false if the message has too many parts or nests them too deeply. Attached messages may be truncated.
    """
    return (await message_structure(frame)).is_valid


@sieve_function(needs=Need.BODY, effect=Effect.MESSAGE)
async def disclaimer_add(frame: Frame, hash_: Hash) -> None:
    """Add text at the end of the message: the hash's `plain` to every plain text part, its `html` to every HTML part.

    Each part keeps its charset and encoding. If the charset lacks a character of the text, an HTML part gets a
    character reference, and a plain part becomes UTF-8. These are not changed: attachments, attached messages, signed
    (S/MIME, PGP/MIME) or encrypted parts, parts that cannot be decoded reliably (broken base64, unknown charset), and
    BINARYMIME messages with line breaks other than CR LF. The change breaks existing DKIM signatures.
    """
    plain, html = as_text(hash_.get("plain", "")), as_text(hash_.get("html", ""))
    message = await message_structure(frame)
    changed = await settled(beside_the_loop(len(message.raw), lambda: with_text(message, plain, html)))
    if changed.body == message.body:
        return
    edits, head = frame.host.edits, frame.host.message
    edits.replace_body(changed.body)
    for name, value in changed.fields:
        if head is not None and head.header(name):
            edits.change_header(name, 0, value)
        else:
            edits.add_header(name, value)
