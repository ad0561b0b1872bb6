"""Questions that change a worker until it ends: its modules, its limits, whether it accepts clients."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeVar

from config.base.ip import read_network
from proxy.base.log import printable
from proxy.callback.service import CallbackService
from proxy.counting.base import CountingUnavailable
from proxy.mail.client import client_network_of
from proxy.modules.services import Callbacks
from proxy.server.answering import Question, Unanswerable
from proxy.smtp.pipeline import PhasePipeline
from proxy.smtp.ports import Front
from proxy.smtp.shared import HERE

_CALLBACKS = "smtp_cbv"

A = TypeVar("A")


def questions(front: Front, pipeline: Callable[[], PhasePipeline], callbacks: Callbacks) -> dict[str, Question]:
    """Return the questions about what a worker does with clients."""

    def close(given: Mapping[str, Any]) -> int:
        for each in front.in_use:
            each.closed = bool(given["on"])
        return len(front.live)

    def pipelines() -> list[PhasePipeline]:
        """Return the pipeline of new sessions, then the older ones that running sessions still have."""
        earlier = [each.pipeline for each in front.in_use if isinstance(each.pipeline, PhasePipeline)]
        return [pipeline(), *(each for each in earlier if each is not pipeline())]

    return {
        "modules": lambda _given: _modules(pipeline(), callbacks),
        "enable": lambda given: _enable(pipelines(), given),
        "shadow": lambda given: _shadow(pipelines(), callbacks, given),
        "close": close,
        "limits": lambda given: _limits(front, _network(given)),
        "clear_limits": lambda given: _clear_limits(front, _network(given)),
        "memory": lambda _given: {
            "sessions": len(front.live),
            "clients": len(front.clients),
            "limits": len(front.rates.states()),
        },
    }


def _network(given: Mapping[str, Any]) -> str:
    """Return what counts as one client: an IPv4 address, or a network of IPv6 or an address in it."""
    text = str(given["network"])
    try:
        return client_network_of(str(read_network(text).network_address))
    except ValueError:
        raise Unanswerable(f'"{printable(text)}" is not an address: write a client address') from None


def _modules(pipeline: PhasePipeline, callbacks: Callbacks) -> list[dict[str, Any]]:
    rows = [
        {"name": name, "enabled": enabled, "shadow": shadowed} for name, (enabled, shadowed) in pipeline.modules.items()
    ]
    if isinstance(callbacks, CallbackService):
        known = [each for each in rows if each["name"] == _CALLBACKS]
        if not known:
            rows.append({"name": _CALLBACKS, "enabled": True, "shadow": not callbacks.enforces})
        else:
            known[0]["shadow"] = not callbacks.enforces
    return rows


def _enable(pipelines: Sequence[PhasePipeline], given: Mapping[str, Any]) -> bool:
    _check(str(given["name"]), list(pipelines[0].modules))
    for pipeline in pipelines:
        pipeline.enable(str(given["name"]), on=bool(given["on"]))
    return True


def _shadow(pipelines: Sequence[PhasePipeline], callbacks: Callbacks, given: Mapping[str, Any]) -> bool:
    name, on = str(given["name"]), bool(given["on"])
    _check(name, [each["name"] for each in _modules(pipelines[0], callbacks)])
    if name == _CALLBACKS and isinstance(callbacks, CallbackService):
        callbacks.enforce(on=not on)
    else:
        for pipeline in pipelines:
            pipeline.shadow(name, on=on)
    return True


def _check(name: str, known: list[str]) -> None:
    if name not in known:
        there = f"there are {', '.join(sorted(known))}" if known else "there is none"
        raise Unanswerable(f'no module is called "{printable(name)}": {there}')


async def _limits(front: Front, network: str) -> dict[str, Any]:
    """Return what is counted for a client: connections here, and rates here or, if they are shared, of all workers."""
    if front.shared is not None:
        rows = [
            {"limit": what, "rate": str(rate), "left": round(left, 1)}
            for what, rate, left in await _counted(front.shared.rates_of(network))
        ]
        return {"connections": front.clients.get(network, 0), "rates": rows, "together": True}
    begin = f"{HERE}{network} "
    buckets = [
        {"limit": key.removeprefix(begin), "rate": str(rate), "left": round(front.rates.left(key, rate), 1)}
        for key, rate, _, _ in front.rates.states()
        if key.startswith(begin) and " " not in key.removeprefix(begin)  # with a space: guesses for one user
    ]
    return {"connections": front.clients.get(network, 0), "rates": buckets, "together": False}


async def _clear_limits(front: Front, network: str) -> int:
    """Forget what was counted for a client; return how many counts there were."""
    if front.shared is not None:
        return await _counted(front.shared.forgive(network))
    keys = {key for key, *_ in front.rates.states() if key.startswith(f"{HERE}{network} ")}
    front.authenticator.forgive(network)
    return front.rates.forget(keys)


async def _counted(asked: Awaitable[A]) -> A:
    try:
        return await asked
    except CountingUnavailable:
        raise Unanswerable("the counts of all workers cannot be reached now: see counting_alone in the log") from None
