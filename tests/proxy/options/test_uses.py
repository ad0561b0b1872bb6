"""Every option that is declared is read: one that nothing reads would be set in vain."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import proxy
from config.schema.declared import declared
from proxy.app import SCHEMA

FOLDER = Path(proxy.__file__).parent

_BY_PHASE = re.compile(r"\w+_phase[12](?:_dialect)?")
"""The scripts of `sieve`, which it reads by a name that it makes."""


def _names_read() -> set[str]:
    """Return the attributes that the code reads, and the names that modules pass on."""
    found = set()
    for path in FOLDER.rglob("*.py"):
        of_module = FOLDER / "modules" in path.parents
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.Attribute(attr=name, ctx=ast.Load()):
                    found.add(name)
                case ast.Constant(value=str(name)) if of_module:
                    found.add(name)
    return found


def test_every_option_is_read() -> None:
    models = {"": SCHEMA.core, **{spec.type: spec.options for spec in SCHEMA.modules}}
    read = _names_read()
    unread = [(stanza, name) for stanza, model in models.items() for name in declared(model) if name not in read]
    assert [each for each in unread if not _BY_PHASE.fullmatch(each[1])] == []
