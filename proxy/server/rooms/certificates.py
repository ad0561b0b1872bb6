"""A question about the certificates that a worker has loaded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from proxy.server.answering import Question
from proxy.smtp.entrance import Entrance


def questions(entrances: Sequence[Entrance]) -> dict[str, Question]:
    """Return the question."""
    return {"certificates": lambda _given: [row for entrance in entrances for row in _rows(entrance)]}


def _rows(entrance: Entrance) -> list[dict[str, Any]]:
    return [
        {
            "listener": entrance.address,
            "certificate": str(each.certificate),
            "loaded_seconds_ago": round(each.age),
            "clients_authority": str(each.authorities or ""),
            "other_names": each.names,
        }
        for each in entrance.loaded
    ]
