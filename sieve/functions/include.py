"""Run other scripts."""

from __future__ import annotations

from sieve.library import Ended, FilePath, sieve_function
from sieve.phases import Effect, Need
from sieve.run import reasons
from sieve.run.patience import settled
from sieve.run.runtime import Frame
from sieve.run.values import ScriptError


@sieve_function(needs=Need.HEADERS | Need.BODY, effect=Effect.MESSAGE)
async def ec_include(frame: Frame, uri: FilePath, arguments: tuple[str, ...] = ()) -> Ended:
    """Run another script with this script's variables, then continue after this statement.

    A terminal action in it ends the phase. The file is compiled and checked for the phase when it first runs, then
    cached for a while. A file that is missing or has errors is a run-time error. Text from the session or the message
    cannot put `/` or `..` in the path.
    """
    limit = frame.settings.limits.include_depth
    if frame.script.includes is None or frame.script.compile_included is None:
        raise ScriptError(reasons.no_includes())
    if frame.depth >= limit:
        raise ScriptError(reasons.includes_too_deep(limit))
    script = await frame.script.includes.get(uri, arguments, frame.phase, frame.script.compile_included)
    frame.depth += 1
    here = frame.at
    try:
        return Ended(bool(await settled(script.body(frame))))
    finally:
        frame.depth -= 1
        frame.at = here
