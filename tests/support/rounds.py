"""How much of what repeats one thought is tried: a part by `make test`, all of it by `make test-long`."""

from __future__ import annotations

import os

ROUNDS = int(os.environ.get("RINGBACK_ORACLE_ROUNDS", "2"))
"""How often the oracle kills at each place."""

ALL_ROUNDS = 8

WHOLE = ROUNDS >= ALL_ROUNDS
"""Whether everything is tried."""
