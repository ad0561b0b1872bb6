"""The whole schema: the global options, and the modules with their options. The program passes it in.

A module is loaded in either dialect: by a 2.2 line, `Validate validate/smtp_cbv smtp_cbv passive { … }`, or by a stanza
of 3.x and 4.x, `smtp_cbv "smtp_cbv1" { … }`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TypeAlias

from config.schema.declared import Declared, declared
from config.schema.options import Options
from config.schema.readers import PATH_WANTED

OptionsClass: TypeAlias = type[Options]


@dataclass(frozen=True, slots=True)
class ModuleSpec:
    """A module that can be loaded.

    `lines` are the beginnings of its 2.2 lines; the default is `Validate validate/<type>`. `ignored` are options of
    Momentum's module that have no effect here: they are accepted with a warning. `effects` are what some of these do
    in Momentum, such as `authenticates`: then the warning is `not_enforced`. `live` names the options that can
    change without a reload; the default is all options but paths. `line_defaults` are options that a 2.2 line
    sets, because their default was another one in 2.2. `also` is another module whose script functions it brings.
    """

    type: str
    options: OptionsClass
    lines: tuple[str, ...] = ()
    summary: str = ""
    ignored: tuple[str, ...] = field(default=())
    effects: Mapping[str, str] = field(default_factory=dict)
    live: tuple[str, ...] | None = None
    line_defaults: tuple[str, ...] = ()
    also: str = ""

    def __post_init__(self) -> None:
        """Check the declaration.

        Raises:
            TypeError: an option's type has no reader.
            ValueError: two options share a name.
        """
        declared(self.options)

    @property
    def class_lines(self) -> tuple[tuple[str, str], ...]:
        """(class, path) of each 2.2 line that loads the module."""
        lines = self.lines or (f"Validate validate/{self.type}",)
        return tuple((first, second) for first, second in (line.split() for line in lines))


@dataclass(frozen=True)
class Schema:
    """The whole configuration: options at the top of the file, and the modules."""

    core: OptionsClass
    modules: tuple[ModuleSpec, ...] = ()
    live: frozenset[str] = frozenset()
    """The global options that can change without a reload, unless their declaration says otherwise."""

    def __post_init__(self) -> None:
        """Check the declarations.

        Raises:
            TypeError: an option's type has no reader.
            ValueError: two options or two modules share a name.
        """
        declared(self.core)
        if len(self.by_type) < len(self.modules):
            raise ValueError("two modules have the same type")

    @cached_property
    def by_type(self) -> dict[str, ModuleSpec]:
        """The modules by stanza name, in lower case."""
        return {spec.type.lower(): spec for spec in self.modules}

    @cached_property
    def by_path(self) -> dict[str, tuple[str, ModuleSpec]]:
        """(class, module) by the path of a 2.2 line."""
        return {path: (kind, spec) for spec in self.modules for kind, path in spec.class_lines}

    def is_live(self, option: str, module: str = "") -> bool:
        """Return whether an option can change without a reload. A path cannot: the console opens no file."""
        if not module:
            one, known = declared(self.core)[option], self.live
        else:
            spec = self.by_type[module]
            one = declared(spec.options)[option]
            known = frozenset(spec.live if spec.live is not None else declared(spec.options))
        return one.live and one.name in known and not is_path(one)


def is_path(one: Declared) -> bool:
    """Return whether an option names files or folders."""
    return PATH_WANTED.split()[-1] in one.reader.wanted.split()
