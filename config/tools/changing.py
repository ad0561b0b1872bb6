"""`config set` and `config unset`: what a command line changes, and whether that is possible without a reload."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from config.diagnostics import Diagnostic, Source
from config.findings import Findings
from config.language.nodes import Include, Option
from config.language.parser import parse
from config.overlay import LISTENER, Change
from config.schema.declared import Declared, declared, names_of
from config.schema.momentum import catalogue
from config.schema.options import Options
from config.schema.specs import Schema, is_path
from config.scopes.listener import SOCKET_OPTIONS
from config.scopes.places import KINDS
from config.settings import Settings
from config.spelling import in_quotes
from config.tools import errors
from config.tools.questions import Unanswerable

Steps = tuple[tuple[str, str], ...]

LONGEST_VALUE = 16 * 1024
_BARE = re.compile(r"""[^\s"'(){}\[\]<>#=;,]+""")
_SCRIPT = ("script", "hook")


class WrongValue(Exception):
    """The value is not one; `diagnostics` say where and why."""

    def __init__(self, diagnostics: Sequence[Diagnostic]) -> None:
        """Keep the diagnostics."""
        super().__init__(diagnostics[0].message if diagnostics else "")
        self.diagnostics = tuple(diagnostics)


@dataclass(frozen=True, slots=True)
class Asked:
    """A scope, and the words after it."""

    place: Steps
    rest: tuple[str, ...]
    model: type[Options]

    @property
    def module(self) -> str:
        """The type of the module whose scope it is; empty otherwise."""
        inside = self.place and self.place[0][0] != LISTENER and self.place[0][0] not in KINDS
        return self.place[0][0] if inside else ""


def scope_of(settings: Settings, schema: Schema, words: Sequence[str], *, all_of_it: bool = False) -> Asked:
    """Take the scope from the beginning of a command line; with `all_of_it`, every word belongs to it.

    Raises:
        Unanswerable: a scope has no name, or the configuration has no such module.
    """
    rest = [word for word in words if word.lower() != "global"] if words[:1] == ["global"] else list(words)
    if rest and rest[0].lower() in schema.by_type and (all_of_it or len(rest) > 1):
        return _module_scope(settings, schema, rest, all_of_it=all_of_it)
    if rest and rest[0].lower() == LISTENER and (all_of_it or len(rest) > 1):
        place: list[tuple[str, str]] = [(LISTENER, "")]
        kinds: Sequence[str] = ("listen", "peer")
        rest = rest[1:]
    else:
        place, kinds = [], KINDS
    while rest and rest[0].lower() in kinds:
        if len(rest) < 2:
            raise Unanswerable(errors.scope_without_name(rest[0].lower()))
        place.append((rest[0].lower(), rest[1]))
        rest = rest[2:]
    if all_of_it and rest:
        raise Unanswerable(errors.no_scope(rest[0], [LISTENER, *kinds, *schema.by_type]))
    return Asked(tuple(place), tuple(rest), schema.core)


def _module_scope(settings: Settings, schema: Schema, words: Sequence[str], *, all_of_it: bool) -> Asked:
    kind, rest = words[0].lower(), list(words[1:])
    spec = schema.by_type[kind]
    loaded = [each.name for each in settings.modules if each.type == spec.type]
    if rest and rest[0] in loaded:
        name = rest.pop(0)
    elif len(loaded) == 1 and (not rest or _begins_an_option(rest[0], spec.options)):
        name = loaded[0]
    else:
        raise Unanswerable(errors.no_module(kind, rest[0] if rest else "", loaded))
    if all_of_it and rest:
        raise Unanswerable(errors.no_scope(rest[0], ()))
    return Asked(((spec.type, name),), tuple(rest), spec.options)


def _begins_an_option(word: str, model: type[Options]) -> bool:
    return word.lower() in names_of(model) or word.lower() in _SCRIPT


def option_of(asked: Asked) -> tuple[Declared, tuple[str, ...]]:
    """Return the option that follows the scope, and the words after it.

    Raises:
        Unanswerable: the option is missing or unknown.
    """
    rest = asked.rest
    if len(rest) > 1 and asked.module and rest[0].lower() in _SCRIPT:  # script mailfrom_phase1 source FILE
        rest = rest[1:]
        rest = (rest[0], *rest[2:]) if len(rest) > 1 and rest[1].lower() == "source" else rest
    if not rest:
        raise Unanswerable(errors.no_question())
    name = names_of(asked.model).get(rest[0].lower())
    if name is None and rest[0].lower() in catalogue().options:
        raise Unanswerable(errors.option_without_effect(rest[0]))
    if name is None:
        raise Unanswerable(errors.no_option(rest[0], list(names_of(asked.model))))
    return declared(asked.model)[name], rest[1:]


def setting_of(
    settings: Settings, schema: Schema, words: Sequence[str], texts: dict[str, str], *, sets: bool = True
) -> Change:
    """Return what `config set` or `config unset` changes. `texts` are files that the operator's client has read.

    Raises:
        Unanswerable: a word is wrong, or the option cannot change without a reload.
        WrongValue: the value cannot be one.
    """
    asked = scope_of(settings, schema, words)
    if not sets and not asked.rest and asked.place:
        _check_all(settings, schema, asked)
        return Change(asked.place)
    if asked.place and asked.place[0][0] == LISTENER and asked.rest[:1] and asked.rest[0].lower() in SOCKET_OPTIONS:
        raise Unanswerable(errors.needs_a_reload(asked.rest[0]))
    one, value = option_of(asked)
    if value[:1] == ("=",):
        value = value[1:]
    if is_path(one):
        return _script_change(asked, one, value, texts, sets=sets)
    if not schema.is_live(one.name, asked.module):
        raise Unanswerable(errors.needs_a_reload(one.name))
    if not sets:
        if value:
            raise Unanswerable(errors.too_much(value[0]))
        return Change(asked.place, one.name)
    return Change(asked.place, one.name, _value(one.name, value))


def _check_all(settings: Settings, schema: Schema, asked: Asked) -> None:
    """Raise Unanswerable if a module's stanza sets an option that needs a reload."""
    for module in settings.modules:
        if (module.type, module.name) == asked.place[0]:
            for name in declared(asked.model):
                if module.origin(name) is not None and not schema.is_live(name, module.type):
                    raise Unanswerable(errors.needs_a_reload(name))


def _script_change(asked: Asked, one: Declared, value: Sequence[str], texts: dict[str, str], *, sets: bool) -> Change:
    """Return the change of a script, which a client sends as text: the server opens no file for a command."""
    if asked.module != "sieve":
        raise Unanswerable(errors.path_from_the_console(one.name))
    if not sets:
        return Change(asked.place, one.name)
    if len(value) != 1:
        raise Unanswerable(errors.no_script(one.name))
    if value[0] not in texts:
        raise Unanswerable(errors.script_not_sent(value[0]))
    return Change(asked.place, one.name, in_quotes(value[0]), texts[value[0]])


def _value(name: str, words: Sequence[str]) -> str:
    """Return a value as a file would have it: one value, and no further statement."""
    if not words:
        raise Unanswerable(errors.no_value(name))
    text = " ".join(words)
    if len(text) > LONGEST_VALUE:
        raise Unanswerable(errors.too_long(name, LONGEST_VALUE))
    if len(words) == 1 and not _BARE.fullmatch(text) and text[:1] not in "([\"'":
        text = in_quotes(text)  # the shell, or the console, took the quotes away
    findings = Findings()
    statements = parse(Source("console", f"{name} = {text}\n"), findings).statements
    if findings.errors:
        raise WrongValue([each for each in findings if each.is_error])
    if len(statements) != 1 or isinstance(statements[0], Include) or not isinstance(statements[0], Option):
        raise Unanswerable(errors.not_one_value(name))
    return text
