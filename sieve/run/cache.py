"""The cache of included scripts: read, compiled and kept for a while."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from time import monotonic
from typing import Protocol

from cachetools import TTLCache

from config.base.regular_files import open_regular
from config.diagnostics import Diagnostic, Source
from sieve.phases import Phase
from sieve.run import reasons
from sieve.run.runtime import Script
from sieve.run.threads import ThreadPool, in_thread
from sieve.run.values import ScriptError


class Compilation(Protocol):
    """The result of compiling: a script, or diagnostics with errors."""

    @property
    def script(self) -> Script | None:
        """The script; None if it has errors."""
        ...

    @property
    def diagnostics(self) -> Sequence[Diagnostic]:
        """The diagnostics of the script."""
        ...


Read = Callable[[str, tuple[str, ...]], Awaitable[str]]
"""Returns the text of a script by URI and arguments. It may raise OSError or ScriptError."""

_LONGEST_FILE = 4 << 20


async def read_file(uri: str, _arguments: tuple[str, ...]) -> str:
    """Return the text of a file.

    Raises:
        OSError: the file cannot be read.
        ScriptError: the URI names another storage.
    """
    if uri.startswith(":"):
        raise ScriptError(reasons.no_such_storage(uri))
    return await in_thread(ThreadPool.FILES, lambda: file_text(uri))


def file_text(uri: str) -> str:
    """Return the text of a file, without a thread.

    Raises:
        OSError: the file cannot be read.
    """
    with open_regular(Path(uri)) as file:
        return file.read(_LONGEST_FILE).decode("utf-8", "backslashreplace").removeprefix("\ufeff")


class ScriptCache:
    """Compiled scripts by URI, arguments and phase. Each `sieve` module has its own, in its event loop."""

    def __init__(
        self,
        read: Read = read_file,
        *,
        size: int = 1000,
        life: float = 60.0,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        """Keep up to `size` scripts for `life` seconds each (Momentum's `cache_size` and `cache_life`)."""
        self._read = read
        self._scripts: TTLCache[tuple[str, tuple[str, ...], Phase], Script] = TTLCache(size, life, clock)

    def flush(self) -> int:
        """Forget all scripts, so that they are read again; return how many there were."""
        count = len(self._scripts)
        self._scripts.clear()
        return count

    async def get(
        self, uri: str, arguments: tuple[str, ...], phase: Phase, compile_source: Callable[[Source], Compilation]
    ) -> Script:
        """Return the script from the cache, or read and compile it now.

        Raises:
            ScriptError: it cannot be read or has errors.
        """
        key = (uri, arguments, phase)
        known = self._scripts.get(key)
        if known is not None:
            return known
        try:
            text = await self._read(uri, arguments)
        except OSError as error:
            raise ScriptError(reasons.cannot_include(uri, error.strerror or type(error).__name__)) from error
        compiled = compile_source(Source(uri, text))
        if compiled.script is None:
            first = next(diagnostic for diagnostic in compiled.diagnostics if diagnostic.is_error)
            raise ScriptError(reasons.cannot_include(str(first.span or uri), first.message))
        self._scripts[key] = compiled.script
        return compiled.script
