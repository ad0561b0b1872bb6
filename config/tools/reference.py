"""The schema as Markdown: the tables of `docs/configuration.md`, generated so that they cannot go stale."""

from __future__ import annotations

from collections.abc import Iterator

from config.schema.binding import scopes_of
from config.schema.declared import Declared, declared
from config.schema.momentum import catalogue
from config.schema.options import Options
from config.schema.specs import Schema
from config.scopes.listener import SOCKET_OPTIONS
from config.scopes.listeners import SOCKET_ZEROS
from config.tools.writing import written


def reference(schema: Schema) -> str:
    """Return all tables: global options, each module's options, and differences between Momentum's versions."""
    parts = ["## Global options\n", options_table(schema.core, scopes=True)]
    socket = "".join(
        f"| `{name}` | `{written(default)}` | {SOCKET_ZEROS.get(name, '')} |\n"
        for name, default in SOCKET_OPTIONS.items()
    )
    parts += [
        "For a listener only, in addition to the options above:\n",
        f"| Option | Default | 0 means |\n| --- | --- | --- |\n{socket}",
    ]
    for spec in schema.modules:
        lines = " or ".join(f"`{kind} {path} NAME {{ … }}`" for kind, path in spec.class_lines)
        parts += [
            f"## {spec.type}\n",
            *([f"{spec.summary}\n"] if spec.summary else []),
            f'`{spec.type} "NAME" {{ … }}`, or in the 2.2 dialect {lines}.\n',
            options_table(spec.options),
        ]
        if spec.ignored:
            parts.append(f"Accepted, not acted on: {', '.join(f'`{name}`' for name in sorted(spec.ignored))}.\n")
    parts += ["## Defaults that differ between Momentum 2.2 and 4.x\n", differences_table(schema)]
    return "\n".join(parts)


def options_table(model: type[Options], *, scopes: bool = False) -> str:
    """Return the table of one stanza's options."""
    heads = ["Option", "Takes", "Default", *(["Also set in"] if scopes else []), "Reload", "Meaning"]
    return table(heads, (_row(one, scopes=scopes) for one in declared(model).values()))


def _row(one: Declared, *, scopes: bool) -> list[str]:
    name = f"`{one.name}`" + "".join(f", `{alias}`" for alias in one.aliases)
    default = "must be set" if one.required else "" if one.default is None else f"`{written(one.default, one.reader)}`"
    also = ", ".join(sorted(scopes_of(one) & _ACTED_ON))
    return [
        name,
        _takes(one),
        default,
        *([also] if scopes else []),
        "yes" if one.reloadable else "restart",
        one.doc,
    ]


_ACTED_ON = frozenset({"binding_group", "binding", "domain", "host", "esmtp_listener", "listen", "peer"})


def _takes(one: Declared) -> str:
    """Name a type with its bounds, its unit and what 0 means: `a whole number, 1 to 65535; 0 is refused`."""
    text = one.reader.wanted
    if one.ge is not None and one.le is not None:
        text += f", {one.ge:g} to {one.le:g}"
    elif one.ge is not None:
        text += f", at least {one.ge:g}"
    elif one.le is not None:
        text += f", at most {one.le:g}"
    if one.unit:
        text += f" ({one.unit})"
    return f"{text}; 0 is {one.zero}" if one.zero is not None else text


def differences_table(schema: Schema) -> str:
    """Return every option whose default differs between 2.2 and 4.x, with the one in force here."""
    ours = {name: one for one in declared(schema.core).values() for name in (one.name, *one.aliases)}
    return table(["Option", "2.2", "4.x", "In force"], _differences(ours))


def _differences(ours: dict[str, Declared]) -> Iterator[list[str]]:
    for option in sorted(catalogue().options.values(), key=lambda option: option.name):
        old, new = option.default_22, option.default_4x
        if old is None or new is None or old == new:
            continue
        in_force = _in_force(option.name, ours)
        yield [f"`{option.name}`", _default(old), _default(new), in_force]


def _in_force(name: str, ours: dict[str, Declared]) -> str:
    if name in SOCKET_OPTIONS:
        return f"`{SOCKET_OPTIONS[name]}`"
    if name not in ours:
        return "not acted on"
    return "unset" if ours[name].default is None else f"`{written(ours[name].default, ours[name].reader)}`"


def _default(text: str) -> str:
    return f"`{text}`" if text else "unset"


def table(heads: list[str], rows: Iterator[list[str]]) -> str:
    """Return a Markdown table."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "".join(f"| {' | '.join(_cell(cell) for cell in line)} |\n" for line in lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
