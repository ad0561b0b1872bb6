"""Macros for parts of the message: `%{rfc2822:headers}`, `%{rfc2822:body,10}` and so on."""

from __future__ import annotations

import email.utils
import re
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

from sieve.message.mime import Structure
from sieve.message.mime_parts import Part
from sieve.run.content import beside_the_loop, message_structure
from sieve.run.patience import settled
from sieve.run.runtime import Frame

Reader = Callable[[Frame], Awaitable[str]]

_PIECE = 1 << 16
"""Octets or characters that are split into lines in one piece."""

_CUT = re.compile(r"(message|body)(?:,([0-9]{1,9})(b?))?\Z")
_PART = re.compile(r"(part|text),([0-9]{1,6})\Z")
_LINES = re.compile(r"text,([0-9]{1,6}),([0-9]{1,9})\Z")


def date(frame: Frame) -> str:
    """Return the current time in the format of a Date field (RFC 5322, 3.3)."""
    return email.utils.format_datetime(datetime.fromtimestamp(frame.host.now(), UTC))


def rfc2822_reader(key: str) -> Reader | None:
    """Return a reader for the part of the message that a key names; None if the key is unknown."""
    key = key.strip().lower()
    if key == "headers":
        return _headers
    if key == "text":
        return _first_text
    cut = _CUT.match(key)
    if cut is not None:
        return _cut(cut[1] == "body", int(cut[2]) if cut[2] else None, in_bytes=bool(cut[3]))
    part = _PART.match(key)
    if part is not None:
        return _part(int(part[2]), only_text=part[1] == "text")
    lines = _LINES.match(key)
    return _text_lines(int(lines[1]), int(lines[2])) if lines is not None else None


def _shown(raw: bytes) -> str:
    """Return bytes as text. All of these macros end in a line break."""
    text = raw.decode("utf-8", "surrogateescape")
    return text if not text or text.endswith("\n") else f"{text}\r\n"


async def _beside(message: Structure, work: Callable[[], str]) -> str:
    """Run `work` without blocking other sessions: in a thread if the message is long."""
    return await settled(beside_the_loop(len(message.raw), work))


def _end_of_lines(text: bytes | str, count: int) -> int:
    """Return the offset after the first `count` lines, or the end of the text. The rest is not scanned."""
    at, size = 0, _PIECE
    while count and at < len(text):
        lines = text[at : at + size].splitlines(keepends=True)
        if at + size < len(text):
            lines.pop()  # the last line may be incomplete
        at += sum(map(len, lines[:count]))
        count -= min(count, len(lines))
        size = _PIECE if lines else 2 * size
    return at


async def _headers(frame: Frame) -> str:
    message = await message_structure(frame)
    return await _beside(message, lambda: _shown(message.raw[: message.parts[0].body]))


def _cut(body: bool, count: int | None, *, in_bytes: bool) -> Reader:  # noqa: FBT001 - private
    async def read(frame: Frame) -> str:
        message = await message_structure(frame)

        def cut() -> str:
            raw = message.body if body else message.raw
            if count is not None:
                raw = raw[:count] if in_bytes else raw[: _end_of_lines(raw, count)]
            return _shown(raw)

        return await _beside(message, cut)

    return read


def _texts(message: Structure) -> list[Part]:
    return [part for part in message.all_leaves() if part.content_type.startswith("text/")]


async def _first_text(frame: Frame) -> str:
    message = await message_structure(frame)

    def first() -> str:
        texts = _texts(message)
        return _shown(message.text(texts[0]).encode("utf-8", "replace")) if texts else ""

    return await _beside(message, first)


def _part(number: int, *, only_text: bool) -> Reader:
    async def read(frame: Frame) -> str:
        message = await message_structure(frame)
        parts = _texts(message) if only_text else list(message.all_leaves())
        if not 0 < number <= len(parts):
            return ""
        part = parts[number - 1]
        return await _beside(message, lambda: _shown(part.source[part.start : part.end]))

    return read


def _text_lines(number: int, count: int) -> Reader:
    async def read(frame: Frame) -> str:
        message = await message_structure(frame)
        texts = _texts(message)
        if not 0 < number <= len(texts):
            return ""

        def cut() -> str:
            text = message.text(texts[number - 1])
            return _shown(text[: _end_of_lines(text, count)].encode("utf-8", "replace"))

        return await _beside(message, cut)

    return read
