"""What the console prints of a running configuration: scopes, places, and what a reload would change.

It works on the page that `config.tools.show` writes, read again: each scope is a stanza there. Secrets are masked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from config.diagnostics import Source
from config.findings import Findings
from config.language.nodes import Option, Stanza, Statement
from config.language.parser import parse
from config.schema.declared import declared
from config.schema.options import Options
from config.scopes.places import normal_name
from config.settings import Settings
from config.tools.show import safely_written, show

Steps: TypeAlias = Sequence[tuple[str, str]]

_DEEPER = "  "


@dataclass(frozen=True, slots=True)
class Difference:
    """An option, or a whole scope, whose value a reload changes. None: it is not set."""

    place: tuple[str, ...]
    option: str
    running: str | None
    file: str | None

    @property
    def lines(self) -> list[str]:
        """What is running with a minus, what the file says with a plus."""
        before = "".join(f"{each} " for each in self.place)
        values = [("-", self.running), ("+", self.file)]
        return [f"{sign} {before}{self.option} = {value}" for sign, value in values if value is not None]


def scope_page(settings: Settings, place: Steps, *, recurse: bool) -> list[str] | None:
    """Return what a scope sets; scopes inside it as `{ … }`, or with `recurse` in full. None: it does not exist."""
    statements = _page(settings, secrets=False)
    found = [statements] if not place else [stanza.body for stanza in _at(statements, place)]
    if not found:
        return None
    return [line for body in found for line in _lines(body, "", recurse=recurse)]


def _lines(body: Sequence[Statement], indent: str, *, recurse: bool) -> Iterator[str]:
    for statement in body:
        if isinstance(statement, Option):
            yield f"{indent}{statement.name.text} = {_value(statement)}"
        elif isinstance(statement, Stanza):
            head = statement.head_span.text.rstrip(" {")
            if recurse:
                yield f"{indent}{head} {{"
                yield from _lines(statement.body, indent + _DEEPER, recurse=True)
                yield f"{indent}}}"
            else:
                yield f"{indent}{head} {{ … }}"


def _value(option: Option) -> str:
    return " ".join(option.value.span.text.split())


def _at(statements: Sequence[Statement], place: Steps) -> Iterator[Stanza]:
    (kind, name), rest = place[0], place[1:]
    for statement in statements:
        if isinstance(statement, Stanza) and _is(statement, kind, name):
            if rest:
                yield from _at(statement.body, rest)
            else:
                yield statement


def _is(stanza: Stanza, kind: str, name: str) -> bool:
    words = [each.text for each in stanza.head]
    if words[0].lower() != kind:
        return False
    return not name or (len(words) > 1 and words[1] in {name, normal_name(kind, name), f"*{name}", f"*:{name}"})


def located(settings: Settings, kind: str, matches: Callable[[str], object]) -> list[str]:
    """Return the path of every scope of a kind whose name matches, as Momentum writes it."""
    return [path for path, name in _paths(_page(settings, secrets=False), kind.lower(), "") if matches(name)]


def _paths(statements: Sequence[Statement], kind: str, before: str) -> Iterator[tuple[str, str]]:
    for statement in statements:
        if isinstance(statement, Stanza):
            words = [each.text for each in statement.head]
            name = words[1] if len(words) > 1 else ""
            path = before + words[0] + (f":{name.replace(':', chr(92) + ':')}:" if name else "")
            if words[0].lower() == kind:
                yield path, name
            yield from _paths(statement.body, kind, f"{path}::")


def differences(running: Settings, file: Settings) -> list[Difference]:
    """Return what a reload would change, in the order of the running configuration, then of the file."""
    old, new = _values(running), _values(file)
    found = []
    for key in dict.fromkeys((*old, *new)):
        before, after = old.get(key), new.get(key)
        if before is None or after is None or before[0] != after[0]:
            found.append(Difference(*key, before and before[1], after and after[1]))
    return [*found, *_secrets(running, file)]


def _secrets(running: Settings, file: Settings) -> Iterator[Difference]:
    """Yield the options that look the same, because what differs in them is secret."""
    new = {(each.type, each.name): each.options for each in file.modules}
    pairs: list[tuple[tuple[str, ...], Options, Options | None]] = [((), running.core, file.core)]
    pairs += [
        ((f'{each.type} "{each.name}"',), each.options, new.get((each.type, each.name))) for each in running.modules
    ]
    for place, old, other in pairs:
        for name, one in declared(type(old)).items():
            if other is not None and one.secret and getattr(old, name) != getattr(other, name):
                before, after = (safely_written(getattr(each, name), one) for each in (old, other))
                if before == after:
                    yield Difference(place, name, before, after)


_Key: TypeAlias = tuple[tuple[str, ...], str]


def _values(settings: Settings) -> dict[_Key, tuple[str, str]]:
    """Return each option's value by scope and name, in full and with secrets masked."""
    found: dict[_Key, tuple[str, str]] = {}
    plain, masked = _page(settings, secrets=True), _page(settings, secrets=False)
    for (key, value), (_, shown) in zip(_options(plain, ()), _options(masked, ()), strict=True):
        before = found.get(key)
        if before is None or before[0] == value:
            found[key] = (value, shown)
        else:  # a listener's stanza is written once for each address
            found[key] = (f"{before[0]}, {value}", f"{before[1]}, {shown}")
    return found


def _options(statements: Sequence[Statement], place: tuple[str, ...]) -> Iterator[tuple[_Key, str]]:
    for statement in statements:
        if isinstance(statement, Option):
            yield (place, statement.name.text), _value(statement)
        elif isinstance(statement, Stanza):
            inside = (*place, statement.head_span.text.rstrip(" {"))
            yield (inside, "stanza"), "{ … }"
            yield from _options(statement.body, inside)


def _page(settings: Settings, *, secrets: bool) -> tuple[Statement, ...]:
    return parse(Source("running", show(settings, secrets=secrets)), Findings()).statements
