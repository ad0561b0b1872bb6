"""What a module is to the composition root: a `Module` prepares stanzas; a `Prepared` one serves every worker."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

from config.diagnostics import Diagnostic, Span
from config.schema.specs import ModuleSpec
from config.settings import ModuleSettings
from proxy.mail.validator import Validator
from proxy.modules.services import Callbacks, Services
from proxy.options.core import CoreOptions


class Prepared(Protocol):
    """One stanza of the configuration, checked and compiled; the same object serves every worker."""

    @property
    def diagnostics(self) -> Sequence[Diagnostic]:
        """What is wrong with it, warnings included."""
        ...

    def validator(self, services: Services) -> Validator | None:
        """Return what judges the phases; None where the module speaks in none, as a passive one does."""
        ...


@runtime_checkable
class CallbackMaker(Protocol):
    """A prepared stanza that asks mail exchangers, for itself and for scripts."""

    def callbacks(self, settings: CoreOptions, upstream_down: Callable[[], bool]) -> Callbacks:
        """Make what asks in one worker; `upstream_down` tells whether every MTA behind is known to be down."""
        ...


@runtime_checkable
class MailCreator(Protocol):
    """A prepared stanza that may make messages of its own, which the outbox keeps."""

    @property
    def creates_mail(self) -> Span | None:
        """Where that is asked for; None where it is not."""
        ...


@runtime_checkable
class BodyReader(Protocol):
    """A prepared stanza that may read messages whole, which are held on disk beyond 1 MiB."""

    @property
    def reads_body(self) -> bool:
        """Whether it does, in any content phase."""
        ...


class Module(Protocol):
    """A kind of module: what its stanza may hold, and how a stanza is prepared."""

    @property
    def spec(self) -> ModuleSpec:
        """The module's type and options, for the configuration's schema."""
        ...

    def prepare(self, loaded: ModuleSettings, present: frozenset[str]) -> Prepared:
        """Check one stanza; `present` names the types of all loaded modules, passive ones included."""
        ...
