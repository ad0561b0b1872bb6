"""The options of `sieve`: two scripts for each phase (the site's and the vendor's), and how scripts run."""

from __future__ import annotations

from typing import Literal

from config.schema.options import Options, option
from config.schema.specs import ModuleSpec
from config.schema.values import ConfigPath, Seconds
from proxy.options.store import StoreValue
from sieve.dialects import DialectChoice, DialectName, dialect_of
from sieve.phases import Phase


def _script(phase: Phase, number: int) -> ConfigPath | None:
    whose = "site's" if number == 1 else "vendor's; it runs if the site's script did not end the phase"
    script: ConfigPath | None = option(None, doc=f"Script of the {phase.value} phase, the {whose}.")
    return script


def _dialect(phase: Phase, number: int) -> DialectChoice | None:
    dialect: DialectChoice | None = option(None, doc=f"Dialect of `{phase.value}_phase{number}`, instead of `dialect`.")
    return dialect


class SieveOptions(Options):
    """Scripts by phase. A relative path starts from the folder of the configuration file that names it."""

    accept_phase1: ConfigPath | None = _script(Phase.ACCEPT, 1)
    accept_phase2: ConfigPath | None = _script(Phase.ACCEPT, 2)
    connect_phase1: ConfigPath | None = _script(Phase.CONNECT, 1)
    connect_phase2: ConfigPath | None = _script(Phase.CONNECT, 2)
    ehlo_phase1: ConfigPath | None = _script(Phase.EHLO, 1)
    ehlo_phase2: ConfigPath | None = _script(Phase.EHLO, 2)
    mailfrom_phase1: ConfigPath | None = _script(Phase.MAILFROM, 1)
    mailfrom_phase2: ConfigPath | None = _script(Phase.MAILFROM, 2)
    rcptto_phase1: ConfigPath | None = _script(Phase.RCPTTO, 1)
    rcptto_phase2: ConfigPath | None = _script(Phase.RCPTTO, 2)
    data_phase1: ConfigPath | None = _script(Phase.DATA, 1)
    data_phase2: ConfigPath | None = _script(Phase.DATA, 2)
    spool_phase1: ConfigPath | None = _script(Phase.SPOOL, 1)
    spool_phase2: ConfigPath | None = _script(Phase.SPOOL, 2)
    each_rcpt_phase1: ConfigPath | None = _script(Phase.EACH_RCPT, 1)
    each_rcpt_phase2: ConfigPath | None = _script(Phase.EACH_RCPT, 2)
    set_binding_phase1: ConfigPath | None = _script(Phase.SET_BINDING, 1)
    set_binding_phase2: ConfigPath | None = _script(Phase.SET_BINDING, 2)

    dialect: DialectChoice = option(
        "sieve++",
        doc="Language of the scripts: `sieve++`, `rfc5228` (standard Sieve), or `auto`: files that end in `.sieve` are "
        "standard Sieve.",
    )
    accept_phase1_dialect: DialectChoice | None = _dialect(Phase.ACCEPT, 1)
    accept_phase2_dialect: DialectChoice | None = _dialect(Phase.ACCEPT, 2)
    connect_phase1_dialect: DialectChoice | None = _dialect(Phase.CONNECT, 1)
    connect_phase2_dialect: DialectChoice | None = _dialect(Phase.CONNECT, 2)
    ehlo_phase1_dialect: DialectChoice | None = _dialect(Phase.EHLO, 1)
    ehlo_phase2_dialect: DialectChoice | None = _dialect(Phase.EHLO, 2)
    mailfrom_phase1_dialect: DialectChoice | None = _dialect(Phase.MAILFROM, 1)
    mailfrom_phase2_dialect: DialectChoice | None = _dialect(Phase.MAILFROM, 2)
    rcptto_phase1_dialect: DialectChoice | None = _dialect(Phase.RCPTTO, 1)
    rcptto_phase2_dialect: DialectChoice | None = _dialect(Phase.RCPTTO, 2)
    data_phase1_dialect: DialectChoice | None = _dialect(Phase.DATA, 1)
    data_phase2_dialect: DialectChoice | None = _dialect(Phase.DATA, 2)
    spool_phase1_dialect: DialectChoice | None = _dialect(Phase.SPOOL, 1)
    spool_phase2_dialect: DialectChoice | None = _dialect(Phase.SPOOL, 2)
    each_rcpt_phase1_dialect: DialectChoice | None = _dialect(Phase.EACH_RCPT, 1)
    each_rcpt_phase2_dialect: DialectChoice | None = _dialect(Phase.EACH_RCPT, 2)
    set_binding_phase1_dialect: DialectChoice | None = _dialect(Phase.SET_BINDING, 1)
    set_binding_phase2_dialect: DialectChoice | None = _dialect(Phase.SET_BINDING, 2)

    fileinto_header: str = option(
        "",
        doc="Field in which `fileinto` of standard Sieve puts the mailbox, such as `X-Sieve-Fileinto`; empty: "
        "`fileinto` is an error.",
    )

    default_comparator: Literal["i;octet", "i;ascii-casemap"] = option(
        "i;octet", doc="Comparator for tests that do not name one."
    )
    runtime_error: Literal["fail", "continue"] = option(
        "fail", doc="Action on a run-time error: reply 451, or log it and continue with the next statement."
    )
    cache_size: int = option(
        1000, zero="refused", doc="Maximum number of included scripts to keep compiled.", ge=1, le=100_000
    )
    cache_life: Seconds = option(
        60.0, zero="off", doc="How long to keep an included script before its file is read again.", unit="seconds"
    )
    script_timeout: Seconds = option(
        60.0, zero="refused", doc="Time limit for one script, including its callbacks.", unit="seconds"
    )
    store: StoreValue | None = option(
        None,
        doc="Where to keep the IDs that `duplicate` remembers: memory, sqlite:///file, redis://host. Default: in "
        "State_Directory.",
        secret=True,
    )
    on_error: Literal["defer", "accept"] = option(
        "defer", doc="Action if a script exceeds its timeout or crashes: reply 451, or let the mail pass."
    )

    def script(self, phase: Phase, number: int) -> ConfigPath | None:
        """Return the script of a phase, 1 or 2."""
        found: ConfigPath | None = getattr(self, option_name(phase, number))
        return found

    def language(self, phase: Phase, number: int, path: ConfigPath) -> DialectName:
        """Return the dialect of a phase's script."""
        own: DialectChoice | None = getattr(self, f"{option_name(phase, number)}_dialect")
        return dialect_of(own or self.dialect, str(path))


def option_name(phase: Phase, number: int) -> str:
    """Return the option that names a phase's script."""
    return f"{phase.value}_phase{number}"


SPEC = ModuleSpec(
    type="sieve",
    options=SieveOptions,
    summary="Sieve++ and standard Sieve scripts that decide in each phase of a session.",
)
