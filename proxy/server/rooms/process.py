"""What every worker and keeper answers about itself."""

from __future__ import annotations

import time
from collections.abc import Callable

from proxy.server.answering import Question
from proxy.server.rooms.levels import LogLevels
from proxy.server.rooms.live import Events


def questions(sessions: Callable[[], int], events: Events | None = None) -> dict[str, Question]:
    """Return the questions; `sessions` counts what it serves."""
    began = time.monotonic()
    return {
        "alive": lambda _given: {"sessions": sessions(), "seconds": round(time.monotonic() - began)},
        **LogLevels().questions(),
        **(events or Events()).questions(),
    }
