"""Actions that set the reply, end the phase, or delay or close the session."""

from __future__ import annotations

from time import monotonic

from sieve.errors import DEFAULT_REFUSAL
from sieve.library import Lines, ReplyCode, sieve_function
from sieve.phases import Effect
from sieve.run.runtime import NO_REPLY, Frame

REFUSED = 550

SPARE_SECONDS = 1.0
"""The part of a script's time limit that a tarpit leaves unused."""


@sieve_function(terminal=True)
def ec_action(frame: Frame, code: ReplyCode, reason: Lines, counter: str | None = None) -> None:
    """Reply with an SMTP code and text, and end the phase.

    Each line of the text becomes one line of the reply. A terminal action next to it in the same block, such as
    `ec_disconnect`, still runs.
    """
    frame.reply(code, reason)
    frame.ended = True
    frame.count(code, counter)


@sieve_function(terminal=True)
def ec_disconnect(
    frame: Frame, code: ReplyCode | None = None, reason: Lines | None = None, counter: str | None = None
) -> None:
    """Close the connection after the reply, and end the phase.

    With a code and a reason, it sends that reply first; the code should be 421 (RFC 5321, 3.8). Without arguments, the
    action next to it sets the reply; if there is no such action, the reply is 421.
    """
    frame.close = frame.ended = True
    if code is not None:
        frame.reply(code, reason or "")
        frame.count(code, counter)


@sieve_function(terminal=True)
def keep(frame: Frame) -> None:
    """Accept and end the phase; the phase's second script does not run. Wins over a `discard` next to it."""
    frame.kept = frame.ended = True
    frame.count(NO_REPLY, None)


@sieve_function(terminal=True)
def ec_keep(frame: Frame, reason: str | None = None) -> None:
    """Accept and end the phase, like `keep`. The reason is the name of a counter."""
    frame.kept = frame.ended = True
    frame.count(NO_REPLY, reason)


@sieve_function(terminal=True, effect=Effect.RECIPIENT)
def discard(frame: Frame) -> None:
    """Accept the message and throw it away: the client gets a 250 reply, but nothing is relayed.

    A `keep`, `redirect` or rejection in the same group wins, in any order: the message is then not thrown away.
    Recipients that `add_recipient` added in the same phase still get the message.
    """
    frame.discard = frame.ended = True
    frame.count(NO_REPLY, None)


@sieve_function(terminal=True, effect=Effect.RECIPIENT)
def ec_discard(frame: Frame, reason: str | None = None) -> None:
    """Accept the message and throw it away, like `discard`. The reason is the name of a counter."""
    frame.discard = frame.ended = True
    frame.count(NO_REPLY, reason)


@sieve_function(terminal=True)
def reject(frame: Frame, message: Lines | None = None) -> None:
    """Reject with 550 and this text, and end the phase."""
    frame.reply(REFUSED, DEFAULT_REFUSAL if message is None else message)
    frame.ended = True
    frame.count(REFUSED, None)


@sieve_function(terminal=True)
def ec_reject(frame: Frame, message: Lines | None = None, counter: str | None = None) -> None:
    """Reject with 550 and this text, and end the phase, like `reject`. Also increases the counter, if given."""
    frame.reply(REFUSED, DEFAULT_REFUSAL if message is None else message)
    frame.ended = True
    frame.count(REFUSED, counter)


@sieve_function(terminal=True)
def stop(frame: Frame) -> None:
    """End the script.

    If the reply code is still 250, the second script of the phase or the next phase still runs. `stop` does not
    increase a counter.
    """
    frame.ended = frame.ended or frame.code != NO_REPLY


@sieve_function()
async def ec_tarpit(frame: Frame, seconds: float, counter: str | None = None) -> None:
    """Delay the session for this many seconds, then continue with the script. It does not end the phase.

    A delay that exceeds the script's time limit ends one second before the limit, so that the next actions still run.
    """
    frame.count(NO_REPLY, counter)
    longest = frame.deadline - monotonic() - SPARE_SECONDS
    if longest > 0:
        seconds = min(seconds, longest)
    if seconds > 0:
        await frame.host.tarpit(seconds)
