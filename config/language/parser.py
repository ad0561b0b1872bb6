"""Text to tree: a hand-written parser without recursion that reports all errors in one run.

    file      = { statement }
    statement = option | include | stanza
    option    = ( WORD | STRING ) "=" value | WORD dictionary
    include   = ( "include" | "readonly_include" ) ( WORD | STRING )
    stanza    = WORD { WORD | STRING } [ attributes ] "{" { statement } "}"

(values: `config.language.brackets`; words, strings and comments: `config.language.lexer`). In a correct
file, line breaks are white space. In a file with errors, line breaks are the best evidence of what was meant: a
missing value is not searched in the next line's `name = …`, and an extra word affects only its own line.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from config.diagnostics import Source, Span
from config.findings import Findings
from config.language import errors
from config.language.brackets import DEEPEST, SCALARS, Values
from config.language.lexer import END, WORD, ConfigLexer, ConfigToken
from config.language.nodes import Attributes, Include, Option, Scalar, Stanza, Statement, String, Tree, Word

INCLUDES = {"include": False, "readonly_include": True}
MODULE_CLASSES = frozenset({"module", "validate", "logger", "io_system", "interpreter"})
"""First words of a 2.2 module line, `Class path/file instance [passive] { … }`."""

_LONGEST_HEAD = 8
_WITH_EQUALS = frozenset({"esmtp_listener", "replicate"})
"""Stanzas that some pages of Momentum's manual write with an equals sign: `Esmtp_Listener = { … }`."""


def parse(source: Source, findings: Findings) -> Tree:
    """Parse a text; report errors to `findings`.

    If braces do not match, the text is read again with indentation as evidence. This finds the missing or extra brace
    and keeps the following statements in the right scope.
    """
    first = _Parser(source, by_indentation=False)
    tree = first.run()
    chosen = first
    if first.left_open or first.stray:
        second = _Parser(source, by_indentation=True, stray=first.stray)
        again = second.run()
        if second.findings.errors <= first.findings.errors:
            tree, chosen = again, second
    for diagnostic in chosen.findings:
        findings.add(diagnostic)
    return tree


@dataclass(slots=True)
class _OpenStanza:
    """An open stanza; `kept` is False if its head was wrong and it is only read to find its end."""

    head: tuple[Scalar, ...]
    attributes: Attributes | None
    brace: Span
    column: int
    kept: bool
    body: list[Statement] = field(default_factory=list)


class _Parser:
    """One pass over one source."""

    def __init__(self, source: Source, *, by_indentation: bool, stray: bool = False) -> None:
        self.findings = Findings()
        self.left_open = False
        self.stray = stray
        self._source = source
        self._lexer = ConfigLexer(source, self.findings)
        self._values = Values(source, self._lexer, self.findings)
        self._by_indentation = by_indentation
        self._open: list[_OpenStanza] = []
        self._body: list[Statement] = []
        self._statements = self._body

    def run(self) -> Tree:
        """Read everything."""
        while (token := self._lexer.peek()).kind != END and not self.findings.full:
            if self._by_indentation and token.first:
                self._close_by_indentation(token)
            if token.kind == "}":
                self._close(token)
            elif token.kind in SCALARS:
                self._statement()
            else:
                self._unexpected(token)
        end = len(self._source.text)
        if self._open and not self.findings.full and not self._lexer.stopped:
            self.left_open = True
            self.findings.add(errors.never_closed("{", self._open[-1].brace))
        while self._open:
            self._pop(end)
        return Tree(tuple(self._statements), self._source)

    # ------------------------------------------------------------ stanzas

    def _close(self, token: ConfigToken) -> None:
        self._lexer.take()
        if self._open and not self._is_extra(token):
            self._pop(token.end)
        else:
            self.stray = True
            self.findings.add(errors.nothing_to_close("}", self._lexer.span(token)))

    def _is_extra(self, token: ConfigToken) -> bool:
        """Return whether a `}` is extra: it is indented deeper than the stanza that it would close."""
        evidence = self._by_indentation and self.stray and token.first
        return evidence and self._lexer.column(token) > self._open[-1].column

    def _pop(self, end: int) -> None:
        done = self._open.pop()
        self._body = self._open[-1].body if self._open else self._statements
        if done.kept:
            start = done.head[0].span.start
            head_end = done.attributes.span.end if done.attributes else done.head[-1].span.end
            span, head_span = Span(self._source, start, end), Span(self._source, start, head_end)
            self._body.append(Stanza(done.head, done.attributes, tuple(done.body), span, head_span))

    def _close_by_indentation(self, token: ConfigToken) -> None:
        """Close the stanzas that a line is not indented deeper than."""
        column = self._lexer.column(token)
        while self._open and column <= (innermost := self._open[-1]).column:
            if token.kind == "}" and (
                column == innermost.column or all(outer.column != column for outer in self._open[:-1])
            ):
                return
            self.findings.add(errors.never_closed("{", innermost.brace))
            self._pop(token.start)

    def _begin(self, head: list[Scalar], attributes: Attributes | None, brace: Span, *, kept: bool = True) -> None:
        if len(self._open) >= DEEPEST:
            self.findings.add(errors.nested_too_deep(DEEPEST, brace))
            self._lexer.stop()
            return
        column = self._source.position(head[0].span.start)[1]
        self._open.append(_OpenStanza(tuple(head), attributes, brace, column, kept))
        self._body = self._open[-1].body

    # ------------------------------------------------------------ statements

    def _statement(self) -> None:
        first = self._values.scalar()
        following = self._lexer.peek()
        quoted = isinstance(first, String)
        if isinstance(first, String):
            if following.kind != "=":
                self.findings.add(errors.quoted_name(first.text, first.span))
            first = Word(first.text, first.span)
        elif first.text.startswith("//"):
            self.findings.add(errors.slashes_are_no_comment(first.span))
            self._skip_line()
            return
        elif first.text == ";":
            self.findings.add(errors.semicolon(first.span))
            return
        if following.kind in ("=", "["):
            self._option(first, following, quoted=quoted)
        elif first.text.lower() in INCLUDES and following.kind in SCALARS and not following.first:
            self._include(first)
        else:
            self._head(first)

    def _include(self, keyword: Word) -> None:
        target = self._values.scalar()
        span = keyword.span.to(target.span)
        if isinstance(target, Word) and len(target.text) > 1 and target.text.endswith(";"):
            self.findings.add(errors.semicolon(target.span))
        else:
            self._body.append(Include(target, INCLUDES[keyword.text.lower()], span))
        self._after_value(keyword, target.span)

    def _option(self, name: Word, following: ConfigToken, *, quoted: bool) -> None:
        if following.kind == "=":
            equals = self._lexer.take()
            while self._lexer.peek().kind == "=":
                self.findings.add(errors.equals_twice(name.text, self._lexer.span(self._lexer.take())))
            token = self._lexer.peek()
            if name.text.lower() in _WITH_EQUALS and self._is_stanza(token):
                self.findings.add(errors.equals_in_head(name.text, self._lexer.span(equals)))
                self._head(name)
                return
            if token.kind == "{":
                self.findings.add(errors.equals_before_brace(name.text, self._lexer.span(equals)))
                self._begin([name], None, self._lexer.span(self._lexer.take()), kept=False)
                return
            if self._value_is_missing(token):
                self.findings.add(errors.value_is_missing(name.text, name.span.to(self._lexer.span(equals))))
                return
        value = self._values.read(len(self._open))
        if value is None:
            return
        if isinstance(value, Word) and len(value.text) > 1 and value.text.endswith(";"):
            end = value.span.end
            self.findings.add(errors.semicolon(Span(self._source, end - 1, end)))
            value = Word(value.text[:-1], Span(self._source, value.span.start, end - 1))
        self._body.append(Option(name, value, name.span.to(value.span), quoted))
        self._after_value(name, value.span, scalar=isinstance(value, Word | String))

    def _is_stanza(self, token: ConfigToken) -> bool:
        """Return whether `{` follows, or a name and `{`."""
        return token.kind == "{" or (token.kind in SCALARS and self._lexer.peek(1).kind == "{")

    def _value_is_missing(self, token: ConfigToken) -> bool:
        """Return whether no value follows `=`: the text ends, or the next line is a new statement."""
        if token.kind in (END, "}", ")", "]", ">"):
            return True
        if not token.first or token.kind != WORD:
            return False
        following = self._lexer.peek(1)
        return following.kind in ("=", "[", "{") or (following.kind in SCALARS and not following.first)

    def _after_value(self, name: Word, value: Span, *, scalar: bool = True) -> None:
        """Check that a statement ends here: at a line's end, a `}`, or another statement on the same line."""
        token = self._lexer.peek()
        if token.first or token.kind in (END, "}") or self._begins_statement(token):
            return
        if token.kind == "=" and scalar:
            whole = value.to(self._lexer.span(self._lexer.peek(1))).text
            self.findings.add(errors.value_holds_equals(name.text, whole, value))
        elif token.kind in SCALARS:
            self._extra(name, value, token)
        else:
            self._unexpected(token)
        self._skip_line()

    def _extra(self, name: Word, value: Span, token: ConfigToken) -> None:
        text, span = self._lexer.text(token), self._lexer.span(token)
        if text == ";":
            self.findings.add(errors.semicolon(span))
        elif text.startswith("//"):
            self.findings.add(errors.slashes_are_no_comment(span))
        else:
            self.findings.add(errors.extra_word(text, name.text, value.to(span).text, span))

    def _begins_statement(self, token: ConfigToken) -> bool:
        """Return whether the rest of a line is a statement.

        It is one if it begins with `name =`, `"name" =`, `name [`, an include, or a head up to its `{`.
        """
        if token.kind not in SCALARS:
            return False
        following = self._lexer.peek(1)
        if following.kind == "=" or (token.kind == WORD and following.kind in ("[", "{")):
            return True
        if token.kind != WORD:
            return False
        if self._lexer.text(token).lower() in INCLUDES:
            return following.kind in SCALARS
        for distance in range(1, _LONGEST_HEAD):
            ahead = self._lexer.peek(distance)
            if ahead.kind == "{":
                return True
            if ahead.first or ahead.kind not in SCALARS:
                break
        return False

    def _head(self, first: Word) -> None:
        """Read the words before `{`, or find the missing sign."""
        head: list[Scalar] = [first]
        while (token := self._lexer.peek()).kind in SCALARS and not token.first and len(head) < _LONGEST_HEAD:
            head.append(self._values.scalar())
        attributes = None
        if token.kind == "<":
            value = self._values.read(len(self._open))
            attributes = value if isinstance(value, Attributes) else None
            token = self._lexer.peek()
        if token.kind == "{":
            self._begin(head, attributes, self._lexer.span(self._lexer.take()))
        else:
            self._head_without_brace(head, token)

    def _head_without_brace(self, head: list[Scalar], token: ConfigToken) -> None:
        first = head[0]
        span = first.span.to(head[-1].span)
        if self._opens_body(first, token):
            self.findings.add(errors.brace_is_missing(span))
            self._begin(head, None, span)
        elif token.kind == "=" and not token.first:
            self.findings.add(errors.name_of_two_words(span))
            self._skip_line()
        elif len(head) == 1 and token.kind == "(" and not token.first:
            self.findings.add(errors.equals_is_missing(first.text, first.span, "( … )"))
            self._values.read(len(self._open))
        elif first.text.lower() in MODULE_CLASSES and len(head) > 2:  # class, path, instance
            self.findings.add(errors.brace_is_missing(span))
        elif len(head) == 1:
            self.findings.add(errors.neither_value_nor_brace(first.text, first.span))
            self._skip_line()
        else:
            self.findings.add(errors.equals_is_missing(first.text, first.span, head[1].span.text))
            self._skip_line()

    def _opens_body(self, first: Scalar, token: ConfigToken) -> bool:
        """Return whether the next line is indented under the head, so that only the `{` is missing."""
        if not token.first or token.kind not in SCALARS:
            return False
        return self._lexer.column(token) > self._source.position(first.span.start)[1]

    # ------------------------------------------------------------ recovery

    def _unexpected(self, token: ConfigToken) -> None:
        """Report a sign that cannot begin a statement, and skip the rest of its line."""
        span = self._lexer.span(token)
        closing = token.kind in (")", "]", ">")
        self.findings.add(errors.nothing_to_close(token.kind, span) if closing else errors.unexpected(token.kind, span))
        self._lexer.take()
        if token.kind == "{":
            self._begin([Word("{", span)], None, span, kept=False)
        else:
            self._skip_line(depth=1 if token.kind in ("(", "[", "<") else 0)

    def _skip_line(self, depth: int = 0) -> None:
        """Skip the rest of the line and the brackets that it opens, but not braces, which carry the structure."""
        while (token := self._lexer.peek()).kind not in ("{", "}", END):
            if token.first and (depth == 0 or self._begins_statement(token)):
                return
            if token.kind in ("(", "[", "<"):
                depth += 1
            elif token.kind in (")", "]", ">"):
                depth = max(0, depth - 1)
            self._lexer.take()
        if token.kind == "{" and not token.first:
            span = self._lexer.span(self._lexer.take())
            self._begin([Word("{", span)], None, span, kept=False)
