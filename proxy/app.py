"""The composition root: the only place that joins config, sieve and the server.

`load` turns a file into an assembly or diagnostics. `rehearsed` builds everything that would serve and returns only
diagnostics. Nothing is bound before that succeeds.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import cast

from config.diagnostics import Diagnostic, Source, has_errors
from config.loader import load as load_configuration
from config.schema.specs import Schema
from config.settings import Settings
from proxy import checks
from proxy.base.apart import Tell
from proxy.base.rejected import ConfigurationRejected
from proxy.modules.base import Module, Prepared
from proxy.modules.conntrol.module import CONNTROL
from proxy.modules.mail_loop.module import MAIL_LOOP
from proxy.modules.python.module import PythonModule
from proxy.modules.sieve_policy.module import SieveModule
from proxy.modules.smtp_cbv.module import SmtpCbvModule
from proxy.options.core import CoreOptions
from proxy.server.assembly import Assembly
from proxy.server.rehearsal import rehearse
from proxy.server.worker import Worker
from sieve.library import Library
from sieve.standard import standard_library


def library() -> Library:
    """Return all functions that scripts can call: the language's own and the modules'."""
    return standard_library().extended(function for module in MODULES for function in module.functions)


MODULES: tuple[Module, ...] = (
    CONNTROL,
    MAIL_LOOP,
    SmtpCbvModule(),
    SieveModule(library),
    PythonModule(),
)
"""Every module that a configuration can load. To add one, add a folder to proxy/modules and a name here."""

SCHEMA = Schema(core=CoreOptions, modules=tuple(module.spec for module in MODULES))


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


def rehearsed(path: Path, tell: Tell) -> tuple[Diagnostic, ...]:
    """Load a configuration and build everything that serves; return all errors and warnings.

    `check`, the start and a reload do this in a child, because files that the configuration names may hang.
    """
    try:
        assembly, warnings = _assembled(path, tell, look_around=True)
    except ConfigurationRejected as rejected:
        return rejected.diagnostics
    return (*warnings, *rehearse(assembly, tell, lambda: Worker(assembly).build()))


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
            core = cast(CoreOptions, loaded.settings.core)
            return Assembly(core, loaded.settings, prepared, _digest(loaded.sources)), tuple(diagnostics)
    raise ConfigurationRejected(diagnostics)


def _digest(sources: Sequence[Source]) -> str:
    """Return a short name of the files' content."""
    return sha256("\0".join(each.text for each in sources).encode("utf-8", "surrogateescape")).hexdigest()[:16]


def _no_progress(_stage: str) -> None:
    """Report no progress: no supervisor waits for this process."""


def prepare(settings: Settings) -> list[Prepared]:
    """Prepare every module stanza, in the configuration's order."""
    by_type = {module.spec.type: module for module in MODULES}
    present = frozenset(each.type for each in settings.modules)
    return [by_type[each.type].prepare(each, present) for each in settings.modules]


def load_service(path: Path) -> Worker:
    """Load a configuration into a worker that is ready to start.

    Raises:
        ConfigurationRejected: with every error found.
    """
    assembly, _ = load(path)
    return Worker(assembly)
