"""How processes pass their events to the history."""

from __future__ import annotations

from proxy.base import log_output
from proxy.events.table import EVENTS
from proxy.history.sender import Sender
from proxy.history.settings import is_on
from proxy.keeper.door import Door, knock
from proxy.keeper.frames import encode
from proxy.keeper.messages import Hello
from proxy.options.core import CoreOptions
from proxy.server.generation import CONTROL

KEPT = frozenset(event.name for event in EVENTS.values() if event.history)


def told_to_history(core: CoreOptions, door: Door, worker: int | None) -> Sender | None:
    """Start to send the history's events to the control process as they are logged. Return None if History is off.

    The caller closes the log first, and then the sender.
    """
    if worker == CONTROL or not is_on(core):
        return None
    hello = encode(Hello(0, 1 if worker is None else worker))
    sender = Sender(lambda: knock(door.outside, hello), worker)
    log_output.observe(sender.take, KEPT)
    return sender
