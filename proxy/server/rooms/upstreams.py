"""Questions about the next hops of a worker: connections, health, and to drain one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from proxy.server.answering import Question
from proxy.smtp.ports import Front
from proxy.upstream.pools import Pools


def questions(pools: Pools, front: Front) -> dict[str, Question]:
    """Return the questions about a worker's pools."""

    async def drain(given: Mapping[str, Any]) -> list[str]:
        await pools.drain(str(given["name"]), on=bool(given["on"]))
        return sorted(pools.drained.names)

    return {
        "upstreams": lambda _given: _rows(pools),
        "outbound": lambda _given: _connections(pools, front),
        "drain": drain,
    }


def _rows(pools: Pools) -> list[dict[str, Any]]:
    drained = pools.drained.names
    return [
        {
            "name": pool.name,
            "servers": [
                f"unix:{route.host}" if route.is_socket else f"{route.host}:{pool.upstream.port(route)}"
                for route in pool.upstream.routes
            ],
            "down": pool.is_down,
            "drained": sorted(drained),
            **pool.state,
        }
        for pool in pools.all
    ]


def _connections(pools: Pools, front: Front) -> list[dict[str, Any]]:
    """Return the connections: those in use by a session, and the others."""
    used = [
        {"upstream": live.dialogue.relay.upstream, "state": "in use", "session": live.dialogue.session.id, "to": ""}
        for live in front.live
        if live.dialogue.relay is not None and live.dialogue.relay.upstream
    ]
    idle = [
        {
            "upstream": pool.name,
            "state": "kept for its session" if seconds is None else f"idle for {seconds:.3f}s",
            "session": "",
            "to": address,
        }
        for pool in pools.all
        for address, seconds in pool.connections
    ]
    return used[:2000] + idle[:2000]
