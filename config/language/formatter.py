"""Format a file in one canonical layout. Every comment is kept, and formatting twice changes nothing.

One statement per line, two blanks per level, `name = value`, `head {`. At most one blank line is kept between
statements. A comment stays before its statement, or after it on the same line.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from config.diagnostics import Diagnostic, Source
from config.findings import Findings
from config.language.layout import INDENT, Comment, attributes_text, lay_out, scalar_text
from config.language.lexer import END, ConfigLexer
from config.language.nodes import Include, Option, Stanza, Statement, Tree
from config.language.parser import parse

_BLANK_LINE = re.compile(r"\n[ \t\r\f\v]*\n")


class Unformattable(Exception):  # the text is at fault, not the program
    """A text with errors, which are in `diagnostics`."""

    def __init__(self, diagnostics: tuple[Diagnostic, ...]) -> None:
        """Carry the diagnostics."""
        super().__init__(f"{len(diagnostics)} mistakes")
        self.diagnostics = diagnostics


def format_text(text: str, name: str = "<text>") -> str:
    """Return a text in the canonical layout.

    Raises:
        Unformattable: the text has errors.
    """
    return format_tree(parsed(Source(name, text)))


def parsed(source: Source) -> Tree:
    """Return the tree of a text without errors.

    Raises:
        Unformattable: the text has errors.
    """
    findings = Findings()
    tree = parse(source, findings)
    if findings.errors:
        raise Unformattable(tuple(findings))
    return tree


def format_tree(tree: Tree) -> str:
    """Return a tree as text in the canonical layout, with the comments of its source."""
    return _Printer(tree.source).print(tree)


def comments_of(source: Source) -> Iterator[Comment]:
    """Return the comments of a text without errors, in order."""
    lexer = ConfigLexer(source, Findings())
    while lexer.take().kind != END:
        pass
    for start, end in lexer.comments:
        own_line = lexer.indentation(start) == source.position(start)[1]
        yield Comment(source.text[start:end].rstrip(), start, end, own_line)


def _name(option: Option) -> str:
    return option.name.span.text if option.quoted else option.name.text


@dataclass(slots=True)
class _Block:
    """A list of statements being printed, and the offset where it ends."""

    statements: Iterator[Statement]
    end: int
    empty: bool = True


class _Printer:
    """The lines of one file."""

    def __init__(self, source: Source) -> None:
        self._text = source.text
        self._lexer = ConfigLexer(source, Findings())
        self._comments = deque(comments_of(source))
        self._lines: list[str] = []
        self._blocks: list[_Block] = []
        self._at = 0

    def print(self, tree: Tree) -> str:
        """Print everything."""
        self._blocks = [_Block(iter(tree.statements), len(self._text))]
        while self._blocks:
            block = self._blocks[-1]
            statement = next(block.statements, None)
            if statement is None:
                self._end(block)
            elif isinstance(statement, Stanza):
                self._stanza(statement)
            else:
                self._single(statement)
        return "".join(f"{line}\n" for line in self._lines)

    def _indent(self) -> int:
        return len(self._blocks) - 1

    def _put(self, text: str, start: int, end: int) -> None:
        """Add the text between two offsets as a line, keeping a blank line before it."""
        block = self._blocks[-1]
        if not block.empty and _BLANK_LINE.search(self._text, self._at, start):
            self._lines.append("")
        self._lines.append(INDENT * self._indent() + text)
        self._at, block.empty = end, False

    def _comments_before(self, offset: int) -> None:
        while self._comments and self._comments[0].start < offset:
            comment = self._comments.popleft()
            self._put(comment.text, comment.start, comment.end)

    def _comments_behind(self, limit: int) -> None:
        """Add the comments that follow the printed text on its line."""
        while self._comments:
            comment = self._comments[0]
            if comment.start >= limit or "\n" in self._text[self._at : comment.start]:
                return
            self._comments.popleft()
            self._lines[-1] += f"  {comment.text}"
            self._at = comment.end

    def _single(self, statement: Option | Include) -> None:
        if isinstance(statement, Include):
            target = statement.target
            self._comments_before(target.span.start)
            keyword = "readonly_include" if statement.readonly else "include"
            self._put(f"{keyword} {scalar_text(target)}", statement.span.start, statement.span.end)
        else:
            value = statement.value
            self._comments_before(value.span.start)
            self._put("", statement.span.start, statement.span.end)
            self._lines[-1:] = lay_out(value, f"{_name(statement)} =", self._indent(), self._comments)
        self._comments_behind(self._lexer.next_start(statement.span.end))

    def _stanza(self, stanza: Stanza) -> None:
        brace = self._lexer.next_start(stanza.head_span.end)
        self._comments_before(brace)
        head = [scalar_text(word) for word in stanza.head]
        if stanza.attributes is not None:
            head.append(attributes_text(stanza.attributes))
        end = stanza.span.end - 1
        within = self._comments and self._comments[0].start < end
        if not stanza.body and not within:
            self._put(f"{' '.join(head)} {{ }}", stanza.span.start, stanza.span.end)
            self._comments_behind(self._lexer.next_start(stanza.span.end))
            return
        self._put(f"{' '.join(head)} {{", stanza.span.start, brace + 1)
        self._comments_behind(self._lexer.next_start(brace + 1))
        self._blocks.append(_Block(iter(stanza.body), end))

    def _end(self, block: _Block) -> None:
        self._comments_before(block.end)
        self._blocks.pop()
        if self._blocks:
            self._lines.append(INDENT * self._indent() + "}")
            self._at = block.end + 1
            self._comments_behind(self._lexer.next_start(self._at))
