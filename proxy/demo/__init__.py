"""The demo: Ringback with demo servers on loopback. It sends sample mail, then lets the user send mail.

The **world** is a name server, exchangers and a next hop, all in this package. A **sample** is a message with its
expected reply. The **timeline** records what all parties sent, in order. The **screen** shows it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any


def run(load: Callable[[Path], Any], *, once: bool) -> int:
    """Run the demo with the server that `load` makes from a configuration, and return the exit status.

    With `once` it ends after the samples; otherwise it runs until SIGINT or SIGTERM. Status 0: every sample went as
    expected; 1: one did not; 69 (EX_UNAVAILABLE): the system lacks something; 78 (EX_CONFIG): the shipped
    configuration does not load.
    """
    from proxy.demo.show import show  # noqa: PLC0415 - other commands need none of it

    return show(load, once=once)
