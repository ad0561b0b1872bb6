"""The module: it reads the rules, and gives them to the script function."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from functools import partial
from typing import cast

from config.diagnostics import Diagnostic, Span
from config.schema.specs import ModuleSpec
from config.settings import ModuleSettings
from proxy.base.log import get_logger, printable
from proxy.base.tasks import TaskOwner, spawn
from proxy.datasource.sources import DatasourceError, Datasources, UnknownDatasource
from proxy.mail.validator import Validator
from proxy.modules.bounce_classifier.options import OVERRIDE, SPEC, BounceOptions
from proxy.modules.bounce_classifier.rules import MOST_RULES, Found, Reader, queries_of, stamps
from proxy.modules.services import Services
from sieve.library import SieveFunction
from sieve.run.threads import ThreadPool, in_thread
from sieve.settings import BounceRules

log = get_logger()

RETRY_SECONDS = 30.0
"""After how long rules that could not be read are tried again, if not earlier."""

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
        rules = Reader(loaded, options, diagnostics).rules()
        places = [(query.cache, loaded.origin(name) or loaded.span) for name, query in queries_of(options).items()]
        return PreparedRules(options, rules, diagnostics, places)


class PreparedRules:
    """One stanza."""

    def __init__(
        self,
        options: BounceOptions,
        rules: BounceRules,
        diagnostics: Sequence[Diagnostic],
        needed: Sequence[tuple[str, Span]] = (),
    ) -> None:
        """Keep what was read. `needed`: the datasources that it asks, and where they are named."""
        self._refreshed, self.diagnostics, self.needed = Refreshed(options, rules), diagnostics, needed

    def validator(self, services: Services) -> Validator | None:
        """Judge nothing; the function gets the rules."""
        services.given.setdefault(GIVEN_AS, []).append(self._refreshed.now)
        if self.needed:
            self._refreshed.sources, owner = services.datasources, services.background.owner
            services.background.when_serving(partial(self._refreshed.begin, owner))
        return None

    async def read_again(self) -> tuple[int, str]:
        """Read the rules, even if files look unchanged; return how many there are, and why they are the old ones."""
        return await self._refreshed.read_again()


class Refreshed:
    """The rules of one worker. The event loop's thread owns them."""

    def __init__(self, options: BounceOptions, rules: BounceRules) -> None:
        """Start with what was read when the configuration was loaded. Queries wait for the worker."""
        self.sources: Datasources | None = None
        self._options, self._rules, self._queries = options, rules, queries_of(options)
        self._loaded = not self._queries
        self._due = time.monotonic() + options.refresh if self._loaded else 0.0
        self._stamps = stamps(options)
        self._lock = asyncio.Lock()

    def begin(self, owner: TaskOwner) -> None:
        """Ask the queries before the first session needs them."""
        spawn(self.now(), name="bounce rules", owner=owner)

    async def now(self) -> BounceRules:
        """Return the rules, read again if it is time. What is wrong, or a database that is down, leaves the old ones.

        Only the first session after the start, and those that arrive in the meantime, wait for a query.
        """
        if self._is_due() and not (self._loaded and self._lock.locked()):
            async with self._lock:
                if self._is_due():
                    await self._turn()
        return self._rules

    async def read_again(self) -> tuple[int, str]:
        """Read the rules now; return how many hold, and what is wrong with the new ones."""
        wrong = await self._read()
        return len(self._rules.answers) + len(self._rules.notes), wrong

    def _is_due(self) -> bool:
        return bool(self._options.refresh or not self._loaded) and time.monotonic() >= self._due

    async def _turn(self) -> None:
        self._due = time.monotonic() + self._options.refresh
        wrong = ""
        if self._queries or await in_thread(ThreadPool.FILES, partial(stamps, self._options)) != self._stamps:
            wrong = await self._read()
        if wrong and not self._loaded:
            self._due = time.monotonic() + RETRY_SECONDS

    async def _read(self) -> str:
        """Read everything; return what is wrong with it, if the old rules stay."""
        wrong = ""
        try:
            rows = {name: await self._rows(each.cache, each.query) for name, each in self._queries.items()}
        except (DatasourceError, UnknownDatasource) as error:
            wrong = printable(str(error))
        else:
            wrong = await in_thread(ThreadPool.FILES, partial(self._take, rows))
        if wrong:
            log.error("bounce_rules_not_read", reason=wrong)
        return wrong

    async def _rows(self, cache: str, query: str) -> Sequence[tuple[str | tuple[str, ...], ...]]:
        if self.sources is None:
            return ()
        return (await self.sources.rows(cache, query, most=MOST_RULES + 1, fresh=True)).rows

    def _take(self, rows: Found) -> str:
        self._stamps = stamps(self._options)
        diagnostics: list[Diagnostic] = []
        rules = Reader(None, self._options, diagnostics, rows).rules()
        if diagnostics:
            return printable(str(diagnostics[0].message))
        self._rules, self._loaded = rules, True
        return ""


BOUNCE_CLASSIFIER = BounceModule(SPEC)
BOUNCE_CLASSIFIER_OVERRIDE = BounceModule(OVERRIDE)
