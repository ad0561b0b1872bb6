"""Check a script before it runs: names, phases, modules, arguments, and code that looks unintended.

A script has no loops, so its statements run in source order, and one pass sees every assignment before the variable is
read.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from config.diagnostics import Diagnostic, Span
from sieve import errors, manual
from sieve.check.binding import Binder, Bound, CallRole
from sieve.check.reach import dead_branches, ends_phase, keeping_calls
from sieve.library import Library, SieveFunction
from sieve.message.spelling import in_a_labels
from sieve.phases import Effect, Need, Phase
from sieve.settings import ScriptSettings
from sieve.syntax import macros, nodes

MOST_SUGGESTIONS = 100
"""After this many diagnostics there are no more "did you mean" hints; each takes a millisecond."""

_OF_PROSE = frozenset({"header", "ec_log", "ec_log_file", "reject", "ereject", "error", "fileinto"})
"""Functions without an effect on the envelope whose strings are no addresses."""

_REFUSALS = frozenset({"reject", "ec_reject"})


@dataclass(slots=True)
class Checked:
    """The checker's result."""

    calls: dict[nodes.Call, Bound] = field(default_factory=dict)
    """The calls that are valid."""
    needs: Need = Need.NOTHING
    effects: set[Effect] = field(default_factory=set)
    diagnostics: list[Diagnostic] = field(default_factory=list)
    keeping: list[nodes.Call] = field(default_factory=list)
    """The actions that keep or reject the mail."""
    ends_phase: bool = False
    """Whether every path ends the phase, so that the phase's second script never runs."""


@dataclass(slots=True)
class _Flow:
    """The variables that are set and read so far."""

    assigned: set[str] = field(default_factory=set)
    unread: dict[str, list[Span]] = field(default_factory=dict)
    warned: set[str] = field(default_factory=set)
    shared: bool = False
    """Whether an included script can also set and read them."""


class Checker:
    """Checks one script."""

    _strict = False
    """Whether arguments have the types and the order of standard Sieve."""

    def __init__(self, phase: Phase, library: Library, modules: frozenset[str], settings: ScriptSettings) -> None:
        self._phase = phase
        self._library = library
        self._modules = modules
        self._found = Checked()
        self._flow = _Flow()
        self._settings = settings
        self._binder = Binder(settings, self._found.diagnostics, strict=self._strict)
        self._dead: set[nodes.Call] = set()
        """Actions in `keeping` that already have a warning."""

    def run(self, script: nodes.Block) -> Checked:
        """Check the script and return the result, including diagnostics."""
        self._block(script)
        self._found.keeping = list(keeping_calls(script))
        self._found.ends_phase = ends_phase(script, self._ends_phase)
        if not self._flow.shared:
            for name, spans in self._flow.unread.items():
                self._found.diagnostics.extend(errors.never_read(name, span) for span in spans)
        return self._found

    # ------------------------------------------------------------ statements

    def _block(self, block: nodes.Block) -> bool:
        """Check a block and tell whether it always ends the phase."""
        ended_by = ""
        in_group = warned = False
        for statement in block.statements:
            terminal = self._terminal(statement)
            if ended_by and not (terminal and in_group):
                warned = self._unreached(statement, ended_by, warned=warned)
            ends = self._statement(statement)
            ender = terminal or self._ender(statement)
            if not ended_by and (ender or ends):
                ended_by = ender or "every branch"
                in_group = bool(terminal)
            in_group = in_group and bool(terminal)
        return bool(ended_by)

    def _unreached(self, statement: nodes.Statement, ended_by: str, *, warned: bool) -> bool:
        """Warn about a block's first unreachable statement, and about unreachable actions that keep or reject mail."""
        if not warned:
            self._found.diagnostics.append(errors.unreachable(_head(statement), ended_by))
            self._dead |= {statement} if isinstance(statement, nodes.Call) else set()
        for call in self._unwarned(statement):
            self._found.diagnostics.append(errors.never_keeps(call.name, call.name_span, ended_by))
        return True

    def _unwarned(self, node: nodes.Block | nodes.Statement) -> list[nodes.Call]:
        """Return the keeping and rejecting actions in a node that have no warning yet, and mark them as warned."""
        found = [call for call in keeping_calls(node) if call not in self._dead]
        self._dead.update(found)
        return found

    def _ender(self, statement: nodes.Statement) -> str:  # noqa: ARG002 - Sieve++ has none
        """Return the name of an action that ends a script at once, without a group; else an empty string."""
        return ""

    def _ends_phase(self, statement: nodes.Statement) -> bool:
        """Whether an action always ends the phase. `stop` ends it only after a rejection."""
        return self._terminal(statement) not in {"", "stop"}

    def _terminal(self, statement: nodes.Statement) -> str:
        """Return the name of a terminal action, else an empty string."""
        if isinstance(statement, nodes.Call):
            function = self._library.get(statement.name)
            if function is not None and function.terminal:
                return statement.name
        return ""

    def _statement(self, statement: nodes.Statement) -> bool:
        """Check a statement and tell whether all paths through it end the phase."""
        if isinstance(statement, nodes.If):
            for block in dead_branches(statement):
                for call in self._unwarned(block):
                    self._found.diagnostics.append(errors.never_chosen(call.name, call.name_span))
            ends = [self._branch(branch) for branch in statement.branches]
            return all(ends) and statement.branches[-1].test is None
        if isinstance(statement, nodes.Call):
            self._call(statement, CallRole.STATEMENT)
        elif isinstance(statement, nodes.Assign):
            if isinstance(statement.value, nodes.Call):
                self._call(statement.value, CallRole.VALUE)
            else:
                self._expression(statement.value)
                self._u_labels(statement.value)
            self._assign(statement.target, warn=True)
        else:
            self._call(statement.value, CallRole.VALUE)
            for target in statement.targets:
                self._assign(target, warn=len(statement.targets) == 1)
        return False

    def _branch(self, branch: nodes.Branch) -> bool:
        if branch.test is not None:
            self._test(branch.test)
        return self._block(branch.block)

    def _test(self, test: nodes.Test) -> None:
        if isinstance(test, nodes.Call):
            self._call(test, CallRole.TEST)
        elif isinstance(test, nodes.Not):
            self._test(test.test)
        elif isinstance(test, nodes.Junction):
            for inner in test.tests:
                self._test(inner)

    # ------------------------------------------------------------ calls

    def _call(self, call: nodes.Call, role: CallRole) -> None:
        function = self._function(call)
        bound = self._binder.bind(call, function, role) if function is not None else None
        places = function is not None and function.name == "isset"
        for argument in call.arguments:
            if not isinstance(argument, nodes.Tag):
                self._expression(argument, warn=not places, query=function is not None and function.queries)
                if function is None or _compares_addresses(function):
                    self._u_labels(argument)
        if bound is not None:
            self._learnt(call, bound)
        if call.name == "ec_include":
            self._flow.shared = True
        elif call.name in _REFUSALS and not call.arguments:
            self._found.diagnostics.append(errors.default_refusal(call.name, call.name_span))

    def _learnt(self, call: nodes.Call, bound: Bound) -> None:
        self._found.calls[call] = bound
        self._found.needs |= bound.function.needs
        self._found.effects |= set(Effect) if bound.function.may_end else {bound.function.effect}

    def _function(self, call: nodes.Call) -> SieveFunction | None:
        """Return the function that a call names, if it is allowed here."""
        function = self._library.get(call.name)
        legal = function.phases if function is not None else manual.FUNCTIONS.get(call.name)
        mistake = None
        if function is None and call.name in manual.REFUSED:
            mistake = errors.refused_function(call.name, call.name_span, manual.REFUSED[call.name])
        elif legal is None:
            known = self._library.names() if len(self._found.diagnostics) < MOST_SUGGESTIONS else ()
            mistake = errors.unknown_function(call.name, call.name_span, known)
        elif function is None:
            mistake = errors.not_yet_written(call.name, call.name_span)
        elif self._phase.value not in legal:
            mistake = errors.wrong_phase(call.name, call.name_span, self._phase.value, legal)
        elif function.module is not None and function.module not in self._modules:
            mistake = errors.module_not_loaded(call.name, call.name_span, function.module)
        if mistake is not None:
            self._found.diagnostics.append(mistake)
            return None
        return function

    # ------------------------------------------------------------ values

    def _expression(self, node: nodes.Expression, *, warn: bool = True, query: bool = False) -> None:
        if isinstance(node, nodes.Text):
            self._text(node, query=query)
        elif isinstance(node, nodes.ListOf):
            for item in node.items:
                self._expression(item)
        elif isinstance(node, nodes.Variable):
            self._read(node.name, node.span, warn=warn)
        elif isinstance(node, nodes.Index):
            self._expression(node.of, warn=warn)
            self._expression(node.key)

    def _text(self, node: nodes.Text, *, query: bool = False) -> None:
        for part in node.parts:
            if isinstance(part, macros.VariablePart):
                self._read(part.name, _within(node, part), warn=True)
            elif isinstance(part, macros.MacroPart):
                self._found.needs |= part.macro.needs
            elif isinstance(part, macros.Unknown):
                self._found.diagnostics.append(errors.unknown_macro(part.text, _within(node, part)))
        for bare in () if query else macros.bare_names(node.value):
            if bare.name in self._flow.assigned:
                self._flow.unread.pop(bare.name, None)
                self._found.diagnostics.append(errors.no_braces(bare.name, _within(node, bare)))

    def _u_labels(self, node: nodes.Expression) -> None:
        """Warn about a constant with U-labels: it never equals an address, which has A-labels."""
        for each in node.items if isinstance(node, nodes.ListOf) else (node,):
            if isinstance(each, nodes.Text) and (a_labels := in_a_labels(each.value)) is not None:
                self._found.diagnostics.append(errors.u_label(each.value, a_labels, each.span))

    def _read(self, name: str, span: Span, *, warn: bool) -> None:
        self._flow.unread.pop(name, None)
        if warn and name not in self._flow.assigned and name not in self._flow.warned and not self._flow.shared:
            self._flow.warned.add(name)
            self._found.diagnostics.append(errors.unset_variable(name, span))

    def _assign(self, target: nodes.Variable, *, warn: bool) -> None:
        self._flow.assigned.add(target.name)
        if warn:
            self._flow.unread.setdefault(target.name, []).append(target.span)


def _within(node: nodes.Text, part: macros.VariablePart | macros.Unknown) -> Span:
    """Return the span of a part of a string. Escapes before it shift it in the source."""
    source, span = node.span.source, node.span
    written = node.value[part.start : part.end]
    begins = span.start + 1 if source.text.startswith('"', span.start) else source.text.find("\n", span.start) + 1
    at = source.text.find(written, begins + part.start, span.end)
    if at >= 0:
        return Span(source, at, at + len(written))
    return Span(source, span.start, span.start + 1)


def _head(statement: nodes.Statement) -> Span:
    """Return the span of a statement's first words, for the caret line."""
    if isinstance(statement, nodes.Call):
        return statement.name_span
    if isinstance(statement, nodes.If):
        return Span(statement.span.source, statement.span.start, statement.span.start + len("if"))
    return statement.targets[0].span if isinstance(statement, nodes.Destructure) else statement.target.span


def _compares_addresses(function: SieveFunction) -> bool:
    """Tell whether the strings of a function may be compared with addresses. Names of files look like domains, too."""
    acts = function.terminal or function.may_end or function.effect is not Effect.NONE
    return not acts and not function.needs & Need.BODY and function.name not in _OF_PROSE
