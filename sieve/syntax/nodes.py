"""The syntax tree of a script: what the parser found, each node with the span it was written at.

Nodes hold no meaning: names are not looked up, tags are not bound. Identity is
their equality, so that later stages can hang what they learnt on a node.
"""

from __future__ import annotations

from dataclasses import dataclass

from config.diagnostics import Span
from sieve.syntax.macros import Part


@dataclass(frozen=True, slots=True, eq=False)
class Node:
    """Anything that stands in a script."""

    span: Span


@dataclass(frozen=True, slots=True, eq=False)
class Text(Node):
    """A quoted string or a `text:` block, its backslashes and dot-stuffing undone."""

    value: str
    parts: tuple[Part, ...]
    """The value cut into literal text and places to fill, as the script's dialect reads it."""


@dataclass(frozen=True, slots=True, eq=False)
class Number(Node):
    """A number; `K`, `M` and `G` are multiplied out."""

    value: int | float


@dataclass(frozen=True, slots=True, eq=False)
class Tag(Node):
    """`:name`, lower case and without its colon."""

    name: str


@dataclass(frozen=True, slots=True, eq=False)
class Variable(Node):
    """`$name`, lower case and without its dollar sign."""

    name: str


@dataclass(frozen=True, slots=True, eq=False)
class Index(Node):
    """`$list[1]` or `$hash["key"]`; a further index stands around this one."""

    of: Variable | Index
    key: Text | Number | Variable


@dataclass(frozen=True, slots=True, eq=False)
class ListOf(Node):
    """`["a", $b]`."""

    items: tuple[Text | Number | Variable | Index, ...]


Expression = Text | Number | Variable | Index | ListOf
Argument = Expression | Tag


@dataclass(frozen=True, slots=True, eq=False)
class Call(Node):
    """`name :tag "argument"`, as a statement, a test, or the value of an assignment."""

    name: str
    name_span: Span
    arguments: tuple[Argument, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Assign(Node):
    """`$target = value;`."""

    target: Variable
    value: Expression | Call


@dataclass(frozen=True, slots=True, eq=False)
class Destructure(Node):
    """`($a, $b) = call;`."""

    targets: tuple[Variable, ...]
    value: Call


@dataclass(frozen=True, slots=True, eq=False)
class Not(Node):
    """`not test`."""

    test: Test


@dataclass(frozen=True, slots=True, eq=False)
class Junction(Node):
    """`allof (…)` where `every` is true, else `anyof (…)`."""

    every: bool
    tests: tuple[Test, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Broken(Node):
    """A test that could not be read; its mistake is already reported."""


Test = Call | Not | Junction | Broken


@dataclass(frozen=True, slots=True, eq=False)
class Block(Node):
    """The statements between two braces, or a whole script."""

    statements: tuple[Statement, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Branch(Node):
    """`if test {…}`, `elsif test {…}` or `else {…}`, the last without a test."""

    test: Test | None
    block: Block


@dataclass(frozen=True, slots=True, eq=False)
class If(Node):
    """`if` with all that belongs to it, in the order of writing."""

    branches: tuple[Branch, ...]


Statement = Call | Assign | Destructure | If
