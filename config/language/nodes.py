"""What the parser makes of a text: a tree of options, stanzas and values, each with its span.

The nodes say what was written, not what it means: whether a stanza is a module or a scope is decided by the schema.
Spans do not take part in comparison, so two trees are equal when they say the same.
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
    r"""A quoted string; `raw` is what stands between the quotes, `text` the same with `\"` read as a quote."""

    raw: str
    quote: str
    span: Span = field(compare=False, repr=False)

    @property
    def text(self) -> str:
        r"""The value: backslashes are kept as written (regular expressions need them), but `\"` is a quote."""
        return self.raw.replace('\\"', '"') if self.quote == '"' else self.raw


@dataclass(frozen=True, slots=True)
class List:
    """`( a "b" c )`: values in written order; what belongs together is decided by the option that reads it."""

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
    """`<key=value …>` behind a listener's address or a stanza's name."""

    entries: tuple[Entry, ...]
    span: Span = field(compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Option:
    """`name = value`, or `name [ … ]`, which means the same as `name = [ … ]`."""

    name: Word
    value: Value
    span: Span = field(compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Include:
    """`include "path"` or `readonly_include "path"`."""

    target: Scalar
    readonly: bool
    span: Span = field(compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Stanza:
    """`words… <attributes> { … }`: the head as written (its first word names the stanza's type) and what it holds."""

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
