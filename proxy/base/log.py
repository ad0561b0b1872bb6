"""The log: structured events as JSON lines, with every foreign byte escaped. Modules log through this module.

The thread that logs an event counts it and renders it once, as a line of JSON: the canonical line. An event below the
log level costs one call that does nothing. `proxy.base.lines` makes the lines, and `proxy.base.log_output` sends them
on. This module does not know what an event means.
"""

from __future__ import annotations

import logging
import sys
from collections import deque
from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar, Protocol, TypeAlias, cast

import structlog

from proxy.base.lines import Alike, Renderer, Several, printable

__all__ = [
    "KEPT",
    "LEVELS",
    "Counting",
    "Fields",
    "Levels",
    "Logger",
    "get_logger",
    "is_observed",
    "kept",
    "levels",
    "look_up_again",
    "printable",
    "set_levels",
    "silence",
]  # fmt: skip

LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
"""The levels, and the number below which each logs nothing."""

EACH = "info_each"
"""The method that logs several events."""

KEPT = 10
"""Lines of each level that stay in memory."""

kept: dict[str, deque[bytes]] = {level: deque(maxlen=KEPT) for level in ("error", "warning")}
"""The last errors and warnings of this process."""


class Counts(Protocol):
    """Where events are counted: integers that another thread or process may read."""

    counts: memoryview


Counting: TypeAlias = tuple[Counts, Mapping[str, Mapping[str, int]]]
"""The integers, and for each level the places of its events."""


Fields: TypeAlias = dict[str, Any]
"""The fields of an event."""


@dataclass(frozen=True, slots=True)
class Levels:
    """The least level that is written, and other ones for some rooms of the code, such as `callback`."""

    least: int = logging.INFO
    rooms: Mapping[str, int] = field(default_factory=dict)

    def of(self, module: str) -> int:
        """Return the least level of a module, by the innermost of its rooms that has one."""
        found = [self.rooms[room] for room in module.split(".") if room in self.rooms]
        return found[-1] if found else self.least


_logs: list[_LogOfModule] = []
"""The logs that modules have taken."""


def get_logger() -> Logger:
    """Return the caller's logger. Event names are snake_case words; everything else goes into fields."""
    log = _LogOfModule(sys._getframe(1).f_globals.get("__name__", ""))  # noqa: SLF001 — inspect reads files for it
    _logs.append(log)
    return cast(Logger, log)


def look_up_again() -> None:
    """Let every log look its methods up again, because what they do has changed."""
    for log in _logs:
        log.forget()


def silence() -> None:
    """Drop everything that is logged: this process reports its results in another way."""
    structlog.configure(processors=[_dropped])


def is_observed(event: str) -> bool:
    """Return whether an observer gets an event, so that what costs something is only then put together."""
    return event in getattr(structlog.get_config()["wrapper_class"], "observed", ())


def levels() -> Levels:
    """Return the levels in force."""
    found: Levels = structlog.get_config()["wrapper_class"].levels
    return found


def set_levels(new: Levels) -> None:
    """Log at other levels from now on."""
    structlog.get_config()["wrapper_class"].levels = new
    look_up_again()


class _LogOfModule:
    """The log that a module takes at import, before `configure`.

    It keeps each method once the configuration allows it; structlog's own proxy looks it up again with three calls.
    """

    def __init__(self, module: str) -> None:
        self._module = module

    def __getattr__(self, name: str) -> Callable[..., None]:
        """Return the method of the logger that is configured now."""
        logger: Any = structlog.get_logger().bind()
        method: Callable[..., None] = (
            logger.method(name, self._module) if isinstance(logger, Logger) else _as_structlog(logger, name)
        )
        if structlog.get_config()["cache_logger_on_first_use"]:
            setattr(self, name, method)
        return method

    def forget(self) -> None:
        """Look the methods up again."""
        for name in vars(self).keys() - {"_module"}:
            delattr(self, name)


class Logger(structlog.BoundLoggerBase):
    """Turns an event into a line with a third of the calls that structlog's own logger and processors make.

    The chain has one processor: a `Renderer`, or what `structlog.testing.capture_logs` puts in its place.
    """

    levels: ClassVar[Levels] = Levels()
    observed: ClassVar[frozenset[str]] = frozenset()
    counting: ClassVar[Counting | None] = None

    def __init__(self, logger: Any, processors: list[Any], context: Any) -> None:
        """Take what structlog's proxy passes when the logger is first used."""
        super().__init__(logger, processors, context)
        self._chain = processors
        self._put: Callable[..., None] = logger._file.put  # noqa: SLF001 — it has no public name
        self._put_several: Callable[..., None] = logger._file.put_several  # noqa: SLF001

    def method(self, name: str, module: str) -> Callable[..., None]:
        """Return what logs an event at a level for a module: it writes, only calls the observer, or does nothing."""
        if name == EACH:
            return self._each("info", module)
        level = "error" if name == "exception" else name
        if LEVELS[level] < self.levels.of(module):
            return self._telling(level) if self.observed else _nothing
        chain, put, proxy = self._chain, self._putting(level), self._proxy_to_logger
        counting: Any = self.counting or (None, {})
        book, places = counting[0], counting[1].get(level, {})

        def write(event: str, *, whole: Fields | None = None, observed: bool = True, **fields: Any) -> None:
            if whole is not None:
                fields = whole
            render = chain[0]
            if event in places:
                book.counts[places[event]] += 1
            if render.__class__ is Renderer:
                put(render(level, event, fields), observed=observed)
            else:
                proxy(name, event, **fields)

        return partial(write, exc_info=True) if name == "exception" else write

    def _telling(self, level: str) -> Callable[..., None]:
        """Return what only calls the observer."""
        chain, put, names = self._chain, self._putting(level), self.observed

        def tell(event: str, *, whole: Fields | None = None, observed: bool = True, **fields: Any) -> None:
            render = chain[0]
            if observed and event in names and render.__class__ is Renderer:
                put(render(level, event, fields if whole is None else whole), written=False)

        return tell

    def _each(self, level: str, module: str) -> Callable[..., None]:
        """Return what logs several events that differ in one text."""
        chain, put, observed, proxy = self._chain, self._put_several, self.observed, self._proxy_to_logger
        written = LEVELS[level] >= self.levels.of(module)
        if not (written or observed):
            return _nothing_of_each
        book, places = (self.counting or (None, {})) if written else (None, {})
        of_level: Any = places.get(level, {})

        def write(event: str, name: str, count: int, alike: Alike) -> None:
            render: Any = chain[0]
            if event in of_level and book is not None:
                book.counts[of_level[event]] += count
            if render.__class__ is Renderer:
                if written or event in observed:
                    put(Several(partial(render, level, event), name, count, alike), written=written)
            elif written:
                _one_by_one(partial(proxy, level), event, name, count, alike)

        return write

    def _putting(self, level: str) -> Callable[..., None]:
        """Return what takes a level's lines; the last errors and warnings stay in memory as well."""
        put, remember = self._put, kept.get(level)
        if remember is None:
            return put

        def put_and_remember(line: bytes, *, written: bool = True, observed: bool = True) -> None:
            put(line, written=written, observed=observed)
            if written:
                remember.append(line)

        return put_and_remember

    def debug(self, event: str, *, whole: Any = None, observed: Any = True, **fields: object) -> None:
        """Declare the signature: `_LogOfModule` has the methods.

        The fields may come in one dictionary, which the caller must not use again. With keywords, Python makes a new
        one, which costs half as much as the line. With `observed=False`, the observer does not get the event, because
        another one says the same.
        """

    info = warning = error = exception = debug

    def info_each(self, event: str, name: str, count: int, alike: Alike) -> None:
        """Log `count` events that differ in one text, the field `name`; they come in one object if they share the rest.

        `alike` is read later, in the log's thread, and so is what it refers to.
        """


def _nothing(event: str, *, whole: Fields | None = None, observed: bool = True, **fields: object) -> None:
    """Log an event below the level."""


def _nothing_of_each(event: str, name: str, count: int, alike: Alike) -> None:
    """Log several events below the level."""


def _as_structlog(logger: Any, name: str) -> Callable[..., None]:
    """Return a method of structlog's own logger with our signature."""
    if name == EACH:
        return partial(_one_by_one, logger.info)
    method = getattr(logger, name)

    def log(event: str, *, whole: Fields | None = None, observed: bool = True, **fields: object) -> None:  # noqa: ARG001 — as ours
        method(event, **(fields if whole is None else whole))

    return log


def _one_by_one(method: Callable[..., None], event: str, name: str, _count: int, alike: Alike) -> None:
    for fields, text in alike:
        method(event, **{**fields, name: printable(text)})


def _dropped(_logger: object, _level: str, _event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    raise structlog.DropEvent
