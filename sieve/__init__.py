"""The Sieve++ language: compile a script's text and run it in a session.

`compile_script` parses, checks and compiles a text. Its `Compiled` has the `Script`, unless the `Diagnostic`s include
errors. A `Script` runs against a `Host`, its only view of the session, and returns an `Outcome`. The functions a script
can call form a `Library`. This package does not use SMTP, DNS or sockets.
"""

from __future__ import annotations

from config.base.facade import lazily

_NAMES = {
    "compile.compiler": ("Compiled", "compile_script"),
    "compile.tracing": ("Seen", "TraceEvent"),
    "host": (
        "CallbackAnswer",
        "ConnectionEnd",
        "ConnectionView",
        "ContentView",
        "Control",
        "DnsAnswer",
        "FullHost",
        "EnvelopeEdits",
        "Host",
        "MessageEdits",
        "MessageView",
        "TransactionView",
    ),
    "library": ("Effect", "Library", "SieveFunction", "collect", "sieve_function"),
    "phases": ("Need", "Phase"),
    "reference": ("explain",),
    "rfc5228.library": ("standard_sieve",),
    "run.cache": ("ScriptCache",),
    "run.runtime": ("Outcome", "Script"),
    "settings": ("Limits", "ScriptSettings"),
    "standard": ("standard_library",),
    "syntax.formatting": ("format_text",),
}
"""The module that defines each public name. A module is only imported when one of its names is used."""

__all__ = [name for defined in _NAMES.values() for name in defined]
__getattr__ = lazily(__name__, _NAMES)
