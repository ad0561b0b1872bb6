"""Frames: a length of four octets, then the content. `messages` says what it means."""

from __future__ import annotations

import msgspec

MOST_OCTETS = 1 << 20
"""Longest frame. A longer one is not from us."""

_HEAD = 4


Malformed = (msgspec.DecodeError, UnicodeDecodeError)
"""What the decoders raise: the octets are not ours. (`ValidationError` is a `DecodeError`.)"""

encode = msgspec.msgpack.Encoder().encode
"""Turns what `messages` declares into a frame's content."""


class BadFrame(Exception):
    """The octets are not one of our frames."""


def framed(content: bytes) -> bytes:
    """Return content as a frame.

    Raises:
        BadFrame: it is empty or too long.
    """
    if not 0 < len(content) <= MOST_OCTETS:
        raise BadFrame(f"a frame of {len(content)} octets")
    return len(content).to_bytes(_HEAD) + content


class FrameReader:
    """Finds the frames in octets as they arrive, however they are split."""

    __slots__ = ("_buffer",)

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, octets: bytes) -> list[bytes]:
        """Return the contents of the frames that are complete now.

        Raises:
            BadFrame: a length is not ours; nothing after it can be read.
        """
        buffer = self._buffer
        buffer += octets
        found, at = [], 0
        while len(buffer) - at >= _HEAD:
            length = int.from_bytes(buffer[at : at + _HEAD])
            if not 0 < length <= MOST_OCTETS:
                raise BadFrame(f"a frame of {length} octets")
            end = at + _HEAD + length
            if len(buffer) < end:
                break
            found.append(bytes(buffer[at + _HEAD : end]))
            at = end
        del buffer[:at]
        return found
