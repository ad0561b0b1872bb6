"""The syntax tree: options, stanzas and values, each with its span.

Nodes say what was written, not what it means: the schema decides whether a stanza is a module or a scope. Comparison
ignores spans, so two trees with the same content are equal.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

from config.diagnostics import Source, Span


@dataclass(frozen=True, slots=True)
class Word:
    """A bare word: `10.0.0.0/8`, `on`, `validate/smtp_cbv`."""

    text: str
    span: Span = field(compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class String:
    r"""A quoted string; `raw` is the text between the quotes; in `text`, `\"` is a quote."""

    raw: str
    quote: str
    span: Span = field(compare=False, repr=False)

    @property
    def text(self) -> str:
        r"""The value: backslashes are kept as written (regular expressions need them), but `\"` is a quote."""
        return self.raw.replace('\\"', '"') if self.quote == '"' else self.raw


@dataclass(frozen=True, slots=True)
class List:
    """`( a "b" c )`: values in written order; the option that reads them decides how to group them."""

    items: tuple[Value, ...]
    span: Span = field(compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Entry:
    """One `key = value` of a dictionary or of attributes."""

    key: Scalar
    value: Value
    span: Span = field(compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Dictionary:
    """`[ key = value … ]`: entries in written order, repeated keys kept."""

    entries: tuple[Entry, ...]
    span: Span = field(compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Attributes:
    """`<key=value …>` after a listener's address or a stanza's name."""

    entries: tuple[Entry, ...]
    span: Span = field(compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Option:
    """`name = value`, or `name [ … ]`, which means the same as `name = [ … ]`.

    A few modules of Momentum have quoted names, such as `"0" = "250 ok"`; no option of ours has.
    """

    name: Word
    value: Value
    span: Span = field(compare=False, repr=False)
    quoted: bool = False


@dataclass(frozen=True, slots=True)
class Include:
    """`include "path"` or `readonly_include "path"`."""

    target: Scalar
    readonly: bool
    span: Span = field(compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Stanza:
    """`words… <attributes> { … }`: the head as written (its first word is the stanza's type) and the statements."""

    head: tuple[Scalar, ...]
    attributes: Attributes | None
    body: tuple[Statement, ...]
    span: Span = field(compare=False, repr=False)
    head_span: Span = field(compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Tree:
    """One parsed file."""

    statements: tuple[Statement, ...]
    source: Source = field(compare=False, repr=False)


Scalar: TypeAlias = Word | String
Value: TypeAlias = Word | String | List | Dictionary | Attributes
Statement: TypeAlias = Option | Stanza | Include
