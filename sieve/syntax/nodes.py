"""The syntax tree of a script. Each node has its span in the source.

Names are not looked up and tags are not bound here. Nodes compare by identity, so that later
stages can use them as keys.
"""

from __future__ import annotations

from dataclasses import dataclass

from config.diagnostics import Span
from sieve.syntax.macros import Part


@dataclass(frozen=True, slots=True, eq=False)
class Node:
    """Any element of a script."""

    span: Span


@dataclass(frozen=True, slots=True, eq=False)
class Text(Node):
    """A quoted string or a `text:` block, with backslashes and dot-stuffing removed."""

    value: str
    parts: tuple[Part, ...]
    """The value split into literal text and substitutions, by the rules of the script's dialect."""


@dataclass(frozen=True, slots=True, eq=False)
class Number(Node):
    """A number, with `K`, `M` and `G` applied."""

    value: int | float


@dataclass(frozen=True, slots=True, eq=False)
class Tag(Node):
    """`:name`, in lower case and without the colon."""

    name: str


@dataclass(frozen=True, slots=True, eq=False)
class Variable(Node):
    """`$name`, in lower case and without the dollar sign."""

    name: str


@dataclass(frozen=True, slots=True, eq=False)
class Index(Node):
    """`$list[1]` or `$hash["key"]`. For several indices, the last one is the outermost node."""

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
    """`name :tag "argument"`: a statement, a test, or the value of an assignment."""

    name: str
    name_span: Span
    arguments: tuple[Argument, ...]
    is_cut: bool = False
    """Whether there are more arguments, which could not be read; the error is already reported."""
    has_block: bool = False
    """Whether a block follows, which only `if` can have; the error is already reported."""


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
    """`allof (…)` if `every` is true, else `anyof (…)`."""

    every: bool
    tests: tuple[Test, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Broken(Node):
    """A test that could not be parsed; the error is already reported."""


Test = Call | Not | Junction | Broken


@dataclass(frozen=True, slots=True, eq=False)
class Block(Node):
    """The statements between two braces, or a whole script."""

    statements: tuple[Statement, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Branch(Node):
    """`if test {…}`, `elsif test {…}`, or `else {…}`, which has no test."""

    test: Test | None
    block: Block


@dataclass(frozen=True, slots=True, eq=False)
class If(Node):
    """An `if` with all its branches, in source order."""

    branches: tuple[Branch, ...]


Statement = Call | Assign | Destructure | If
