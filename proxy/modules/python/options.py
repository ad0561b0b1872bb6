"""The options of `python`: the handler, its folder, and how long its hooks may take."""

from __future__ import annotations

from config.schema.options import Options, option
from config.schema.specs import ModuleSpec
from config.schema.values import ConfigPath, Seconds


class PythonOptions(Options):
    """A handler written for aiosmtpd. Its 250 lets a command pass; the client gets the next hop's reply."""

    handler: str = option(doc="The handler's class, `package.module:Class`. It is called without arguments.")
    path: ConfigPath | None = option(
        None,
        doc="Folder of the handler's modules. Only root and the user who runs Ringback may have write permission "
        "there. Without it, the handler comes from an installed package.",
    )
    timeout: Seconds = option(
        30.0, zero="refused", doc="Time limit for one hook; after it, the command gets 451.", unit="seconds"
    )
    threads: int = option(
        8,
        ge=1,
        le=256,
        zero="refused",
        doc="How many hooks that are not coroutines may run at the same time, each in a thread.",
    )


SPEC = ModuleSpec(
    type="python",
    options=PythonOptions,
    live=(),
    summary="The site's own Python code, written as a handler for aiosmtpd.",
)
