"""`Rare`: a field that few of many objects have, stored separately, so that the other objects need no room for it.

A client may have a thousand recipients. A recipient with a slot for each of its fields took twice the memory.
"""

from __future__ import annotations

from typing import Any, Generic, Protocol, TypeVar

T = TypeVar("T")


class Keeping(Protocol):
    """An object with rare fields."""

    apart: dict[str, Any] | None
    """The rare fields that it has, by name."""


class Rare(Generic[T]):
    """Such a field."""

    def __init__(self, default: T) -> None:
        """`default` is what the others have."""
        self._default = default

    def __set_name__(self, _owner: type, name: str) -> None:
        self._name = name

    def __get__(self, thing: Keeping, _owner: type | None = None) -> T:
        apart = thing.apart
        found: T = self._default if apart is None else apart.get(self._name, self._default)
        return found

    def __set__(self, thing: Keeping, value: T) -> None:
        if thing.apart is None:
            if value is self._default or value == self._default:
                return
            thing.apart = {}
        thing.apart[self._name] = value
