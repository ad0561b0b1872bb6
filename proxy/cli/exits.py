"""Exit codes of sysexits(3), and how diagnostics reach the operator."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from config.diagnostics import Diagnostic, render

USAGE = 64
SCRIPT = 65
NO_INPUT = 66
UNAVAILABLE = 69
CONFIGURATION = 78


def show(diagnostics: Sequence[Diagnostic]) -> None:
    """Print diagnostics on standard error."""
    sys.stderr.write(render(diagnostics))
