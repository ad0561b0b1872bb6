"""`Event`: one declaration, and the check of a logged event against it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from proxy.events.fields import ALWAYS, FIELDS, Field

_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "object": (dict,),
    "strings": (list, tuple),
    "status": (int, str),
    "arrays": (list, tuple),
    "integers": (list, tuple),
}


@dataclass(frozen=True)
class Event:
    """An event. In `fields` and `optional`, `name=key` gives a field the meaning of another one's name."""

    name: str
    when: str
    """What it says, for the reference page."""
    fields: str = ""
    optional: str = ""
    levels: tuple[str, ...] = ("info",)
    metric: str | None = None
    """The metric that it feeds, besides `ringback_log_events_total`."""
    history: bool = False
    """Whether the history keeps it."""

    @cached_property
    def required(self) -> dict[str, Field]:
        """The fields that it always has."""
        return _named(self.fields)

    @cached_property
    def all_fields(self) -> dict[str, Field]:
        """Its own fields. Every event may also have `worker` and, if something failed, `exception`."""
        return self.required | _named(self.optional)

    def problems(self, level: str, fields: Mapping[str, object]) -> Iterator[str]:
        """Yield what differs from the declaration, as one sentence each."""
        if level not in self.levels:
            yield f"{self.name}: level {level} is not declared"
        for name in self.required.keys() - fields.keys():
            yield f"{self.name}: {name} is missing"
        known = self.all_fields | _ANYWHERE
        for name, value in fields.items():
            if name not in known:
                yield f"{self.name}: {name} is not declared"
            elif name != "exc_info" and not _fits(value, known[name].type):
                yield f"{self.name}: {name} is {type(value).__name__}, not {known[name].type}"


_ANYWHERE = {"worker": FIELDS["worker"], "exception": FIELDS["exception"], "exc_info": FIELDS["exception"]} | ALWAYS


def _named(names: str) -> dict[str, Field]:
    pairs = [each.partition("=") for each in names.split()]
    return {name: FIELDS[key or name] for name, _, key in pairs}


def _fits(value: object, kind: str) -> bool:
    if isinstance(value, bool):
        return kind == "boolean"
    if not isinstance(value, _TYPES[kind]):
        return False
    return kind != "strings" or all(isinstance(each, str) for each in value)  # type: ignore[attr-defined]  # a list
