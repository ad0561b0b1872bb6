"""Actions that decide the reply or end the phase, and the ones that hold or end the session."""

from __future__ import annotations

from time import monotonic

from sieve.errors import DEFAULT_REFUSAL
from sieve.library import Lines, ReplyCode, sieve_function
from sieve.phases import Effect
from sieve.run.runtime import NO_REPLY, Frame

REFUSED = 550

SPARE_SECONDS = 1.0
"""Left of a script's time after the longest hold."""


@sieve_function(terminal=True)
def ec_action(frame: Frame, code: ReplyCode, reason: Lines, counter: str | None = None) -> None:
    """Reply with an SMTP code and text, and end the phase.

    The text may have several lines; the reply then has as many, each with the code. An action beside it in the same
    block, such as `ec_disconnect`, still runs.
    """
    frame.reply(code, reason)
    frame.ended = True
    frame.count(code, counter)


@sieve_function(terminal=True)
def ec_disconnect(
    frame: Frame, code: ReplyCode | None = None, reason: Lines | None = None, counter: str | None = None
) -> None:
    """Close the connection after the reply, and end the phase.

    With a code and a reason it gives that reply first; the code should be 421 (RFC 5321, 3.8). Without arguments it
    leaves the reply to the action beside it; where there is none, the reply is 421.
    """
    frame.close = frame.ended = True
    if code is not None:
        frame.reply(code, reason or "")
        frame.count(code, counter)


@sieve_function(terminal=True)
def keep(frame: Frame) -> None:
    """Accept, and end the phase: its second script does not run. It wins over a `discard` beside it."""
    frame.kept = frame.ended = True
    frame.count(NO_REPLY, None)


@sieve_function(terminal=True)
def ec_keep(frame: Frame, reason: str | None = None) -> None:
    """Accept, and end the phase, as `keep` does; the reason is the name of a counter."""
    frame.kept = frame.ended = True
    frame.count(NO_REPLY, reason)


@sieve_function(terminal=True, effect=Effect.RECIPIENT)
def discard(frame: Frame) -> None:
    """Accept the message and throw it away: the sender reads 250, nothing is relayed.

    `keep`, `redirect` and a refusal beside it in the same group win, in any order: the message is not thrown away then.
    Copies for recipients that `add_recipient` added in the same phase still go out.
    """
    frame.discard = frame.ended = True
    frame.count(NO_REPLY, None)


@sieve_function(terminal=True, effect=Effect.RECIPIENT)
def ec_discard(frame: Frame, reason: str | None = None) -> None:
    """Accept the message and throw it away, as `discard` does; the reason is the name of a counter."""
    frame.discard = frame.ended = True
    frame.count(NO_REPLY, reason)


@sieve_function(terminal=True)
def reject(frame: Frame, message: Lines | None = None) -> None:
    """Refuse with 550 and this text, and end the phase."""
    frame.reply(REFUSED, DEFAULT_REFUSAL if message is None else message)
    frame.ended = True
    frame.count(REFUSED, None)


@sieve_function(terminal=True)
def ec_reject(frame: Frame, message: Lines | None = None, counter: str | None = None) -> None:
    """Refuse with 550 and this text, and end the phase, as `reject` does, with a counter of that name."""
    frame.reply(REFUSED, DEFAULT_REFUSAL if message is None else message)
    frame.ended = True
    frame.count(REFUSED, counter)


@sieve_function(terminal=True)
def stop(frame: Frame) -> None:
    """End the script.

    While no action set another code than 250, what comes next still runs: the second script of the phase, or the next
    phase. It counts nothing.
    """
    frame.ended = frame.ended or frame.code != NO_REPLY


@sieve_function()
async def ec_tarpit(frame: Frame, seconds: float, counter: str | None = None) -> None:
    """Hold the session for so many seconds before the script goes on. It does not end the phase.

    A hold that would outlast the script's deadline ends one second before it, so that the actions behind it still run.
    """
    frame.count(NO_REPLY, counter)
    longest = frame.deadline - monotonic() - SPARE_SECONDS
    if longest > 0:
        seconds = min(seconds, longest)
    if seconds > 0:
        await frame.host.tarpit(seconds)
