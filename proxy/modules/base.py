"""The interface of modules: a `Module` prepares stanzas, and each `Prepared` stanza serves every worker.

Most modules need only a `PlainModule`: options, a validator, script functions. If the validator needs DNS or another
service of its worker, it is a `ServedModule`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Protocol, TypeAlias, runtime_checkable

from config.diagnostics import Diagnostic
from config.schema.specs import ModuleSpec
from config.settings import ModuleSettings
from proxy.callback.verdict import CallbackVerdict
from proxy.keeper.door import Calling
from proxy.mail.session import Session
from proxy.mail.validator import Validator
from proxy.mail.verdict import PASS, Verdict
from proxy.modules.services import Callbacks, Services
from proxy.options.core import CoreOptions
from sieve.library import SieveFunction
from sieve.phases import Phase

Verdicts: TypeAlias = Mapping[str, CallbackVerdict]
"""Address → the callback's verdict that the keeper has cached."""


@dataclass(frozen=True, slots=True)
class Explained:
    """What a module would do in a phase, for `ringback explain`."""

    says: str
    """In a few words."""
    verdict: Verdict = PASS
    unknown: tuple[str, ...] = ()
    """What it would have to ask first, so that the verdict is a guess."""


@runtime_checkable
class Explains(Protocol):
    """A validator that says what it would do, from what is at hand, without asking or changing anything outside."""

    async def explain(self, phase: Phase, session: Session, verdicts: Verdicts) -> Explained:
        """The same for a session that does not exist."""
        ...


class Prepared(Protocol):
    """One stanza of the configuration, checked and compiled; the same object serves every worker."""

    @property
    def diagnostics(self) -> Sequence[Diagnostic]:
        """What is wrong with it, warnings included."""
        ...

    def validator(self, services: Services) -> Validator | None:
        """Return the validator, or None if it has no hooks, as in a passive module."""
        ...


@runtime_checkable
class CallbackMaker(Protocol):
    """A prepared stanza that asks mail exchangers, for itself and for scripts."""

    def callbacks(
        self, settings: CoreOptions, upstream_down: Callable[[], bool], calling: Calling | None = None
    ) -> Callbacks:
        """Make one worker's callback service. `upstream_down` returns whether every next hop is known to be down.

        With `calling`, the keeper that is reached so asks the exchangers, and not the worker.
        """
        ...

    def govern(self, settings: CoreOptions, callbacks: Callbacks) -> None:
        """Give a service in use the rules of options that the console changed. What it asks and knows stays."""
        ...


@runtime_checkable
class ScriptRunner(Protocol):
    """A prepared stanza that runs scripts."""

    @property
    def script_names(self) -> Sequence[str]:
        """The files, as the log names them."""
        ...


@runtime_checkable
class ZoneAsker(Protocol):
    """A prepared stanza that asks blocklists."""

    @property
    def zone_names(self) -> Sequence[str]:
        """The zones, which have metrics of their own."""
        ...


class Module(Protocol):
    """A type of module: its options, and how its stanzas are prepared."""

    @property
    def spec(self) -> ModuleSpec:
        """The module's type and options, for the configuration's schema."""
        ...

    @property
    def functions(self) -> Sequence[SieveFunction]:
        """The script functions that come with it, each declared with `module=` and its type."""
        ...

    def prepare(self, loaded: ModuleSettings, present: frozenset[str]) -> Prepared:
        """Check one stanza; `present` names the types of all loaded modules, passive ones included."""
        ...


@runtime_checkable
class Reprepares(Protocol):
    """A module that prepares a stanza again whose options the console has changed, without reading files again."""

    def prepare_again(self, loaded: ModuleSettings, present: frozenset[str], before: Any) -> Prepared:
        """Check the changed stanza; `before` is what was prepared of it."""
        ...


Mistakes = Callable[[ModuleSettings, frozenset[str]], Iterable[Diagnostic]]
"""Returns what is wrong with a stanza, given the types of all loaded modules."""


class ServedModule:
    """A module whose validator needs services of its worker, such as DNS. Its options are checked already."""

    def __init__(
        self,
        spec: ModuleSpec,
        validator: Callable[[str, Any, Services], Validator] | None,
        functions: Sequence[SieveFunction] = (),
        mistakes: Mistakes = lambda _loaded, _present: (),
        *,
        library: str = "",
    ) -> None:
        """Take the declaration, the validator's constructor, and the checks.

        `library` is a Python module that is imported with an active stanza, so that all workers share its memory.
        """
        self.spec = spec
        self.functions = functions
        self._validator, self._mistakes, self._library = validator, mistakes, library

    def prepare(self, loaded: ModuleSettings, present: frozenset[str]) -> PreparedStanza:
        """Take the stanza."""
        if self._library and not loaded.passive:
            import_module(self._library)
        return PreparedStanza(loaded, self._validator, tuple(self._mistakes(loaded, present)))


class PlainModule(ServedModule):
    """A module that needs only its options."""

    def __init__(
        self,
        spec: ModuleSpec,
        validator: Callable[[str, Any], Validator] | None = None,
        functions: Sequence[SieveFunction] = (),
        mistakes: Callable[[ModuleSettings], Iterable[Diagnostic]] = lambda _loaded: (),
    ) -> None:
        """Take the declaration, the validator's constructor (from a stanza's name and options), and the checks.

        Without a constructor the stanza judges nothing: only its options or its functions matter.
        """
        made = None if validator is None else lambda name, options, _services: validator(name, options)
        super().__init__(spec, made, functions, lambda loaded, _present: mistakes(loaded))


class PreparedStanza:
    """One stanza of a `ServedModule`."""

    def __init__(
        self,
        loaded: ModuleSettings,
        validator: Callable[[str, Any, Services], Validator] | None,
        diagnostics: Sequence[Diagnostic],
    ) -> None:
        """Keep its options."""
        self.diagnostics = diagnostics
        self._loaded, self._validator = loaded, validator

    def validator(self, services: Services) -> Validator | None:
        """Return the validator; a passive module has none."""
        if self._loaded.passive or self._validator is None:
            return None
        return self._validator(self._loaded.name, self._loaded.options, services)
