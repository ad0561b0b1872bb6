"""A configuration without errors, as the program sees it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from config.diagnostics import Span
from config.schema.options import Options
from config.scopes.listener import PATHWAY, Client, Listener
from config.scopes.places import Setting
from config.scopes.scopes import Scopes


@dataclass(frozen=True, slots=True)
class ModuleSettings:
    """One loaded module: its options, and the start of its stanza."""

    type: str
    name: str
    passive: bool
    options: Options
    span: Span = field(compare=False)
    _origins: Mapping[str, Span] = field(repr=False, compare=False)
    texts: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Option that names a file → the text that the console gave in place of the file's."""

    def origin(self, name: str) -> Span | None:
        """Return an option's origin; None if it has its default."""
        return self._origins.get(name)


@dataclass(frozen=True, slots=True)
class Settings:
    """A configuration without errors: the global options, and the modules in the order of their first stanza."""

    core: Options
    modules: tuple[ModuleSettings, ...]
    scopes: Scopes = field(repr=False, compare=False)
    _origins: Mapping[str, Span] = field(repr=False, compare=False)

    def for_client(self, listener: Listener, client: Client | None) -> ClientOptions:
        """Return the options in force for a client of a listener."""
        layers = listener.layers(client)
        joined = next((layer[PATHWAY].value for layer in layers if PATHWAY in layer), None)
        if joined is not None:
            layers = (*layers, *self.scopes.pathway_layers(str(joined)))
        return ClientOptions(layers, self.core, self._origins)

    def core_origin(self, name: str) -> Span | None:
        """Return a global option's origin; None if it has its default."""
        return self._origins.get(name)


@dataclass(frozen=True, slots=True)
class ClientOptions:
    """The options in force for one client of one listener."""

    layers: tuple[Mapping[str, Setting], ...]
    core: Options
    origins: Mapping[str, Span]

    def setting(self, name: str) -> Setting:
        """Return an option's value and origin.

        Raises:
            AttributeError: there is no option of this name.
        """
        for layer in self.layers:
            if name in layer:
                return layer[name]
        return Setting(getattr(self.core, name), self.origins.get(name))

    def value(self, name: str) -> object:
        """Return an option's value.

        Raises:
            AttributeError: there is no option of this name.
        """
        return self.setting(name).value
