"""The module: it reads the rules, and gives them to the script function."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

from config.base.sources import read_source
from config.diagnostics import Diagnostic, Severity, Source, Span
from config.schema.specs import ModuleSpec
from config.settings import ModuleSettings
from proxy.base.log import get_logger, printable
from proxy.mail.validator import Validator
from proxy.modules.bounce_classifier.options import OVERRIDE, SPEC, BounceOptions
from proxy.modules.services import Services
from sieve.library import SieveFunction
from sieve.message.bounces import CLASSES
from sieve.run.threads import ThreadPool, in_thread
from sieve.settings import BounceRules, Rule

log = get_logger()

MOST_RULES = 20_000
GIVEN_AS = "bounce_classifier"
"""The name under which functions find the rules."""


class BounceModule:
    """Prepares the stanzas of one of the two names."""

    functions: Sequence[SieveFunction] = ()

    def __init__(self, spec: ModuleSpec) -> None:
        """Take the declaration."""
        self.spec = spec

    def prepare(self, loaded: ModuleSettings, present: frozenset[str]) -> PreparedRules:  # noqa: ARG002 - needs none
        """Read the files."""
        options = cast(BounceOptions, loaded.options)
        diagnostics: list[Diagnostic] = []
        rules = _Reader(loaded, options, diagnostics).rules()
        return PreparedRules(options, rules, diagnostics)


class PreparedRules:
    """One stanza."""

    def __init__(self, options: BounceOptions, rules: BounceRules, diagnostics: Sequence[Diagnostic]) -> None:
        """Keep what was read."""
        self._refreshed, self.diagnostics = Refreshed(options, rules), diagnostics

    def validator(self, services: Services) -> Validator | None:
        """Judge nothing; the function gets the rules."""
        services.given.setdefault(GIVEN_AS, []).append(self._refreshed.now)
        return None

    async def read_again(self) -> tuple[int, str]:
        """Read the files, even if they look unchanged; return the number of rules, and why they are the old ones."""
        return await self._refreshed.read_again()


class Refreshed:
    """The rules of one worker. The event loop's thread owns them."""

    def __init__(self, options: BounceOptions, rules: BounceRules) -> None:
        """Start with what was read when the configuration was loaded."""
        self._options, self._rules = options, rules
        self._due = time.monotonic() + options.refresh
        self._stamps = _stamps(options)

    async def now(self) -> BounceRules:
        """Return the rules, read again if it is time and a file has changed. A file with errors leaves the old ones."""
        if self._options.refresh and time.monotonic() >= self._due:
            self._due = time.monotonic() + self._options.refresh
            await in_thread(ThreadPool.FILES, self._look)
        return self._rules

    async def read_again(self) -> tuple[int, str]:
        """Read the files now; return how many rules hold, and what is wrong with the files."""
        wrong = await in_thread(ThreadPool.FILES, self._read)
        return len(self._rules.answers) + len(self._rules.notes), wrong

    def _look(self) -> None:
        if _stamps(self._options) != self._stamps:
            self._read()

    def _read(self) -> str:
        self._stamps = _stamps(self._options)
        diagnostics: list[Diagnostic] = []
        rules = _Reader(None, self._options, diagnostics).rules()
        if not diagnostics:
            self._rules = rules
            return ""
        wrong = printable(str(diagnostics[0].message))
        log.error("bounce_rules_not_read", reason=wrong)
        return wrong


def _stamps(options: BounceOptions) -> list[tuple[int, int]]:
    found = []
    for path in (options.user_smtp_classification_override, options.user_mdn_classification_override):
        try:
            status = Path(path).stat() if path is not None else None
        except OSError:
            status = None
        found.append((status.st_mtime_ns, status.st_ino) if status is not None else (0, 0))
    return found


class _Reader:
    """Reads the files, and collects what is wrong with them."""

    def __init__(self, loaded: ModuleSettings | None, options: BounceOptions, found: list[Diagnostic]) -> None:
        self._loaded, self._options, self._found = loaded, options, found
        self._classes = self._custom(options.custom_classes)

    def rules(self) -> BounceRules:
        answers = self._read("user_smtp_classification_override", 2)
        notes = self._read("user_mdn_classification_override", 1)
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
        if len(rules) > MOST_RULES:
            self._say(f"more than {MOST_RULES} rules", self._place(name), "split them, or drop some")
        return rules[:MOST_RULES]

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


BOUNCE_CLASSIFIER = BounceModule(SPEC)
BOUNCE_CLASSIFIER_OVERRIDE = BounceModule(OVERRIDE)
