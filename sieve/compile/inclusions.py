"""What would fail at run time: included scripts that are missing, have errors, or include themselves.

These are warnings. A script may include another that is written later (RFC 6609, 3.1).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from config.diagnostics import Diagnostic, Source, Span
from sieve import errors
from sieve.run import reasons
from sieve.run.cache import file_text
from sieve.run.runtime import Inclusion, Script
from sieve.run.values import ScriptError

_MOST = 1000


def failing_inclusions(script: Script, read: Callable[[str], str] = file_text) -> Iterator[Diagnostic]:
    """Yield a warning for each include of a constant name that cannot succeed; scripts are read with `read`."""
    yield from _failing(script, (script.name,), {script.name}, read)


def _failing(script: Script, path: tuple[str, ...], seen: set[str], read: Callable[[str], str]) -> Iterator[Diagnostic]:
    for inclusion in script.inclusions:
        uri = inclusion.uri
        if uri.startswith(":"):
            yield errors.include_will_fail(reasons.no_such_storage(uri), inclusion.span)
        elif uri in path:
            if not inclusion.once:
                yield errors.include_will_fail(f"{uri} includes itself", inclusion.span)
        elif len(path) > script.settings.limits.include_depth:
            yield errors.include_will_fail(f"scripts are nested more than {len(path) - 1} deep", inclusion.span)
        elif uri not in seen and len(seen) < _MOST:
            seen.add(uri)
            yield from _included(script, inclusion, path, seen, read)


def _included(
    script: Script, inclusion: Inclusion, path: tuple[str, ...], seen: set[str], read: Callable[[str], str]
) -> Iterator[Diagnostic]:
    uri, span = inclusion.uri, inclusion.span
    try:
        text = read(uri)
    except OSError as error:
        if not inclusion.optional:
            yield errors.include_will_fail(f"cannot read {uri}: {error.strerror or type(error).__name__}", span)
        return
    except ScriptError as error:
        yield errors.include_will_fail(str(error), span)
        return
    compiled = script.compile_included(Source(uri, text)) if script.compile_included is not None else None
    if compiled is None:
        return
    if compiled.script is None:
        first = next(each for each in compiled.diagnostics if each.is_error)
        yield errors.include_will_fail(f"{_place(first.span, uri)}: {first.message}", span)
        return
    yield from _failing(compiled.script, (*path, uri), seen, read)


def _place(span: Span | None, uri: str) -> str:
    return uri if span is None else str(span)
