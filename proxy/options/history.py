"""Options of the history, which explains afterwards what became of a message."""

from __future__ import annotations

from typing import Literal

from config.schema.options import Options, option
from config.schema.values import Bytes, Seconds


class HistoryOptions(Options):
    """Options of the global scope; the log has its own."""

    history: bool | None = option(
        None,
        doc="Keep what happened to each message, for `ringback why`. Default: on if State_Directory is writable.",
        scopes=(),
    )
    history_retention: Seconds = option(
        7 * 86400.0,
        zero="no limit",
        doc="How long a day's history is kept after the day ends. Then its whole file is removed.",
        unit="seconds",
        scopes=(),
    )
    history_size: Bytes = option(
        2 << 30,
        zero="no limit",
        doc="Maximum size of the history. The oldest days are removed first; if today's file alone is larger, details "
        "of accepted mail are no longer kept, and `ringback why` says so.",
        unit="octets",
        scopes=(),
    )
    history_addresses: Literal["plain", "hashed"] | None = option(
        None,
        doc="Keep addresses in the history as they are, or only keyed hashes of them, also in replies and Message-IDs. "
        "Default: hashed if smtp_cbv has a Store_Secret, otherwise plain.",
        scopes=(),
    )
    history_headers: bool = option(
        False, doc="Also keep each message's header section, up to 4 KiB, in the history.", scopes=()
    )
    history_answers: bool = option(
        False,
        doc="Also keep, in order, what scripts and modules ask (DNS, callbacks, the clock, random numbers), and the "
        "answers.",
        scopes=(),
    )
