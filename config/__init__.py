"""The ecelerity.conf language: text → tree → typed settings. Independent of SMTP and Sieve.

A `Source` is one text, a `Span` a place in it, a `Diagnostic` an error there. The parser builds a `Tree` of options,
stanzas and values. The program passes in a `Schema`, which declares the options and modules with `Options`, `option`
and `ModuleSpec`. `load` returns `Settings` (global options, and `ModuleSettings` for each module), or all errors in
one run. Each value knows where it was written (its origin). `Scopes` and `Listener` find the value of an option in
force for a domain or a client. It is a `Setting`: the value with its origin.

For tools: `config.language.formatter`, `config.tools.converter`, `config.tools.show`, `config.tools.questions`,
`config.tools.changes`, `config.tools.report` and `config.tools.reference`.
"""

from __future__ import annotations

from config.base.facade import lazily

_NAMES = {
    "diagnostics": ("Diagnostic", "Severity", "Source", "Span", "has_errors", "render"),
    "loader": ("Loaded", "load"),
    "schema.options": ("Options", "option"),
    "schema.specs": ("ModuleSpec", "Schema"),
    "schema.values": ("Bytes", "ConfigPath", "DomainPatterns", "Endpoint", "FileMode", "Network", "Seconds"),
    "scopes.listener": ("Listener",),
    "scopes.listeners": ("Listeners",),
    "scopes.places": ("Setting",),
    "scopes.scopes": ("Scopes",),
    "settings": ("ModuleSettings", "Settings"),
}
"""The public names by defining module. Each is imported at first use."""

__all__ = [name for defined in _NAMES.values() for name in defined]
__getattr__ = lazily(__name__, _NAMES)
