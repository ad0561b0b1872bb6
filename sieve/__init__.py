"""The Sieve++ language: text to a compiled script, and a run of it in a session.

`compile_script` reads, checks and compiles; its `Compiled` holds a `Script` or the `Diagnostic`s that say why not. A
`Script` runs against a `Host`, which is all it knows of the world, and gives an `Outcome`. The functions a script can
call are a `Library`. Nothing of SMTP, DNS or sockets is known here.
"""

from __future__ import annotations

from config.base.facade import lazily

_NAMES = {
    "compile.compiler": ("Compiled", "compile_script"),
    "compile.tracing": ("Seen", "TraceEvent"),
    "host": (
        "CallbackAnswer",
        "Connection",
        "Content",
        "Control",
        "DnsAnswer",
        "Endpoint",
        "EnvelopeEdits",
        "Host",
        "MessageEdits",
        "MessageView",
        "Transaction",
        "World",
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
"""The public names by the module that defines them. None is imported until it is used."""

__all__ = [name for defined in _NAMES.values() for name in defined]
__getattr__ = lazily(__name__, _NAMES)
