"""Which of Momentum's names Ringback acts on: the tables of `docs/momentum.md`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from config.schema.declared import names_of
from config.schema.momentum import PLACEHOLDERS, MomentumOption, catalogue
from config.schema.specs import Schema
from config.scopes.extensions import TRANSLATED
from config.scopes.listener import SOCKET_OPTIONS
from config.scopes.listeners import PROTO
from config.scopes.places import KINDS
from config.spelling import as_in_the_manual
from config.tools.reference import table

ACTS = "acts"
_ACCEPTED = "accepted"
_LISTENERS = ("esmtp_listener", "listen", "peer", "rfc2822")
_EFFECTS = {"scripts": "runs scripts"}


def momentum_tables(schema: Schema, functions: Mapping[str, str]) -> str:
    """Return the tables of options, stanzas, modules and script functions; `functions` has the state of each."""
    return "\n".join(
        [
            "## Options\n",
            table(["Option", "Scopes in Momentum", "Here"], _options(schema)),
            "## Stanzas\n",
            table(["Stanza", "Here"], _stanzas(schema)),
            "## Modules\n",
            table(["Module", "2.2", "Here"], _modules(schema)),
            "## Script functions\n",
            table(["Function", "Here"], ([f"`{name}`", state] for name, state in sorted(functions.items()))),
        ]
    )


def _options(schema: Schema) -> Iterator[list[str]]:
    for name, option in sorted(catalogue().options.items()):
        yield [f"`{name}`", ", ".join(sorted(option.scopes)), _state_of(option, schema)]


def _state_of(option: MomentumOption, schema: Schema) -> str:
    if option.name in names_of(schema.core):
        ours = names_of(schema.core)[option.name]
        return ACTS if ours == option.name else f"{ACTS}, as `{ours}`"
    if option.name in TRANSLATED:
        return f"{ACTS} in listeners: {TRANSLATED[option.name]}"
    if option.name in SOCKET_OPTIONS or option.name == PROTO:
        return f"{ACTS} in listeners"
    return _state(option.effect)


def _state(effect: str) -> str:
    return f"not enforced: {_EFFECTS.get(effect, effect)}" if effect else _ACCEPTED


def _stanzas(schema: Schema) -> Iterator[list[str]]:
    for name, effect in sorted(catalogue().scope_effects.items()):
        ours = name in (*KINDS, *_LISTENERS) or name in names_of(schema.core)
        yield [f"`{as_in_the_manual(name)}`", ACTS if ours else _state(effect)]


def _modules(schema: Schema) -> Iterator[list[str]]:
    lines: dict[str, list[str]] = {}
    for line in catalogue().lines.values():
        lines.setdefault(line.module, []).append(f"`{line.kind} {line.path}`")
    for spec in schema.modules:
        lines[spec.type] = [f"`{kind} {path}`" for kind, path in spec.class_lines]
    for name, effect in sorted(catalogue().modules.items()):
        if name in PLACEHOLDERS:
            continue
        state = ACTS if name in schema.by_type or name in names_of(schema.core) else _state(effect)
        yield [f"`{name}`", ", ".join(sorted(lines.get(name, ()))), state]
