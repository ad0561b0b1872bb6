"""The order of module stanzas, because a module that reads what others found must come after them, and their names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from config.diagnostics import Diagnostic, Severity
from config.settings import Settings

BEFORE: Mapping[str, frozenset[str]] = {
    "dmarc": frozenset({"spf_v1", "dkim_validate", "opendkim", "arc", "openarc", "iprev", "dnsbl"}),
    "smtp_cbv": frozenset({"spf_v1", "dmarc"}),
}
"""A type of module, and those whose results it reads."""

JUDGES = frozenset({"sieve", "python", "conntrol", "mail_loop", "greylist", "dns_rbl", "url_ripper"}).union(
    BEFORE, *BEFORE.values()
)
"""The types whose stanzas the console and `shadow` switch by their names. Tests compare it with the modules."""


def order(settings: Settings) -> Iterator[Diagnostic]:
    """Yield a warning for each module that comes before one whose results it reads."""
    for number, reader in enumerate(settings.modules):
        if reader.passive or reader.type not in BEFORE:
            continue
        for later in settings.modules[number + 1 :]:
            if later.type in BEFORE[reader.type] and not later.passive:
                yield Diagnostic(
                    f"{reader.type} comes before {later.type}, so it does not know what {later.type} finds",
                    reader.span,
                    hint=f"move {reader.type} after {later.type}",
                    severity=Severity.WARNING,
                )


def names(settings: Settings) -> Iterator[Diagnostic]:
    """Yield a warning for each module that an operator cannot switch alone, because another type has its name."""
    first: dict[str, str] = {}
    for each in settings.modules:
        if each.passive or each.type not in JUDGES:
            continue
        other = first.setdefault(each.name, each.type)
        if other != each.type:
            yield Diagnostic(
                f'{other} and {each.type} are both named "{each.name}": the console and `shadow` switch them together',
                each.span,
                hint=f'give each a name of its own: {each.type} "{each.type}" {{ ... }}',
                severity=Severity.WARNING,
            )
