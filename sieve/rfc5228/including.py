"""Run other scripts, and share variables with them (RFC 6609)."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

from sieve.library import Ended, sieve_function
from sieve.phases import Need
from sieve.rfc5228.state import GLOBAL, state_of
from sieve.run import reasons
from sieve.run.patience import settled
from sieve.run.runtime import Frame, Script
from sieve.run.values import ScriptError, as_text, as_variable_name

_NOT_IN_NAMES = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029/]")
"""RFC 5804, 1.6; and names are files of one folder."""


def script_name(text: str) -> str:
    """Return the name of a script.

    Raises:
        ScriptError: it has characters that names do not have.
    """
    if text in {"", ".", ".."} or _NOT_IN_NAMES.search(text) is not None:
        raise ScriptError(reasons.not_a_script_name(text))
    return text


def uri_of(here: str, name: str) -> str:
    """Return the file of a script that the script `here` includes.

    Raises:
        ScriptError: no script can have this name.
    """
    path = PurePosixPath(here)
    return str(path.parent / f"{script_name(name)}{path.suffix or '.sieve'}")


@sieve_function(dialect="rfc5228", name="return", extension="include")
def return_(frame: Frame) -> Ended:
    """End this script and continue in the script that includes it (RFC 6609, 3.3)."""
    state_of(frame).returned = True
    return Ended(True)


@sieve_function(
    dialect="rfc5228", name="global", extension="include", constants=("names",), checks={"names": as_variable_name}
)
def global_(frame: Frame, names: tuple[str, ...]) -> None:
    """Share variables with including and included scripts (RFC 6609, 3.4)."""
    for name in names:
        lowered = name.lower()
        state_of(frame).globals.add(lowered)
        frame.variables[lowered] = frame.variables.setdefault(GLOBAL + lowered, "")


@sieve_function(
    dialect="rfc5228",
    extension="include",
    needs=Need.HEADERS | Need.BODY,
    constants=("value",),
    checks={"value": script_name},
    exclusive=(("personal", "global"),),
)
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

    The script is a file in the folder of the including script, with the same suffix: `include "spam"` in `main.sieve`
    runs `spam.sieve`. `:personal` and `:global` scripts are in the same place. A script cannot include itself, even
    indirectly.
    """
    script = frame.script
    if script.includes is None or script.compile_included is None:
        raise ScriptError(reasons.no_includes())
    if frame.depth >= frame.settings.limits.include_depth:
        raise ScriptError(reasons.includes_too_deep(frame.settings.limits.include_depth))
    here = frame.at.source.name
    uri = uri_of(here, value)
    state = state_of(frame)
    state.including = state.including or [here]
    if once and (uri in state.once or uri in state.including):
        return Ended(False)
    if uri in state.including:
        raise ScriptError(reasons.recursive_include(value))
    state.once.add(uri)
    try:
        included = await script.includes.get(uri, (), frame.phase, script.compile_included)
    except ScriptError as error:
        if optional and isinstance(error.__cause__, OSError):
            return Ended(False)
        raise
    state.including.append(uri)
    ended = await _in_own_scope(frame, included)
    state.including.pop()
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
