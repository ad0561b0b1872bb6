"""The ecelerity.conf language: text → tree → typed settings. It knows nothing of SMTP or Sieve.

Its nouns: a `Source` is one text, a `Span` a place in it, a `Diagnostic` a mistake there. The parser makes a `Tree` of
options, stanzas and values. A `Schema` says which options and modules there are: the program hands it in, declared with
`Options`, `option` and `ModuleSpec`. `load` gives `Settings` (global options, and `ModuleSettings` for each module), or
everything that is wrong, in one run. A value knows where it was written (its origin). `Scopes` and `Listener` answer
which value of an option is in force for a domain or a client: a `Setting`, the value with its origin.

For tools: `config.language.formatter`, `config.tools.converter`, `config.tools.show`, `config.tools.questions`, `config.tools.changes`, `config.tools.report`
and `config.tools.reference`.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOMES = {
    "Bytes": "config.schema.values",
    "ConfigPath": "config.schema.values",
    "Diagnostic": "config.diagnostics",
    "DomainPatterns": "config.schema.values",
    "Endpoint": "config.schema.values",
    "FileMode": "config.schema.values",
    "Listener": "config.scopes.listener",
    "Listeners": "config.scopes.listeners",
    "Loaded": "config.loader",
    "ModuleSettings": "config.settings",
    "ModuleSpec": "config.schema.specs",
    "Network": "config.schema.values",
    "Options": "config.schema.options",
    "Schema": "config.schema.specs",
    "Scopes": "config.scopes.scopes",
    "Seconds": "config.schema.values",
    "Setting": "config.scopes.places",
    "Settings": "config.settings",
    "Severity": "config.diagnostics",
    "Source": "config.diagnostics",
    "Span": "config.diagnostics",
    "has_errors": "config.diagnostics",
    "load": "config.loader",
    "option": "config.schema.options",
    "render": "config.diagnostics",
}
"""The module that defines each public name. Nothing is imported until a name is used."""

__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    return getattr(import_module(_HOMES[name]), name)
