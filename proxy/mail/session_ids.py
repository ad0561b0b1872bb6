"""The names of sessions, in the log and in the Received field."""

from __future__ import annotations

import itertools
import os
import time

_DIGITS = "0123456789abcdefghijklmnopqrstuv"
_PAIRS = tuple(first + second for first in _DIGITS for second in _DIGITS)
"""Every ten bits as two digits."""

_numbers = itertools.count()


def next_session_id() -> str:
    """Return a name for a session that sorts by time and is unique over processes.

    Its digits are the milliseconds since 1970 and a counter of twelve bits, in base 32: 55 bits last until 2248.
    """
    number = (time.time_ns() // 1_000_000 << 12) | (next(_numbers) & 0xFFF)
    pairs = _PAIRS
    return (
        f"{pairs[number >> 45 & 1023]}{pairs[number >> 35 & 1023]}{pairs[number >> 25 & 1023]}"
        f"{pairs[number >> 15 & 1023]}{pairs[number >> 5 & 1023]}{_DIGITS[number & 31]}-{_process}"
    )


_process = f"{os.getpid():x}"


def _forked() -> None:
    global _process  # noqa: PLW0603 — asking the kernel for each session costs a call
    _process = f"{os.getpid():x}"


os.register_at_fork(after_in_child=_forked)
