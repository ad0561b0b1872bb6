"""`Configuration`: a configuration file that the supervisor loads at the start and at each reload."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar

from config.diagnostics import Diagnostic
from proxy.base.apart import Tell

Loaded_co = TypeVar("Loaded_co", covariant=True)


class Configuration(Protocol[Loaded_co]):
    """A configuration file that can be loaded repeatedly."""

    def rehearsed(self, tell: Tell) -> Sequence[Diagnostic]:
        """Build everything that serves in a child, and return the diagnostics, including warnings."""
        ...

    def compiled(self) -> tuple[Loaded_co, Sequence[Diagnostic]]:
        """Parse and compile in this process; return the assembly and the warnings. Raises an exception for errors."""
        ...
