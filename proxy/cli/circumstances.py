"""The circumstances of a script's trial run: its session, and the configuration that applies to it."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import typer

from config.errors import closest, shown
from config.scopes.listener import Listener
from config.scopes.scopes import Scopes
from config.settings import ModuleSettings, Settings
from proxy.cli import exits
from proxy.modules.sieve_policy.options import SieveOptions
from proxy.modules.smtp_cbv.options import SmtpCbvOptions
from proxy.options.core import CoreOptions
from proxy.options.route import Route
from proxy.options.store import MEMORY
from proxy.smtp.entrance import Entrance
from sieve.phases import Phase
from sieve.settings import Limits, ScriptSettings

HELO = "client.example.org"
"""What the client says at EHLO, if nothing else is given."""

_LOCAL = ("192.0.2.2", 25)


@dataclass(frozen=True, slots=True)
class Facts:
    """What the client of a trial session is and says."""

    client_ip: str
    sender: str = ""
    recipients: Sequence[str] = ()
    helo: str = HELO
    tls: bool = False
    user: str = ""
    """The user who has logged in, or empty."""


@dataclass(frozen=True, slots=True)
class Circumstances:
    """The options in force for the session, and what the script is compiled with."""

    options: CoreOptions
    settings: Settings
    present: frozenset[str]
    """The modules that are loaded."""
    local: tuple[str, int] = _LOCAL
    """The address that the client has connected to."""
    script: ScriptSettings = field(default_factory=ScriptSettings)
    callbacks: SmtpCbvOptions = field(default_factory=lambda: SmtpCbvOptions(store=MEMORY))
    """With a store in memory: a trial changes nothing that the server knows."""


def unconfigured(present: frozenset[str]) -> Circumstances:
    """Return default options, with these modules loaded."""
    core = CoreOptions(esmtp_listener=(), gateway=Route("192.0.2.25"), hostname="mx.example.com")
    return Circumstances(core, Settings(core, (), Scopes(core, {}, {}), {}), present)


def configured(settings: Settings, script: Path, phase: Phase, client_ip: str, listener: str | None) -> Circumstances:
    """Return what a configuration says, for a client of one of its listeners. Exit 64 if there is no such listener."""
    core = cast(CoreOptions, settings.core)
    entered = _listener(core.esmtp_listener, listener)
    options = core if entered is None else Entrance(entered, settings).options(client_ip)
    stanza = _stanza(settings.modules, script, phase)
    return Circumstances(
        cast(CoreOptions, options),
        settings,
        frozenset(module.type for module in settings.modules),
        _LOCAL if entered is None else (_address(entered), entered.port),
        ScriptSettings() if stanza is None else _script_settings(stanza),
        _callbacks(settings.modules),
    )


def _listener(listeners: Sequence[Listener], wanted: str | None) -> Listener | None:
    """Return the named listener, or the first."""
    if wanted is None:
        return next(iter(listeners), None)
    names = [str(listener) for listener in listeners]
    if wanted in names:
        return listeners[names.index(wanted)]
    guess = closest(wanted, names)
    hint = f"did you mean {guess}?" if guess else f"the listeners are: {', '.join(names)}"
    exits.say(f"{shown(wanted)} is not a listener of this configuration; {hint}", err=True)
    raise typer.Exit(exits.USAGE)


def _address(listener: Listener) -> str:
    try:
        return str(ipaddress.ip_address(listener.address))
    except ValueError:  # a name, or every address
        return _LOCAL[0]


def _stanza(modules: Sequence[ModuleSettings], script: Path, phase: Phase) -> SieveOptions | None:
    """Return the stanza that runs this script in this phase, else the first that runs scripts."""
    stanzas = [cast(SieveOptions, module.options) for module in modules if module.type == "sieve"]
    named = [each for each in stanzas for number in (1, 2) if _same(each.script(phase, number), script)]
    return next(iter([*named, *stanzas]), None)


def _same(named: Path | None, script: Path) -> bool:
    return named is not None and named.absolute() == script.absolute()


def _script_settings(options: SieveOptions) -> ScriptSettings:
    return ScriptSettings(
        default_comparator=options.default_comparator,
        runtime_error=options.runtime_error,
        fileinto_header=options.fileinto_header,
        limits=Limits(seconds=options.script_timeout),
    )


def _callbacks(modules: Sequence[ModuleSettings]) -> SmtpCbvOptions:
    stanzas = [cast(SmtpCbvOptions, module.options) for module in modules if module.type == "smtp_cbv"]
    return (stanzas[-1] if stanzas else SmtpCbvOptions()).model_copy(update={"store": MEMORY})
