"""The demonstration: Ringback in an embedded world on loopback, sample mail through it, and then a person's own.

The nouns: the **world** is a name server, exchangers and an upstream, all of this package; a **sample** is one letter
with the reply that it should get; the **timeline** is what all parties said, in order; the **screen** shows it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any


def run(load: Callable[[Path], Any], *, once: bool) -> int:
    """Run the demonstration, of the server that `load` makes of a configuration, and return the exit status.

    With `once` it ends after the samples; otherwise it stays up until SIGINT or SIGTERM. Status 0: each sample went as
    it should; 1: one did not; 69 (EX_UNAVAILABLE): the system lacks something; 78 (EX_CONFIG): the shipped
    configuration does not load.
    """
    from proxy.demo.show import show  # noqa: PLC0415 - other commands need none of it

    return show(load, once=once)
