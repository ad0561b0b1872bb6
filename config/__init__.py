"""The ecelerity.conf language: text → tree → typed settings. It knows nothing of SMTP or Sieve.

Its nouns: a `Source` is one text, a `Span` a place in it, a `Diagnostic` a mistake there. The parser makes a `Tree` of
options, stanzas and values. A `Schema` says which options and modules there are: the program hands it in, declared with
`Options`, `option` and `ModuleSpec`. `load` gives `Settings` (global options, and `ModuleSettings` for each module), or
everything that is wrong, in one run. A value knows where it was written (its origin). `Scopes` and `Listener` answer
which value of an option is in force for a domain or a client: a `Setting`, the value with its origin.

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
"""The public names by the module that defines them. None is imported until it is used."""

__all__ = [name for defined in _NAMES.values() for name in defined]
__getattr__ = lazily(__name__, _NAMES)
