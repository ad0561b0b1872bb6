"""The options of `inbound_audit`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from config.errors import not_a
from config.language.nodes import Value
from config.schema.options import Options, option
from config.schema.readers import ReadContext, Unreadable, ValueReader, scalar
from config.schema.specs import ModuleSpec
from sieve.functions.audit import monitor_of
from sieve.run.values import ScriptError


@dataclass(frozen=True, slots=True)
class Monitor:
    """A monitor: `number` windows of `interval` seconds."""

    interval: int
    number: int

    def __str__(self) -> str:
        return f"{self.interval},{self.number}"


def _read(value: Value, reading: ReadContext) -> Monitor:
    text = scalar(value, reading, "a monitor").text
    try:
        return Monitor(*monitor_of(text))
    except ScriptError:
        raise Unreadable(
            not_a("a monitor", text, value.span, 'write the seconds of a window and their number: "300,6"')
        ) from None


MonitorValue = Annotated[
    Monitor, ValueReader(_read, 'a monitor, "seconds,windows"', write=lambda monitor: f'"{monitor}"')
]


class InboundAuditOptions(Options):
    """What is counted for `ec_ip_connections` and its like. Series of scripts need no option."""

    monitors: tuple[MonitorValue, ...] = option(
        (),
        aliases=("monitor",),
        repeats=True,
        doc='Windows in which connections, receptions and rejections are counted: `( "300,6" "1800,4" )` is six '
        "windows of 300 seconds, and four of 1800. In 2.2, write one `monitor` for each. The series "
        "`unknown_recipients` counts recipients that the next hop did not know, in the same windows.",
    )


SPEC = ModuleSpec(
    type="inbound_audit",
    options=InboundAuditOptions,
    summary="Counts the connections, messages and refusals of each client, and keeps series for scripts.",
    ignored=("log_dir", "serialize_dir", "maintenance_interval"),
)
