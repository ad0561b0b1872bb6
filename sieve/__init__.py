"""The Sieve++ language: text to a compiled script, and a run of it in a session.

`compile_script` reads, checks and compiles; its `Compiled` holds a `Script` or the `Diagnostic`s that say why not. A
`Script` runs against a `Host`, which is all it knows of the world, and gives an `Outcome`. The functions a script can
call are a `Library`. Nothing of SMTP, DNS or sockets is known here.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOMES = {
    "CallbackAnswer": "sieve.host",
    "Compiled": "sieve.compile.compiler",
    "Connection": "sieve.host",
    "Content": "sieve.host",
    "Control": "sieve.host",
    "DnsAnswer": "sieve.host",
    "Effect": "sieve.library",
    "Endpoint": "sieve.host",
    "EnvelopeEdits": "sieve.host",
    "Host": "sieve.host",
    "Library": "sieve.library",
    "Limits": "sieve.settings",
    "MessageEdits": "sieve.host",
    "MessageView": "sieve.host",
    "Need": "sieve.phases",
    "Outcome": "sieve.run.runtime",
    "Phase": "sieve.phases",
    "Script": "sieve.run.runtime",
    "ScriptCache": "sieve.run.cache",
    "ScriptSettings": "sieve.settings",
    "Seen": "sieve.compile.tracing",
    "SieveFunction": "sieve.library",
    "TraceEvent": "sieve.compile.tracing",
    "Transaction": "sieve.host",
    "World": "sieve.host",
    "collect": "sieve.library",
    "compile_script": "sieve.compile.compiler",
    "explain": "sieve.reference",
    "format_text": "sieve.syntax.formatting",
    "sieve_function": "sieve.library",
    "standard_library": "sieve.standard",
    "standard_sieve": "sieve.rfc5228.library",
}
"""The module that defines each public name. Nothing is imported until a name is used."""

__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    return getattr(import_module(_HOMES[name]), name)
