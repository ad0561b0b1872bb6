"""Compile statements to closures, and a source to a script.

A block is a tuple of steps; a step tells whether the phase ended. Consecutive terminal actions form a group: all of
them run, and the last one ends the phase. A block becomes a coroutine only if something in it really has to wait.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable
from dataclasses import dataclass

from config.diagnostics import Diagnostic, Source, Span, has_errors
from sieve.check.binding import Bound, constant
from sieve.compile import calls
from sieve.compile.codes import Code, chosen, followed, known, mapped, preceded
from sieve.compile.conditions import Conditions, truth
from sieve.compile.expressions import element_origin, expression, origin_of, woven
from sieve.compile.tracing import watched_assignment, watched_statement
from sieve.dialects import DIALECTS, DialectName
from sieve.library import Library, Result
from sieve.phases import PROVIDES, Need, Phase
from sieve.rfc5228.including import uri_of
from sieve.run.origins import Woven, ours, text_of
from sieve.run.runtime import Frame, Includes, Inclusion, Script, Step, run_of
from sieve.run.values import UNSET, Place, Value, as_list, as_text
from sieve.settings import ScriptSettings
from sieve.syntax import nodes

_INERT = frozenset({"require"})
"""Statements that are checked but do nothing."""

_INCLUDING = frozenset({"include", "ec_include"})

_OF_CONFIGURATION = frozenset({"ec_config"})
"""Functions that return values from the configuration."""


@dataclass(frozen=True, slots=True)
class Compiled:
    """The compiled script, None if it has errors, and its diagnostics."""

    script: Script | None
    diagnostics: tuple[Diagnostic, ...]
    draft: Script
    """The script, even if it has errors and must not run."""


def compile_script(
    source: Source | str,
    *,
    phase: Phase = Phase.DATA,
    library: Library | None = None,
    modules: frozenset[str] = frozenset(),
    settings: ScriptSettings = ScriptSettings(),  # noqa: B008 - frozen
    includes: Includes | None = None,
    traced: bool = False,
    dialect: DialectName = "sieve++",
) -> Compiled:
    """Parse, check and compile one script for a phase. `modules` are the loaded validation modules.

    All errors of the script are found in one run; a script is returned only if it has no errors. `ec_include` gets
    other scripts from `includes`; without it, `ec_include` is a run-time error. Only a `traced` script reports trace
    events.
    The dialect `rfc5228` is standard Sieve, with its own library and default comparator.
    """
    source = Source("script", source) if isinstance(source, str) else source
    language = DIALECTS[dialect]
    functions = library if library is not None and dialect == "sieve++" else language.library()
    if language.comparator is not None:
        settings = dataclasses.replace(settings, default_comparator=language.comparator)
    tree, diagnostics = language.parse(source)
    checked = language.checker(phase, functions, modules, settings).run(tree)
    diagnostics += [diagnostic for diagnostic in checked.diagnostics if not _is_echo(diagnostic, diagnostics)]
    body = Compiler(checked.calls, diagnostics, settings, traced=traced, captures=language.captures).block(tree)
    again = functools.partial(compile_script, phase=phase, library=library, modules=modules, settings=settings)
    script = Script(
        name=source.name,
        phase=phase,
        needs=checked.needs & (PROVIDES[phase] | Need.ENVELOPE_FROM | Need.ENVELOPE_TO),
        effects=frozenset(checked.effects),
        keeping=tuple((call.name, call.name_span) for call in checked.keeping),
        ends_phase=checked.ends_phase,
        calls=frozenset(bound.function.name for bound in checked.calls.values()),
        is_async=body.waits,
        settings=settings,
        span=tree.span,
        body=body.run,
        begin=language.begin,
        finish=language.finish,
        undo=language.undo,
        inclusions=_inclusions(source.name, checked.calls.values()),
        datasources=_datasources(checked.calls.values()),
        includes=includes,
        compile_included=functools.partial(again, includes=includes, traced=traced, dialect=dialect),
    )
    return Compiled(None if has_errors(diagnostics) else script, tuple(diagnostics), script)


def _inclusions(here: str, calls: Iterable[Bound]) -> tuple[Inclusion, ...]:
    """Return the files that are included by a constant name."""
    found = []
    for bound in calls:
        if bound.function.name not in _INCLUDING:
            continue
        argument = bound.arguments[0]
        text = constant(argument)
        if isinstance(text, str) and text:
            uri = uri_of(here, text) if bound.function.name == "include" else text
            optional, once = "optional" in bound.tags, "once" in bound.tags
            found.append(Inclusion(uri, argument.span, optional, once))
    return tuple(found)


def _datasources(calls: Iterable[Bound]) -> tuple[tuple[str, Span], ...]:
    """Return the datasources that are asked by a constant name."""
    found = []
    for bound in calls:
        for parameter, argument in zip(bound.function.parameters, bound.arguments, strict=False):
            if parameter.name == bound.function.datasource:
                text = constant(argument)
                if isinstance(text, str) and text:
                    found.append((text, argument.span))
    return tuple(found)


def _is_echo(found: Diagnostic, formal: list[Diagnostic]) -> bool:
    """Tell whether a warning may only be the consequence of a syntax error."""
    return not found.is_error and has_errors(formal)


class Compiler:
    """Compiles the statements of one script."""

    def __init__(
        self,
        bound: dict[nodes.Call, Bound],
        diagnostics: list[Diagnostic],
        settings: ScriptSettings,
        *,
        traced: bool,
        captures: bool,
    ) -> None:
        self._bound = bound
        self._traced = traced
        self._conditions = Conditions(bound, diagnostics, settings.limits, traced=traced, captures=captures)

    def block(self, block: nodes.Block) -> Code:
        """Return code that runs a block and tells whether the phase ended."""
        steps: list[Step] = []
        waits = False
        statements = [
            statement
            for statement in block.statements
            if not (isinstance(statement, nodes.Call) and statement.name in _INERT)
        ]
        for number, statement in enumerate(statements):
            follower = statements[number + 1] if number + 1 < len(statements) else None
            code = self._watched(statement, self._statement(statement, follower))
            steps.append((code.run, statement.span))
            waits |= code.waits
        return Code(run_of(tuple(steps)), waits=waits)

    def _statement(self, statement: nodes.Statement, follower: nodes.Statement | None) -> Code:
        if isinstance(statement, nodes.Call):
            return self._action(statement, ends=self._is_terminal(statement) and not self._is_terminal(follower))
        if isinstance(statement, nodes.Assign):
            return self._assign(statement)
        if isinstance(statement, nodes.Destructure):
            return self._destructure(statement)
        return self._if(statement)

    def _watched(self, statement: nodes.Statement, code: Code) -> Code:
        if not self._traced:
            return code
        if isinstance(statement, nodes.Assign):
            code = watched_assignment(code, statement.span, (statement.target.name,))
        elif isinstance(statement, nodes.Destructure):
            code = watched_assignment(code, statement.span, tuple(target.name for target in statement.targets))
        return watched_statement(code, statement.span)

    def _is_terminal(self, statement: nodes.Statement | None) -> bool:
        bound = self._bound.get(statement) if isinstance(statement, nodes.Call) else None
        return bound is not None and bound.function.terminal

    def _action(self, statement: nodes.Call, *, ends: bool) -> Code:
        """Compile a call as a statement. The name of an action is recorded before it runs."""
        bound = self._bound.get(statement)
        if bound is None:
            return known(False)  # an error is already reported, so this script will not run
        code = calls.call(bound, traced=self._traced)
        name, may_end = bound.function.name, bound.function.may_end
        done = mapped(code, bool if may_end else lambda _result: ends)
        if bound.function.result is not Result.NOTHING:
            return done
        return preceded(done, lambda frame: frame.actions.append(name))

    # ------------------------------------------------------------ assignments

    def _assign(self, statement: nodes.Assign) -> Code:
        name, node = statement.target.name, statement.value

        def assign_ours(frame: Frame, value: Value) -> bool:
            frame.variables[name] = value
            frame.origins[name] = (value, ours(value))
            return False

        def assign_woven(frame: Frame, pieces: Woven) -> bool:
            text = frame.variables[name] = text_of(pieces)
            frame.origins[name] = (text, pieces)
            return False

        if isinstance(node, nodes.Text) and constant(node) is None:
            return followed(woven(node), assign_woven)
        if isinstance(node, nodes.Variable):
            return _copied(node.name, name)
        if isinstance(node, nodes.Index) and isinstance(node.of, nodes.Variable):
            return _picked(node, node.of.name, name)
        if self._is_ours(node):
            return followed(self._value(node), assign_ours)
        if self._is_first(node):
            return followed(self._value(node, whole=True), functools.partial(_keep_first, name))
        return followed(self._value(node), functools.partial(_keep, name))

    def _is_first(self, node: nodes.Expression | nodes.Call) -> bool:
        """Tell whether the value is a list of which an assignment takes the first."""
        bound = self._bound.get(node) if isinstance(node, nodes.Call) else None
        return bound is not None and bound.function.first

    def _is_ours(self, node: nodes.Expression | nodes.Call) -> bool:
        """Tell whether a value is the operator's: a constant, the configuration, or computed only from constants."""
        if not isinstance(node, nodes.Call):
            return constant(node) is not None
        bound = self._bound.get(node)
        if bound is None:
            return False
        pure = not bound.function.takes_frame and all(constant(argument) is not None for argument in bound.arguments)
        return pure or bound.function.name in _OF_CONFIGURATION

    def _value(self, node: nodes.Expression | nodes.Call, *, whole: bool = False) -> Code:
        """Compile a value; `whole` leaves a list whole of which an assignment takes the first."""
        if not isinstance(node, nodes.Call):
            return expression(node)
        bound = self._bound.get(node)
        if bound is None:
            return known("")
        code = calls.call(bound, traced=self._traced)
        if bound.function.result is Result.TEST:
            return mapped(code, truth)
        return mapped(code, as_text) if bound.function.first and not whole else code

    def _destructure(self, statement: nodes.Destructure) -> Code:
        """Compile `($a, $b) = call`: extra variables become unset, extra values are dropped."""
        names = tuple(target.name for target in statement.targets)
        bound = self._bound.get(statement.value)
        if bound is None:
            return known(False)
        code = calls.call(bound, traced=self._traced)
        if bound.function.result is Result.TEST:
            code = mapped(code, truth)
        return followed(code, functools.partial(_spread, names, (UNSET,) * len(names)))

    # ------------------------------------------------------------ if

    def _if(self, statement: nodes.If) -> Code:
        branches = [
            (known(True) if branch.test is None else self._conditions.compile(branch.test), self.block(branch.block))
            for branch in statement.branches
        ]
        return chosen(branches)


def _copied(source: str, name: str) -> Code:
    def copy(frame: Frame) -> bool:
        value = frame.variables.get(source, "")
        pieces = origin_of(frame, source)
        frame.variables[name] = value
        frame.origins[name] = (value, pieces)
        return False

    return Code(copy)


def _picked(node: nodes.Index, holder: str, name: str) -> Code:
    def pick(frame: Frame, value: Value) -> bool:
        pieces = element_origin(frame, holder, value)  # first: `$a = $a[0]` is legal
        frame.variables[name] = value
        frame.origins[name] = (value, pieces)
        return False

    return followed(expression(node), pick)


def _keep(name: str, frame: Frame, value: Value) -> bool:
    frame.variables[name] = value
    return False


def _keep_first(name: str, frame: Frame, values: Value) -> bool:
    frame.variables[name] = values[0] if values.__class__ is tuple and values else as_text(values)
    return False


def _spread(names: tuple[str, ...], missing: tuple[Place, ...], frame: Frame, result: Value) -> bool:
    variables = frame.variables
    values = result if result.__class__ is tuple else as_list(result)  # most functions return a list
    for name, value in zip(names, (*values, *missing), strict=False):
        if value is UNSET:
            variables.pop(name, None)
        else:
            variables[name] = value
    return False
