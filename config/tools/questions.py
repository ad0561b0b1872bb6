"""Queries of loaded settings, as words on a command line: `binding_group g domain example.com gateway`."""

from __future__ import annotations

from collections.abc import Sequence

from config.schema.declared import names_of
from config.schema.momentum import catalogue
from config.scopes.places import KINDS, Place, ScopeStep, normal_name
from config.settings import Settings
from config.tools import errors
from config.tools.show import describe


class Unanswerable(Exception):  # the question is at fault, not the program
    """A question without a valid scope or option; the text says what to ask instead."""


def evaluate(settings: Settings, words: Sequence[str]) -> str:
    """Return the value in force, with fallback, and its origin.

    Raises:
        Unanswerable: a word names neither a scope nor an option.
    """
    place, name = _parse(settings, words)
    setting = settings.scopes.eval(name, **{step.kind: step.name for step in place})
    return describe(name, setting, type(settings.core))


def look_up(settings: Settings, words: Sequence[str]) -> str | None:
    """Return the value that the named scope sets itself; None if it does not.

    Raises:
        Unanswerable: a word names neither a scope nor an option.
    """
    place, name = _parse(settings, words)
    setting = settings.scopes.get(name, place)
    return None if setting is None else describe(name, setting, type(settings.core))


def _parse(settings: Settings, words: Sequence[str]) -> tuple[Place, str]:
    if not words:
        raise Unanswerable(errors.no_question())
    *scope, option = words
    model = type(settings.core)
    name = names_of(model).get(option.lower())
    if name is None and option.lower() in catalogue().options:
        raise Unanswerable(errors.option_without_effect(option))
    if name is None:
        raise Unanswerable(errors.no_option(option, list(names_of(model))))
    return _place(scope), name


def _place(words: Sequence[str]) -> Place:
    """Return the scope that `binding_group g domain example.com` names."""
    steps: list[ScopeStep] = []
    rest = [word for word in words if word.lower() != "global"]
    for index in range(0, len(rest), 2):
        kind = rest[index].lower()
        if kind not in KINDS:
            raise Unanswerable(errors.no_scope(rest[index], KINDS))
        if index + 1 == len(rest):
            raise Unanswerable(errors.scope_without_name(kind))
        steps.append(ScopeStep(kind, normal_name(kind, rest[index + 1])))
    return tuple(sorted(steps, key=lambda step: KINDS.index(step.kind)))
