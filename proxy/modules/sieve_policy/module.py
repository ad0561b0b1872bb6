"""The module: it compiles every script at load, and runs them in their phases over a live session."""

from __future__ import annotations

import asyncio
import re
import time
from bisect import bisect_left
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, cast

from config.base.sources import read_source
from config.diagnostics import Diagnostic, Source, Span
from config.schema.specs import ModuleSpec
from config.settings import ModuleSettings
from proxy.base.log import get_logger
from proxy.counting.base import CountingUnavailable
from proxy.mail import replies
from proxy.mail.session import Session
from proxy.mail.validator import Hook, OnError, Validator
from proxy.mail.verdict import PASS, Verdict, decided
from proxy.metrics.book import BOOK
from proxy.metrics.table import SCRIPT, SCRIPT_RUNS, SCRIPT_TIME, SECONDS
from proxy.modules.base import Explained, Verdicts
from proxy.modules.services import Services
from proxy.modules.sieve_policy.ahead import ASKS
from proxy.modules.sieve_policy.answers import RecordingHost
from proxy.modules.sieve_policy.dry import DryHost
from proxy.modules.sieve_policy.duplicates import Tracking
from proxy.modules.sieve_policy.effects import send_letters, settle_letters
from proxy.modules.sieve_policy.errors import cannot_read, never_reached, no_field_name, reads_a_file
from proxy.modules.sieve_policy.host import SessionHost, counters_of
from proxy.modules.sieve_policy.options import SPEC, SieveOptions, option_name
from proxy.smtp.ports import OutboxUnavailable
from sieve.compile.compiler import Compiled, compile_script
from sieve.compile.inclusions import failing_inclusions
from sieve.dialects import DialectName
from sieve.library import Library, SieveFunction
from sieve.phases import Need, Phase
from sieve.run.cache import ScriptCache
from sieve.run.patience import Soon, settled
from sieve.run.runtime import Outcome, Script
from sieve.settings import Limits, ScriptSettings
from sieve.standard import standard_library

log = get_logger()

_FIELD_NAME = re.compile(r"[!-9;-~]{1,70}")

GRACE_SECONDS = 5.0
"""Extra time of the validator's deadline, so that the script's own ends first and its line gets into the log."""


_SUM = len(SECONDS) + 1
"""Where the sum is, from the first bucket."""

_INCLUDE = frozenset({"ec_include", "include"})

_CREATE_MAIL = frozenset({"ec_forward", "generate_mail_raw"})


class SieveModule:
    """Prepares `sieve` stanzas."""

    spec: ModuleSpec = SPEC
    functions: Sequence[SieveFunction] = ()

    def __init__(self, library: Callable[[], Library] = standard_library) -> None:
        """Take the library of script functions, which is called when the first script is compiled."""
        self._library = library

    def prepare(self, loaded: ModuleSettings, present: frozenset[str]) -> PreparedSieve:
        """Compile the scripts that the stanza names."""
        return self._prepared(loaded, present, {})

    def prepare_again(self, loaded: ModuleSettings, present: frozenset[str], before: Any) -> PreparedSieve:
        """Compile the scripts again; those that are the same files are not read again."""
        kept = {
            name: source
            for name, source in cast(PreparedSieve, before).sources.items()
            if name not in before.loaded.texts and getattr(loaded.options, name) == getattr(before.options, name)
        }
        return self._prepared(loaded, present, kept)

    def _prepared(self, loaded: ModuleSettings, present: frozenset[str], known: Mapping[str, Source]) -> PreparedSieve:
        options = cast(SieveOptions, loaded.options)
        settings = ScriptSettings(
            default_comparator=options.default_comparator,
            runtime_error=options.runtime_error,
            fileinto_header=options.fileinto_header,
            limits=Limits(seconds=options.script_timeout),
        )
        includes = {
            dialect: ScriptCache(size=options.cache_size, life=options.cache_life) for dialect in ("sieve++", "rfc5228")
        }
        scripts: dict[Phase, tuple[Script, ...]] = {}
        diagnostics: list[Diagnostic] = []
        sources: dict[str, Source] = {}
        if options.fileinto_header and _FIELD_NAME.fullmatch(options.fileinto_header) is None:
            diagnostics.append(no_field_name(options.fileinto_header, loaded.origin("fileinto_header") or loaded.span))
        for phase in Phase:
            compiled: list[Script] = []
            for number in (1, 2):
                name = option_name(phase, number)
                source = _source(loaded, name, known, diagnostics)
                if source is None:
                    continue
                sources[name] = source
                dialect = options.language(phase, number, getattr(options, name))
                cache = None if name in loaded.texts else includes[dialect]
                found = self._compiled(source, phase, present, settings, cache, dialect)
                diagnostics += found.diagnostics
                diagnostics += _of_includes(found.draft, name in loaded.texts)
                if found.script is not None:
                    diagnostics += never_reached(compiled, found.script, option_name(phase, 1))
                    compiled.append(found.script)
            if compiled:
                scripts[phase] = tuple(compiled)
        return PreparedSieve(
            loaded,
            options,
            scripts,
            diagnostics,
            partial(self._tried, present, settings),
            tuple(includes.values()),
            sources,
        )

    def _compiled(
        self,
        source: Source,
        phase: Phase,
        present: frozenset[str],
        settings: ScriptSettings,
        includes: ScriptCache | None,
        dialect: DialectName = "sieve++",
    ) -> Compiled:
        return compile_script(
            source,
            phase=phase,
            library=self._library(),
            modules=present,
            settings=settings,
            includes=includes,
            dialect=dialect,
        )

    def _tried(self, present: frozenset[str], settings: ScriptSettings, phase: str, text: str) -> Sequence[Diagnostic]:
        """Compile a script without running it. It cannot include files."""
        return self._compiled(Source("the console", text), Phase(phase), present, settings, None).diagnostics


@dataclass(frozen=True, slots=True)
class PreparedSieve:
    """One stanza and its compiled scripts."""

    loaded: ModuleSettings
    options: SieveOptions
    scripts: Mapping[Phase, tuple[Script, ...]]
    diagnostics: Sequence[Diagnostic]
    tried: Callable[[str, str], Sequence[Diagnostic]]
    """Compiles a script for a phase, for the console; returns what is wrong with it."""
    includes: Sequence[ScriptCache]
    """The scripts that others have included."""
    sources: Mapping[str, Source] = field(default_factory=dict)
    """The text of each script, by its option."""

    def flush_includes(self) -> int:
        """Read included scripts again at their next use; return how many were known."""
        return sum(each.flush() for each in self.includes)

    @property
    def creates_mail(self) -> Span | None:
        """The place that names a script which makes messages, or None."""
        if self.loaded.passive:
            return None
        for phase, scripts in self.scripts.items():
            if any(script.calls & _CREATE_MAIL for script in scripts):
                origins = (self.loaded.origin(option_name(phase, number)) for number in (1, 2))
                return next((origin for origin in origins if origin is not None), self.loaded.span)
        return None

    @property
    def calls(self) -> frozenset[str]:
        """The functions that the scripts call."""
        scripts = () if self.loaded.passive else tuple(self.scripts.values())
        return frozenset([name for each in scripts for script in each for name in script.calls])

    @property
    def datasources(self) -> Sequence[tuple[str, Span]]:
        """The datasources that the scripts name."""
        return [named for scripts in self.scripts.values() for script in scripts for named in script.datasources]

    @property
    def script_names(self) -> Sequence[str]:
        """The scripts that run."""
        return () if self.loaded.passive else [each.name for scripts in self.scripts.values() for each in scripts]

    @property
    def reads_body(self) -> bool:
        """Whether a script reads whole messages."""
        scripts = () if self.loaded.passive else tuple(self.scripts.values())
        return any(Need.BODY in script.needs for each in scripts for script in each)

    def validator(self, services: Services) -> Validator | None:
        """Return the hooks of the phases that have scripts."""
        if self.loaded.passive or not self.scripts:
            return None
        return SieveValidator(self, services)


class SieveValidator:
    """Runs the scripts of a phase: the site's, then the vendor's unless the first ended the phase."""

    def __init__(self, prepared: PreparedSieve, services: Services) -> None:
        """Bind the scripts to a worker's services."""
        self.name = prepared.loaded.name
        self.on_error = OnError(prepared.options.on_error)
        self.deadline = 2 * prepared.options.script_timeout + GRACE_SECONDS
        self._scripts = prepared.scripts
        numbers = {name: BOOK.number(SCRIPT, name) for name in prepared.script_names}
        self._places = {name: (SCRIPT_RUNS.table(at), SCRIPT_TIME.at(at)) for name, at in numbers.items()}
        """Where each script's runs and times are counted."""
        self._services = services
        self._host = RecordingHost if services.settings.history_answers else SessionHost
        self._duplicates = Tracking(prepared.loaded.name, prepared.options, services).of
        self._counters = counters_of(services)

    def hooks(self) -> Mapping[Phase, Hook]:
        """Speak in every phase that has a script."""
        hooks: dict[Phase, Hook] = {
            phase: partial(self._judge, phase, scripts) for phase, scripts in self._scripts.items()
        }
        if any(script.calls & ASKS for script in self._scripts.get(Phase.RCPTTO, ())) and self._counters.answers_later:
            hooks[Phase.MAILFROM] = partial(self._foresee, hooks.get(Phase.MAILFROM, lambda _session: PASS))
        return hooks

    def needs(self, phase: Phase) -> Need:
        """Read what the phase's scripts read."""
        wanted = Need.NOTHING
        for script in self._scripts.get(phase, ()):
            wanted |= script.needs
        return wanted

    def _foresee(self, judge: Hook, session: Session) -> Verdict | Awaitable[Verdict]:
        """Ask what the scripts of RCPT TO will ask about the client; the answer comes while the client waits."""
        self._counters.foresee(session)
        return judge(session)

    def _judge(
        self, phase: Phase, scripts: tuple[Script, ...], session: Session
    ) -> Verdict | Coroutine[Any, Any, Verdict]:
        """Run scripts until one ends the phase. If one has to wait, return a coroutine that continues from there."""
        if session.transaction.pending:
            return self._after_others(phase, scripts, session)
        if phase is Phase.RCPTTO and (answers := self._counters.awaited(session)):
            return self._after_answers(answers, scripts, session)
        host = self._host(session, self._services, phase, self._duplicates, self._counters)
        for number, script in enumerate(scripts, 1):
            began = time.monotonic()
            outcome = script.start(host)
            if not isinstance(outcome, Outcome) or host.letters:
                return self._rest(outcome, began, script, host, (phase, scripts[number:], session))
            if host.__class__ is RecordingHost:
                host.tell()
            verdict = self._verdict(outcome, script, session, time.monotonic() - began)
            if verdict is not PASS or outcome.ended:
                return verdict
        return PASS

    async def explain(self, phase: Phase, session: Session, verdicts: Verdicts) -> Explained:
        """Run the phase's scripts on what is at hand. Nothing that they do is carried out, or counted."""
        host, verdict = DryHost(session, self._services, phase, verdicts), PASS
        if phase not in self._scripts:
            return Explained("asks ahead what the scripts of RCPT TO will ask")
        for script in self._scripts[phase]:
            outcome = await script.run(host)
            verdict = self._judgement(outcome, script, session)
            if host.unknown or verdict is not PASS or outcome.ended:
                break
        names = ", ".join(script.name for script in self._scripts[phase])
        return Explained("; ".join([f"script {names}", *host.notes]), verdict, tuple(host.unknown))

    async def _after_others(self, phase: Phase, scripts: tuple[Script, ...], session: Session) -> Verdict:
        """Wait for what active validators began: the scripts read its results."""
        await session.transaction.settle()
        return await decided(self._judge(phase, scripts, session))

    async def _after_answers(
        self, answers: Sequence[asyncio.Future[Any]], scripts: tuple[Script, ...], session: Session
    ) -> Verdict:
        """Wait for what was asked at MAIL FROM. Then the scripts wait for nothing, which costs half as much."""
        for each in answers:
            try:
                await each
            except CountingUnavailable:
                continue  # the script that asks hears so
        return await decided(self._judge(Phase.RCPTTO, scripts, session))

    async def _rest(
        self,
        begun: Soon[Outcome],
        began: float,
        script: Script,
        host: SessionHost,
        following: tuple[Phase, tuple[Script, ...], Session],
    ) -> Verdict:
        """Finish a script that has to wait, or whose letters have to be stored; then run those that follow."""
        phase, _, session = following
        outcome = await settled(begun)
        if isinstance(host, RecordingHost):
            host.tell()
        verdict = self._verdict(outcome, script, session, time.monotonic() - began)
        if host.letters:
            verdict = await self._with_letters(host, phase, outcome, verdict, session)
        if verdict is not PASS or outcome.ended:
            return verdict
        return await decided(self._judge(*following))

    async def _with_letters(
        self, host: SessionHost, phase: Phase, outcome: Outcome, verdict: Verdict, session: Session
    ) -> Verdict:
        """Send or attach a run's letters according to its verdict; 451 or 452 if they cannot be stored."""
        letters, host.letters = host.letters, []
        if outcome.failed and verdict.reply is not None:
            return verdict  # the client tries again, and the script runs again
        try:
            if verdict.reply is None:
                await settle_letters(session, letters, self._services.outbox, phase)
            else:
                await send_letters(session, letters, self._services.outbox)
        except OutboxUnavailable as kept_not:
            return Verdict(kept_not.reply)
        return verdict

    def _verdict(self, outcome: Outcome, script: Script, session: Session, seconds: float) -> Verdict:
        """Turn a script's outcome into a verdict, and count it. A code that does not reject lets the command pass."""
        runs, at = self._places[script.name]
        refused = outcome.code >= 400 or outcome.close  # RFC 5321 section 4.2.1, first digit
        result = "failed" if outcome.failed else "refused" if refused else "discarded" if outcome.discard else "pass"
        counts = BOOK.counts
        counts[runs[result]] += 1
        counts[at + _SUM] += int(seconds * 1_000_000)
        counts[at + bisect_left(SECONDS, seconds)] += 1
        return PASS if result == "pass" else self._judgement(outcome, script, session)

    def _judgement(self, outcome: Outcome, script: Script, session: Session) -> Verdict:
        """Return what a script decided that does not simply let the command pass."""
        if outcome.failed:
            failed = replies.INTERNAL.decided_by(_place(outcome, script))
            return PASS if self.on_error is OnError.ACCEPT else Verdict(failed)
        if outcome.code < 400 and not outcome.close:  # RFC 5321 section 4.2.1, first digit
            return Verdict(discard=True, by=_place(outcome, script)) if outcome.discard else PASS
        if not 400 <= outcome.code < 600:
            log.error("script_failed", session=session.id, script=script.name, reason=f"reply code {outcome.code}")
            return Verdict(replies.INTERNAL.decided_by(_place(outcome, script)))
        text = outcome.text or replies.default_policy_text(outcome.code)
        by = _place(outcome, script)
        return Verdict(replies.from_policy(outcome.code, text, close=outcome.close, by=by))


def _place(outcome: Outcome, script: Script) -> str:
    """Return the line that decided, for the log."""
    return f"script {script.name}" if outcome.at is None else f"script {outcome.at.source.name}:{outcome.at.line}"


def _source(
    loaded: ModuleSettings, name: str, known: Mapping[str, Source], diagnostics: list[Diagnostic]
) -> Source | None:
    """Return the text of the script that an option names; None if it names none or the script cannot be read."""
    path = getattr(loaded.options, name)
    if path is None:
        return None
    if name in loaded.texts:
        return Source(f"console:{path.name}", loaded.texts[name])
    if name in known:
        return known[name]
    try:
        return read_source(path)
    except OSError as error:
        diagnostics.append(cannot_read(error, loaded.origin(name) or loaded.span))
        return None


def _of_includes(script: Script, is_from_console: bool) -> list[Diagnostic]:  # noqa: FBT001 — a fact about it
    """Warn about included scripts that fail. Refuse a script from the console that reads other files of the server."""
    if not script.calls & _INCLUDE:
        return []
    if not is_from_console:
        return list(failing_inclusions(script))
    return [reads_a_file(script)]
