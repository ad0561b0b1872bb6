"""A compiled script and its runs: Script, Frame, Outcome, limits and run-time errors.

A `Frame` is the mutable state of one run. It is the only argument of the closures that the compiler makes. Library
functions get it if their first parameter is `frame`.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from time import monotonic
from types import CoroutineType, MappingProxyType
from typing import Any, NoReturn, Protocol, TypeAlias

from config.diagnostics import Source, Span
from sieve.host import FullHost
from sieve.phases import Effect, Need, Phase
from sieve.run import reasons
from sieve.run.origins import Woven
from sieve.run.patience import Soon, settled, within
from sieve.run.values import ScriptError, Value, flat
from sieve.settings import ErrorMode, ScriptSettings

NO_REPLY = 250
FAILED_CODE = 451
CLOSING_CODE = 421
REFUSED_FROM = 400
"""Reply codes from here on reject the command (RFC 5321, 4.2.1)."""
_NO_VARIABLES: Mapping[str, Value] = MappingProxyType({})


class Fault(Exception):
    """A run-time error and its position in the script."""

    def __init__(self, span: Span, reason: str, *, fatal: bool = False) -> None:
        """Create a fault. A fatal one ends the script in every error mode."""
        super().__init__(reason)
        self.span = span
        self.reason = flat(reason)  # it may quote a value, and it goes to the log
        self.fatal = fatal


def located(error: Exception, span: Span) -> Fault:
    """Return `error` as a fault at `span`; a fault keeps its own position."""
    if isinstance(error, Fault):
        return error
    if isinstance(error, ScriptError):
        return Fault(span, error.reason)
    return Fault(span, f"{type(error).__name__}: {error}")


Step: TypeAlias = tuple[Callable[[Any], Any], Span]
"""A compiled statement: a callable that tells whether the phase ended, or returns a coroutine for it; its position."""


@dataclass(slots=True)
class Outcome:
    """The result of a run. Not frozen, because each run makes one."""

    code: int = NO_REPLY
    """The reply code; 250 unless an action changed it."""
    text: str = ""
    """The reply's lines, joined with line breaks; empty if the script set no text."""
    close: bool = False
    """Whether to close the connection after the reply."""
    discard: bool = False
    """Whether the message is accepted and thrown away."""
    ended: bool = False
    """Whether a terminal action ended the phase, so that its second script must not run."""
    failed: bool = False
    """Whether a run-time error ended the script. The reply is then 451, without a text from the script."""
    variables: Mapping[str, Value] = field(default_factory=lambda: _NO_VARIABLES)
    """The variables at the end of the run."""
    actions: tuple[str, ...] = ()
    """The names of the actions that ran, in order."""
    at: Span | None = field(default=None, compare=False)
    """The statement that decided the reply or discarded the message, or the one that failed."""


class Frame:
    """The state of one run."""

    __slots__ = (
        "actions",
        "at",
        "close",
        "code",
        "deadline",
        "decided",
        "depth",
        "dialect_state",
        "discard",
        "ended",
        "host",
        "kept",
        "mode",
        "origins",
        "phase",
        "replied",
        "script",
        "settings",
        "steps",
        "structure",
        "text",
        "trace",
        "variables",
    )

    def __init__(self, host: FullHost, script: Script) -> None:
        """Begin a run of `script` with `host`."""
        settings = script.settings
        self.host = host
        self.script = script
        self.depth = 0
        self.dialect_state: Any = None
        self.phase = script.phase
        self.at = script.span
        self.settings = settings
        self.mode: ErrorMode = settings.runtime_error
        self.variables: dict[str, Value] = {}
        self.origins: dict[str, tuple[Value, Woven]] = {}
        """The origin of a variable's text at its assignment."""
        self.actions: list[str] = []
        self.code = NO_REPLY
        self.text = ""
        self.decided: Span | None = None
        self.replied = self.close = self.discard = self.kept = self.ended = False
        self.structure: object = None
        """The message taken apart, kept by `sieve.run.content`."""
        self.steps = settings.limits.steps
        self.trace: Callable[[Any], None] | None = None
        self.deadline = monotonic() + settings.limits.seconds

    def reply(self, code: int, text: str) -> None:
        """Set the reply to the current command."""
        self.code = code
        self.text = text.rstrip("\n")
        self.replied = True
        self.decided = self.at

    def count(self, code: int, counter: str | None) -> None:
        """Increase a counter of this phase. The default name is the position of the statement."""
        name = counter if counter is not None else f"{self.at.source.name}:{self.at.line}"
        self.host.count(f"{self.phase.value}:{flat(name)}", code)

    def survive(self, error: Exception, span: Span) -> None:
        """Log a run-time error and continue after its statement, if the error mode is `continue`.

        Raises:
            Fault: the mode is `fail`, or the fault is fatal.
        """
        fault = located(error, span)
        if fault.fatal or self.mode == "fail":
            raise fault from (None if fault is error else error)
        self.host.script_failed(fault.span.source.name, fault.span.line, fault.reason)

    def failed(self, error: Exception) -> Outcome:
        """Log the error that ended the run, and return its result."""
        fault = located(error, self.at)
        if self.script.undo is not None:
            self.script.undo(self)
        self.host.script_failed(fault.span.source.name, fault.span.line, fault.reason)
        return Outcome(
            FAILED_CODE,
            ended=True,
            failed=True,
            variables=self.variables,
            actions=tuple(self.actions),
            at=fault.span,
        )

    def outcome(self) -> Outcome:
        """Return the result of the run."""
        code = CLOSING_CODE if self.close and not self.replied else self.code
        return Outcome(
            code=code,
            text=self.text,
            close=self.close,
            # An action that keeps or rejects the mail wins over one that discards it (RFC 5228, 4.4).
            discard=self.discard and not self.kept and code < REFUSED_FROM,
            ended=self.ended,
            variables=self.variables,
            actions=tuple(self.actions),
            at=self.decided or self.at,
        )


def run_of(steps: tuple[Step, ...]) -> Callable[[Frame], Any]:
    """Return a callable that runs a block's statements and tells whether the phase ended.

    If a statement has to wait, it returns a coroutine that waits, runs the statements after that one, and tells.
    """
    count = len(steps)

    def run(frame: Frame) -> Any:
        frame.steps -= count
        for number, (step, span) in enumerate(steps):
            try:
                frame.at = span
                if frame.steps < 0 or monotonic() > frame.deadline:
                    give_up(frame)
                ended = step(frame)
            except Exception as error:  # noqa: BLE001 - any failure of a function is a run-time error of the script
                frame.survive(error, span)
                continue
            if ended.__class__ is CoroutineType:
                return _rest(frame, steps[number:], ended)
            if ended:
                return True
        return False

    return run


async def _rest(frame: Frame, steps: tuple[Step, ...], begun: Any) -> bool:
    """Wait for the first of these statements, which has begun, and run the others."""
    for step, span in steps:
        try:
            if begun is None:
                frame.at = span
                if frame.steps < 0 or monotonic() > frame.deadline:
                    give_up(frame)
                begun = step(frame)
            if await settled(begun):
                return True
        except Exception as error:  # noqa: BLE001 - as above
            frame.survive(error, span)
        begun = None
    return False


def give_up(frame: Frame) -> NoReturn:
    """End a run that has exceeded its limit of statements or its time limit.

    Raises:
        Fault: always. Nothing more of the script runs.
    """
    limits = frame.settings.limits
    reason = reasons.too_many_steps(limits.steps) if frame.steps < 0 else reasons.too_slow(limits.seconds)
    raise Fault(frame.at, reason, fatal=True) from None


class Includes(Protocol):
    """The source of included scripts."""

    async def get(
        self, uri: str, arguments: tuple[str, ...], phase: Phase, compile_source: Callable[[Source], Any]
    ) -> Script:
        """Return the compiled script. Raise ScriptError if it cannot be read or has errors."""
        ...


@dataclass(frozen=True, slots=True)
class Inclusion:
    """An include of a script whose name is constant."""

    uri: str
    span: Span
    optional: bool = False
    once: bool = False


@dataclass(frozen=True, slots=True)
class Script:
    """A compiled script. It has no state of a run, so any number of sessions can share it."""

    name: str
    phase: Phase
    needs: Need
    """The content that it reads or changes. The relay must have it before the script runs."""
    effects: frozenset[Effect]
    """The effects of its functions."""
    calls: frozenset[str]
    """The names of the functions that it calls, except in included scripts."""
    keeping: tuple[tuple[str, Span], ...]
    """The actions that keep or reject the mail, with their positions."""
    ends_phase: bool
    """Whether every path ends the phase, so that the second script never runs."""
    is_async: bool
    """Whether a run can wait."""
    settings: ScriptSettings
    span: Span
    body: Callable[[Frame], Any]
    begin: Callable[[Frame], None] | None = None
    finish: Callable[[Frame], None] | None = None
    undo: Callable[[Frame], None] | None = None
    """What a run does that fails."""
    inclusions: tuple[Inclusion, ...] = ()
    datasources: tuple[tuple[str, Span], ...] = ()
    """The datasources that it names by a constant, with their positions."""
    includes: Includes | None = None
    compile_included: Callable[[Source], Any] | None = None

    def start(self, host: FullHost, trace: Callable[[Any], None] | None = None) -> Soon[Outcome]:
        """Run the script with `host`. If it has to wait, return a coroutine for the rest of the run.

        A traced script calls `trace` with each `TraceEvent`. An error in the script or in a function is not raised; the
        outcome then has `failed`. Cancellation is raised.
        """
        frame = Frame(host, self)
        frame.trace = trace
        try:
            if self.begin is not None:
                self.begin(frame)
            ended = self.body(frame)
            if ended.__class__ is CoroutineType:
                return self._rest(frame, ended)
            if self.finish is not None:
                self.finish(frame)
        except Exception as error:  # noqa: BLE001 - no failure here may end the session
            return frame.failed(error)
        return frame.outcome()

    async def run(self, host: FullHost, trace: Callable[[Any], None] | None = None) -> Outcome:
        """Run the script like `start`, to its end."""
        return await settled(self.start(host, trace))

    async def _rest(self, frame: Frame, body: Coroutine[Any, Any, bool]) -> Outcome:
        try:
            try:
                await within(self.settings.limits.seconds, body)
            except TimeoutError:
                give_up(frame)
            if self.finish is not None:
                self.finish(frame)
        except Exception as error:  # noqa: BLE001 - no failure here may end the session
            return frame.failed(error)
        return frame.outcome()
