"""The options of modules that look DKIM's public keys up: Momentum's key cache, and the time limit."""

from __future__ import annotations

from config.schema.options import Options, option
from config.schema.values import Seconds


class KeyOptions(Options):
    """How long keys are kept, and how long a message waits for them."""

    keycache_size: int = option(2048, zero="off", doc="Maximum number of public keys to keep.", ge=0)
    pos_keycache_ttl: Seconds = option(300.0, zero="off", doc="How long to keep a key.", unit="seconds")
    neg_keycache_ttl: Seconds = option(
        3600.0, zero="off", doc="How long to remember that a domain has no usable key.", unit="seconds"
    )
    timeout: Seconds = option(
        10.0,
        zero="refused",
        doc="Time limit for all keys of a message; after it the result is temperror.",
        unit="seconds",
    )
