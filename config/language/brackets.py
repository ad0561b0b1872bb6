"""Read values: scalars and bracketed groups, without recursion.

    value      = WORD | STRING | list | dictionary
    list       = "(" { value | attributes | "," } ")"
    dictionary = "[" { key [ "=" ] value | "," } "]"
    attributes = "<" { key "=" ( WORD | STRING ) } ">"
    key        = WORD | STRING

`=` is optional before a bracket. If brackets do not match, the parser guesses the operator's intent from line breaks
and indentation. It reports an unclosed bracket where the bracket opens, and continues with the first line that is not
indented deeper than that line.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from config.diagnostics import Source, Span
from config.findings import Findings
from config.language import errors
from config.language.lexer import STRING, WORD, ConfigLexer, ConfigToken
from config.language.nodes import Attributes, Dictionary, Entry, List, Scalar, String, Value, Word

DEEPEST = 40
"""Maximum nesting of brackets and stanzas; real configurations need six."""

SCALARS = (WORD, STRING)
CLOSER = {"(": ")", "[": "]", "<": ">", "{": "}"}
_OPENERS = frozenset("([<")
_CLOSERS = frozenset(")]>")


@dataclass(slots=True)
class _Group:
    """An open bracket: its items so far, and in `[ ]` and `< >` the key that still needs a value."""

    opener: ConfigToken
    values: list[Value] = field(default_factory=list)
    entries: list[Entry] = field(default_factory=list)
    key: Scalar | None = None
    assigned: bool = False
    complained: bool = False


class Values:
    """Reads one value at a time from the lexer."""

    def __init__(self, source: Source, lexer: ConfigLexer, findings: Findings) -> None:
        """Read from `lexer`; errors go to `findings`."""
        self._source = source
        self._lexer = lexer
        self._findings = findings
        self._open: list[_Group] = []
        self._line_start = 0
        self._escape: int | None = None
        self._base = 0
        self._broken = False
        self._unindented = False

    def scalar(self) -> Scalar:
        """Take one word or string."""
        token = self._lexer.take()
        span = self._lexer.span(token)
        text = self._source.text
        if token.kind == WORD:
            word = text[token.start : token.end]
            return Word(word if word.isprintable() else "".join(filter(str.isprintable, word)), span)
        end = token.end - 1 if token.end - token.start > 1 and text[token.end - 1] in "\"'”“„«»" else token.end
        quote = "'" if text[token.start] == "'" else '"'
        return String(text[token.start + 1 : end], quote, span)

    def read(self, depth: int) -> Value | None:
        """Take one value at `depth` open stanzas; None if it is malformed, which is reported."""
        opener = self._lexer.peek()
        if opener.kind in SCALARS:
            return self.scalar()
        self._open = []
        self._broken = False
        self._escape, self._line_start = None, opener.start
        self._unindented = False
        self._base = self._lexer.indentation(opener.start)
        done: Value | None = None
        while done is None:
            token = self._lexer.peek()
            self._note_line(token)
            if token.kind in _OPENERS:
                if len(self._open) + depth >= DEEPEST:
                    self._findings.add(errors.nested_too_deep(DEEPEST, self._lexer.span(token)))
                    self._lexer.stop()
                    return None
                self._push()
            elif token.kind == CLOSER[self._open[-1].opener.kind]:
                done = self._close(self._lexer.take().end)
            elif token.kind in _CLOSERS:
                done = self._close_wrongly(token)
            elif not (self._listed(token) if self._open[-1].opener.kind == "(" else self._keyed(token)):
                self._unclosed(token)
                return None
        return None if self._broken else done

    def _note_line(self, token: ConfigToken) -> None:
        """Remember line starts, to go back if a bracket is never closed."""
        if not token.first or token.kind not in SCALARS:
            return
        self._line_start = token.start
        if self._escape is None and self._open and self._lexer.column(token) <= self._base:
            if self._lexer.last.kind in _OPENERS:
                self._unindented = True  # the author does not indent, so indentation is no evidence
            elif not self._unindented:
                self._escape = token.start

    def _push(self) -> None:
        token = self._lexer.take()
        inner = _Group(token)
        if self._open and not (outer := self._open[-1]).complained:
            if outer.opener.kind == "<":
                self._findings.add(errors.unexpected(token.kind, self._lexer.span(token)))
                inner.complained = True
            elif outer.opener.kind == "[" and outer.key is None:
                self._findings.add(errors.key_is_missing(self._lexer.span(token)))
                inner.complained = True
        elif self._open:
            inner.complained = True
        self._open.append(inner)

    def _close(self, end: int) -> Value | None:
        """Close the innermost group; return its value if it was also the outermost."""
        group = self._open.pop()
        span = Span(self._source, group.opener.start, end)
        if group.key is not None and not group.assigned and group.entries and not self._begins_its_line(group.key):
            self._report_extra(group, group.key)
        elif group.key is not None:
            self._report_key_without_value(group)
        self._broken = self._broken or group.complained
        node: Value
        if group.opener.kind == "(":
            node = List(tuple(group.values), span)
        elif group.opener.kind == "[":
            node = Dictionary(tuple(group.entries), span)
        else:
            node = Attributes(tuple(group.entries), span)
        if not self._open:
            return node
        self._put(self._open[-1], node)
        return None

    @staticmethod
    def _put(group: _Group, value: Value) -> None:
        if group.opener.kind == "(":
            group.values.append(value)
        elif group.key is not None:
            group.entries.append(Entry(group.key, value, group.key.span.to(value.span)))
            group.key, group.assigned = None, False

    # ------------------------------------------------------------ ( … )

    def _listed(self, token: ConfigToken) -> bool:
        """Take a list's next item; False if `token` is not allowed in a list."""
        group = self._open[-1]
        if token.kind in SCALARS:
            item = self._without_commas(self.scalar())
            if item is not None:
                group.values.append(item)
            return True
        if token.kind != "=" or self._ends_here(group):
            return False
        if not group.complained:
            self._findings.add(errors.equals_in_list(self._lexer.span(token)))
            group.complained = True
        self._lexer.take()
        return True

    def _ends_here(self, group: _Group) -> bool:
        """Return whether the word before `=` begins a line no deeper than the list: then the list was left open."""
        if not group.values or group.values[-1].span.start != self._line_start:
            return False
        if self._source.position(self._line_start)[1] > self._base:
            return False
        self._escape = self._line_start
        return True

    def _without_commas(self, scalar: Scalar) -> Scalar | None:
        """Drop optional commas between the items of a list."""
        if isinstance(scalar, String) or "," not in scalar.text:
            return scalar
        text = scalar.text.strip(",")
        if not text:
            return None
        start = scalar.span.start + len(scalar.text) - len(scalar.text.lstrip(","))
        return Word(text, Span(self._source, start, start + len(text)))

    # ------------------------------------------------------------ [ … ] and < … >

    def _keyed(self, token: ConfigToken) -> bool:
        """Take a key, a `=` or a value; False if `token` is not allowed in a dictionary."""
        group = self._open[-1]
        if token.kind == "=":
            self._equals(group)
            return True
        if token.kind not in SCALARS:
            return False
        if group.key is None:
            self._key(group)
        elif self._lexer.peek(1).kind == "{":
            return False
        else:
            self._value_for(group.key, group, token)
        return True

    def _value_for(self, key: Scalar, group: _Group, token: ConfigToken) -> None:
        """Take the scalar after a key, unless it is the next entry's key."""
        before_equals = self._lexer.peek(1).kind == "="
        if before_equals and (token.first or not group.assigned):
            self._report_key_without_value(group)
            return
        if not group.assigned and token.first:
            self._report_key_without_value(group)
            return
        if not group.assigned:
            self._findings.add(errors.equals_is_missing(key.text, key.span, self._lexer.text(token)))
        value = self._without_commas(self.scalar())
        if value is not None:
            self._put(group, value)

    def _key(self, group: _Group) -> None:
        key = self._without_commas(self.scalar())
        following = self._lexer.peek()
        if key is None:
            return
        if group.entries and following.kind in SCALARS and not following.first:
            after = self._lexer.peek(1).kind
            if after == "=":
                self._report_extra(group, key)
                return
        group.key, group.assigned = key, False

    def _equals(self, group: _Group) -> None:
        token = self._lexer.take()
        span = self._lexer.span(token)
        if group.key is None and group.entries:
            entry, following = group.entries[-1], self._lexer.peek()
            whole = entry.value.span.to(self._lexer.span(following)).text
            self._findings.add(errors.value_holds_equals(entry.key.text, whole, entry.value.span))
            if following.kind in SCALARS and not following.first:
                self._lexer.take()
        elif group.key is None:
            self._findings.add(errors.key_is_missing(span))
        elif group.assigned:
            self._findings.add(errors.equals_twice(group.key.text, span))
        else:
            group.assigned = True

    def _report_extra(self, group: _Group, word: Scalar) -> None:
        """Report an extra word after an entry's value on the same line."""
        entry = group.entries[-1]
        whole = entry.value.span.to(word.span).text
        self._findings.add(errors.extra_word(word.text, entry.key.text, whole, word.span))

    def _begins_its_line(self, node: Scalar) -> bool:
        return self._lexer.indentation(node.span.start) == node.span.column

    def _report_key_without_value(self, group: _Group) -> None:
        key = group.key
        if key is not None:
            found = errors.value_is_missing if group.assigned else errors.key_without_value
            self._findings.add(found(key.text, key.span))
        group.key, group.assigned = None, False

    # ------------------------------------------------------------ brackets that do not match

    def _close_wrongly(self, token: ConfigToken) -> Value | None:
        """Handle a closing bracket of another kind: a typo, or the end of an outer bracket."""
        inner = self._open[-1].opener
        if any(CLOSER[group.opener.kind] == token.kind for group in self._open[:-1]):
            self._findings.add(errors.never_closed(inner.kind, self._lexer.span(inner)))
            self._open[-1].key = None
            return self._close(token.start)
        self._findings.add(
            errors.wrong_closer(token.kind, inner.kind, self._lexer.span(token), self._lexer.span(inner))
        )
        return self._close(self._lexer.take().end)

    def _unclosed(self, token: ConfigToken) -> None:
        """Report the innermost bracket, and go back to where the operator meant to close it."""
        opener = self._open[-1].opener
        self._findings.add(errors.never_closed(opener.kind, self._lexer.span(opener)))
        resume = self._escape
        if resume is None and token.kind == "{" and self._line_start > self._open[0].opener.start:
            resume = self._line_start
        if resume is not None:
            self._lexer.back_to(resume)
