"""Actions that meet others on every path: rejections (RFC 5429, 2.4), and edits after a delivery (RFC 5293, 7).

Only what the text of the script shows: no test is evaluated. A rejection in an included script is not seen.
"""

from __future__ import annotations

from collections.abc import Callable

from config.diagnostics import Diagnostic
from sieve.rfc5228 import errors
from sieve.syntax import nodes

_REFUSING = frozenset({"reject", "ereject"})
_DELIVERING = frozenset({"keep", "redirect", "fileinto"})
_EDITING = frozenset({"addheader", "deleteheader"})
_ENDING = frozenset({"stop", "return"})

_Done = dict[str, nodes.Call]
"""The actions that have run on every path to a place, by kind."""


class Conflicts:
    """Follows the paths through a script."""

    def __init__(self, report: Callable[[Diagnostic], None]) -> None:
        """Report what is found."""
        self._report = report

    def follow(self, block: nodes.Block, before: _Done) -> _Done | None:
        """Return what has run after a block; None if the script has ended by then."""
        done = dict(before)
        for statement in block.statements:
            if isinstance(statement, nodes.If):
                after = self._branches(statement, done)
                if after is None:
                    return None
                done = after
            elif isinstance(statement, nodes.Call):
                if statement.name in _ENDING:
                    return None
                self._action(statement, done)
        return done

    def _branches(self, statement: nodes.If, done: _Done) -> _Done | None:
        ends = [self.follow(branch.block, done) for branch in statement.branches]
        if statement.branches[-1].test is not None:
            ends.append(done)
        going_on = [each for each in ends if each is not None]
        if not going_on:
            return None
        return {kind: call for kind, call in going_on[0].items() if all(kind in each for each in going_on)}

    def _action(self, call: nodes.Call, done: _Done) -> None:
        refused, delivered = done.get("refused"), done.get("delivered")
        if call.name in _REFUSING:
            if refused is not None:
                self._report(errors.second_rejection(call.name, call.name_span, refused.name_span))
            elif delivered is not None:
                self._report(errors.rejected_too(delivered.name, delivered.name_span, call.name))
            done.setdefault("refused", call)
        elif call.name in _DELIVERING:
            if refused is not None:
                self._report(errors.rejected_too(call.name, call.name_span, refused.name))
            done.setdefault("delivered", call)
        elif call.name in _EDITING and delivered is not None and "edited" not in done:
            done["edited"] = call
            self._report(errors.edited_late(call.name, call.name_span, delivered.name))
