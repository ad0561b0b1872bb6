"""Reads the rules: from files, and from the rows of a query."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from config.base.sources import read_source
from config.diagnostics import Diagnostic, Severity, Source, Span
from config.settings import ModuleSettings
from proxy.base.log import printable
from proxy.datasource.rows import Cell
from proxy.modules.bounce_classifier.options import BounceOptions, RulesQuery
from sieve.message.bounces import CLASSES
from sieve.settings import BounceRules, Rule

MOST_RULES = 20_000

ANSWERS, NOTES = "user_smtp_classification_override", "user_mdn_classification_override"

Found = Mapping[str, Sequence[tuple[Cell, ...]]]
"""The rows of each query, by the option that has it."""


def queries_of(options: BounceOptions) -> dict[str, RulesQuery]:
    """Return the queries, by the option that has each."""
    places = {name: getattr(options, name) for name in (ANSWERS, NOTES)}
    return {name: place for name, place in places.items() if isinstance(place, RulesQuery)}


def stamps(options: BounceOptions) -> list[tuple[int, int]]:
    """Return what changes when a file does."""
    found = []
    for path in (options.user_smtp_classification_override, options.user_mdn_classification_override):
        try:
            status = path.stat() if isinstance(path, Path) else None
        except OSError:
            status = None
        found.append((status.st_mtime_ns, status.st_ino) if status is not None else (0, 0))
    return found


class Reader:
    """Reads files and rows, and collects what is wrong with them."""

    def __init__(
        self, loaded: ModuleSettings | None, options: BounceOptions, found: list[Diagnostic], rows: Found | None = None
    ) -> None:
        """`loaded` has the places of the options; `found` gets what is wrong; without `rows`, queries find nothing."""
        self._rows = rows or {}
        self._loaded, self._options, self._found = loaded, options, found
        self._classes = self._custom(options.custom_classes)

    def rules(self) -> BounceRules:
        """Return all rules that are right."""
        answers = self._read(ANSWERS, 2)
        notes = self._read(NOTES, 1)
        return BounceRules(tuple(answers), tuple(notes), self._classes)

    def _custom(self, given: Mapping[str, str]) -> dict[int, str]:
        classes = {}
        for code, text in given.items():
            if code.isascii() and code.isdigit() and 0 < int(code) < 100:
                classes[int(code)] = text
            else:
                self._say(f"custom_classes has the code {code[:20]}", self._place("custom_classes"), "write 1 to 99")
        return classes

    def _read(self, name: str, commas: int) -> list[Rule]:
        path = getattr(self._options, name)
        if path is None:
            return []
        rules = self._of_rows(name, commas) if isinstance(path, RulesQuery) else self._of_file(path, name, commas)
        if len(rules) > MOST_RULES:
            self._say(f"more than {MOST_RULES} rules", self._place(name), "split them, or drop some")
        return rules[:MOST_RULES]

    def _of_rows(self, name: str, commas: int) -> list[Rule]:
        """Return the rules of a query's rows: the same parts as in a line, one in each column."""
        rules = []
        for number, row in enumerate(self._rows.get(name, ()), 1):
            cells = [cell if isinstance(cell, str) else " ".join(cell) for cell in row]
            rule = self._rule(cells, commas)
            if rule is None:
                shown = printable(", ".join(cells), 80)
                form = "domain, code and text" if commas == 2 else "code and text"
                self._say(f"row {number} is not a rule: {shown}", self._place(name), f"the columns must be {form}")
            else:
                rules.append(rule)
        return rules

    def _of_file(self, path: Path, name: str, commas: int) -> list[Rule]:
        try:
            source = read_source(path)
        except OSError as error:
            self._say(f"cannot read the rules: {error.strerror}", self._place(name), f"{path} must be a readable file")
            return []
        rules = []
        for number, line in enumerate(source.text.splitlines(), 1):
            if line.strip() and not line.startswith("#"):
                rule = self._rule(line.split(",", commas), commas)
                if rule is None:
                    self._wrong(source, number, line, commas)
                else:
                    rules.append(rule)
        return rules

    def _rule(self, parts: Sequence[str], commas: int) -> Rule | None:
        if len(parts) != commas + 1:
            return None
        code, text = parts[-2].strip(), parts[-1].strip()
        if not (code.isascii() and code.isdigit() and text.strip("|")):
            return None
        known = int(code) in CLASSES or int(code) in self._classes
        return Rule(int(code), text, parts[0].strip() if commas == 2 else "") if known else None

    def _wrong(self, source: Source, number: int, line: str, commas: int) -> None:
        form = "domain,code,text" if commas == 2 else "code,text"
        start = sum(len(each) for each in source.text.splitlines(keepends=True)[: number - 1])
        hint = f"write {form}, with a code of Momentum's table or of custom_classes"
        span = Span(source, start, start + len(line))
        self._say(f"line {number} is not a rule: {line[:80]}", span, hint)

    def _place(self, name: str) -> Span | None:
        return None if self._loaded is None else self._loaded.origin(name) or self._loaded.span

    def _say(self, text: str, span: Span | None, hint: str) -> None:
        here = span or Span(Source("bounce_classifier", ""), 0, 0)
        self._found.append(Diagnostic(text, here, hint, Severity.ERROR))
