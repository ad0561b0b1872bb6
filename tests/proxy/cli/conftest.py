"""The tree of commands, which the tests walk, so that a command that comes later is tested without being named."""

from __future__ import annotations

from functools import cache

import pytest
import typer.testing

from proxy.cli import application
from proxy.cli.grammar.tree import Command, tree

ROOT = tree(application)

# Typer builds the tree anew for each command line, which takes longer than most command lines.
typer.testing._get_command = cache(typer.testing._get_command)  # type: ignore[assignment]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run tests that ask for `command` with each command, and tests that ask for `leaf` with each one but groups."""
    every = list(ROOT.all())
    own = [mark.args[0] for mark in metafunc.definition.iter_markers("parametrize")]
    if "command" in metafunc.fixturenames and "command" not in own:
        metafunc.parametrize("command", every, ids=[each.name for each in every])
    if "leaf" in metafunc.fixturenames:
        leaves = [each for each in every if not each.children]
        metafunc.parametrize("leaf", leaves, ids=[each.name for each in leaves])


@pytest.fixture
def root() -> Command:
    return ROOT
