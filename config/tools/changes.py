"""Differences between two loaded configurations: which a reload can apply, and which need a restart."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from config.diagnostics import Span
from config.schema.declared import declared
from config.schema.options import Options
from config.settings import ModuleSettings, Settings


@dataclass(frozen=True, slots=True)
class Change:
    """One option whose value differs; `where` names its module, empty for the global scope."""

    where: str
    name: str
    reloadable: bool
    origin: Span | None


def changes(old: Settings, new: Settings) -> tuple[Change, ...]:
    """Return the options that differ, global or of modules in both. A reload can add and remove modules."""
    differences = list(_differing("", old.core, new.core, new))
    before = {(module.type, module.name): module for module in old.modules}
    for module in new.modules:
        earlier = before.get((module.type, module.name))
        if earlier is not None:
            differences += _differing(f'{module.type} "{module.name}"', earlier.options, module.options, module)
    return tuple(differences)


def _differing(where: str, old: Options, new: Options, settings: Settings | ModuleSettings) -> Iterator[Change]:
    for name, one in declared(type(new)).items():
        if getattr(old, name) != getattr(new, name):
            origin = settings.core_origin(name) if isinstance(settings, Settings) else settings.origin(name)
            yield Change(where, name, one.reloadable, origin)
