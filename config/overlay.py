"""Settings from the console: changes to a configuration that was loaded, each as text.

`config set` adds a statement after the file's; `config unset` removes one. A setting is read, bound and checked as if
the file ended with it. `config.loader.bound` applies the changes, in order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from config.diagnostics import Source
from config.spelling import in_quotes

CONSOLE = "console"
"""The name of their source, which diagnostics show in place of a file's."""

LISTENER = "esmtp_listener"

_DEEPER = "  "


@dataclass(frozen=True)
class Change:
    """One setting. `place` is the way to its scope: kinds with names, the module's type with the stanza's name."""

    place: tuple[tuple[str, str], ...]
    option: str = ""
    """The option's own name. Empty: the whole scope is unset."""
    value: str | None = None
    """The value as a file would have it; None unsets the option."""
    text: str | None = None
    """For an option that names a file: what is used in place of its content."""

    @property
    def sets(self) -> bool:
        """Whether it sets something; otherwise it unsets."""
        return self.value is not None

    @cached_property
    def source(self) -> Source:
        """The statement, as a file would have it."""
        return self.source_for(())

    def source_for(self, addresses: Sequence[str]) -> Source:
        """Return the statement. In a listener's stanza, an option of all its addresses needs their names."""
        lines = [f"{self.option} = {self.value}"] if self.sets else []
        if self.place and self.place[0][0] == LISTENER and all(kind != "listen" for kind, _ in self.place):
            inner = self._within(self.place[1:], lines)
            lines = self._within(self.place[:1], [*inner, *(f"listen {in_quotes(each)} {{ }}" for each in addresses)])
        else:
            lines = self._within(self.place, lines)
        return Source(CONSOLE, "\n".join(lines) + "\n")

    @staticmethod
    def _within(place: Sequence[tuple[str, str]], lines: list[str]) -> list[str]:
        for kind, name in reversed(place):
            head = f"{kind} {in_quotes(name)}" if name else kind
            lines = [f"{head} {{", *(f"{_DEEPER}{line}" for line in lines), "}"]
        return lines
