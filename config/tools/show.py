"""Print settings as text that loads as the same settings, and as JSON."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from config.diagnostics import Span
from config.masking import MASK, masked
from config.schema.declared import Declared, declared
from config.schema.options import Options
from config.schema.readers import ValueReader
from config.schema.specs import is_path
from config.scopes.listener import DEFAULT_BACKLOG, Listener
from config.scopes.places import Place, Setting
from config.scopes.scopes import Scopes
from config.settings import ModuleSettings, Settings
from config.spelling import quoted
from config.tools.writing import as_json, written

_DEEPER = "  "


def show(settings: Settings, *, origins: bool = False, defaults: bool = False, secrets: bool = True) -> str:
    """Return the settings in the 4.x dialect: only what is set, or with `defaults` everything in force.

    Without `secrets`, passwords are masked.
    """
    page = _Page(origins=origins, defaults=defaults, secrets=secrets)
    page.options(settings.core, settings.core_origin)
    page.scopes(settings.scopes, type(settings.core))
    for module in settings.modules:
        page.module(module)
    return "".join(f"{line}\n" for line in page.lines)


class _Page:
    """The lines of one listing."""

    def __init__(self, *, origins: bool, defaults: bool, secrets: bool) -> None:
        self.lines: list[str] = []
        self._secrets = secrets
        self._origins = origins
        self._defaults = defaults
        self._indent = ""

    def _put(self, text: str, origin: Span | None = None, *, is_default: bool = False) -> None:
        remark = ""
        if self._origins and (is_default or origin is not None):
            remark = f"  # {'default' if is_default else origin}"
        self.lines.append(f"{self._indent}{text}{remark}")

    def _open(self, head: str, origin: Span | None = None) -> None:
        self._put(f"{head} {{", origin)
        self._indent += _DEEPER

    def _close(self) -> None:
        self._indent = self._indent.removesuffix(_DEEPER)
        self._put("}")

    def options(self, options: Options, origin_of: Callable[[str], Span | None]) -> None:
        """Add the options of the global scope or of a module."""
        for name, one in declared(type(options)).items():
            value, origin = getattr(options, name), origin_of(name)
            is_default = origin is None and value == one.default
            if value is None or (is_default and not self._defaults):
                continue
            listeners = [item for item in value if isinstance(item, Listener)] if isinstance(value, tuple) else []
            if listeners:
                self._listeners(name, listeners, type(options))
            elif value and one.reader.body is not None:
                self._stanza(name, one.reader.body(value), origin)
            else:
                self._put(f"{name} = {self._written(value, one)}", origin, is_default=is_default)

    def _stanza(self, name: str, body: Sequence[str], origin: Span | None) -> None:
        """Add an option that only a stanza can set."""
        self._open(name, origin)
        for line in body:
            self._put(line)
        self._close()

    def _written(self, value: object, one: Declared | None) -> str:
        if not self._secrets:
            return safely_written(value, one)
        return written(value, one.reader if one is not None else None)

    def _settings(self, settings: Mapping[str, Setting], model: type[Options]) -> None:
        for name, setting in settings.items():
            self._put(f"{name} = {self._written(setting.value, declared(model).get(name))}", setting.origin)

    def module(self, module: ModuleSettings) -> None:
        """Add a module's stanza."""
        self._open(f'{module.type} "{module.name}"', module.span)
        if module.passive:
            self._put("enabled = false")
        self.options(module.options, module.origin)
        self._close()

    def scopes(self, scopes: Scopes, model: type[Options]) -> None:
        """Add the stanzas of outbound scopes, nested."""
        inside: dict[Place, list[Place]] = {}
        for place in scopes.places:
            inside.setdefault(place[:-1], []).append(place)
        pending: list[Place] = [*reversed(inside.get((), []))]
        while pending:
            place = pending.pop()
            if not place:
                self._close()
                continue
            self._open(f"{place[-1].kind} {quoted(place[-1].name)}")
            self._settings(scopes.at(place), model)
            pending += [(), *reversed(inside.get(place, []))]  # the empty place closes the brace

    def _listeners(self, name: str, listeners: list[Listener], model: type[Options]) -> None:
        """Add listeners as stanzas; those with rules in written order as a 2.2 list, since stanzas have no order."""
        ordered = [listener for listener in listeners if listener.in_order and listener.peers]
        if ordered:
            self._put(f"{name} = (")
            for listener in ordered:
                self._rules(listener, model)
            self._put(")")
        for listener in listeners:
            if listener not in ordered:
                self._listener(name, listener, model)

    def _rules(self, listener: Listener, model: type[Options]) -> None:
        def assigned(settings: Mapping[str, Setting], sign: str) -> str:
            return " ".join(
                f"{name}{sign}{written(setting.value, _reader(model, name))}" for name, setting in settings.items()
            )

        enabled = "" if listener.enabled else "enable=false "
        enabled += "enable_duravip=true " if listener.floats else ""
        attributes = enabled + assigned(listener.options, "=")
        suffix = f",{listener.backlog}" + (f"~{listener.concurrency}" if listener.concurrency else "")
        head = f"{listener}{suffix}" + (f" <{attributes.strip()}>" if attributes else "")
        self._put(f"{_DEEPER}{head} [", listener.span)
        for peer in listener.peers:
            pairs = assigned(peer.options, " = ")
            parts = [*([f"personality [ {pairs} ]"] if pairs else []), *(["continue"] if peer.proceeds else [])]
            self._put(f"{_DEEPER * 2}{peer.network} = ( {' '.join([*parts, ''])})", peer.span)
        self._put(f"{_DEEPER}]")

    def _listener(self, name: str, listener: Listener, model: type[Options]) -> None:
        self._open(name)
        self._settings(listener.shared, model)
        self._open(f'listen "{listener}"', listener.span)
        if listener.backlog != DEFAULT_BACKLOG or self._defaults:
            self._put(f"listen_backlog = {listener.backlog}")
        if listener.concurrency or self._defaults:
            self._put(f"concurrency = {listener.concurrency}")
        if listener.floats or self._defaults:
            self._put(f"enable_duravip = {written(listener.floats)}")
        if not listener.enabled or self._defaults:
            self._put(f"enable = {written(listener.enabled)}")
        self._settings(listener.options, model)
        for peer in listener.peers:
            self._open(f'peer "{peer.network}"', peer.span)
            self._settings(peer.options, model)
            self._close()
        self._close()
        self._close()


def _reader(model: type[Options], name: str) -> ValueReader | None:
    """Return an option's reader; a listener's pathway is not in the schema."""
    return declared(model)[name].reader if name in declared(model) else None


def show_json(settings: Settings, *, origins: bool = False, defaults: bool = False) -> dict[str, Any]:
    """Return the settings as JSON values; with `origins` an option is {"value", "origin"}."""

    def options(of: Options, origin_of: Callable[[str], Span | None]) -> dict[str, Any]:
        shown: dict[str, Any] = {}
        for name, one in declared(type(of)).items():
            value, origin = getattr(of, name), origin_of(name)
            if not defaults and origin is None and value == one.default:
                continue
            plain = as_json(value)
            shown[name] = {"value": plain, "origin": str(origin) if origin else None} if origins else plain
        return shown

    def setting(entry: Setting) -> Any:
        return {"value": as_json(entry.value), "origin": str(entry.origin)} if origins else as_json(entry.value)

    return {
        "options": options(settings.core, settings.core_origin),
        "scopes": [
            {
                "scope": [list(step) for step in place],
                "options": {name: setting(entry) for name, entry in settings.scopes.at(place).items()},
            }
            for place in settings.scopes.places
        ],
        "modules": [
            {
                "type": module.type,
                "name": module.name,
                "passive": module.passive,
                **({"origin": str(module.span)} if origins else {}),
                "options": options(module.options, module.origin),
            }
            for module in settings.modules
        ],
    }


# ---------------------------------------------------------------- one option, as the console asks for it


def safely_written(value: object, one: Declared | None) -> str:
    """Return a value as text in which passwords are masked."""
    if one is not None and one.secret and not is_path(one):
        return MASK
    return masked(written(value, one.reader if one is not None else None))


def describe(name: str, setting: Setting, model: type[Options]) -> str:
    """Return `name = value` and its origin, as `config eval` and `config get` print it."""
    place = ", ".join(str(step) for step in setting.place) or "global"
    where = f"set at {setting.origin} in {place}" if setting.origin is not None else "default"
    return f"{name} = {written(setting.value, _reader(model, name))}  # {where}"
