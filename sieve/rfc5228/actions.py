"""The actions of standard Sieve. They take effect when the script ends."""

from __future__ import annotations

from sieve.library import Ended, Lines, sieve_function
from sieve.message.addresses import outbound_address
from sieve.phases import Effect
from sieve.rfc5228.state import deliver, state_of
from sieve.run import reasons
from sieve.run.runtime import Frame
from sieve.run.values import ScriptError

_REFUSED = 550


@sieve_function(dialect="rfc5228")
def require(capabilities: tuple[str, ...]) -> None:
    """Name the extensions that the script uses (RFC 5228, 3.2)."""


@sieve_function(dialect="rfc5228")
def keep(frame: Frame) -> None:
    """Relay the message to its recipients (RFC 5228, 4.3)."""
    state_of(frame).kept = True
    deliver(frame)


@sieve_function(dialect="rfc5228", effect=Effect.RECIPIENT)
def discard(frame: Frame) -> None:
    """Throw the message away, unless another action keeps it (RFC 5228, 4.4)."""
    state_of(frame).cancelled = True


def sieve_address(text: str) -> str:
    """Return the address that a string names, with or without a display name (RFC 5228, 2.4.2.3).

    Raises:
        ScriptError: it names none, or more than one.
    """
    address = outbound_address(text)
    if address is None:
        raise ScriptError(reasons.not_an_address(text))
    return address


@sieve_function(dialect="rfc5228", effect=Effect.RECIPIENT, checks={"address": sieve_address})
def redirect(frame: Frame, address: str, *, copy: bool = False) -> None:
    """Send the message to another address (RFC 5228, 4.2). With `:copy`, also to its recipients (RFC 3894).

    The address may have a display name: `"Joe Smith <joe@example.com>"`.
    """
    state = state_of(frame)
    kept, state.kept = state.kept, True  # the script may continue, and an error must not lose mail (RFC 5228, 2.10.6)
    if len(state.redirects) >= frame.settings.limits.redirects:
        raise ScriptError(reasons.too_many_recipients(frame.settings.limits.redirects))
    state.redirects.append(sieve_address(address))
    state.kept = kept
    state.cancelled = state.cancelled or not copy
    deliver(frame)


@sieve_function(dialect="rfc5228", extension="reject")
def reject(frame: Frame, reason: Lines) -> None:
    """Reject the message with 550 and this text (RFC 5429, 2.2). A second rejection is a run-time error."""
    _refuse(frame, reason)


@sieve_function(dialect="rfc5228", extension="ereject")
def ereject(frame: Frame, reason: Lines) -> None:
    """Reject the message with 550 and this text (RFC 5429, 2.1). A second rejection is a run-time error."""
    _refuse(frame, reason)


def _refuse(frame: Frame, reason: str) -> None:
    state = state_of(frame)
    if state.refused:
        raise ScriptError(reasons.second_refusal())
    state.cancelled = state.refused = True
    frame.reply(_REFUSED, reason.replace("\r\n", "\n"))
    frame.ended = True


@sieve_function(dialect="rfc5228")
def stop(frame: Frame) -> Ended:
    """End the script and every script that includes it (RFC 5228, 3.3)."""
    frame.ended = frame.ended or frame.replied
    return Ended(True)
