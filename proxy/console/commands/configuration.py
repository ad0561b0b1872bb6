"""`config …`: show the running configuration, change it for new sessions, and reload its file."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from config.base.ip import read_address
from config.diagnostics import render
from config.overlay import CONSOLE, LISTENER, Change
from config.schema.declared import Declared
from config.scopes.listener import Client
from config.scopes.places import KINDS, ScopeStep, Setting, normal_name
from config.settings import Settings
from config.tools.changing import Asked, WrongValue, option_of, scope_of, setting_of
from config.tools.pages import Difference, differences, located, scope_page
from config.tools.questions import Unanswerable
from config.tools.show import safely_written
from proxy.console.errors import Refused, not_authorized
from proxy.console.people import Role
from proxy.console.registry import Call, Command
from proxy.console.results import Result
from proxy.console.running import Running

_OPTION = "[SCOPE…] OPTION"


def commands(running: Running) -> list[Command]:
    """Return the commands."""
    about = _Configuration(running)
    return [
        Command("config get", "Print what a scope sets itself.", about.get, arguments=_OPTION),
        Command("config eval", "Print the value in force in a scope, with fallback and default.", about.evaluate,
                arguments=_OPTION),
        Command(
            "config set", "Set an option for new sessions of all workers, until the next reload. For a script, name a "
            "file that your client reads.", about.set, arguments=f"{_OPTION} VALUE…", role=Role.OPERATE,
        ),
        Command(
            "config unset", "Undo a setting of an option, or all settings of a scope, in the same way.", about.unset,
            arguments="[SCOPE…] [OPTION]", role=Role.OPERATE,
        ),
        Command("config show", "Print a scope. The scopes inside it are shown as { … }.",
            about.show, arguments="[SCOPE…]"),
        Command("config showrecurse", "Print a scope and the scopes inside it.", about.show_all, arguments="[SCOPE…]"),
        Command("config locate", "List the scopes of a kind whose name matches.", about.locate,
                arguments="SCOPE [REGEX]"),
        Command("config diff", "Print what a reload would change: `-` is what runs, `+` what the file says.",
                about.diff),
        Command(
            "config reload",
            "Print the difference, and load the file, all or nothing. Settings made at the console "
            "are dropped.", about.reload, role=Role.OPERATE,
        ),
    ]  # fmt: skip


class _Configuration:
    def __init__(self, running: Running) -> None:
        self._running = running

    # ------------------------------------------------------------ look

    async def get(self, call: Call) -> Result:
        asked, one = self._asked(call.arguments)
        found = own_setting(self._running.settings, asked, one.name)
        if found is None:
            scope = "::".join(kind + (f":{name}:" if name else "") for kind, name in asked.place)
            return Result({"option": one.name, "value": None}, f"Option '{one.name}' is not set in scope '{scope}'.")
        return _shown(one, found)

    async def evaluate(self, call: Call) -> Result:
        asked, one = self._asked(call.arguments)
        return _shown(one, setting_in_force(self._running.settings, asked, one.name))

    async def show(self, call: Call) -> Result:
        return self._page(call, recurse=False)

    async def show_all(self, call: Call) -> Result:
        return self._page(call, recurse=True)

    def _page(self, call: Call, *, recurse: bool) -> Result:
        settings = self._running.settings
        place = _understood(scope_of, settings, self._running.schema, call.arguments, all_of_it=True).place
        lines = scope_page(settings, place, recurse=recurse)
        if lines is None:
            raise Refused(f"there is no scope {' '.join(call.arguments)}: `config locate` lists them")
        return Result({"lines": lines}, "\n".join(lines))

    async def locate(self, call: Call) -> Result:
        kind, *rest = call.arguments
        try:
            matches = re.compile(rest[0] if rest else "", re.IGNORECASE).search
        except re.error as error:
            raise Refused(f'"{rest[0]}" is not a regular expression: {error}') from None
        found = located(self._running.settings, kind, matches)
        return Result({"scopes": found}, "\n".join(found) or f"there is no scope {kind} of such a name")

    # ------------------------------------------------------------ change

    async def set(self, call: Call) -> Result:
        settings, schema = self._running.settings, self._running.schema
        change = _understood(setting_of, settings, schema, call.arguments, call.texts)
        if change.text is not None and not call.by.may_administer:
            raise not_authorized()  # a script can write files with the rights of the service
        told = await self._running.change(change)
        value = {"option": change.option, "value": change.value, "warnings": told}
        return Result(value, "\n".join([f"{_scope(change)}{change.option} = {change.value}", told]).rstrip("\n"))

    async def unset(self, call: Call) -> Result:
        settings, schema = self._running.settings, self._running.schema
        change = _understood(setting_of, settings, schema, call.arguments, {}, sets=False)
        told = await self._running.change(change)
        if not change.option:
            return Result({"scope": list(change.place), "warnings": told}, f"{_scope(change).rstrip()} has been unset.")
        asked, one = self._asked(call.arguments)
        found = _shown(one, setting_in_force(self._running.settings, asked, one.name))
        text = f"{_scope(change)}{change.option} has been unset. Effective value is now:\n{found.text}"
        return Result({**found.value, "warnings": told}, f"{text}\n{told}".rstrip("\n"))

    async def diff(self, _call: Call) -> Result:
        found, text = await self._difference()
        return Result({"differences": [_record(each) for each in found]}, text)

    async def reload(self, _call: Call) -> Result:
        found, text = await self._difference()
        told = await self._running.reload()
        lines = [text, "The configuration has been loaded again.", told.rstrip("\n")]
        value = {"differences": [_record(each) for each in found], "warnings": told}
        return Result(value, "\n".join(each for each in lines if each), replaced=True)

    async def _difference(self) -> tuple[list[Difference], str]:
        """Return what a reload would change.

        Raises:
            Refused: the file has errors, which are the text.
        """
        running = self._running.assembly
        loaded = await self._running.file()
        found = [*differences(running.settings, loaded.settings), *_scripts(running, loaded)]
        lines = [line for each in found for line in each.lines]
        return found, "\n".join(lines) or "The running configuration is the same as the file."

    # ------------------------------------------------------------ words

    def _asked(self, words: Sequence[str]) -> tuple[Asked, Declared]:
        asked = _understood(scope_of, self._running.settings, self._running.schema, words)
        one, more = _understood(option_of, asked)
        if more:
            raise Refused(f"{more[0]} is too much: write the scope before the option")
        return asked, one


def _understood(function: Any, *given: Any, **named: Any) -> Any:
    try:
        return function(*given, **named)
    except Unanswerable as wrong:
        raise Refused(str(wrong)) from None
    except WrongValue as wrong:
        raise Refused(render(wrong.diagnostics).rstrip("\n")) from None


def _scope(change: Change) -> str:
    return "".join(f"{kind} {name} " if name else f"{kind} " for kind, name in change.place)


def _shown(one: Declared, setting: Setting) -> Result:
    value = safely_written(setting.value, one)
    origin = str(setting.origin) if setting.origin is not None else "default"
    return Result({"option": one.name, "value": value, "origin": origin}, f"{one.name} = {value}")


def _record(difference: Difference) -> dict[str, Any]:
    return {
        "scope": list(difference.place), "option": difference.option, "running": difference.running,
        "file": difference.file,
    }  # fmt: skip


def _scripts(running: Any, loaded: Any) -> list[Difference]:
    """Return the scripts of the same name whose text has changed."""
    found = []
    new = {(each.type, each.name): prepared for each, prepared in _stanzas(loaded)}
    for stanza, prepared in _stanzas(running):
        other = new.get((stanza.type, stanza.name))
        before, after = getattr(prepared, "sources", {}), getattr(other, "sources", {})
        place = (f'{stanza.type} "{stanza.name}"',)
        found += [
            Difference(place, name, _text(before[name]), _text(after[name]))
            for name in before
            if name in after and before[name].text != after[name].text
        ]
    return found


def _stanzas(assembly: Any) -> Any:
    return zip(assembly.settings.modules, assembly.prepared, strict=True)


def _text(source: Any) -> str:
    lines = source.text.count("\n") + 1
    return f"{source.name} with {lines} lines" + (" from the console" if source.name.startswith(CONSOLE) else "")


# ---------------------------------------------------------------- values


def own_setting(settings: Settings, asked: Asked, name: str) -> Setting | None:
    """Return what a scope sets itself; None if it does not."""
    if asked.module:
        module = _module(settings, asked)
        origin = module.origin(name)
        return Setting(getattr(module.options, name), origin) if origin is not None else None
    if asked.place and asked.place[0][0] == LISTENER:
        layers = _layers(settings, asked)
        return next((layer[name] for layer in layers if name in layer), None)
    return settings.scopes.get(name, _place(asked))


def setting_in_force(settings: Settings, asked: Asked, name: str) -> Setting:
    """Return the value in force in a scope."""
    if asked.module:
        module = _module(settings, asked)
        return Setting(getattr(module.options, name), module.origin(name))
    if asked.place and asked.place[0][0] == LISTENER:
        listener = next(iter(_listeners(settings, asked)))
        return settings.for_client(listener, _client(asked)).setting(name)
    return settings.scopes.eval(name, **{step.kind: step.name for step in _place(asked)})


def _place(asked: Asked) -> tuple[ScopeStep, ...]:
    steps = [ScopeStep(kind, normal_name(kind, name)) for kind, name in asked.place]
    return tuple(sorted(steps, key=lambda step: KINDS.index(step.kind)))


def _module(settings: Settings, asked: Asked) -> Any:
    return next(each for each in settings.modules if (each.type, each.name) == asked.place[0])


def _listeners(settings: Settings, asked: Asked) -> list[Any]:
    """Return the listeners of the named address, or all.

    Raises:
        Refused: nothing listens there.
    """
    known = getattr(settings.core, LISTENER)
    names = [name for kind, name in asked.place if kind == "listen"]
    found = [each for each in known if not names or str(each) in {names[0], f"*{names[0]}", f"*:{names[0]}"}]
    if not found:
        raise Refused(f"nothing listens on {names[0]}: the addresses are {', '.join(map(str, known))}")
    return found


def _client(asked: Asked) -> Client | None:
    """Return a client of the network that the scope names.

    Raises:
        Refused: it is not a network.
    """
    networks = [name for kind, name in asked.place if kind == "peer"]
    if not networks:
        return None
    try:
        return read_address(networks[0].partition("/")[0])
    except ValueError:
        raise Refused(f'"{networks[0]}" is not a network') from None


def _layers(settings: Settings, asked: Asked) -> list[Any]:
    kind, name = asked.place[-1]
    found = []
    for listener in _listeners(settings, asked):
        if kind == "peer":
            found += [
                each.options for each in listener.peers if str(each.network) in {name, f"{name}/32", f"{name}/128"}
            ]
        else:
            found.append(listener.options if kind == "listen" else listener.shared)
    return found
