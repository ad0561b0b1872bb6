"""The Sieve++ language: text to a compiled script, and a run of it in a session.

`compile_script` reads, checks and compiles; its `Compiled` holds a `Script` or the `Diagnostic`s that say why not. A
`Script` runs against a `Host`, which is all it knows of the world, and gives an `Outcome`. The functions a script can
call are a `Library`. Nothing of SMTP, DNS or sockets is known here.
"""

from __future__ import annotations

from sieve.cache import ScriptCache
from sieve.compiler import Compiled, compile_script
from sieve.formatting import format_text
from sieve.host import (
    CallbackAnswer,
    Connection,
    Content,
    Control,
    DnsAnswer,
    Endpoint,
    EnvelopeEdits,
    Host,
    MessageEdits,
    MessageView,
    Transaction,
    World,
)
from sieve.library import Effect, Library, SieveFunction, collect, sieve_function
from sieve.phases import Need, Phase
from sieve.reference import explain
from sieve.rfc5228.library import standard_sieve
from sieve.runtime import Outcome, Script
from sieve.settings import Limits, ScriptSettings
from sieve.standard import standard_library
from sieve.tracing import Seen, TraceEvent

__all__ = [
    "CallbackAnswer",
    "Compiled",
    "Connection",
    "Content",
    "Control",
    "DnsAnswer",
    "Effect",
    "Endpoint",
    "EnvelopeEdits",
    "Host",
    "Library",
    "Limits",
    "MessageEdits",
    "MessageView",
    "Need",
    "Outcome",
    "Phase",
    "Script",
    "ScriptCache",
    "ScriptSettings",
    "Seen",
    "SieveFunction",
    "TraceEvent",
    "Transaction",
    "World",
    "collect",
    "compile_script",
    "explain",
    "format_text",
    "sieve_function",
    "standard_library",
    "standard_sieve",
]
