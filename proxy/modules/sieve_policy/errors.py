"""What may be wrong with the scripts that a configuration names: one function per diagnostic."""

from __future__ import annotations

from collections.abc import Sequence

from config.diagnostics import Diagnostic, Severity, Span
from sieve.run.runtime import Script


def never_reached(before: Sequence[Script], script: Script, option: str) -> list[Diagnostic]:
    """Warn about actions of a phase's second script that keep mail, if the first script always ends the phase."""
    if not any(each.ends_phase for each in before):
        return []
    hint = f"end the script of {option} with stop, or with no action, for mail that this script should judge"
    return [
        Diagnostic(f"{name} never runs: the script of {option} always ends the phase", span, hint, Severity.WARNING)
        for name, span in script.keeping
    ]


def no_field_name(name: str, origin: Span) -> Diagnostic:
    """Report a `fileinto_header` that no field can have."""
    return Diagnostic(f"`{name}` is no name of a header field", origin, hint="write X-Sieve-Fileinto, for example")


def cannot_read(error: OSError, origin: Span) -> Diagnostic:
    """Report a script that cannot be read, at the place that names it."""
    return Diagnostic(f"cannot read the script: {error.strerror}", origin, hint="a relative path starts from this file")


def reads_a_file(script: Script) -> Diagnostic:
    """Report a script from the console that includes a file of the server."""
    hint = "write the text into the script, or set it in the file and reload"
    return Diagnostic(f"{script.name} includes a file, and a script from the console may not", script.span, hint)
