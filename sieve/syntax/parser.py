"""Tokens to a syntax tree.

    script    = { statement }
    statement = call ";" | "$"id "=" value ";" | "(" "$"id { "," "$"id } ")" "=" call ";"
              | "if" test block { "elsif" test block } [ "else" block ]
    value     = string | number | list | variable | call
    call      = word { tag | string | number | list | variable }
    variable  = "$"id { "[" (string | number | "$"id) "]" }
    list      = "[" [ item { "," item } ] "]"
    test      = "not" test | ("anyof" | "allof") "(" test { "," test } ")" | call
    block     = "{" { statement } "}"

Nested blocks and tests use explicit stacks instead of Python's, and their depth is limited. After an error, the parser
continues at the next safe start or end of a statement, so that one run reports every error but not its consequences.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from config.diagnostics import Diagnostic, Source, Span
from sieve import errors
from sieve.syntax import macros, nodes
from sieve.syntax.cursor import MistakeError
from sieve.syntax.lexer import LARGEST_NUMBER, ScriptLexer, ScriptToken, TokenKind
from sieve.syntax.values import DEEPEST, Values

LONGEST_SCRIPT = 1 << 20
"""Maximum characters per script."""

MOST_MISTAKES = 100

_BRANCH_WORDS = frozenset({"elsif", "else"})
_MEANT_ELSIF = frozenset({"elseif", "elif", "elsf"})


@dataclass(slots=True)
class _Chain:
    """An `if` under construction: its finished branches, and whether it has an `else`."""

    start: ScriptToken
    branches: list[nodes.Branch] = field(default_factory=list)
    has_else: bool = False


@dataclass(slots=True)
class _OpenBlock:
    """A block under construction and its branch."""

    brace: ScriptToken
    chain: _Chain
    keyword: ScriptToken
    test: nodes.Test | None
    statements: list[nodes.Statement] = field(default_factory=list)


@dataclass(slots=True)
class _OpenTest:
    """A `not`, `anyof` or `allof` under construction."""

    token: ScriptToken
    tests: list[nodes.Test] = field(default_factory=list)


class Parser(Values):
    """Parses one source."""

    _largest = LARGEST_NUMBER

    def __init__(self, source: Source, resolve: macros.Resolve = macros.no_macro) -> None:
        """Prepare to read `source`; `resolve` finds the macros in its strings."""
        super().__init__(source, resolve)
        self._open: list[_OpenBlock] = []
        self._statements: list[nodes.Statement] = []
        self._chain: _Chain | None = None

    def run(self) -> tuple[nodes.Block, list[Diagnostic]]:
        """Return the script's statements and all syntax errors."""
        text = self._source.text
        if len(text) > LONGEST_SCRIPT:
            span = Span(self._source, LONGEST_SCRIPT, LONGEST_SCRIPT + 1)
            return nodes.Block(span, ()), [errors.script_too_long(span, LONGEST_SCRIPT)]
        self._load(ScriptLexer(self._source, self._largest).run())
        self._script()
        return nodes.Block(Span(self._source, 0, len(text)), tuple(self._statements)), self._diagnostics

    def _script(self) -> None:
        gave_up = False
        while not self._ends() and not gave_up:
            try:
                self._item()
            except MistakeError as mistake:
                gave_up = not self._go_on(mistake.diagnostic)
            else:
                gave_up = not self._ends() and self._has_too_many()
        while self._open:
            if not self._cut and not gave_up:
                self._report(errors.unclosed_block(self._span(self._open[-1].brace)))
            self._close_block()
        self._finish_chain()

    def _ends(self) -> bool:
        return self._token.kind is TokenKind.END

    def _go_on(self, mistake: Diagnostic) -> bool:
        """Report an error and find a place to continue; tell whether there is one."""
        if self._cut and self._ends():
            return False
        self._report(mistake)
        if self._has_too_many():
            return False
        self._recover()
        return True

    def _has_too_many(self) -> bool:
        """Report if there are too many errors to continue."""
        if len(self._diagnostics) < MOST_MISTAKES:
            return False
        self._report(errors.too_many_mistakes(self._span(self._token)))
        return True

    # ------------------------------------------------------------ statements

    def _item(self) -> None:
        """Parse one statement, or the start or end of a block."""
        token = self._token
        if token.kind is TokenKind.WORD and token.value in _BRANCH_WORDS:
            self._next_branch(self._advance())
            return
        if token.kind is TokenKind.WORD and token.value in _MEANT_ELSIF and self._chain is not None:
            self._report(errors.meant_elsif(self._span(token)))
            self._next_branch(self._advance())
            return
        self._finish_chain()
        if token.kind is TokenKind.WORD and token.value == "if":
            self._branch(_Chain(token), self._advance())
        elif self._is("}"):
            self._end_block()
        else:
            statement = self._simple()
            if not self._is_damaged(token.start, self._token.start):
                self._add(statement)
            elif isinstance(statement, nodes.Call) and not self._is_damaged(token.start, token.end + 1):
                self._add(replace(statement, arguments=(), is_cut=True))  # its name is still checked

    def _simple(self) -> nodes.Statement:
        """Parse a statement that ends in a semicolon."""
        statement: nodes.Statement
        if self._token.kind is TokenKind.WORD:
            statement = self._call()
            after = statement.name
        elif self._token.kind is TokenKind.VARIABLE:
            statement = self._assignment()
            after = "the assignment"
        elif self._is("("):
            statement = self._destructuring()
            after = "the assignment"
        else:
            lone = self._is(";")
            span = self._span(self._token)
            self._fail(errors.lone_semicolon(span) if lone else errors.expected("a statement", span))
        self._semicolon(after, statement)
        return statement

    def _semicolon(self, after: str, statement: nodes.Statement) -> None:
        """Read `;`. If it is missing at the end of a line, report it there and skip nothing."""
        if self._accept(";"):
            return
        if self._is("{"):
            self._block_of(statement)
            return
        end = Span(self._source, self._last.end - 1, self._last.end)
        mistake = errors.missing_semicolon(end, after)
        if self._cut and self._token.kind is TokenKind.END:
            return
        if self._token.leads or self._is("}"):
            self._report(mistake)
        else:
            self._add(statement)
            self._fail(mistake)

    def _block_of(self, statement: nodes.Statement) -> None:
        """Report a block that belongs to no `if`, and skip it: errors in it would only be consequences."""
        if isinstance(statement, nodes.Call) and statement.is_cut:
            self._skip_block()
            return
        if isinstance(statement, nodes.Call):
            statement = replace(statement, has_block=True)
        self._add(statement)
        self._fail(errors.expected("; here: only if, elsif and else take a block", self._span(self._token)))

    def _assignment(self) -> nodes.Assign:
        target = self._variable_name()
        if self._is("["):
            self._fail(errors.expected("= here: an element cannot be assigned, use hash_set", self._span(self._token)))
        self._expect("=", "= after the variable")
        value = self._call() if self._token.kind is TokenKind.WORD else self._argument("a value")
        return nodes.Assign(target.span.to(value.span), target, value)

    def _destructuring(self) -> nodes.Destructure:
        start = self._advance()
        targets = [self._target()]
        while self._accept(","):
            targets.append(self._target())
        self._expect(")", ") or ,")
        self._expect("=", "= after the variables")
        if self._token.kind is not TokenKind.WORD:
            self._fail(errors.expected("a function that returns the values", self._span(self._token)))
        value = self._call()
        return nodes.Destructure(self._span(start).to(value.span), tuple(targets), value)

    def _target(self) -> nodes.Variable:
        if self._token.kind is not TokenKind.VARIABLE:
            self._fail(errors.expected("a $variable", self._span(self._token)))
        return self._variable_name()

    # ------------------------------------------------------------ if and its blocks

    def _next_branch(self, keyword: ScriptToken) -> None:
        """Parse the head of an `elsif` or `else`. A misplaced one is parsed too, so that its block is checked."""
        chain, self._chain = self._chain, None
        if chain is None:
            self._report(errors.else_without_if(self._span(keyword)))
            chain = _Chain(keyword)
        elif chain.has_else:
            self._report(errors.after_else(self._span(keyword)))
        self._branch(chain, keyword)

    def _branch(self, chain: _Chain, keyword: ScriptToken) -> None:
        test: nodes.Test | None = None
        before = len(self._diagnostics)
        if keyword.value == "else":
            if self._token.kind is TokenKind.WORD and self._token.value == "if":
                self._report(errors.else_if(self._span(self._token)))
                self._advance()
                test = self._head()
            else:
                chain.has_else = True
        else:
            test = self._head()
        if not self._is("{"):
            self._chain = chain if chain.branches else None
            if test is not None and len(self._diagnostics) > before:
                self._recover()  # after a mistake in the test, what follows is only a consequence
                return
            mistake = errors.expected("{", self._span(self._token))
            if not (self._is(";") and self._finds_block()):
                self._fail(mistake)
            self._report(mistake)  # a semicolon in the test: its block is still checked
            test = None if test is None else nodes.Broken(test.span)
        brace = self._advance()
        self._open.append(_OpenBlock(brace, chain, keyword, test))
        if len(self._open) > DEEPEST:
            self._token = self._tokens[-1]
            self._cut = True
            self._report(errors.too_deep(self._span(brace), DEEPEST))

    def _head(self) -> nodes.Test:
        """Parse the test of a branch. After an error in it, continue at the block, so that the block is checked."""
        start = self._at
        try:
            test = self._test()
            return nodes.Broken(test.span) if self._is_damaged(test.span.start, self._token.start) else test
        except MistakeError as mistake:
            at = self._at
            while not (self._is("{") or self._is(";") or self._is("}") or self._token.kind is TokenKind.END):
                self._advance()
            if not self._is("{"):
                self._at, self._token = at, self._tokens[at]
                raise
            self._report(mistake.diagnostic)
            return nodes.Broken(self._span(self._tokens[start]))

    def _end_block(self) -> None:
        if not self._open:
            mistake = errors.no_block_open(self._span(self._token))
            self._advance()
            self._report(mistake)
            return
        self._advance()
        self._close_block()

    def _close_block(self) -> None:
        """Add the innermost block to its `if`, which stays open for an `elsif` or `else`."""
        self._finish_chain()
        done = self._open.pop()
        block = nodes.Block(self._between(done.brace, self._last), tuple(done.statements))
        span = self._between(done.keyword, self._last)
        done.chain.branches.append(nodes.Branch(span, done.test, block))
        self._chain = done.chain

    def _finish_chain(self) -> None:
        """Finish the `if` and add it to the enclosing block."""
        chain, self._chain = self._chain, None
        if chain is not None:
            span = self._span(chain.start).to(chain.branches[-1].span)
            self._add(nodes.If(span, tuple(chain.branches)))

    def _add(self, statement: nodes.Statement) -> None:
        (self._open[-1].statements if self._open else self._statements).append(statement)

    # ------------------------------------------------------------ tests

    def _test(self) -> nodes.Test:
        """Parse one test, with an explicit stack for the tests around it."""
        stack: list[_OpenTest] = []
        while True:
            word = self._test_word()
            if word.value in {"anyof", "allof", "not"}:
                stack.append(_OpenTest(self._advance()))
                if len(stack) > DEEPEST:
                    self._fail(errors.too_deep(self._span(word), DEEPEST))
                if word.value != "not":
                    self._expect("(", f"( after {word.value}")
                continue
            node = self._folded(stack, self._call())
            if node is not None:
                return node

    def _folded(self, stack: list[_OpenTest], node: nodes.Test) -> nodes.Test | None:
        """Close every test that ends with `node`; return None if a comma continues a list of tests."""
        while stack:
            top = stack[-1]
            span = self._span(top.token)
            if top.token.value == "not":
                node = nodes.Not(span.to(node.span), node)
            else:
                top.tests.append(node)
                if self._accept(","):
                    return None
                self._expect(")", ") or ,")
                node = nodes.Junction(
                    self._between(top.token, self._last), top.token.value == "allof", tuple(top.tests)
                )
            stack.pop()
        return node

    def _test_word(self) -> ScriptToken:
        if self._token.kind is TokenKind.VARIABLE:
            self._fail(errors.variable_is_not_a_test(self._span(self._token)))
        if self._token.kind is not TokenKind.WORD or self._token.value == "if" or self._token.value in _BRANCH_WORDS:
            hint = "only anyof and allof have parentheses" if self._is("(") else None
            self._fail(errors.expected("a test", self._span(self._token), hint))
        return self._token


def parse(source: Source, resolve: macros.Resolve = macros.no_macro) -> tuple[nodes.Block, list[Diagnostic]]:
    """Return the syntax tree of a script, as far as it could be read, and its syntax errors."""
    return Parser(source, resolve).run()
