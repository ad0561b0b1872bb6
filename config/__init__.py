"""The ecelerity.conf language: text → tree → typed settings. It knows nothing of SMTP or Sieve.

Its nouns: a `Source` is one text, a `Span` a place in it, a `Diagnostic` a mistake there. The parser makes a `Tree` of
options, stanzas and values. A `Schema` says which options and modules there are: the program hands it in, declared with
`Options`, `option` and `ModuleSpec`. `load` gives `Settings` (global options, and `ModuleSettings` for each module), or
everything that is wrong, in one run. A value knows where it was written (its origin). `Scopes` and `Listener` answer
which value of an option is in force for a domain or a client: a `Setting`, the value with its origin.

For tools: `config.formatter`, `config.converter`, `config.show`, `config.questions`, `config.changes`, `config.report`
and `config.reference`.
"""

from config.diagnostics import Diagnostic, Severity, Source, Span, has_errors, render
from config.listeners import Listener, Listeners
from config.loader import Loaded, ModuleSettings, Settings, load
from config.options import Options, option
from config.schema import ModuleSpec, Schema
from config.scopes import Scopes, Setting
from config.values import Bytes, ConfigPath, DomainPatterns, Endpoint, FileMode, Network, Seconds

__all__ = [
    "Bytes",
    "ConfigPath",
    "Diagnostic",
    "DomainPatterns",
    "Endpoint",
    "FileMode",
    "Listener",
    "Listeners",
    "Loaded",
    "ModuleSettings",
    "ModuleSpec",
    "Network",
    "Options",
    "Schema",
    "Scopes",
    "Seconds",
    "Setting",
    "Settings",
    "Severity",
    "Source",
    "Span",
    "has_errors",
    "load",
    "option",
    "render",
]
