"""The commands of standard Sieve. They take effect when the script ends."""

from __future__ import annotations

from pathlib import PurePosixPath

from sieve.library import Ended, Lines, VariableName, sieve_function
from sieve.phases import Effect, Need
from sieve.rfc5228.state import GLOBAL, state_of
from sieve.run import reasons
from sieve.run.addresses import address_of
from sieve.run.patience import settled
from sieve.run.runtime import Frame, Script
from sieve.run.values import ScriptError, as_text

_REFUSED = 550


@sieve_function(dialect="rfc5228")
def require(capabilities: tuple[str, ...]) -> None:
    """Name the extensions that the script uses (RFC 5228, 3.2)."""


@sieve_function(dialect="rfc5228")
def keep(frame: Frame) -> None:
    """Relay the message to its recipients (RFC 5228, 4.3)."""
    state_of(frame).kept = True


@sieve_function(dialect="rfc5228", effect=Effect.RECIPIENT)
def discard(frame: Frame) -> None:
    """Throw the message away, unless another action keeps it (RFC 5228, 4.4)."""
    state_of(frame).cancelled = True


@sieve_function(dialect="rfc5228", effect=Effect.RECIPIENT)
def redirect(frame: Frame, address: str, *, copy: bool = False) -> None:
    """Send the message to another address (RFC 5228, 4.2). With `:copy`, also to its recipients (RFC 3894).

    The address may have a display name: `"Joe Smith <joe@example.com>"`.
    """
    state = state_of(frame)
    try:
        state.redirects.append(address_of(address))
    except ScriptError:
        state.kept = True  # the script may continue, and an error must not lose mail (RFC 5228, 2.10.6)
        raise
    state.cancelled = state.cancelled or not copy


@sieve_function(dialect="rfc5228", name="reject")
def reject(frame: Frame, reason: Lines) -> None:
    """Reject the message with 550 and this text (RFC 5429, 2.2)."""
    _refuse(frame, reason)


@sieve_function(dialect="rfc5228")
def ereject(frame: Frame, reason: Lines) -> None:
    """Reject the message with 550 and this text (RFC 5429, 2.1)."""
    _refuse(frame, reason)


def _refuse(frame: Frame, reason: str) -> None:
    state_of(frame).cancelled = True
    frame.reply(_REFUSED, reason)
    frame.ended = True


@sieve_function(dialect="rfc5228")
def stop(frame: Frame) -> Ended:
    """End the script and every script that includes it (RFC 5228, 3.3)."""
    frame.ended = frame.ended or frame.replied
    return Ended(True)


@sieve_function(dialect="rfc5228", name="return", extension="include")
def return_(frame: Frame) -> Ended:
    """End this script and continue in the script that includes it (RFC 6609, 3.3)."""
    state_of(frame).returned = True
    return Ended(True)


@sieve_function(dialect="rfc5228", name="global", extension="include")
def global_(frame: Frame, names: tuple[str, ...]) -> None:
    """Share variables with including and included scripts (RFC 6609, 3.4)."""
    for name in names:
        lowered = name.lower()
        state_of(frame).globals.add(lowered)
        frame.variables[lowered] = frame.variables.setdefault(GLOBAL + lowered, "")


@sieve_function(dialect="rfc5228", extension="variables")
def set(  # noqa: A001 - the command's name
    frame: Frame,
    name: VariableName,
    value: str,
    *,
    lower: bool = False,
    upper: bool = False,
    lowerfirst: bool = False,
    upperfirst: bool = False,
    quotewildcard: bool = False,
    length: bool = False,
) -> None:
    """Set a variable, with modifiers applied in their order of precedence (RFC 5229, 4)."""
    if lower or upper:
        value = value.lower() if lower else value.upper()
    if lowerfirst or upperfirst:
        first = value[:1].lower() if lowerfirst else value[:1].upper()
        value = first + value[1:]
    if quotewildcard:
        value = "".join(f"\\{char}" if char in "*?\\" else char for char in value)
    if length:
        value = str(len(value))
    frame.variables[name] = value
    if name in state_of(frame).globals:
        frame.variables[GLOBAL + name] = value


@sieve_function(dialect="rfc5228", extension="include", needs=Need.HEADERS | Need.BODY)
async def include(
    frame: Frame,
    value: str,
    *,
    personal: bool = False,  # noqa: ARG001 - both locations are the same, see below
    global_: bool = False,  # noqa: ARG001 - see above
    once: bool = False,
    optional: bool = False,
) -> Ended:
    """Run another script (RFC 6609, 3.2). Only its `global` variables are shared.

    `:personal` and `:global` scripts are in the same place: the folder of the including script.
    """
    script = frame.script
    if script.includes is None or script.compile_included is None:
        raise ScriptError(reasons.no_includes())
    if frame.depth >= frame.settings.limits.include_depth:
        raise ScriptError(reasons.includes_too_deep(frame.settings.limits.include_depth))
    state = state_of(frame)
    if once and value in state.once:
        return Ended(False)
    state.once.add(value)
    uri = str(PurePosixPath(frame.at.source.name).parent / f"{value}.siv")
    try:
        included = await script.includes.get(uri, (), frame.phase, script.compile_included)
    except ScriptError as error:
        if optional and isinstance(error.__cause__, OSError):
            return Ended(False)
        raise
    ended = await _in_own_scope(frame, included)
    return Ended(ended)


async def _in_own_scope(frame: Frame, included: Script) -> bool:
    """Run a script with its own variables; tell whether it ended all scripts."""
    state = state_of(frame)
    outer, outer_globals, here = frame.variables, state.globals, frame.at
    frame.variables = {name: value for name, value in outer.items() if name.startswith(GLOBAL)}
    state.globals = type(state.globals)()
    frame.depth += 1
    try:
        ended = bool(await settled(included.body(frame)))
    finally:
        shared = {name: value for name, value in frame.variables.items() if name.startswith(GLOBAL)}
        frame.variables, state.globals, frame.at = outer, outer_globals, here
        frame.depth -= 1
        frame.variables.update(shared)
        for name in outer_globals:
            frame.variables[name] = as_text(frame.variables.get(GLOBAL + name, ""))
    stopped = ended and not state.returned
    state.returned = False
    return stopped
