"""Throttles: how many events in how many seconds. All workers count together, as do machines with a common store.

A throttle is a sliding window in sixteen parts, the oldest counted whole: it never lets more through than it permits.
"""

from __future__ import annotations

import re
from time import monotonic

from sieve.functions.actions import SPARE_SECONDS
from sieve.library import Ended, Soon, sieve_function
from sieve.run import reasons
from sieve.run.patience import settled
from sieve.run.runtime import FAILED_CODE, Frame
from sieve.run.values import ScriptError

BUSY = "4.7.1 Too many at once, try again later"
"""The reply to a client that would have to wait for longer than a script may run."""

_LIMIT = re.compile(r"([0-9]{1,9})(?:/([0-9]{1,9}))?")
_EPSILON = re.compile(r"0?\.[0-9]{1,9}")


def limit_of(text: str) -> tuple[int, int]:
    """Return events and seconds of "X/Y", or of "X", which is for one second.

    Raises:
        ScriptError: it has another form, or a zero.
    """
    found = _LIMIT.fullmatch(text)
    count, seconds = (int(found[1]), int(found[2] or 1)) if found else (0, 0)
    if not count or not seconds:
        raise ScriptError(reasons.not_a_throttle(text))
    return count, seconds


def _epsilon(text: str) -> str:
    if _EPSILON.fullmatch(text) is None or not float(text):
        raise ScriptError(reasons.not_an_epsilon(text))
    return text


@sieve_function(checks={"limit": limit_of})
def ec_throttle_create(frame: Frame, name: str, limit: str) -> None:
    """Create a throttle that permits X events in Y seconds, from `"X/Y"`; `"X"` means X per second.

    Nothing happens if a throttle with this name exists. Scripts call it before the other functions in every run: a
    throttle is forgotten Y + 1 seconds after its last use, or earlier if there are more throttles than
    Siv_Throttle_Cache_Size.
    """
    frame.host.counters.define_throttle(name, *limit_of(limit), shared=False)


@sieve_function()
def ec_throttle_inc(frame: Frame, name: str) -> Soon[None]:
    """Count an event. A throttle never blocks by itself; `ec_throttle_check` says whether there were too many."""
    return frame.host.counters.add_to_throttle(name, 1, shared=False)


@sieve_function()
def ec_throttle_dec(frame: Frame, name: str) -> Soon[None]:
    """Take back an event that was counted."""
    return frame.host.counters.add_to_throttle(name, -1, shared=False)


@sieve_function()
def ec_throttle_check(frame: Frame, name: str) -> Soon[bool]:
    """Tell whether more events were counted in the last Y seconds than the throttle permits.

    It can be used as a test or in an assignment, which gets `true` or `false`.
    """
    return frame.host.counters.is_exceeded(name, shared=False)


@sieve_function()
async def ec_throttle_tarpit(frame: Frame, name: str) -> Ended:
    """Count an event, and delay the session until the throttle permits it. The delay ends if the client leaves.

    If the delay would be longer than the script may run, nothing is counted, the reply is 451, and the phase ends.
    """
    return await _tarpit(frame, name, shared=False)


@sieve_function(checks={"limit": limit_of, "epsilon": _epsilon})
def ec_shared_throttle_create(frame: Frame, name: str, limit: str, epsilon: str = "0.95") -> None:
    """Create a throttle that is shared by all machines with the same Script_Store in Redis.

    Otherwise like `ec_throttle_create`. The machines count in one place, so each machine's share (epsilon, above 0 and
    below 1) does not matter.
    """
    _epsilon(epsilon)
    frame.host.counters.define_throttle(name, *limit_of(limit), shared=True)


@sieve_function()
def ec_shared_throttle_inc(frame: Frame, name: str) -> Soon[None]:
    """Count an event in a shared throttle, as `ec_throttle_inc` does."""
    return frame.host.counters.add_to_throttle(name, 1, shared=True)


@sieve_function()
def ec_shared_throttle_check(frame: Frame, name: str) -> Soon[bool]:
    """Tell whether a shared throttle is exceeded, as `ec_throttle_check` does."""
    return frame.host.counters.is_exceeded(name, shared=True)


@sieve_function()
async def ec_shared_throttle_tarpit(frame: Frame, name: str) -> Ended:
    """Count an event in a shared throttle and delay the session, as `ec_throttle_tarpit` does."""
    return await _tarpit(frame, name, shared=True)


async def _tarpit(frame: Frame, name: str, *, shared: bool) -> Ended:
    patience = max(0.0, frame.deadline - monotonic() - SPARE_SECONDS)
    wait = await settled(frame.host.counters.reserve(name, patience, shared=shared))
    if wait is None:
        frame.reply(FAILED_CODE, BUSY)
        frame.ended = True
    elif wait > 0:
        await frame.host.tarpit(wait)
    return Ended(wait is None)
