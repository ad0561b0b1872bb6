"""Checks for standard Sieve only: `require` for extensions, and no `$` variables."""

from __future__ import annotations

from sieve import errors
from sieve.check.binding import Bound
from sieve.check.checker import Checked, Checker
from sieve.library import SieveFunction
from sieve.rfc5228.extensions import OF_COMPARATOR, OF_TAG, SUPPORTED
from sieve.syntax import nodes


class StandardChecker(Checker):
    """Checks one standard script."""

    _required: frozenset[str] = frozenset()

    def run(self, script: nodes.Block) -> Checked:
        """Check the script and return the result, including diagnostics."""
        self._flow.shared = True  # matches and includes set variables without an assignment
        self._requirements(script)
        return super().run(script)

    def _requirements(self, script: nodes.Block) -> None:
        """Read the `require` statements, which come before all others (RFC 5228, 3.2)."""
        first = True
        for statement in script.statements:
            is_require = isinstance(statement, nodes.Call) and statement.name == "require"
            if isinstance(statement, nodes.Call) and is_require:
                if not first:
                    self._found.diagnostics.append(errors.late_require(statement.name_span))
                self._require(statement)
            first = first and is_require

    def _require(self, statement: nodes.Call) -> None:
        for argument in statement.arguments:
            items = argument.items if isinstance(argument, nodes.ListOf) else (argument,)
            for item in items:
                if isinstance(item, nodes.Text) and item.value not in SUPPORTED:
                    self._found.diagnostics.append(errors.unknown_extension(item.value, item.span, SUPPORTED))
                elif isinstance(item, nodes.Text):
                    self._required |= {item.value}

    def _statement(self, statement: nodes.Statement) -> bool:
        if isinstance(statement, nodes.Assign | nodes.Destructure):
            first = statement.target if isinstance(statement, nodes.Assign) else statement.targets[0]
            self._found.diagnostics.append(errors.no_variables_in_rfc(first.span))
            return False
        return super()._statement(statement)

    def _ender(self, statement: nodes.Statement) -> str:
        return statement.name if isinstance(statement, nodes.Call) and statement.name in {"stop", "return"} else ""

    def _function(self, call: nodes.Call) -> SieveFunction | None:
        """Return the command or test that a call names; report extensions that are not required."""
        function = self._library.get(call.name)
        if function is None:
            known = self._library.functions
            self._found.diagnostics.append(errors.unknown_function(call.name, call.name_span, known))
            return None
        needed = {function.extension} if function.extension else set()
        needed |= {OF_TAG[tag.name] for tag in call.arguments if isinstance(tag, nodes.Tag) and tag.name in OF_TAG}
        for extension in sorted(needed - self._required):
            self._found.diagnostics.append(errors.not_required(extension, call.name_span))
        return super()._function(call)

    def _learnt(self, call: nodes.Call, bound: Bound) -> None:
        super()._learnt(call, bound)
        extension = OF_COMPARATOR.get(bound.comparison.comparator) if bound.comparison else None
        if extension is not None and extension not in self._required:
            self._found.diagnostics.append(errors.not_required(extension, call.name_span))

    def _expression(self, node: nodes.Expression, *, warn: bool = True) -> None:
        if isinstance(node, nodes.Variable | nodes.Index):
            self._found.diagnostics.append(errors.no_variables_in_rfc(node.span))
        else:
            super()._expression(node, warn=warn)
