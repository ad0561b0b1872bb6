"""The options of ecelerity.conf that Ringback acts on: the global scope, which holds those of both sides and its own.

Each is declared once: name, type, unit, default, meaning. Binding, checking, fallback between scopes and the generated
reference page follow from these declarations. Modules declare theirs in `proxy.modules`.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, model_validator

from config.language.nodes import String, Value, Word
from config.schema.options import option
from config.schema.readers import ReadContext, ValueReader, reader_for
from config.schema.values import Bytes, ConfigPath, Seconds
from config.scopes.listener import Listeners
from proxy.options.inbound import InboundOptions
from proxy.options.names import NameserverValue
from proxy.options.outbound import OutboundOptions


def _read_workers(value: Value, reading: ReadContext) -> object:
    if isinstance(value, Word | String) and value.text.lower() == "auto":
        return 0
    return reader_for(int).read(value, reading)


WorkerCount = Annotated[int, ValueReader(_read_workers, "an integer, or `auto`")]


def _longer_than_a_beat(seconds: float) -> float:
    if 0 < seconds < 1:
        raise ValueError("a worker that is well would be killed; write at least 1s, or 0 for never")
    return seconds


class CoreOptions(InboundOptions, OutboundOptions):
    """Every option of the global scope."""

    workers: WorkerCount = option(
        1,
        zero="automatic",
        doc="Processes that serve, each on a core with limits and caches of its own; 0 or `auto`: one a core.",
        ge=0,
        le=256,
    )

    worker_timeout: Annotated[Seconds, AfterValidator(_longer_than_a_beat)] = option(
        30.0,
        zero="off",
        doc="A worker that hangs so long is killed and replaced, its stack in the log.",
        unit="seconds",
        scopes=(),
    )

    server_max_outbound_connections: int = option(
        20_000, zero="refused", doc="Connections to all MTAs behind together, a worker.", ge=1, scopes=()
    )

    esmtp_listener: Listeners = option(doc="Addresses and ports on which SMTP is spoken.")
    spool_directory: ConfigPath | None = option(
        None,
        doc="Where a message that policy reads whole is kept beyond 1 MiB; the system's temporary folder unless set.",
    )
    state_directory: ConfigPath = option(
        Path("/var/lib/ringback"),
        doc="Where is kept what outlives a restart: verdicts, which memory holds instead, and the outbox.",
    )
    outbox_size: Bytes = option(
        1 << 30,
        zero="no limit",
        doc="Octets of messages of Ringback's own that wait; mail that would make another hears 452.",
        unit="octets",
        scopes=(),
    )
    outbox_letters: int = option(
        10_000,
        zero="no limit",
        doc="Such messages that wait; mail that would make another hears 452.",
        ge=0,
        scopes=(),
    )
    letter_key: ConfigPath | None = option(
        None,
        secret=True,
        doc="A file with a secret of 16 octets or more, by which Ringback's own messages are known when they come "
        "back; the same on all servers of a site. Unless set, each makes its own in State_Directory.",
        scopes=(),
    )
    nameservers: tuple[NameserverValue, ...] = option(
        (), doc="DNS servers, `address` or `address:port`; the system's unless set."
    )

    @property
    def processes(self) -> int:
        """How many workers serve: as many as were asked for, or one for each core that this process may use."""
        return self.workers or len(os.sched_getaffinity(0))

    @model_validator(mode="after")
    def _has_somewhere_to_relay_to(self) -> CoreOptions:
        if self.gateway is None and not self.routes:
            raise ValueError("neither Gateway nor Routes is set: say where the MTA behind is")
        return self

    @model_validator(mode="after")
    def _ends_sessions(self) -> CoreOptions:
        if self.endless:
            raise ValueError(self.endless)
        return self
