"""`Configuration`: a configuration file that the supervisor loads at the start and at each reload."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, TypeVar

from config.diagnostics import Diagnostic
from config.overlay import Change
from proxy.base.apart import Tell

Loaded_co = TypeVar("Loaded_co", covariant=True)


class Configuration(Protocol[Loaded_co]):
    """A configuration file that can be loaded repeatedly."""

    def rehearsed(self, tell: Tell) -> Sequence[Diagnostic]:
        """Build everything that serves in a child, and return the diagnostics, including warnings."""
        ...

    def rehearsed_again(self, assembly: Any, changes: Sequence[Change], tell: Tell) -> Sequence[Diagnostic]:
        """Build everything that would serve with settings of the console, in a child; return the diagnostics."""
        ...

    def compiled(self) -> tuple[Loaded_co, Sequence[Diagnostic]]:
        """Parse and compile in this process; return the assembly and the warnings. Raises an exception for errors."""
        ...
