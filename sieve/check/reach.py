"""Unreachable code: branches that are never taken, and scripts after one that always ends the phase.

This uses only the text of the script, not the results of tests at run time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from sieve.syntax import nodes

KEEPING = frozenset({"keep", "ec_keep", "redirect", "ec_redirect", "add_recipient", "reject", "ec_reject", "ereject"})
"""Actions that keep or reject the mail. If one cannot run, mail may be lost."""


def keeping_calls(node: nodes.Block | nodes.Statement) -> Iterator[nodes.Call]:
    """Return the calls of these actions in a statement or block, in source order."""
    if isinstance(node, nodes.Block):
        for statement in node.statements:
            yield from keeping_calls(statement)
    elif isinstance(node, nodes.If):
        for branch in node.branches:
            yield from keeping_calls(branch.block)
    elif isinstance(node, nodes.Call) and node.name in KEEPING:
        yield node


def constant(test: nodes.Test | None) -> bool | None:
    """Return a test's constant result; None if it depends on the mail. `else`, which has no test, is always true."""
    if test is None:
        return True
    if isinstance(test, nodes.Call):
        return {"true": True, "false": False}.get(test.name)
    if isinstance(test, nodes.Not):
        value = constant(test.test)
        return None if value is None else not value
    if isinstance(test, nodes.Junction):
        decides = not test.every  # one true test decides anyof, one false test decides allof
        values = [constant(inner) for inner in test.tests]
        if decides in values:
            return decides
        return None if None in values else not decides
    return None


def dead_branches(statement: nodes.If) -> Iterator[nodes.Block]:
    """Return the blocks of an `if` that can never run."""
    decided = False
    for branch in statement.branches:
        value = constant(branch.test)
        if decided or value is False:
            yield branch.block
        decided = decided or value is True


def ends_phase(block: nodes.Block, ends: Callable[[nodes.Statement], bool]) -> bool:
    """Tell whether every path through a block ends the phase; `ends` decides this for one action."""
    return any(
        all(ends_phase(branch.block, ends) for branch in statement.branches) and statement.branches[-1].test is None
        if isinstance(statement, nodes.If)
        else ends(statement)
        for statement in block.statements
    )
