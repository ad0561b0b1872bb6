"""Settings as text, in the language they were written in, and as JSON; with origins and defaults when asked.

What is printed loads again and gives the same settings.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import Enum
from typing import Any

from config.listeners import Listener
from config.loader import ModuleSettings, Settings
from config.options import Options, declared
from config.values import DomainPatterns

_BARE = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.:*-/")


def show(settings: Settings, *, origins: bool = False, defaults: bool = False) -> str:
    """Return the settings in the 4.x dialect: what is set, or with `defaults` everything that is in force."""
    lines = list(_options(settings.core, settings, origins=origins, defaults=defaults, indent=""))
    for module in settings.modules:
        head = f'{module.type} "{module.name}" {{'
        lines.append(f"{head}  # {module.span}" if origins else head)
        if module.passive:
            lines.append("  enabled = false")
        lines += _options(module.options, module, origins=origins, defaults=defaults, indent="  ")
        lines.append("}")
    return "".join(f"{line}\n" for line in lines)


def _options(
    options: Options, where: Settings | ModuleSettings, *, origins: bool, defaults: bool, indent: str
) -> Iterator[str]:
    for name, one in declared(type(options)).items():
        origin = where.core_origin(name) if isinstance(where, Settings) else where.origin(name)
        value = getattr(options, name)
        if value is None or (not defaults and origin is None and value == one.default):
            continue
        remark = f"  # {origin or 'default'}" if origins else ""
        yield f"{indent}{name} = {written(value)}{remark}"


def written(value: object) -> str:
    """Return a value as it would be written."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:g}" if value < 1e6 else f"{value:.0f}"  # noqa: PLR2004  # no exponents
    if isinstance(value, int):
        return str(value)
    if isinstance(value, Mapping):
        entries = " ".join(f"{quoted(str(key))} = {written(each)}" for key, each in value.items())
        return f"[ {entries} ]" if entries else "[ ]"
    if isinstance(value, tuple | DomainPatterns):
        items = " ".join(written(each) for each in value)
        return f"( {items} )" if items else "( )"
    if isinstance(value, Listener):
        return _listener(value)
    if isinstance(value, Enum):
        return quoted(str(value.value))
    return quoted(str(value))


def quoted(text: str) -> str:
    """Return a text in quotes, or bare where the language takes it as one word."""
    if text and all(char in _BARE for char in text) and "/*" not in text and not text.startswith("//"):
        return text
    return '"' + text.replace('"', '\\"') + '"'


def _listener(listener: Listener) -> str:
    host = f"[{listener.address}]" if ":" in listener.address else listener.address
    text = f"{host}:{listener.port},{listener.backlog}"
    if listener.concurrency:
        text += f"~{listener.concurrency}"
    return text if listener.enabled else f"{text} <status=disabled>"


def show_json(settings: Settings, *, origins: bool = False, defaults: bool = False) -> dict[str, Any]:
    """Return the settings as what JSON can hold; with `origins` each value is {"value", "origin"}."""
    return {
        "options": _json_options(settings.core, settings, origins=origins, defaults=defaults),
        "modules": [
            {
                "type": module.type,
                "name": module.name,
                "passive": module.passive,
                **({"origin": str(module.span)} if origins else {}),
                "options": _json_options(module.options, module, origins=origins, defaults=defaults),
            }
            for module in settings.modules
        ],
    }


def _json_options(
    options: Options, where: Settings | ModuleSettings, *, origins: bool, defaults: bool
) -> dict[str, Any]:
    shown: dict[str, Any] = {}
    for name, one in declared(type(options)).items():
        origin = where.core_origin(name) if isinstance(where, Settings) else where.origin(name)
        value = getattr(options, name)
        if not defaults and origin is None and value == one.default:
            continue
        plain = as_json(value)
        shown[name] = {"value": plain, "origin": str(origin) if origin else None} if origins else plain
    return shown


def as_json(value: object) -> Any:
    """Return a value as JSON holds it."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Mapping):
        return {str(key): as_json(each) for key, each in value.items()}
    if isinstance(value, tuple | DomainPatterns):
        return [as_json(each) for each in value]
    if isinstance(value, Listener):
        return {
            "address": value.address,
            "port": value.port,
            "backlog": value.backlog,
            "concurrency": value.concurrency,
            "enabled": value.enabled,
        }
    return str(value)
