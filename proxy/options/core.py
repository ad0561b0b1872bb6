"""The options in the global scope of ecelerity.conf: for clients, for next hops, and for the process.

Each option is declared once: name, type, unit, default, meaning. Binding, checking, fallback between scopes and the
generated reference page follow from the declaration. Modules declare their options in `proxy.modules`.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, model_validator

from config.language.nodes import String, Value, Word
from config.schema.options import option
from config.schema.readers import ReadContext, ValueReader, reader_for
from config.schema.values import Bytes, ConfigPath, Seconds
from config.scopes.listener import Listeners
from proxy.base.log import Levels
from proxy.options.console import ControlPlaces, Roles
from proxy.options.counting import CountingOptions
from proxy.options.datasources import DRIVER_MODULES, Datasources
from proxy.options.history import HistoryOptions
from proxy.options.inbound import InboundOptions
from proxy.options.levels import LevelsValue
from proxy.options.login_schemes import LoginSchemes
from proxy.options.names import HostText, ListNameValue, NameserverValue, PageListenerValue
from proxy.options.outbound import OutboundOptions
from proxy.options.page import PageOptions


def _read_workers(value: Value, reading: ReadContext) -> object:
    if isinstance(value, Word | String) and value.text.lower() == "auto":
        return 0
    return reader_for(int).read(value, reading)


WorkerCount = Annotated[int, ValueReader(_read_workers, "an integer, or `auto`")]


def _longer_than_a_beat(seconds: float) -> float:
    if 0 < seconds < 1:
        raise ValueError("healthy workers would be killed; write at least 1s, or 0 to disable")
    return seconds


class CoreOptions(InboundOptions, OutboundOptions, HistoryOptions, PageOptions, CountingOptions):
    """Every option of the global scope."""

    workers: WorkerCount = option(
        1,
        zero="automatic",
        doc="Worker processes. They share callbacks and the limits on clients and next hops. 0 or `auto`: one for "
        "each core.",
        ge=0,
        le=256,
    )

    worker_timeout: Annotated[Seconds, AfterValidator(_longer_than_a_beat)] = option(
        30.0,
        zero="off",
        doc="Kill and replace a worker that hangs for this long. Its stack goes to the log.",
        unit="seconds",
        scopes=(),
    )

    server_max_outbound_connections: int = option(
        20_000, zero="refused", doc="Maximum connections to all next hops together, per worker.", ge=1, scopes=()
    )

    esmtp_listener: Listeners = option(doc="Addresses and ports to listen on for SMTP.")
    spool_directory: ConfigPath | None = option(
        None,
        doc="Folder for messages over 1 MiB that scripts read in full. Default: the system's temporary folder.",
    )
    state_directory: ConfigPath = option(
        Path("/var/lib/ringback"),
        doc="Folder for data that survives a restart: callback verdicts (otherwise kept in memory) and the outbox.",
    )
    outbox_size: Bytes = option(
        1 << 30,
        zero="no limit",
        doc="Maximum total size of Ringback's own messages in the outbox. Mail that would create more gets 452.",
        unit="octets",
        scopes=(),
    )
    outbox_letters: int = option(
        10_000,
        zero="no limit",
        doc="Maximum number of Ringback's own messages in the outbox. Mail that would create more gets 452.",
        ge=0,
        scopes=(),
    )
    letter_key: ConfigPath | None = option(
        None,
        secret=True,
        doc="File with a secret of at least 16 octets that marks Ringback's own messages, so that they are recognized "
        "if they return. Use the same secret on all servers of a site. Default: each server creates its own in "
        "State_Directory.",
        scopes=(),
    )
    client_lists: tuple[ListNameValue, ...] = option(
        (),
        doc="More lists to which operators may add networks at the console; scripts query them with `check_cidr`. You "
        "need not repeat the lists in Refuse_Lists.",
        scopes=(),
    )
    nameservers: tuple[NameserverValue, ...] = option(
        (), doc="DNS servers, `address` or `address:port`. Default: the system's."
    )

    log_format: Literal["auto", "json", "logfmt", "console", "journald"] = option(
        "auto",
        doc="The log's format. `auto`: `journald` if standard error is the journal, `console` on a terminal, otherwise "
        "`json`; in Log_File, `json`.",
        scopes=(),
    )
    log_level: LevelsValue = option(
        Levels(),
        doc="The lowest level that is logged: debug, info, warning or error. A part of Ringback may have its own "
        "level: "
        '`"info, callback=warning, outbox=error"`. The parts are the folders of `proxy` and the modules.',
        scopes=(),
    )
    log_file: ConfigPath | None = option(
        None,
        doc="File for the log. SIGUSR1 reopens it, for logrotate. Default: standard error.",
        scopes=(),
    )
    metrics_listener: tuple[PageListenerValue, ...] = option(
        (),
        doc="Addresses, such as `127.0.0.1:9025`, at which /metrics, /healthz and /readyz are served over HTTP. They "
        "ask for no password and contain no personal data. Default: none.",
        scopes=(),
    )
    metrics_hosts: tuple[HostText, ...] = option(
        (),
        doc="Names under which clients reach Metrics_Listener, besides its addresses, `localhost`, Hostname and this "
        "machine's name. A request with another Host is refused.",
        scopes=(),
    )

    datasource: Datasources = option(
        (),
        doc='Databases and directories that scripts and logins query: `Datasource "NAME" { uri = … }`. '
        "See datasources.md.",
        aliases=("ds_core", *DRIVER_MODULES),
        scopes=(),
    )
    login_schemes: LoginSchemes = option(
        (),
        doc='Schemes that check logins in datasources: `auth_ds { Scheme "NAME" { … } }`. See datasources.md.',
        aliases=("auth_ds",),
        scopes=(),
    )
    control_listener: ControlPlaces = option(
        (),
        doc="Where the console listens. The syntax is Momentum's, but it only switches the console on or off: its "
        "Unix socket is control.sock in the service's runtime folder or in State_Directory, and it is never on TCP. "
        "Default: on.",
        scopes=(),
    )
    authorization: Roles = option(
        (),
        doc="Roles: which console commands the users of a role may use, as regular expressions. Default: the "
        "service's user and root may use all commands, and the socket's group may `operate`.",
        scopes=(),
    )

    @property
    def processes(self) -> int:
        """Number of workers: as configured, or one for each core that this process may use."""
        return self.workers or len(os.sched_getaffinity(0))

    @model_validator(mode="after")
    def _has_somewhere_to_relay_to(self) -> CoreOptions:
        if self.gateway is None and not self.routes:
            raise ValueError("neither Gateway nor Routes is set: set one of them to the next hop")
        return self

    @model_validator(mode="after")
    def _has_one_datasource_of_a_name(self) -> CoreOptions:
        names = [each.name for each in self.datasource]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"two datasources are called {twice[0]}: give one of them another name")
        return self

    @model_validator(mode="after")
    def _has_one_scheme_of_a_name(self) -> CoreOptions:
        names = [each.name for each in self.login_schemes]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"auth_ds declares the scheme {twice[0]} twice: give one of them another name")
        return self

    @model_validator(mode="after")
    def _logs_to_one_place(self) -> CoreOptions:
        if self.log_file is not None and self.log_format == "journald":
            raise ValueError("Log_Format = journald sends the log to the journal: remove Log_File, or name a format")
        return self

    @model_validator(mode="after")
    def _ends_sessions(self) -> CoreOptions:
        if self.endless:
            raise ValueError(self.endless)
        return self
