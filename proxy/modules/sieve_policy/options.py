"""The options of `sieve`: two scripts for each phase (the site's and the vendor's), and how scripts run."""

from __future__ import annotations

from typing import Literal

from config.schema.options import Options, option
from config.schema.specs import ModuleSpec
from config.schema.values import ConfigPath, Seconds
from sieve.phases import Phase


def _script(phase: Phase, number: int) -> ConfigPath | None:
    whose = "site's" if number == 1 else "vendor's; it runs if the site's script did not end the phase"
    script: ConfigPath | None = option(None, doc=f"Script of the {phase.value} phase, the {whose}.")
    return script


class SieveOptions(Options):
    """Sieve++ scripts by phase. A relative path starts from the folder of the configuration file that names it."""

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

    default_comparator: Literal["i;octet", "i;ascii-casemap"] = option(
        "i;octet", doc="Comparator for tests that do not name one."
    )
    runtime_error: Literal["fail", "continue"] = option(
        "fail", doc="Action on a run-time error: answer 451, or log it and continue with the next statement."
    )
    script_timeout: Seconds = option(
        60.0, zero="refused", doc="Time limit for one script, including its callbacks.", unit="seconds"
    )
    on_error: Literal["defer", "accept"] = option(
        "defer", doc="Action if a script exceeds its timeout or crashes: answer 451, or let the mail pass."
    )

    def script(self, phase: Phase, number: int) -> ConfigPath | None:
        """Return the script of a phase, 1 or 2."""
        found: ConfigPath | None = getattr(self, option_name(phase, number))
        return found


def option_name(phase: Phase, number: int) -> str:
    """Return the option that names a phase's script."""
    return f"{phase.value}_phase{number}"


SPEC = ModuleSpec(
    type="sieve",
    options=SieveOptions,
    summary="Sieve++ scripts that decide in each phase of a session.",
)
