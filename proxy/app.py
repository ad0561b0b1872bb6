"""The composition root: the only place that joins config, sieve and the server.

`load` turns a file into an assembly or diagnostics. `rehearsed` builds everything that would serve and returns only
diagnostics. Nothing is bound before that succeeds.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import cast

from config.diagnostics import Diagnostic, Source, has_errors
from config.language.nodes import Statement
from config.loader import bound
from config.loader import load as load_configuration
from config.overlay import CONSOLE
from config.schema.specs import Schema
from config.settings import Settings
from proxy import checks
from proxy.base.apart import ChildTask, Failed, Tell
from proxy.base.rejected import ConfigurationRejected
from proxy.modules.arc.module import ARC, OPENARC
from proxy.modules.base import Module, Prepared, Reprepares
from proxy.modules.bounce_classifier.module import BOUNCE_CLASSIFIER, BOUNCE_CLASSIFIER_OVERRIDE
from proxy.modules.cidrdb.module import CIDRDB
from proxy.modules.conntrol.module import CONNTROL
from proxy.modules.dkim_validate.module import DKIM_VALIDATE, OPENDKIM
from proxy.modules.dmarc.module import DMARC
from proxy.modules.dnsbl.module import DNS_RBL, DNSBL, URL_RIPPER
from proxy.modules.greylist.module import GreylistModule
from proxy.modules.inbound_audit.module import INBOUND_AUDIT
from proxy.modules.iprev.module import IPREV
from proxy.modules.mail_loop.module import MAIL_LOOP
from proxy.modules.python.module import PythonModule
from proxy.modules.sieve_policy.module import SieveModule
from proxy.modules.sievelib.module import SIEVELIB
from proxy.modules.smtp_cbv.module import SmtpCbvModule
from proxy.modules.spf_v1.module import SPF
from proxy.options.core import CoreOptions
from proxy.options.inbound import InboundOptions
from proxy.options.outbound import OutboundOptions
from proxy.server.assembly import Assembly, Changes, Origin
from proxy.server.rehearsal import rehearse
from proxy.server.rehearsing import REHEARSAL_SECONDS
from proxy.server.worker import Worker
from sieve.library import Library
from sieve.standard import standard_library


def library() -> Library:
    """Return all functions that scripts can call: the language's own and the modules'."""
    return standard_library().extended(function for module in MODULES for function in module.functions)


MODULES: tuple[Module, ...] = (
    CIDRDB,
    SIEVELIB,
    BOUNCE_CLASSIFIER,
    BOUNCE_CLASSIFIER_OVERRIDE,
    CONNTROL,
    MAIL_LOOP,
    IPREV,
    DNSBL,
    DNS_RBL,
    ARC,
    OPENARC,
    DMARC,
    URL_RIPPER,
    INBOUND_AUDIT,
    SmtpCbvModule(),
    SPF,
    DKIM_VALIDATE,
    OPENDKIM,
    SieveModule(library),
    PythonModule(),
    GreylistModule(),
)
"""Every module that a configuration can load. To add one, add a folder to proxy/modules and a name here."""

SCHEMA = Schema(
    core=CoreOptions,
    modules=tuple(module.spec for module in MODULES),
    live=frozenset((*InboundOptions.model_fields, *OutboundOptions.model_fields)),
)


def load(path: Path) -> tuple[Assembly, tuple[Diagnostic, ...]]:
    """Load a configuration, compile its scripts and look at the files it names; return the assembly and the warnings.

    Raises:
        ConfigurationRejected: with every error found in the files and the scripts.
    """
    return _assembled(path, _no_progress, look_around=True)


def compiled(path: Path) -> tuple[Assembly, tuple[Diagnostic, ...]]:
    """Parse a configuration and compile its scripts, without checking other files. Called after a rehearsal.

    Raises:
        ConfigurationRejected: with the errors of its text.
    """
    return _assembled(path, _no_progress, look_around=False)


def rehearsed_again(assembly: Assembly, changes: Changes, tell: Tell) -> tuple[Diagnostic, ...]:
    """Build everything that would serve with settings of the console; return their diagnostics, and all errors."""
    tell("the settings")
    try:
        changed_assembly, found = assembly.changed(changes)
    except ConfigurationRejected as rejected:
        return rejected.diagnostics
    tell("the certificates and other files")
    around = checks.outside(changed_assembly.settings, changed_assembly.prepared)
    built = rehearse(changed_assembly, tell, lambda: Worker(changed_assembly).build())
    return (*found, *(each for each in (*around, *built) if each.is_error or _is_of_console(each)))


def _is_of_console(diagnostic: Diagnostic) -> bool:
    return diagnostic.span is not None and diagnostic.span.source.name == CONSOLE


def rehearsed(path: Path, tell: Tell) -> tuple[Diagnostic, ...]:
    """Load a configuration and build everything that serves; return all errors and warnings.

    `check`, the start and a reload do this in a child, because files that the configuration names may hang.
    """
    try:
        assembly, warnings = _assembled(path, tell, look_around=True)
    except ConfigurationRejected as rejected:
        return rejected.diagnostics
    return (*warnings, *rehearse(assembly, tell, lambda: Worker(assembly).build()))


def tried(path: Path) -> tuple[Diagnostic, ...]:
    """Rehearse in a child, and return all errors and warnings. A child that hangs is an error."""
    try:
        return ChildTask(partial(rehearsed, path), REHEARSAL_SECONDS).wait()
    except Failed as failed:
        return (Diagnostic(f"{path} could not be tried: {failed}"),)


def _assembled(path: Path, tell: Tell, *, look_around: bool) -> tuple[Assembly, tuple[Diagnostic, ...]]:
    tell(f"reading {path} and what it includes")
    loaded = load_configuration(path, SCHEMA)
    diagnostics = list(loaded.diagnostics)
    if loaded.settings is not None:
        tell("the modules and their scripts")
        prepared = prepare(loaded.settings)
        if look_around:
            tell("the certificates and other files")
            diagnostics += checks.outside(loaded.settings, prepared)
        diagnostics += [found for each in prepared for found in each.diagnostics]
        if not has_errors(diagnostics):
            origin = Origin(SCHEMA, partial(changed, loaded.statements), partial(compiled, path))
            core = cast(CoreOptions, loaded.settings.core)
            return Assembly(core, loaded.settings, prepared, _digest(loaded.sources), origin), tuple(diagnostics)
    raise ConfigurationRejected(diagnostics)


def changed(
    statements: Sequence[Statement], before: Assembly, changes: Changes
) -> tuple[Assembly, Sequence[Diagnostic]]:
    """Make a configuration again with settings of the console; `statements` are what its files say.

    No file is read again: a stanza that is the same stays as it was prepared.

    Raises:
        ConfigurationRejected: a setting is wrong.
    """
    settings, diagnostics = bound(statements, SCHEMA, changes)
    if settings is None:
        raise ConfigurationRejected(diagnostics)
    prepared = _prepared_again(settings, before)
    earlier = {id(each) for each in before.prepared}
    found = [*diagnostics, *(each for one in prepared if id(one) not in earlier for each in one.diagnostics)]
    if has_errors(found):
        raise ConfigurationRejected(found)
    return Assembly(cast(CoreOptions, settings.core), settings, prepared, before.digest, before.origin, changes), found


def _prepared_again(settings: Settings, before: Assembly) -> list[Prepared]:
    by_type = {module.spec.type: module for module in MODULES}
    present = _present(settings)
    known = {
        (each.type, each.name): (each, prepared)
        for each, prepared in zip(before.settings.modules, before.prepared, strict=True)
    }
    found: list[Prepared] = []
    for each in settings.modules:
        loaded, prepared = known[each.type, each.name]
        module = by_type[each.type]
        if each == loaded:
            found.append(prepared)
        elif isinstance(module, Reprepares):
            found.append(module.prepare_again(each, present, prepared))
        else:
            found.append(module.prepare(each, present))
    return found


def _present(settings: Settings) -> frozenset[str]:
    """Return the modules that are there for scripts."""
    specs = [SCHEMA.by_type[each.type] for each in settings.modules]
    return frozenset({each.type for each in specs} | {each.also for each in specs if each.also})


def _digest(sources: Sequence[Source]) -> str:
    """Return a short name of the files' content."""
    return sha256("\0".join(each.text for each in sources).encode("utf-8", "surrogateescape")).hexdigest()[:16]


def _no_progress(_stage: str) -> None:
    """Report no progress: no supervisor waits for this process."""


def prepare(settings: Settings) -> list[Prepared]:
    """Prepare every module stanza, in the configuration's order."""
    by_type = {module.spec.type: module for module in MODULES}
    present = _present(settings)
    return [by_type[each.type].prepare(each, present) for each in settings.modules]


def load_service(path: Path) -> Worker:
    """Load a configuration into a worker that is ready to start.

    Raises:
        ConfigurationRejected: with every error found.
    """
    assembly, _ = load(path)
    return Worker(assembly)
