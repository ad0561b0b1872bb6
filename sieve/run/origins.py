"""The origin of text: ours (script or configuration), or foreign (session or message).

This is only needed for file paths. An assignment stores the origin with the variable; it is valid while the variable
holds that exact value. A variable that is set in any other way is foreign.
"""

from __future__ import annotations

from dataclasses import dataclass

from sieve.run import reasons
from sieve.run.values import ScriptError, Value, as_text


@dataclass(frozen=True, slots=True)
class OriginSpan:
    """A piece of a text."""

    text: str
    is_ours: bool
    """Whether the operator wrote it."""


Woven = tuple[OriginSpan, ...]
"""A text as pieces."""


def ours(value: Value) -> Woven:
    """Return a value as text that the operator wrote."""
    return (OriginSpan(as_text(value), is_ours=True),)


def foreign(value: Value) -> Woven:
    """Return a value as text from the session or the message."""
    return (OriginSpan(as_text(value), is_ours=False),)


def text_of(pieces: Woven) -> str:
    """Return the whole text."""
    return pieces[0].text if len(pieces) == 1 else "".join([piece.text for piece in pieces])


def path_of(pieces: Woven) -> str:
    """Return a text as a file path in which foreign text is only part of a name and cannot change the folder.

    Raises:
        ScriptError: foreign text would change the folder.
    """
    path = text_of(pieces)
    for piece in pieces:
        if not piece.is_ours and ("/" in piece.text or ".." in piece.text or "\0" in piece.text):
            raise ScriptError(reasons.foreign_path(piece.text))
    written = "".join([piece.text if piece.is_ours else "_" * len(piece.text) for piece in pieces])
    for name, without in zip(path.split("/"), written.split("/"), strict=True):
        if name == ".." and without != "..":  # assembled from pieces that are harmless on their own
            raise ScriptError(reasons.foreign_path(name))
    return path
