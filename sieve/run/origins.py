"""Whose words a text is made of: the script's and the configuration's, or those of a session or a message.

Only what names a file asks. A variable's origin is kept beside it as it is assigned, and holds as long as the variable
holds that very value; whatever sets a variable in another way makes it foreign.
"""

from __future__ import annotations

from dataclasses import dataclass

from sieve.run import reasons
from sieve.run.values import ScriptError, Value, as_text


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of a text."""

    text: str
    is_ours: bool
    """Whether the operator wrote it."""


Woven = tuple[Piece, ...]
"""A text, piece by piece."""


def ours(value: Value) -> Woven:
    """Return what the operator wrote."""
    return (Piece(as_text(value), is_ours=True),)


def foreign(value: Value) -> Woven:
    """Return what came from elsewhere."""
    return (Piece(as_text(value), is_ours=False),)


def text_of(pieces: Woven) -> str:
    """Return the whole text."""
    return pieces[0].text if len(pieces) == 1 else "".join([piece.text for piece in pieces])


def path_of(pieces: Woven) -> str:
    """Return a text as a file's path: what came from elsewhere is within a name, and leads to no other folder.

    Raises:
        ScriptError: it would.
    """
    path = text_of(pieces)
    for piece in pieces:
        if not piece.is_ours and ("/" in piece.text or ".." in piece.text or "\0" in piece.text):
            raise ScriptError(reasons.foreign_path(piece.text))
    written = "".join([piece.text if piece.is_ours else "_" * len(piece.text) for piece in pieces])
    for name, without in zip(path.split("/"), written.split("/"), strict=True):
        if name == ".." and without != "..":  # put together of pieces of which each is harmless
            raise ScriptError(reasons.foreign_path(name))
    return path
