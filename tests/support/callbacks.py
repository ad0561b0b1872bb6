"""What asks, made from a configuration as an operator writes it, in the test's own event loop."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import cast

from proxy.app import load
from proxy.callback.service import CallbackService
from proxy.modules.smtp_cbv.making import callbacks_of
from proxy.modules.smtp_cbv.options import SmtpCbvOptions
from tests.support.waiting import eventually


@asynccontextmanager
async def asking(
    folder: Path,
    *,
    port: int,
    nameserver: str,
    options: Sequence[str] = (),
    listener: str = "127.0.0.1:0",
    allowed: str = "127.0.0.0/8",
) -> AsyncIterator[CallbackService]:
    """Yield what asks exchangers on a port, by further options of `smtp_cbv`; all its connections end with it."""
    others = _connections(port)
    configuration = folder / "ecelerity.conf"
    lines = [
        f"ESMTP_Listener = ( {listener} )",
        'Hostname = "ringback.test"',
        'Gateway = "127.0.0.1"',
        f'Nameservers = ( "{nameserver}" )',
        'smtp_cbv "smtp_cbv" {',
        f"  port = {port}",
        f"  allow_networks = ( {allowed} )",
        '  store = "memory"',
        *(f"  {option}" for option in options),
        "}",
    ]
    configuration.write_text("\n".join(lines) + "\n", "utf-8")
    assembly, warnings = load(configuration)
    assert warnings == ()
    (stanza,) = assembly.settings.modules
    callbacks = callbacks_of(cast(SmtpCbvOptions, stanza.options), assembly.core)
    try:
        yield callbacks
    finally:
        await callbacks.close()
        await eventually(lambda: _connections(port) <= others, "its connections are closed")


def _connections(port: int) -> int:
    """Return how many sockets of this machine are connected to a port, or about to be; proc(5) says what is where."""
    lines = [line.split() for name in ("tcp", "tcp6") for line in Path("/proc/net", name).read_text().splitlines()[1:]]
    return sum(fields[2].endswith(f":{port:04X}") and fields[9] != "0" for fields in lines)
