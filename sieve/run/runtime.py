"""A compiled script and one run of it: Script, Frame, Outcome, the budgets and run-time errors.

A `Frame` is the mutable state of one run and belongs to it alone. Closures made by the compiler get it as their only
argument; functions of the library get it when their first parameter asks for it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from time import monotonic
from types import MappingProxyType
from typing import Any, NoReturn, Protocol, TypeAlias, cast

from config.diagnostics import Source, Span
from sieve.host import Host, World
from sieve.phases import Effect, Need, Phase
from sieve.run import reasons
from sieve.run.origins import Woven
from sieve.run.patience import within
from sieve.run.values import ScriptError, Value, flat
from sieve.settings import ErrorMode, ScriptSettings

NO_REPLY = 250
FAILED_CODE = 451
CLOSING_CODE = 421
REFUSED_FROM = 400
"""Replies from this code on refuse the command (RFC 5321, 4.2.1)."""
_NO_VARIABLES: Mapping[str, Value] = MappingProxyType({})


class Fault(Exception):
    """A run-time error and the place in the script where it happened."""

    def __init__(self, span: Span, reason: str, *, fatal: bool = False) -> None:
        """Keep place and reason; a fatal one ends the script in every error mode."""
        super().__init__(reason)
        self.span = span
        self.reason = flat(reason)  # it may quote a value, and goes to the log
        self.fatal = fatal


def located(error: Exception, span: Span) -> Fault:
    """Return `error` as a fault at `span`; a fault already has its place."""
    if isinstance(error, Fault):
        return error
    if isinstance(error, ScriptError):
        return Fault(span, error.reason)
    return Fault(span, f"{type(error).__name__}: {error}")


Step: TypeAlias = tuple[Callable[[Any], Any], bool, Span]
"""A compiled statement: a callable that tells whether the phase ended, whether it waits, and its place."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run of a script decided."""

    code: int = NO_REPLY
    """The reply code; 250 unless an action changed it."""
    text: str = ""
    """The reply's lines joined by a line break; empty when the script gave none."""
    close: bool = False
    """Whether the connection ends after the reply."""
    discard: bool = False
    """Whether the message is accepted and thrown away."""
    ended: bool = False
    """Whether a terminal action ended the phase, so that its second script must not run."""
    failed: bool = False
    """Whether a run-time error ended it; the reply then is 451 without a text of the script's."""
    variables: Mapping[str, Value] = field(default_factory=lambda: _NO_VARIABLES)
    """The variables at the end."""
    actions: tuple[str, ...] = ()
    """The actions that ran, by name, in order."""


class Frame:
    """The state of one run."""

    __slots__ = (
        "actions",
        "at",
        "close",
        "code",
        "deadline",
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

    def __init__(self, host: Host, script: Script) -> None:
        """Begin a run of `script` in the session behind `host`."""
        settings = script.settings
        self.host = cast(World, host)
        self.script = script
        self.depth = 0
        self.dialect_state: Any = None
        self.phase = script.phase
        self.at = script.span
        self.settings = settings
        self.mode: ErrorMode = settings.runtime_error
        self.variables: dict[str, Value] = {}
        self.origins: dict[str, tuple[Value, Woven]] = {}
        """Whose words a variable is made of, as it was assigned."""
        self.actions: list[str] = []
        self.code = NO_REPLY
        self.text = ""
        self.replied = self.close = self.discard = self.kept = self.ended = False
        self.structure: object = None
        """The message taken apart, kept by `sieve.run.content`."""
        self.steps = settings.limits.steps
        self.trace: Callable[[Any], None] | None = None
        self.deadline = monotonic() + settings.limits.seconds

    def reply(self, code: int, text: str) -> None:
        """Decide the reply of the command that the session is at."""
        self.code = code
        self.text = text.rstrip("\n")
        self.replied = True

    def count(self, code: int, counter: str | None) -> None:
        """Increase an operator's counter of this phase; its name is the place of the statement unless one is given."""
        name = counter if counter is not None else f"{self.at.source.name}:{self.at.line}"
        self.host.count(f"{self.phase.value}:{flat(name)}", code)

    def survive(self, error: Exception, span: Span) -> None:
        """Record a run-time error and go on behind its statement, if the error mode is `continue`.

        Raises:
            Fault: the mode is `fail`, or nothing can run any more.
        """
        fault = located(error, span)
        if fault.fatal or self.mode == "fail":
            raise fault from (None if fault is error else error)
        self.host.script_failed(fault.span.source.name, fault.span.line, fault.reason)

    def outcome(self) -> Outcome:
        """Return what the run decided."""
        code = CLOSING_CODE if self.close and not self.replied else self.code
        return Outcome(
            code=code,
            text=self.text,
            close=self.close,
            # What keeps the mail, or tells its sender, wins over what throws it away (RFC 5228, 4.4).
            discard=self.discard and not self.kept and code < REFUSED_FROM,
            ended=self.ended,
            variables=self.variables,
            actions=tuple(self.actions),
        )


def sync_block(steps: tuple[Step, ...]) -> Callable[[Frame], bool]:
    """Return a callable that runs statements of which none waits; it tells whether the phase ended."""
    count = len(steps)

    def run(frame: Frame) -> bool:
        frame.steps -= count
        for step, _, span in steps:
            try:
                frame.at = span
                if frame.steps < 0 or monotonic() > frame.deadline:
                    give_up(frame)
                if step(frame):
                    return True
            except Exception as error:  # noqa: BLE001 - every failure of a function is a run-time error of the script
                frame.survive(error, span)
        return False

    return run


def async_block(steps: tuple[Step, ...]) -> Callable[[Frame], Any]:
    """Return a coroutine function that runs statements; it tells whether the phase ended."""
    count = len(steps)

    async def run(frame: Frame) -> bool:
        frame.steps -= count
        for step, waits, span in steps:
            try:
                frame.at = span
                if frame.steps < 0 or monotonic() > frame.deadline:
                    give_up(frame)
                if await step(frame) if waits else step(frame):
                    return True
            except Exception as error:  # noqa: BLE001 - every failure of a function is a run-time error of the script
                frame.survive(error, span)
        return False

    return run


def give_up(frame: Frame) -> NoReturn:
    """End a run that has spent a budget, its steps or its time.

    Raises:
        Fault: always; nothing of the script runs any more.
    """
    limits = frame.settings.limits
    reason = reasons.too_many_steps(limits.steps) if frame.steps < 0 else reasons.too_slow(limits.seconds)
    raise Fault(frame.at, reason, fatal=True) from None


class Includes(Protocol):
    """Where included scripts come from."""

    async def get(
        self, uri: str, arguments: tuple[str, ...], phase: Phase, compile_source: Callable[[Source], Any]
    ) -> Script:
        """Return the compiled script. Raises ScriptError if it cannot be read or has errors."""
        ...


@dataclass(frozen=True, slots=True)
class Script:
    """A compiled script. It holds no state of a run, so that any number of sessions share it."""

    name: str
    phase: Phase
    needs: Need
    """What content it reads or changes: the relay must have it before the script runs."""
    effects: frozenset[Effect]
    """What its functions change."""
    calls: frozenset[str]
    """The functions that it can call, by name; what an included script calls is not among them."""
    keeping: tuple[tuple[str, Span], ...]
    """The actions that keep the mail or tell its sender, and where they stand."""
    ends_phase: bool
    """Whether every way through it ends the phase, so that a second script never runs."""
    is_async: bool
    """Whether a run can wait."""
    settings: ScriptSettings
    span: Span
    body: Callable[[Frame], Any]
    begin: Callable[[Frame], None] | None = None
    finish: Callable[[Frame], None] | None = None
    includes: Includes | None = None
    compile_included: Callable[[Source], Any] | None = None

    async def run(self, host: Host, trace: Callable[[Any], None] | None = None) -> Outcome:
        """Run the script in the session behind `host`; a traced one tells `trace` of each `TraceEvent`.

        Never raises for what a script or a function does wrong: that is an outcome with `failed`. Cancellation
        passes.
        """
        frame = Frame(host, self)
        frame.trace = trace
        try:
            if self.begin is not None:
                self.begin(frame)
            if self.is_async:
                await self._bounded(frame)
            else:
                self.body(frame)
            if self.finish is not None:
                self.finish(frame)
        except Exception as error:  # noqa: BLE001 - nothing that goes wrong here may end the session
            fault = located(error, frame.at)
            host.script_failed(fault.span.source.name, fault.span.line, fault.reason)
            return Outcome(
                FAILED_CODE, ended=True, failed=True, variables=frame.variables, actions=tuple(frame.actions)
            )
        return frame.outcome()

    async def _bounded(self, frame: Frame) -> None:
        try:
            await within(self.settings.limits.seconds, self.body(frame))
        except TimeoutError:
            give_up(frame)
